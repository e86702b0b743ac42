"""`indigo-async run`: run the jobs of a manifest."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.batch import BATCH, TEMPORAL_BATCH, BatchOptions, Manifest, TemporalBatchOptions
from indigo_async.cli.options.common import CONNECTION, PACING, ConnectionOptions, OptionalWholeNumber, PacingOptions

__all__ = ["run"]


def run(
    manifest: Manifest,
    *,
    budget_cents: Annotated[
        OptionalWholeNumber,
        Parameter(
            help="The most that all runs with this journal together may spend, in cents: 5000000 is $50,000.00. "
            "With --fence, the most that all runs with this fence may spend; with --temporal, all runs of this batch. "
            "Default: no limit other than each job's max_cost_cents."
        ),
    ] = None,
    fence: Annotated[
        str | None,
        Parameter(
            help="A place that runs on several machines share, so that no two of them run the same job at once, "
            "nothing is purchased twice, and all obey one budget: s3://bucket/prefix (or gs://, az://; needs the extra "
            "`publish`), or an existing shared folder."
        ),
    ] = None,
    no_purchase: Annotated[
        bool, Parameter(negative=(), help="Stop each job once its export has a price; purchase nothing.")
    ] = False,
    check: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Only check the manifest and its local CSVs, and show what the run would do. Sends nothing and needs "
            "no token.",
        ),
    ] = False,
    batch: BatchOptions = BATCH,
    pacing: PacingOptions = PACING,
    temporal: TemporalBatchOptions = TEMPORAL_BATCH,
    options: ConnectionOptions = CONNECTION,
) -> ExitCode:
    """Run the jobs of a manifest concurrently."""
    from indigo_async.cli.runners.run import run_jobs

    return run_jobs(
        manifest,
        batch,
        pacing,
        temporal,
        options,
        purchase=not no_purchase,
        budget_cents=budget_cents,
        fence=fence,
        only_check=check,
    )
