"""`indigo-async run --temporal`: run a manifest's jobs as workflows on Temporal workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from indigo_async._text import format_dollars
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.cli.errors import ErrorReport, ExitCode
from indigo_async.cli.manifest import read_manifest
from indigo_async.cli.options.batch import BatchOptions, TemporalBatchOptions
from indigo_async.cli.render.advice import advice_for, use_option_names
from indigo_async.cli.render.failures import FailureGroups, render_failures
from indigo_async.cli.render.output import Output
from indigo_async.cli.report.formatting import format_count
from indigo_async.files import Publisher
from indigo_async.temporal import BatchProgress, BatchSummary, connect, run_batch
from indigo_async.temporal.starter import WORKER_PUBLISHER, check_destination
from indigo_async.workflows import AudienceJob
from indigo_async.workflows.batches.jobs import check_job

__all__ = ["read_manifest_for_workers", "run_on_temporal"]


def read_manifest_for_workers(manifest: Path, options: BatchOptions) -> Iterator[AudienceJob]:
    """Yield the jobs of a manifest, checked as workers need them. See `read_manifest`."""

    def check(problems: InputCheck, job: AudienceJob, publisher: Publisher | None) -> AudienceJob:
        check_destination(problems, "export.destination", job)
        return check_job(problems, job, publisher)

    return read_manifest(
        manifest, defaults=options.defaults, out=options.out or Path(), publisher=WORKER_PUBLISHER, check=check
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
    client = await connect(temporal.address, namespace=temporal.namespace)
    name = temporal.batch_name(manifest)
    output.note(
        f"{manifest}: {format_count(len(jobs), 'job')} in the batch {name!r} on the task queue "
        f"{temporal.task_queue!r}. If you interrupt this command, they continue; run it again to wait for them."
    )
    last_line = ""

    def show_progress(progress: BatchProgress) -> None:
        nonlocal last_line
        line = _format_progress(progress, len(jobs))
        if line != last_line:
            last_line = line
            output.note(line)

    try:
        summary = await run_batch(
            client,
            jobs,
            name=name,
            task_queue=temporal.task_queue,
            budget_cents=budget_cents,
            purchase=purchase,
            max_in_flight=options.max_in_flight,
            heartbeat_seconds=temporal.heartbeat_seconds,
            job_timeout=options.timeout,
            on_progress=show_progress,
        )
    except asyncio.CancelledError:
        output.note("Interrupted. The workflows continue.")
        raise
    _show_summary(summary, output)
    return ExitCode.FAILED if summary.failed else ExitCode.SUCCESS


def _format_progress(progress: BatchProgress, total: int) -> str:
    summary = progress.so_far
    finished = summary.done + summary.failed
    return f"{finished:,} of {total:,} finished, {summary.failed:,} failed, {progress.jobs_under_way:,} in progress"


def _show_summary(summary: BatchSummary, output: Output) -> None:
    output.write_json(
        {
            "done": summary.done,
            "failed": summary.failed,
            "recalled": summary.recalled,
            "quoted_cents": summary.quoted_cents,
            "spent_cents": summary.spent_cents,
            "failures": [
                {
                    "key": failure.key,
                    "stage": failure.stage,
                    "error": failure.error_type,
                    "message": use_option_names(failure.message),
                    "advice": advice_for(failure.error_type),
                }
                for failure in summary.failures
            ],
        }
    )
    output.show(
        f"{summary.done:,} done ({summary.recalled:,} of them earlier), {summary.failed:,} failed; "
        f"quoted {format_dollars(summary.quoted_cents)}, spent {format_dollars(summary.spent_cents)}"
    )
    groups = FailureGroups()
    for failure in summary.failures:
        groups.add(failure.key, stage=failure.stage or "start", error_type=failure.error_type, message=failure.message)
    for view in render_failures(groups.groups()):
        output.show(view)
    if summary.failed:
        message = f"{summary.failed:,} of {summary.done + summary.failed:,} jobs failed"
        output.error(ErrorReport(type="JobsFailed", message=message, advice="After fixing this, run the same command"))
