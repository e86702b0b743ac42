"""`indigo-async drop`: stop one job of a batch on Temporal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from indigo_async._text import format_dollars
from indigo_async.cli.commands.jobs import job_to_json
from indigo_async.cli.options.batch import TEMPORAL, BatchName, TemporalOptions
from indigo_async.cli.options.common import OUTPUT, OutputOptions
from indigo_async.cli.signals import run_async

if TYPE_CHECKING:
    from indigo_async.temporal import JobStatus

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
    from indigo_async.cli.temporal_client import open_temporal, suggesting_batch  # noqa: PLC0415 - optional extra
    from indigo_async.temporal import drop_job  # noqa: PLC0415 - optional extra

    output = options.create_output()

    async def stop() -> JobStatus:
        client = await open_temporal(temporal)
        output.note(f"Stopping {job}. If its purchase is in flight, its worker checks the outcome first.")
        return await drop_job(client, batch, job)

    with suggesting_batch(batch):
        status = run_async(stop)
    output.write_json({"type": "job", **job_to_json(status)})
    stage = f" at {status.stage}" if status.stage and status.state != "done" else ""
    output.show(f"{status.key}: {status.state}{stage}; {format_dollars(status.spent_cents)} spent")
    if status.state != "canceled":
        output.note("It ended before its worker could stop it.")
