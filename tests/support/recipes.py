"""The recipes with the arguments that most tests use, and counts of what the sandbox received."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indigo_async import workflows
from indigo_async.client import IndigoClient
from indigo_async.inputs import ColumnSelection
from indigo_async.models import Audience, RecordId
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.sandbox.state.engine import LiteEngine
from indigo_async.workflows import ExportReceipt

CUSTOMER = "42"
CSV = "https://files.example.org/lists/donors.csv?sig=1"
COLUMNS = {"first_name": ColumnSelection("First", required=True)}
AMPLE_CENTS = 10_000_000
"""Enough for any export of a test."""

UPLOAD = "POST /upload_csv"
MATCH = "POST /match_uploaded_csv"
LOOKALIKE = "POST /create_lookalike_audience"
PREVIEW = "POST /create_preview_csv_export"
PURCHASE = "POST /purchase_csv_export"
POSTS = (UPLOAD, MATCH, LOOKALIKE, PREVIEW, PURCHASE)

UNKNOWN_OUTCOMES = {
    "carried out, response lost": FaultKind.DISCONNECT_AFTER,
    "not carried out, connection lost": FaultKind.DISCONNECT_BEFORE,
    "carried out, 502": FaultKind.ERROR_AFTER,
    "not carried out, 502": FaultKind.ERROR_BEFORE,
    "carried out, HTML response": FaultKind.HTML_AFTER,
    "carried out, half of the response lost": FaultKind.TRUNCATED_BODY,
}
"""Ways for the outcome of a POST to stay unknown."""


def lost_response(endpoint: str, kind: FaultKind, times: int) -> Fault:
    return Fault(kind=kind, endpoint=endpoint, times=times, status=502)


async def match_csv(client: IndigoClient, csv: str | Path = CSV, *, name: str = "Donors", **options: Any) -> Audience:
    return await workflows.upload_and_match(
        client, csv, customer_id=CUSTOMER, audience_name=name, column_selections=COLUMNS, **options
    )


async def create_lookalike(
    client: IndigoClient, base: Audience | RecordId, *, name: str = "Donors+", size: int = 2_000, **options: Any
) -> Audience:
    return await workflows.create_lookalike(
        client, base, customer_id=CUSTOMER, audience_name=name, size=size, **options
    )


async def export_csv(
    client: IndigoClient, audience: Audience | RecordId, destination: Path, **options: Any
) -> ExportReceipt:
    wanted = {"customer_id": CUSTOMER, "optional_field_types": ["phone"], "max_cost_cents": AMPLE_CENTS} | options
    return await workflows.export_audience(client, audience, destination=destination, **wanted)


async def seed_audience(sandbox: Sandbox, *, size: int = 1_500) -> RecordId:
    """Add an active audience that was matched long ago."""
    (audience_id,) = await sandbox.seed_audiences(1, CUSTOMER, size=size)
    return audience_id


def match_rows(sandbox: Sandbox, rows: int, matched: int) -> None:
    """Let a lite sandbox match `matched` rows of each CSV with `rows` rows."""
    engine = sandbox._started.app.backend.engine
    assert isinstance(engine, LiteEngine)
    engine.row_count, engine.matched_count = rows, matched


def count_posts(sandbox: Sandbox) -> dict[str, int]:
    """How many POSTs of each kind the sandbox received, without zeros."""
    counts = {endpoint: sandbox.log.count(endpoint) for endpoint in POSTS}
    return {endpoint: count for endpoint, count in counts.items() if count}


def count_audiences_named(sandbox: Sandbox, name: str) -> int:
    return sandbox.counts().audiences.get((CUSTOMER, name), 0)
