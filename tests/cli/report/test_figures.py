"""The figures of real batches that were interrupted, rejected or stopped agree with each other and with the server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import pytest

from indigo_async import ColumnSelection
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.render.output import Output
from indigo_async.cli.render.results import BatchResult, render_results
from indigo_async.cli.report.history import build_history
from indigo_async.cli.report.statistics import BatchStatistics, compute_statistics
from indigo_async.events import Event, ExportPriced, ExportPurchased, StageStarted
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import AudienceJob, Batch, BatchReport, Stage, start_batch
from tests.support.jobs import lite_sandbox, make_client, make_jobs

JOBS = 6


@attrs.frozen(kw_only=True)
class Run:
    """One run of the batch: until the `leave_after`-th event of a type, or to the end."""

    leave_after: tuple[type[Event], int] | None = None
    fault: Fault | None = None
    budget_cents: int | None = None
    purchase: bool = True
    stop_after_failures: int | None = None


LEAVE = [Run(leave_after=(kind, count)) for kind in (StageStarted, ExportPriced, ExportPurchased) for count in (1, 4)]
NO_MATCH = Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv", times=2)
LOST_PURCHASE = Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint="POST /purchase_csv_export", times=2)
SEQUENCES = [
    *([run] for run in LEAVE),
    *([run, Run()] for run in LEAVE),
    [Run(purchase=False), Run(leave_after=(ExportPurchased, 2)), Run(leave_after=(StageStarted, 1)), Run()],
    [Run(fault=NO_MATCH, stop_after_failures=1), Run(leave_after=(ExportPurchased, 1)), Run()],
    [Run(fault=LOST_PURCHASE, leave_after=(ExportPurchased, 3)), Run(budget_cents=20_000), Run()],
]


async def run_once(sandbox: Sandbox, jobs: list[AudienceJob], journal: Path, run: Run) -> BatchReport:
    left, seen = asyncio.Event(), 0

    def count(event: Event) -> None:
        nonlocal seen
        if run.leave_after is not None and isinstance(event, run.leave_after[0]):
            seen += 1
            if seen == run.leave_after[1]:
                left.set()

    sandbox.faults.clear()
    if run.fault is not None:
        sandbox.faults.add(run.fault)
    async with (
        make_client(sandbox) as client,
        start_batch(
            client,
            jobs,
            journal=journal,
            purchase=run.purchase,
            budget_cents=run.budget_cents,
            stop_after_failures=run.stop_after_failures,
            on_event=count,
        ) as batch,
    ):
        reading = asyncio.create_task(_drain(batch))
        leaving = asyncio.create_task(left.wait())
        await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (reading, leaving):
            task.cancel()
    return batch.report()


async def _drain(batch: Batch) -> None:
    async for _ in batch:
        pass


def read_statistics(journal: Path) -> BatchStatistics:
    return compute_statistics(build_history(journal), in_use=False)


@pytest.mark.parametrize("runs", SEQUENCES, ids=lambda runs: f"{len(runs)} runs")
async def test_figures_agree_after_each_run(tmp_path: Path, runs: list[Run]):
    journal, jobs = tmp_path / "run.sqlite", make_jobs(JOBS, tmp_path)
    async with lite_sandbox() as sandbox:
        for run in runs:
            report = await run_once(sandbox, jobs, journal, run)
            charged = sandbox.counts().charged_cents
            assert report.done + report.failed + report.canceled <= JOBS
            assert report.spent_cents <= charged <= report.spent_cents + report.unresolved_cents
            assert report.spent_cents + report.unresolved_cents <= report.quoted_cents
            if run.leave_after is not None and report.done + report.failed < JOBS:
                assert report.stopped == "interrupted before all jobs had ended"
                assert report.canceled > 0
            statistics = await asyncio.to_thread(read_statistics, journal)
            assert statistics.done + statistics.failed + statistics.unfinished == statistics.jobs <= JOBS
            assert statistics.state == ("finished" if report.stopped is None else "stopped")
            assert statistics.spent_cents + statistics.unresolved_cents >= charged
            assert statistics.spent_cents <= charged
            assert statistics.spent_cents + statistics.unresolved_cents <= statistics.quoted_cents
            assert statistics.done >= report.done
            for name in ("jobs", "done", "failed", "unfinished", "spent_cents", "unresolved_cents", "quoted_cents"):
                assert sum(getattr(totals, name) for _, totals in statistics.customers) == getattr(statistics, name)
            for name in ("done", "failed", "spent_cents", "unresolved_cents", "quoted_cents"):
                totals = sum(getattr(totals, name) for totals in report.by_customer.values())
                assert totals == getattr(report, name)
            assert sum(totals.unfinished for totals in report.by_customer.values()) == report.canceled
            purchased = next((stage.jobs for stage in statistics.stages if stage.stage == Stage.PURCHASE), 0)
            assert purchased <= sandbox.counts().purchases
    if runs[-1] == Run():
        failed = 0 if runs[0].fault is not NO_MATCH else 2  # their audiences stay failed on the server
        assert (report.done, statistics.done, statistics.failed) == (JOBS - failed, JOBS - failed, failed)
        assert report.spent_cents == report.quoted_cents == statistics.spent_cents == statistics.quoted_cents == charged


async def test_a_rejected_change_of_a_done_job_counts_once(tmp_path: Path):
    journal, jobs = tmp_path / "run.sqlite", make_jobs(2, tmp_path)
    columns = {"last_name": ColumnSelection("Last", required=True)}
    changed = [attrs.evolve(job, column_selections=columns) for job in jobs]
    async with lite_sandbox() as sandbox:
        await run_once(sandbox, jobs, journal, Run())
        report = await run_once(sandbox, changed, journal, Run())
        charged = sandbox.counts().charged_cents
    assert (report.done, report.failed_by_error) == (0, {"JournalMismatchError": 2})
    statistics = await asyncio.to_thread(read_statistics, journal)
    assert (statistics.jobs, statistics.done, statistics.failed) == (2, 0, 2)
    assert statistics.spent_cents == statistics.quoted_cents == charged > 0


async def test_a_batch_without_jobs(tmp_path: Path):
    journal = tmp_path / "run.sqlite"
    async with lite_sandbox() as sandbox:
        report = await run_once(sandbox, [], journal, Run())
    assert (report.done, report.failed, report.canceled, report.stopped) == (0, 0, 0, None)
    statistics = await asyncio.to_thread(read_statistics, journal)
    assert (statistics.jobs, statistics.state, statistics.quoted_cents) == (0, "finished", 0)


async def test_an_interrupted_summary_counts_all_jobs(tmp_path: Path):
    async with lite_sandbox() as sandbox:
        run = Run(leave_after=(ExportPriced, 4))
        report = await run_once(sandbox, make_jobs(JOBS, tmp_path), tmp_path / "run.sqlite", run)
    result = BatchResult(report=report, total=JOBS, failures=(), interrupted=True, exit_code=ExitCode.INTERRUPTED)
    output = Output()
    with output.stdout.capture() as capture:
        output.stdout.print(render_results(result))
    text = capture.get()
    assert f"{report.done} of {JOBS} jobs done, {result.unfinished} unfinished" in text
    assert f"{sum(report.requests.values()) / JOBS:,.1f} per job" in text
    assert "Stopped" not in text
