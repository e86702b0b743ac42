"""`indigo-async run`: run the jobs of a manifest."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.batch_runner import explain_exit, run_manifest
from indigo_async.cli.errors import ExitCode
from indigo_async.cli.options.batch import BATCH, TEMPORAL, BatchOptions, Manifest, TemporalOptions
from indigo_async.cli.options.common import CONNECTION, ConnectionOptions, OptionalWholeNumber
from indigo_async.cli.render.results import render_results, summary_to_json
from indigo_async.cli.signals import run_async

__all__ = ["run"]


def run(
    manifest: Manifest,
    *,
    budget_cents: Annotated[
        OptionalWholeNumber,
        Parameter(
            help="The most that all runs with this journal together may spend, in cents: 5000000 is $50,000.00. "
            "Default: no limit other than each job's max_cost_cents."
        ),
    ] = None,
    no_purchase: Annotated[
        bool, Parameter(negative=(), help="Stop each job once its export has a price; purchase nothing.")
    ] = False,
    batch: BatchOptions = BATCH,
    temporal: TemporalOptions = TEMPORAL,
    options: ConnectionOptions = CONNECTION,
) -> ExitCode:
    """Run the jobs of a manifest concurrently."""
    output = options.create_output()
    if temporal.address is not None:
        from indigo_async.cli.temporal_runner import run_on_temporal  # noqa: PLC0415 - optional extra

        return run_async(
            lambda: run_on_temporal(
                manifest, temporal, batch, output, purchase=not no_purchase, budget_cents=budget_cents
            )
        )
    result = run_async(
        lambda: run_manifest(manifest, batch, options, output, purchase=not no_purchase, budget_cents=budget_cents)
    )
    output.write_json(summary_to_json(result))
    output.show(render_results(result))
    if result.exit_code is not ExitCode.SUCCESS:
        output.error(explain_exit(result))
    return result.exit_code
