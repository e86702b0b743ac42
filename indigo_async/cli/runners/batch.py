"""Running a manifest as a batch, for `run` and `quote`: progress, Ctrl-C and the exit code."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import anyio

from indigo_async._text import format_dollars
from indigo_async._transport.cancellation import run_in_thread
from indigo_async.cli.client import create_client, open_publisher, require_fence_extra
from indigo_async.cli.errors import ErrorReport, combine_exit_codes, exit_code_for
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.manifest import Manifest
from indigo_async.cli.options.batch import BatchOptions
from indigo_async.cli.options.common import ConnectionOptions, PacingOptions
from indigo_async.cli.progress.display import show_progress
from indigo_async.cli.progress.tracker import ProgressTracker, planned_stages
from indigo_async.cli.render.failures import FailureGroups
from indigo_async.cli.render.output import Output, format_elapsed
from indigo_async.cli.render.results import BatchResult, JobTotals, outcome_to_json, render_start
from indigo_async.cli.signals import stop_on_signals
from indigo_async.client import IndigoClient
from indigo_async.errors import BudgetExceededError
from indigo_async.events import Stage
from indigo_async.workflows import AudienceJob, Batch, BatchReport, JobOutcome, start_batch
from indigo_async.workflows.batches.conflicts import journal_files
from indigo_async.workflows.sharding.split import Shard

__all__ = ["explain_exit", "run_manifest"]


async def run_manifest(
    manifest: Path,
    batch_options: BatchOptions,
    pacing: PacingOptions,
    options: ConnectionOptions,
    output: Output,
    *,
    purchase: bool,
    budget_cents: int | None,
    fence: str | None = None,
    on_outcome: Callable[[JobOutcome], object] | None = None,
) -> BatchResult:
    """Run the jobs of a manifest to the end or until Ctrl-C. With --json, each outcome is written when it is known.

    Raises:
        InvalidInputError: before anything is sent, with all errors in the manifest.
        JournalError: the journal can't be used.
        FenceError: the fence can't be used.
        OSError: the token file can't be read.
    """
    scope = anyio.CancelScope()
    with stop_on_signals(scope.cancel):  # also while the client and publisher are closed
        async with (
            create_client(options, pacing, poll_interval=batch_options.poll_interval) as client,
            open_publisher(client, batch_options.publish) as publisher,
        ):
            if fence is not None:
                require_fence_extra(fence)
            journal = batch_options.journal_path(manifest)
            shard = batch_options.parse_shard(purchase=purchase, fence=fence)
            jobs = await run_in_thread(
                partial(Manifest.load, manifest, defaults=batch_options.defaults, out=batch_options.out)
            )
            own_files = await run_in_thread(partial(journal_files, journal))
            checked = jobs.check(can_publish=publisher is not None, reserved_files=own_files)
            totals, planned = await run_in_thread(partial(_count_jobs, checked, shard, purchase=purchase))
            await run_in_thread(partial(batch_options.check_journal, manifest))
            progress = ProgressTracker(name=manifest.name, total=totals.jobs, purchase=purchase, planned=planned)
            exit_codes: set[ExitCode] = set()
            failures = FailureGroups()
            batch: Batch | None = None

            async def record(outcome: JobOutcome) -> None:
                progress.on_outcome(outcome)
                if outcome.error is not None:
                    exit_codes.add(exit_code_for(outcome.error))
                if (failure := outcome.failure) is not None:
                    failures.add(
                        failure.key, stage=failure.stage, error_type=failure.error_type, message=failure.message
                    )
                if on_outcome is not None:
                    on_outcome(outcome)
                if output.as_json:
                    await _write_outcome(outcome, output)

            with scope:
                async with start_batch(
                    client,
                    jobs,
                    max_in_flight=batch_options.max_in_flight,
                    journal=journal,
                    fence=fence,
                    shard=batch_options.shard,
                    budget_cents=budget_cents,
                    purchase=purchase,
                    publisher=publisher,
                    job_timeout=batch_options.timeout,
                    stop_after_failures=batch_options.stop_after_failures,
                    on_event=progress.on_event,
                ) as batch:
                    running = batch
                    report = batch.report()
                    output.note(
                        render_start(
                            manifest,
                            totals,
                            journal,
                            purchase=purchase,
                            budget_cents=budget_cents,
                            spent_cents=report.spent_cents,
                            fence_spent_cents=report.fence_spent_cents,
                            part=None if shard is None else (shard, len(jobs)),
                        )
                    )
                    async with show_progress(
                        output, lambda: progress.snapshot(running.report(), outage=_describe_outage(client))
                    ):
                        async for outcome in batch:
                            await record(outcome)
            if batch is None:
                raise KeyboardInterrupt
            report, interrupted = batch.report(), scope.cancelled_caught
            exit_code = _choose_exit_code(report, exit_codes, interrupted=interrupted)
            return BatchResult(
                report=report,
                total=totals.jobs,
                failures=failures.groups(),
                interrupted=interrupted,
                exit_code=exit_code,
            )


def _count_jobs(
    jobs: Iterable[AudienceJob], shard: Shard | None, *, purchase: bool
) -> tuple[JobTotals, Counter[Stage]]:
    """Count the jobs of a shard, and how many go through each stage."""
    totals, paths = JobTotals(), Counter[tuple[Stage, ...]]()
    for job in jobs:
        if shard is None or shard.has_customer(job.customer_id):
            totals.add(job)
            paths[planned_stages(job, purchase=purchase)] += 1
    return totals, sum((Counter(dict.fromkeys(stages, count)) for stages, count in paths.items()), Counter[Stage]())


def _describe_outage(client: IndigoClient) -> str | None:
    outage = client.transport.outage
    if outage is None:
        return None
    seconds = asyncio.get_running_loop().time() - outage.started_at
    return f"no response from the server for {format_elapsed(seconds)} ({outage.reason}); jobs wait and then continue"


async def _write_outcome(outcome: JobOutcome, output: Output) -> None:
    """Write an outcome as JSON. If that fails, say how to resume, because the error stops the batch."""
    write = partial(output.write_json, outcome_to_json(outcome))
    try:
        await run_in_thread(write)  # the reader of a pipe may be slow
    except OSError as error:
        message = "results can no longer be written to stdout, so the batch stops after checking purchases in flight"
        output.error(_report_resumable(type(error).__name__, message, "Resume with"))
        raise


def _choose_exit_code(report: BatchReport, exit_codes: set[ExitCode], *, interrupted: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    if report.stopped is not None and ExitCode.UNAUTHENTICATED in exit_codes:
        return ExitCode.UNAUTHENTICATED
    if report.stopped is not None and not exit_codes:
        return ExitCode.FAILED
    return combine_exit_codes(exit_codes)


def explain_exit(result: BatchResult) -> ErrorReport:
    """Why a batch did not succeed, and how to resume it."""
    if result.interrupted:
        kind, message = "Interrupted", "interrupted. Work already requested continues on the server"
        resume = "Resume with"
    elif result.report.stopped is not None:
        kind, message = "BatchStopped", "the batch stopped early"
        resume = "After fixing the cause, resume with"
    else:
        kind, message = "JobsFailed", f"{result.report.failed:,} of {result.total:,} jobs failed"
        resume = "After fixing this, resume with"
        if (advice := _explain_budget(result.report)) is not None:
            return ErrorReport(type=kind, message=message, advice=advice, text=f"{message}. {advice}")
    return _report_resumable(kind, message, resume)


def _explain_budget(report: BatchReport) -> str | None:
    """How to purchase what the budget didn't allow; None if something else failed, or other runs share the budget."""
    budget_cents = report.budget_cents
    if budget_cents is None or report.fence_spent_cents is not None or report.quoted_cents <= budget_cents:
        return None
    if set(report.failed_by_error) != {BudgetExceededError.__name__}:
        return None
    return (
        f"All exports so far cost {format_dollars(report.quoted_cents)}, which is "
        f"{format_dollars(report.quoted_cents - budget_cents)} more than the budget. To purchase the others, too, run "
        f"the same command with --budget-cents {report.quoted_cents}"
    )


def _report_resumable(kind: str, message: str, resume: str) -> ErrorReport:
    command = _resume_command()
    return ErrorReport(
        type=kind, message=message, advice=f"{resume}: {command}", text=f"{message}. {resume}:\n  {command}"
    )


def _resume_command() -> str:
    """The command line of this process, quoted for a shell. Running it again resumes the batch."""
    as_module = Path(sys.argv[0]).name == "__main__.py"
    program = [sys.executable, "-m", "indigo_async"] if as_module else [Path(sys.argv[0]).name]
    return shlex.join([*program, *sys.argv[1:]])
