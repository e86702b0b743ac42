"""The demo: every recipe, for three customers at once, on a sandbox with synthetic voters."""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from pathlib import Path

import attrs
from rich.console import RenderableType
from rich.table import Table

from indigo_async._text import format_dollars
from indigo_async._transport.cancellation import run_in_thread
from indigo_async.cli.render.events import describe_event
from indigo_async.cli.render.output import Output, make_table, replace_control_characters
from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError
from indigo_async.events import Event
from indigo_async.inputs import ColumnSelection, ColumnSelections, LookalikeFilters
from indigo_async.sandbox import Sandbox, StageTimes
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from indigo_async.workflows import (
    AudienceJob,
    BatchReport,
    ExportStep,
    JobOutcome,
    LookalikeStep,
    WorkflowEvent,
    start_batch,
)

__all__ = ["DemoOptions", "run_demo"]

_LOOKALIKE_SIZE = 5_000
_MAX_COST_CENTS = 100_000
_POLLS_PER_STAGE = 4

_COLUMNS = ColumnSelections(
    first_name=ColumnSelection("First Name", required=True),
    last_name=ColumnSelection("Last Name", required=True),
    state=ColumnSelection("State"),
    zip=ColumnSelection("Zip Code"),
    dob=ColumnSelection("Birth Date"),
    phone=ColumnSelection("Phone"),
    address=ColumnSelection("Street"),
    id=ColumnSelection("Member ID", required=True),
)


@attrs.frozen
class _Customer:
    """A customer of the demo: where the people on its list live, and which paid fields it purchases."""

    id: str
    states: tuple[str, ...]
    field_types: tuple[str, ...]


_CUSTOMERS = (
    _Customer("keystone", ("PA", "NJ", "MD", "DE"), ("phone",)),
    _Customer("great-lakes", ("IL", "MI", "MN", "OH", "WI"), ("phone", "vote_history")),
    _Customer("sun-belt", ("AZ", "FL", "GA", "NC", "TX"), ()),
)
_CUSTOMER_WIDTH = max(len(customer.id) for customer in _CUSTOMERS)


@attrs.frozen(kw_only=True)
class DemoOptions:
    """The size and speed of the demo."""

    out: Path
    voters: int
    people: int
    speed: float
    seed: int


async def run_demo(options: DemoOptions) -> None:
    """Write messy CSVs, run the jobs twice, and show progress and results.

    Raises:
        IndigoError: a job failed.
    """
    output = Output()
    output.show(f"Starting a sandbox with {options.voters:,} synthetic voters at {options.speed:g}x speed.")
    output.show("Purchases are simulated; no money is spent.")
    voter_file = await run_in_thread(partial(VoterFile.synthetic, options.voters, seed=options.seed))
    try:
        async with Sandbox(voter_file, seed=options.seed, speed=options.speed) as sandbox:
            jobs = await _write_csvs(output, voter_file, options)
            await _run_jobs(output, sandbox, jobs, options)
    finally:
        voter_file.close()


async def _write_csvs(output: Output, voter_file: VoterFile, options: DemoOptions) -> list[AudienceJob]:
    jobs: list[AudienceJob] = []
    for number, customer in enumerate(_CUSTOMERS):
        seed = options.seed + number
        generate = partial(generate_messy_csv, voter_file, options.people, seed=seed, states=customer.states)
        content = await run_in_thread(generate)
        path = options.out / f"{customer.id}.csv"
        await run_in_thread(partial(_write_private, path, content))
        rows = content.count(b"\n") - 1
        output.show(f"{path}: {rows:,} rows with typos and people who are not in the voter file")
        jobs.append(_build_job(customer, path, options.out))
    return jobs


async def _run_jobs(output: Output, sandbox: Sandbox, jobs: list[AudienceJob], options: DemoOptions) -> None:
    interval = StageTimes().upload / options.speed / _POLLS_PER_STAGE
    started = time.monotonic()

    def show_event(event: Event) -> None:
        if (message := describe_event(event)) is not None:
            customer = event.customer_id if isinstance(event, WorkflowEvent) else ""
            output.show(_render_event(time.monotonic() - started, customer, message))

    async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=interval) as client:
        with tempfile.TemporaryDirectory() as folder:
            start = partial(
                start_batch, client, jobs, publisher=sandbox.file_host, journal=Path(folder) / "demo.sqlite"
            )
            async with start(on_event=show_event) as batch:
                outcomes = [outcome async for outcome in batch]
            output.show(_render_outcomes(outcomes))
            for outcome in outcomes:
                if outcome.result is not None and outcome.result.receipt is not None:
                    output.show(str(outcome.result.receipt.path))
            output.show(_format_costs("First run", batch.report()))
            async with start() as batch:
                repeated = [outcome async for outcome in batch]
            output.show(_format_costs("Same jobs, second run", batch.report()))
    failed = {outcome.job.key: outcome.error for outcome in repeated + outcomes if outcome.error is not None}
    if failed:
        raise IndigoError("\n".join(f"{key}: {error}" for key, error in failed.items()))


def _render_event(seconds: float, customer: str | None, message: str) -> Table:
    """An event in columns, so a long message wraps under its start."""
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(justify="right", width=8)
    row.add_column(width=_CUSTOMER_WIDTH)
    row.add_column(overflow="fold")
    row.add_row(f"{seconds:.1f} s", customer, replace_control_characters(message))
    return row


def _format_costs(label: str, report: BatchReport) -> str:
    posts = sum(count for endpoint, count in report.requests.items() if endpoint.startswith("POST"))
    reads = sum(report.requests.values()) - posts
    purchases = report.requests.get("POST /purchase_csv_export", 0)
    spent = format_dollars(report.spent_cents)
    return f"{label}: {posts} POSTs, {reads} reads, {purchases} purchases; {spent} spent in total."


def _build_job(customer: _Customer, csv: Path, out: Path) -> AudienceJob:
    return AudienceJob(
        customer_id=customer.id,
        audience_name="Members",
        csv=csv,
        column_selections=_COLUMNS,
        lookalike=LookalikeStep(
            audience_name="Members lookalike",
            size=_LOOKALIKE_SIZE,
            filters=LookalikeFilters(states=customer.states),
        ),
        export=ExportStep(
            destination=out / f"{customer.id}-export.csv",
            optional_field_types=customer.field_types,
            max_cost_cents=_MAX_COST_CENTS,
        ),
    )


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _render_outcomes(outcomes: list[JobOutcome]) -> RenderableType:
    return make_table(
        {
            "customer": "left",
            "matched": "right",
            "match rate": "right",
            "lookalike": "right",
            "price": "right",
        },
        (_outcome_row(outcome) for outcome in sorted(outcomes, key=lambda outcome: outcome.job.key)),
    )


def _outcome_row(outcome: JobOutcome) -> tuple[str, ...]:
    result = outcome.result
    if result is None or result.receipt is None or result.lookalike is None:
        return outcome.job.customer_id, "failed", "", "", ""
    csv, rate = result.matched.uploaded_audience_csv, result.matched.match_rate
    rows = csv.row_count if csv is not None else None
    return (
        outcome.job.customer_id,
        f"{result.matched.matched_count or 0:,} of {rows or 0:,}",
        f"{rate:.0%}" if rate is not None else "",
        f"{result.lookalike.size or 0:,}",
        format_dollars(result.receipt.export.cost_cents) if result.receipt.export.cost_cents else "free",
    )
