"""`indigo-async jobs`: the state of each job of a batch on Temporal."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from indigo_async.cli.options.batch import TEMPORAL, BatchName, TemporalOptions
from indigo_async.cli.options.common import OUTPUT, OutputOptions

__all__ = ["jobs"]


def jobs(
    batch: BatchName,
    /,
    *,
    state: Annotated[
        tuple[Literal["waiting", "running", "done", "failed", "canceled"], ...],
        Parameter(help="Show only jobs in this state. May be repeated."),
    ] = (),
    customer: Annotated[str | None, Parameter(help="Show only the jobs of this customer ID.")] = None,
    temporal: TemporalOptions = TEMPORAL,
    options: OutputOptions = OUTPUT,
) -> None:
    """Show the state, stage and error of each job of a batch."""
    from indigo_async.cli.runners.jobs import show_jobs

    show_jobs(batch, state, customer, temporal, options.create_output())
