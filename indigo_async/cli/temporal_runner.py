"""`indigo-async run --temporal`: a manifest's jobs as workflows, done by the workers of a task queue."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from indigo_async._text import format_dollars
from indigo_async._transport.cancellation import run_in_thread
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.manifest import read_manifest
from indigo_async.cli.options.temporal import TemporalOptions
from indigo_async.cli.render.output import Output, use_option_names
from indigo_async.temporal import BatchProgress, BatchSummary, connect, run_batch
from indigo_async.temporal.starter import WORKER_PUBLISHER

__all__ = ["run_on_temporal"]

_FAILURES_SHOWN = 20


async def run_on_temporal(
    manifest: Path,
    temporal: TemporalOptions,
    words: Output,
    *,
    defaults: Path | None,
    out: Path | None,
    budget_cents: int | None,
    purchase: bool,
    max_in_flight: int,
    timeout: float,  # noqa: ASYNC109 - each job's own
) -> ExitCode:
    """Have the jobs of a manifest done by workers, and wait for them. The batch is named after the manifest's file.

    Interrupted, the batch goes on by itself with the jobs that it was fed; the same command feeds the rest and waits.

    Raises:
        InvalidInputError: before anything is started, with every mistake of the manifest.
        ConnectionFailedError: Temporal does not answer.
    """
    read = partial(read_manifest, manifest, defaults=defaults, out=out or Path(), publisher=WORKER_PUBLISHER)
    jobs = await run_in_thread(read)
    client = await connect(temporal.address, namespace=temporal.namespace)
    words.note(
        f"{manifest}: {len(jobs):,} jobs on the task queue {temporal.task_queue!r}. Interrupted, they go on by "
        "themselves; the same command waits for them again."
    )
    told: list[str] = []

    def tell(progress: BatchProgress) -> None:
        line = _format_progress(progress, len(jobs))
        if told[-1:] != [line]:
            told[:] = [line]
            words.note(line)

    try:
        end = await run_batch(
            client,
            jobs,
            name=manifest.name,
            task_queue=temporal.task_queue,
            budget_cents=budget_cents,
            purchase=purchase,
            max_in_flight=max_in_flight,
            job_timeout=timeout,
            on_progress=tell,
        )
    except asyncio.CancelledError:
        words.note("Interrupted; the workflows go on.")
        raise
    _show_summary(end, words)
    return ExitCode.FAILED if end.failed else ExitCode.SUCCESS


def _format_progress(progress: BatchProgress, total: int) -> str:
    end = progress.so_far
    return f"{end.done + end.failed:,} of {total:,} ended, {end.failed:,} failed, {progress.jobs_under_way:,} under way"


def _show_summary(end: BatchSummary, words: Output) -> None:
    words.write_json(
        {
            "done": end.done,
            "failed": end.failed,
            "recalled": end.recalled,
            "quoted_cents": end.quoted_cents,
            "spent_cents": end.spent_cents,
            "failures": [
                {
                    "key": failure.key,
                    "stage": failure.stage,
                    "error": failure.error_type,
                    "message": use_option_names(failure.message),
                }
                for failure in end.failures
            ],
        }
    )
    words.show(
        f"{end.done:,} done ({end.recalled:,} of them before), {end.failed:,} failed; "
        f"quoted {format_dollars(end.quoted_cents)}, spent {format_dollars(end.spent_cents)}"
    )
    for failure in end.failures[:_FAILURES_SHOWN]:
        words.error(
            f"{failure.key}: {failure.stage or 'start'}: {failure.error_type}: {use_option_names(failure.message)}"
        )
