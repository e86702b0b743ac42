"""The recipes that these tests observe."""

from __future__ import annotations

from pathlib import Path

from indigo_async import IndigoClient, workflows
from indigo_async.events import Listener
from indigo_async.models import Audience
from indigo_async.workflows import ExportReceipt

CUSTOMER = "42"
CSV = "https://files.example.org/donors.csv?X-Amz-Signature=canary-signature-61f0"
COLUMNS = {"first_name": {"column_name": "First", "is_required": True}}
UPLOAD = "POST /upload_csv"
MATCH = "POST /match_uploaded_csv"


async def match_csv(client: IndigoClient, *, name: str = "Donors", on_event: Listener | None = None) -> Audience:
    return await workflows.upload_and_match(
        client, CSV, customer_id=CUSTOMER, audience_name=name, column_selections=COLUMNS, on_event=on_event
    )


async def export_csv(client: IndigoClient, audience: Audience, folder: Path) -> ExportReceipt:
    return await workflows.export_audience(
        client,
        audience,
        customer_id=CUSTOMER,
        destination=folder / "people.csv",
        optional_field_types=["phone"],
        max_cost_cents=10_000_000,
    )
