"""`indigo-async cancel`: cancel a batch on Temporal."""

from __future__ import annotations

from indigo_async.cli.options.batch import TEMPORAL, BatchName, TemporalOptions
from indigo_async.cli.options.common import OUTPUT, OutputOptions

__all__ = ["cancel"]


def cancel(
    batch: BatchName,
    /,
    *,
    temporal: TemporalOptions = TEMPORAL,
    options: OutputOptions = OUTPUT,
) -> None:
    """Cancel a running batch, and say how far its jobs got."""
    from indigo_async.cli.runners.jobs import cancel_and_show

    cancel_and_show(batch, temporal, options.create_output())
