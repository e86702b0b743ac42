"""`indigo-async cancel`: cancel a batch on Temporal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indigo_async.cli.options.batch import TEMPORAL, BatchName, TemporalOptions
from indigo_async.cli.options.common import OUTPUT, OutputOptions
from indigo_async.cli.signals import run_async

if TYPE_CHECKING:
    from indigo_async.temporal import BatchSummary

__all__ = ["cancel"]


def cancel(
    batch: BatchName,
    /,
    *,
    temporal: TemporalOptions = TEMPORAL,
    options: OutputOptions = OUTPUT,
) -> None:
    """Cancel a running batch, and say how far its jobs got."""
    from indigo_async.cli.temporal_client import open_temporal, suggesting_batch  # noqa: PLC0415 - optional extra
    from indigo_async.cli.temporal_runner import show_summary  # noqa: PLC0415 - optional extra
    from indigo_async.temporal import cancel_batch  # noqa: PLC0415 - optional extra

    output = options.create_output()

    async def stop() -> BatchSummary:
        client = await open_temporal(temporal)
        output.note(f"Canceling {batch}. Workers check the outcomes of purchases in flight first.")
        return await cancel_batch(client, batch)

    with suggesting_batch(batch):
        summary = run_async(stop)
    show_summary(batch, summary, output)
