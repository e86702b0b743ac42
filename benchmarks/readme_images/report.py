"""Make the README's report images by running a batch.

    python -m benchmarks.readme_images.report [--jobs 10000] [--folder docs/pictures]

`report-light.png` and `report-dark.png` show the page of `indigo-async report` in Chromium, for a batch on a lite
sandbox where some jobs fail and some responses are lost.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
from playwright.sync_api import sync_playwright

import indigo_async.sandbox.sandbox as lite
from indigo_async import ColumnSelection, ColumnSelections, IndigoClient, OptionalFieldType, RetryPolicy
from indigo_async.cli.report.history import build_history
from indigo_async.cli.report.html import render_page, write_page
from indigo_async.cli.report.statistics import compute_statistics
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.sandbox.state.engine import LiteEngine
from indigo_async.sandbox.state.records import Members, UploadedTable
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep, run_batch

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZE = {"width": 1180, "height": 1350}
SPEED = 4.0
CUSTOMERS = ("keystone", "great-lakes", "sun-belt", "pacific", "new-england", "high-plains", "delta", "piedmont")
COLUMNS = ColumnSelections(first_name=ColumnSelection("First", required=True))
FAULTS = (
    Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv", times=None, probability=0.004),
    Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /upload_csv", times=None, probability=0.002),
    Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint="POST /purchase_csv_export", times=None, probability=0.003),
    Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /create_lookalike_audience", times=None, probability=0.004),
)


@attrs.define
class VariedEngine(LiteEngine):
    """Makes lists of many sizes and match rates."""

    rng: random.Random = attrs.Factory(lambda: random.Random(7))

    async def read_csv(self, url: str) -> UploadedTable:
        del url
        return UploadedTable(round(self.rng.lognormvariate(8.6, 0.4)))

    async def match(self, table: UploadedTable, selections: Mapping[str, ColumnSelection]) -> Members:
        del selections
        return Members(round(table.row_count * self.rng.betavariate(11, 4)))


def jobs(count: int, folder: Path) -> Iterator[AudienceJob]:
    rng = random.Random(3)
    for number in range(count):
        customer = CUSTOMERS[int(len(CUSTOMERS) * rng.random() ** 1.8)]
        field_types = (OptionalFieldType.PHONE,) if rng.random() < 0.6 else ()
        yield AudienceJob(
            customer_id=customer,
            audience_name=f"Members {number}",
            csv=f"https://files.example.org/{number}.csv",
            column_selections=COLUMNS,
            lookalike=LookalikeStep(audience_name=f"Members {number}, wider", size=rng.choice((2_000, 5_000, 8_000))),
            export=ExportStep(
                destination=folder / f"{number}.csv",
                optional_field_types=field_types,
                max_cost_cents=35_000 if rng.random() < 0.01 else 100_000,
            ),
        )


async def run(count: int, journal: Path, folder: Path) -> None:
    lite.LiteEngine = VariedEngine
    async with Sandbox(lite=True, speed=SPEED) as sandbox:
        sandbox.faults.add(*FAULTS)
        retry = RetryPolicy(timeout=600)
        async with IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=retry) as client:
            await run_batch(
                client, jobs(count, folder), max_in_flight=count // 3, journal=journal, budget_cents=300_000_000
            )


def show(journal: Path, folder: Path) -> None:
    """The page of a journal, as a browser shows its beginning, light and dark."""
    history = build_history(journal)
    html = journal.with_suffix(".html")
    write_page(html, render_page("voters-2026.sqlite", history, compute_statistics(history, in_use=False)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for scheme in ("light", "dark"):
            shown = browser.new_page(viewport=SIZE, color_scheme=scheme)
            shown.goto(html.as_uri())
            shown.screenshot(path=folder / f"report-{scheme}.png")
        browser.close()


def report_pictures(count: int, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        journal = Path(scratch) / "run.sqlite"
        asyncio.run(run(count, journal, Path(scratch)))
        show(journal, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    report_pictures(arguments.jobs, arguments.folder)


if __name__ == "__main__":
    main()
