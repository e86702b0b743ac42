"""Jobs, clients and a lite sandbox for tests of batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient, RetryPolicy
from indigo_async.sandbox import Sandbox
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep

COLUMNS = ColumnSelections(first_name=ColumnSelection("First", required=True))
POSTS_PER_JOB = (
    "POST /upload_csv",
    "POST /match_uploaded_csv",
    "POST /create_lookalike_audience",
    "POST /create_preview_csv_export",
    "POST /purchase_csv_export",
)


def lite_sandbox(**options: object) -> Sandbox:
    """Stages take a few hundredths of a second."""
    return Sandbox(lite=True, speed=2_000.0, **options)  # type: ignore[arg-type]


def make_client(sandbox: Sandbox, *, attempts: int = 6) -> IndigoClient:
    retry = RetryPolicy(attempts=attempts, wait_initial=0.001, wait_max=0.01)
    return IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=retry, poll_interval=0.02)


def make_job(
    number: int,
    folder: Path,
    *,
    customer: str = "42",
    lookalike: bool = True,
    field_types: tuple[str, ...] = ("phone",),
    max_cost_cents: int = 1_000_000,
) -> AudienceJob:
    return AudienceJob(
        customer_id=customer,
        audience_name=f"List {number}",
        csv=f"https://files.example.org/{number}.csv",
        column_selections=COLUMNS,
        lookalike=LookalikeStep(audience_name=f"List {number}, grown", size=2_000) if lookalike else None,
        export=ExportStep(
            destination=folder / f"{number}.csv", optional_field_types=field_types, max_cost_cents=max_cost_cents
        ),
    )


def make_jobs(count: int, folder: Path, **options: object) -> list[AudienceJob]:
    return [make_job(number, folder, **options) for number in range(count)]  # type: ignore[arg-type]


def endless_jobs(folder: Path) -> Iterator[AudienceJob]:
    number = 0
    while True:
        yield make_job(number, folder)
        number += 1


def count_posts(sandbox: Sandbox) -> int:
    return sum(sandbox.log.count(endpoint) for endpoint in POSTS_PER_JOB)
