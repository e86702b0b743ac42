"""`indigo-async run`: a batch from a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.batch_runner import BATCH, BatchOptions, resume_command, run_manifest
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import (
    CONNECTION,
    OUTPUT,
    ConnectionOptions,
    OptionalWholeNumber,
    OutputOptions,
    run_async,
)
from indigo_async.cli.options.temporal import TEMPORAL, TemporalOptions
from indigo_async.cli.render.results import BatchResult, render_results, summary_to_json

__all__ = ["run"]


def run(
    manifest: Annotated[Path, Parameter(help="The jobs: a .yaml, .csv or .jsonl file.")],
    *,
    budget_cents: Annotated[
        OptionalWholeNumber,
        Parameter(
            help="The most that all runs with this journal may spend, in cents: 5000000 is $50,000.00. Without it each "
            "job's max_cost_cents alone holds."
        ),
    ] = None,
    no_purchase: Annotated[bool, Parameter(negative=(), help="Stop each job at its priced preview.")] = False,
    batch: BatchOptions = BATCH,
    temporal: TemporalOptions = TEMPORAL,
    connection: ConnectionOptions = CONNECTION,
    output: OutputOptions = OUTPUT,
) -> ExitCode:
    """Run the jobs of a manifest, all at once. Run again, it goes on where it was, and buys nothing twice."""
    words = output.create_output()
    if temporal.address is not None:
        from indigo_async.cli.temporal_runner import run_on_temporal  # noqa: PLC0415 - needs the extra `temporal`

        return run_async(
            lambda: run_on_temporal(
                manifest,
                temporal,
                words,
                defaults=batch.defaults,
                out=batch.out,
                budget_cents=budget_cents,
                purchase=not no_purchase,
                max_in_flight=batch.max_in_flight,
                timeout=batch.timeout,
            )
        )

    async def work() -> BatchResult:
        return await run_manifest(
            manifest,
            batch,
            connection,
            words,
            purchase=not no_purchase,
            budget_cents=budget_cents,
        )

    end = run_async(work)
    words.write_json(summary_to_json(end))
    words.show(render_results(end))
    if end.exit_code is not ExitCode.SUCCESS:
        words.error(f"{_explain_exit(end)}\n  {resume_command()}")
    return end.exit_code


def _explain_exit(end: BatchResult) -> str:
    if end.interrupted:
        return "interrupted; what the server was asked to do goes on. To go on:"
    if end.report.stopped is not None:
        return "the batch stopped. Once its reason is mended, go on with:"
    return f"{end.report.failed:,} of {end.total:,} jobs failed. Once that is mended, go on with:"
