"""`indigo-async drop`: stop one job of a batch on Temporal."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.options.batch import TEMPORAL, BatchName, TemporalOptions
from indigo_async.cli.options.common import OUTPUT, OutputOptions

__all__ = ["drop"]


def drop(
    batch: BatchName,
    job: Annotated[str, Parameter(help="The job's key, as `indigo-async jobs` shows it.")],
    /,
    *,
    temporal: TemporalOptions = TEMPORAL,
    options: OutputOptions = OUTPUT,
) -> None:
    """Stop one running job of a batch. The others continue."""
    from indigo_async.cli.runners.jobs import drop_and_show

    drop_and_show(batch, job, temporal, options.create_output())
