"""`indigo-async demo`: the whole cookbook, for several customers at once, on a sandbox with real people in it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table

from indigo_async._text import format_dollars
from indigo_async._transport.cancellation import run_in_thread
from indigo_async.cli.render.events import describe_event
from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError
from indigo_async.events import Event
from indigo_async.inputs import ColumnSelection, ColumnSelections, LookalikeFilters
from indigo_async.models import Audience
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
_SHORTEST_STAGE = StageTimes().upload

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
    """A customer of the demo, whose people live in some states and buy some fields."""

    id: str
    states: tuple[str, ...]
    field_types: tuple[str, ...]


_CUSTOMERS = (
    _Customer("keystone", ("PA", "NJ", "MD", "DE"), ("phone",)),
    _Customer("great-lakes", ("IL", "MI", "MN", "OH", "WI"), ("phone", "vote_history")),
    _Customer("sun-belt", ("AZ", "FL", "GA", "NC", "TX"), ()),
)


@attrs.frozen(kw_only=True)
class DemoOptions:
    """How large and how fast the demo is; `speed` is in sandbox seconds a second."""

    out: Path
    voters: int
    people: int
    speed: float
    seed: int


async def run_demo(options: DemoOptions) -> None:
    """Draw messy lists from a voter file, run every recipe on them, and show what happens and what came out.

    Raises:
        IndigoError: a customer's job failed.
    """
    console = Console(highlight=False)
    console.print(
        f"A sandbox with {options.voters:,} synthetic voters, {options.speed:g} times as fast as life.", style="bold"
    )
    voters = await run_in_thread(partial(VoterFile.synthetic, options.voters, seed=options.seed))
    try:
        async with Sandbox(voters, seed=options.seed, speed=options.speed) as sandbox:
            jobs = await _write_csvs(console, voters, options)
            await _run_jobs(console, sandbox, jobs, options)
    finally:
        voters.close()


async def _write_csvs(console: Console, voters: VoterFile, options: DemoOptions) -> list[AudienceJob]:
    jobs: list[AudienceJob] = []
    for number, customer in enumerate(_CUSTOMERS):
        draw = partial(generate_messy_csv, voters, options.people, seed=options.seed + number, states=customer.states)
        content = await run_in_thread(draw)
        path = options.out / f"{customer.id}.csv"
        await run_in_thread(partial(_write_private, path, content))
        rows = content.count(b"\n") - 1
        console.print(f"{path}: {rows:,} messy rows, strangers among them", markup=False)
        jobs.append(_build_job(customer, path, options.out))
    return jobs


async def _run_jobs(console: Console, sandbox: Sandbox, jobs: list[AudienceJob], options: DemoOptions) -> None:
    interval = _SHORTEST_STAGE / options.speed / _POLLS_PER_STAGE
    async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=interval) as client:
        with tempfile.TemporaryDirectory() as folder:
            run = partial(start_batch, client, jobs, publisher=sandbox.file_host, journal=Path(folder) / "demo.sqlite")
            async with run(on_event=_EventPrinter(console)) as batch:
                outcomes = [outcome async for outcome in batch]
            console.print(_render_table(outcomes))
            for outcome in outcomes:
                if outcome.result is not None and outcome.result.receipt is not None:
                    console.print(str(outcome.result.receipt.path), soft_wrap=True, markup=False)
            console.print(_format_costs("The first run", batch.report()))
            async with run() as batch:
                again = [outcome async for outcome in batch]
            console.print(_format_costs("The same jobs run again", batch.report()))
    failed = {outcome.job.key: outcome.error for outcome in again + outcomes if outcome.error is not None}
    if failed:
        raise IndigoError("\n".join(f"{key}: {error}" for key, error in failed.items()))


def _format_costs(what: str, report: BatchReport) -> str:
    posts = sum(count for endpoint, count in report.requests.items() if endpoint.startswith("POST"))
    reads = sum(report.requests.values()) - posts
    bought = sum(count for endpoint, count in report.requests.items() if endpoint == "POST /purchase_csv_export")
    return (
        f"{what}: {posts} POSTs, {reads} reads, {bought} purchases; {format_dollars(report.spent_cents)} spent in all."
    )


def _build_job(customer: _Customer, csv: Path, out: Path) -> AudienceJob:
    return AudienceJob(
        customer_id=customer.id,
        audience_name="Members",
        csv=csv,
        column_selections=_COLUMNS,
        lookalike=LookalikeStep(
            audience_name="Members, and people like them",
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
    """Write a file of people that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


class _EventPrinter:
    """Tells each event in a line, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()

    def __call__(self, event: Event) -> None:
        words = describe_event(event)
        if words is None:
            return
        who = event.customer_id if isinstance(event, WorkflowEvent) else ""
        line = f"{self._clock() - self._started:6.1f} s  {who:<20} {words}"
        self._console.print(line, markup=False, soft_wrap=True)


def _render_table(outcomes: list[JobOutcome]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading, justify in (
        ("customer", "left"),
        ("matched", "right"),
        ("rate", "right"),
        ("lookalike", "right"),
        ("price", "right"),
        ("file", "left"),
    ):
        table.add_column(heading, justify=justify, overflow="fold")  # pyright: ignore[reportArgumentType] - rich's own literal type
    for outcome in sorted(outcomes, key=lambda outcome: outcome.job.key):
        result = outcome.result
        if result is None or result.receipt is None or result.lookalike is None:
            table.add_row(outcome.job.customer_id, "failed", "", "", "", "")
            continue
        matched, rows = _match_counts(result.matched)
        table.add_row(
            outcome.job.customer_id,
            f"{matched:,} of {rows:,}",
            f"{matched / rows:.0%}" if rows else "",
            f"{result.lookalike.extra.get('size', 0):,}",
            format_dollars(result.receipt.export.cost_cents) if result.receipt.export.cost_cents else "free",
            result.receipt.path.name,
        )
    return table


def _match_counts(matched: Audience) -> tuple[int, int]:
    """How many people were matched, of how many rows, as the sandbox shows them."""
    upload: Any = matched.uploaded_audience_csv.extra if matched.uploaded_audience_csv is not None else {}
    return upload.get("matchedCount", 0), upload.get("rowCount", 0)
