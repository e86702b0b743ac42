"""What `run` and `quote` share: a manifest, a batch, its progress, and an end that says how to go on."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number
from rich.text import Text

from indigo_async._transport.cancellation import run_in_thread
from indigo_async.cli.exit_codes import ExitCode, exit_code_for
from indigo_async.cli.manifest import read_manifest
from indigo_async.cli.options.common import ConnectionOptions, OptionalWholeNumber, WholeNumber
from indigo_async.cli.options.publish import Publish, open_publisher
from indigo_async.cli.progress.display import show_progress
from indigo_async.cli.progress.tracker import ProgressTracker, planned_stages
from indigo_async.cli.render.output import Output
from indigo_async.cli.render.results import BatchResult, outcome_to_json
from indigo_async.cli.render.start import render_start
from indigo_async.cli.signals import stop_on_signals
from indigo_async.client import IndigoClient
from indigo_async.workflows import Batch, BatchReport, JobOutcome, start_batch

__all__ = ["BATCH", "BatchOptions", "resume_command", "run_manifest"]

_POSITIVE = Number(gt=0)
_BATCH_GROUP = Group("Batch", sort_key=5)
_SPECIFIC_EXIT_CODES = {ExitCode.OVER_LIMIT, ExitCode.TIMED_OUT, ExitCode.UNAUTHENTICATED}
"""Exit codes that say something of a batch when all its failures are of that kind."""


@Parameter(name="*", group=_BATCH_GROUP)
@attrs.frozen(kw_only=True)
class BatchOptions:
    """How a manifest is run."""

    defaults: Annotated[
        Path | None, Parameter(help="A YAML file of fields that hold for every job which does not say otherwise.")
    ] = None
    out: Annotated[
        Path | None, Parameter(help="The folder that relative destinations start from; else the manifest's.")
    ] = None
    journal: Annotated[
        Path | None,
        Parameter(help="The file that remembers what was done; else the manifest's name with .journal, beside it."),
    ] = None
    publish: Publish = None
    max_in_flight: Annotated[
        WholeNumber, Parameter(help="How many jobs are under way at most.", validator=_POSITIVE)
    ] = 10_000
    stop_after_failures: Annotated[
        OptionalWholeNumber, Parameter(help="Begin no more jobs after so many failed.", validator=_POSITIVE)
    ] = None
    timeout: Annotated[
        float, Parameter(help="Seconds for each job; the server's work goes on.", validator=_POSITIVE)
    ] = 14_400.0
    poll_interval: Annotated[
        float, Parameter(help="Seconds between two looks at an audience.", validator=_POSITIVE)
    ] = 5.0

    def journal_path(self, manifest: Path) -> Path:
        """Where the journal is."""
        return self.journal if self.journal is not None else manifest.with_name(f"{manifest.name}.journal")


BATCH = BatchOptions()


async def run_manifest(
    manifest: Path,
    options: BatchOptions,
    connection: ConnectionOptions,
    words: Output,
    *,
    purchase: bool,
    budget_cents: int | None,
    on_outcome: Callable[[JobOutcome], object] | None = None,
) -> BatchResult:
    """Run the jobs of a manifest, or as many as there is time for until Ctrl-C; tell each outcome, if JSON is wanted.

    Raises:
        InvalidInputError: before anything is sent, with every mistake of the manifest.
        JournalError: the journal cannot be used.
        OSError: the file that is to hold the token cannot be read.
    """
    scope = anyio.CancelScope()
    with stop_on_signals(partial(_stop_batch, scope, words)):  # until all is closed
        return await _run_manifest(
            manifest,
            options,
            connection,
            words,
            scope,
            purchase=purchase,
            budget_cents=budget_cents,
            on_outcome=on_outcome,
        )


async def _run_manifest(
    manifest: Path,
    options: BatchOptions,
    connection: ConnectionOptions,
    words: Output,
    scope: anyio.CancelScope,
    *,
    purchase: bool,
    budget_cents: int | None,
    on_outcome: Callable[[JobOutcome], object] | None,
) -> BatchResult:
    async with (
        IndigoClient(base_url=connection.base_url, poll_interval=options.poll_interval) as client,
        open_publisher(client, options.publish) as publisher,
    ):
        read = partial(read_manifest, manifest, defaults=options.defaults, out=options.out, publisher=publisher)
        jobs = await run_in_thread(read)
        journal = options.journal_path(manifest)
        plans = Counter(stage for job in jobs for stage in planned_stages(job, purchase=purchase))
        progress = ProgressTracker(name=manifest.name, total=len(jobs), purchase=purchase, planned=plans)
        codes: set[ExitCode] = set()
        failures: Counter[tuple[str, str]] = Counter()
        batch: Batch | None = None

        async def take(outcome: JobOutcome) -> None:
            progress.on_outcome(outcome)
            if outcome.error is not None:
                codes.add(exit_code_for(outcome.error))
                failures[outcome.stage.value, type(outcome.error).__name__] += 1
            if on_outcome is not None:
                on_outcome(outcome)
            if words.as_json:
                await run_in_thread(partial(words.write_json, outcome_to_json(outcome)))  # whoever reads it may be slow

        with scope:
            async with start_batch(
                client,
                iter(jobs),  # checked already, all of them
                max_in_flight=options.max_in_flight,
                journal=journal,
                budget_cents=budget_cents,
                purchase=purchase,
                publisher=publisher,
                job_timeout=options.timeout,
                stop_after_failures=options.stop_after_failures,
                on_event=progress.on_event,
            ) as batch:
                running = batch
                spent = batch.report().spent_cents
                words.note(
                    render_start(
                        manifest, jobs, journal, purchase=purchase, budget_cents=budget_cents, spent_cents=spent
                    )
                )
                async with show_progress(words, lambda: progress.snapshot(running.report())):
                    async for outcome in batch:
                        await take(outcome)
        if batch is None:
            raise KeyboardInterrupt
        report, interrupted = batch.report(), scope.cancelled_caught
        code = _choose_exit_code(report, codes, interrupted=interrupted)
        return BatchResult(report=report, total=len(jobs), failures=failures, interrupted=interrupted, exit_code=code)


def _stop_batch(scope: anyio.CancelScope, words: Output) -> None:
    scope.cancel()
    if not words.quiet:  # as styled text: a style of the print would be the progress bars', too
        words.stderr.print(Text("Stopping: purchases under way are settled first. Again, and it ends at once.", "dim"))


def _choose_exit_code(report: BatchReport, codes: set[ExitCode], *, interrupted: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    if report.stopped is not None and ExitCode.UNAUTHENTICATED in codes:
        return ExitCode.UNAUTHENTICATED
    if len(codes) == 1 and codes <= _SPECIFIC_EXIT_CODES:
        return next(iter(codes))
    return ExitCode.FAILED if codes or report.stopped is not None else ExitCode.SUCCESS


def resume_command() -> str:
    """The command that was given, for a shell; given again, it goes on."""
    as_module = Path(sys.argv[0]).name == "__main__.py"
    program = [sys.executable, "-m", "indigo_async"] if as_module else [Path(sys.argv[0]).name]
    return shlex.join([*program, *sys.argv[1:]])
