"""`indigo-async run --temporal`: run a manifest's jobs as workflows on Temporal workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from indigo_async._redaction import redact
from indigo_async._text import format_dollars
from indigo_async._transport.cancellation import run_in_thread
from indigo_async.cli.errors import ErrorReport, combine_exit_codes, exit_code_for_type
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.manifest import read_manifest
from indigo_async.cli.options.batch import BatchOptions, TemporalBatchOptions
from indigo_async.cli.progress.display import show_live
from indigo_async.cli.progress.tracker import planned_stages
from indigo_async.cli.progress.workers import WorkersProgress
from indigo_async.cli.render.advice import advice_for, use_option_names
from indigo_async.cli.render.failures import FailureGroups, render_failures
from indigo_async.cli.render.output import Output
from indigo_async.cli.report.formatting import format_count
from indigo_async.cli.runners.temporal_client import open_temporal
from indigo_async.events import Stage
from indigo_async.temporal import BatchProgress, BatchSummary, run_batch
from indigo_async.temporal.connection import has_workers
from indigo_async.temporal.failures import CANCELED, TERMINATED
from indigo_async.temporal.job_inputs import check_destination
from indigo_async.workflows import AudienceJob

__all__ = ["read_manifest_for_workers", "run_on_temporal", "show_summary"]


def read_manifest_for_workers(manifest: Path, options: BatchOptions) -> Iterator[AudienceJob]:
    """Yield the jobs of a manifest, checked as workers need them. See `read_manifest`."""
    return read_manifest(
        manifest,
        defaults=options.defaults,
        out=options.out or Path(),
        can_publish=True,  # workers do
        more_checks=lambda check, job: check_destination(check, "export.destination", job),
    )


async def run_on_temporal(
    manifest: Path,
    temporal: TemporalBatchOptions,
    options: BatchOptions,
    output: Output,
    *,
    purchase: bool,
    budget_cents: int | None,
) -> ExitCode:
    """Start a manifest's jobs as workflows and wait for them.

    After an interruption, jobs already submitted continue. The same command submits the rest and waits again.

    Raises:
        InvalidInputError: before anything is started, with all errors in the manifest.
        ConnectionFailedError: Temporal can't be reached.
    """
    jobs = await run_in_thread(lambda: list(read_manifest_for_workers(manifest, options)))
    client = await open_temporal(temporal)
    name, planned = temporal.batch_name(manifest), Counter[Stage]()
    for job in jobs:
        planned.update(planned_stages(job, purchase=purchase))
    output.note(
        f"{manifest}: {format_count(len(jobs), 'job')} in the batch {name!r} on the task queue "
        f"{temporal.task_queue!r}. If you interrupt this command, submitted jobs continue; run it again to wait for "
        "them."
    )
    if not await has_workers(client, temporal.task_queue):
        output.note(
            f"No worker is polling the task queue {temporal.task_queue!r}. The jobs wait until you start one: "
            "`indigo-async worker`."
        )
    progress = WorkersProgress(name=name, total=len(jobs), purchase=purchase, planned=planned)
    done_earlier = 0

    def on_progress(latest: BatchProgress) -> None:
        nonlocal done_earlier
        if latest.done_earlier != done_earlier:
            done_earlier = latest.done_earlier
            output.note(f"{done_earlier:,} of {format_count(len(jobs), 'job')} were done earlier and are not repeated.")
        progress.update(latest)

    try:
        async with show_live(output, progress.render, progress.format_line):
            summary = await run_batch(
                client,
                jobs,
                name=name,
                task_queue=temporal.task_queue,
                budget_cents=budget_cents,
                continue_changed=temporal.continue_changed,
                purchase=purchase,
                max_in_flight=options.max_in_flight,
                heartbeat_seconds=temporal.heartbeat_seconds,
                job_timeout=options.timeout,
                on_progress=on_progress,
            )
    except asyncio.CancelledError:
        output.note("The workers continue the submitted jobs.")
        raise
    show_summary(name, summary, output)
    if summary.failed:
        failed, canceled = _count_failures(summary)
        message = f"of {format_count(len(jobs), 'job')}, {_join_counts(failed, canceled)}"
        again = "run the same command again"
        advice = f"after fixing this, {again}" if failed else f"to run them, {again}"
        output.error(ErrorReport(type="JobsFailed", message=message, advice=advice))
    return combine_exit_codes({exit_code_for_type(error_type) for error_type in summary.failed_by_error})


def show_summary(name: str, summary: BatchSummary, output: Output) -> None:
    """Show the result of a batch, with its failures by kind."""
    output.write_json(
        {
            "type": "summary",
            "batch": name,
            "done": summary.done,
            "failed": summary.failed,
            "recalled": summary.recalled,
            "quoted_cents": summary.quoted_cents,
            "spent_cents": summary.spent_cents,
            "failed_by_error": dict(summary.failed_by_error),
            "failures": [
                {
                    "key": failure.key,
                    "stage": failure.stage or None,
                    "error": failure.error_type,
                    "message": redact(use_option_names(failure.message)),
                    "advice": advice_for(failure.error_type),
                }
                for failure in summary.failures
            ],
        }
    )
    output.show(
        f"{summary.done:,} done ({summary.recalled:,} of them earlier), {_join_counts(*_count_failures(summary))}; "
        f"quoted {format_dollars(summary.quoted_cents)}, spent {format_dollars(summary.spent_cents)}"
    )
    groups = FailureGroups()
    for failure in summary.failures:
        groups.add(failure.key, stage=failure.stage, error_type=failure.error_type, message=failure.message)
    for view in render_failures(groups.groups()):
        output.show(view)
    if summary.failed > len(summary.failures):
        output.show(f"These are {len(summary.failures):,} of {summary.failed:,}; `indigo-async jobs` shows all.")


def _count_failures(summary: BatchSummary) -> tuple[int, int]:
    """How many jobs failed, and how many were dropped, canceled or terminated. The summary counts all as failed."""
    canceled = sum(summary.failed_by_error.get(error_type, 0) for error_type in (CANCELED, TERMINATED))
    return summary.failed - canceled, canceled


def _join_counts(failed: int, canceled: int) -> str:
    counts = {"failed": failed, "canceled": canceled}
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "0 failed"
