"""`indigo-async jobs`: the state of each job of a batch on Temporal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.text import Text

from indigo_async._redaction import redact
from indigo_async._text import format_dollars
from indigo_async.cli.options.batch import TEMPORAL, BatchName, TemporalOptions
from indigo_async.cli.options.common import OUTPUT, OutputOptions
from indigo_async.cli.render.advice import advice_for, use_option_names
from indigo_async.cli.render.output import make_table
from indigo_async.cli.signals import run_async

if TYPE_CHECKING:
    from indigo_async.temporal import JobStatus

__all__ = ["job_to_json", "jobs"]

_STYLES = {"done": "green", "failed": "red", "canceled": "yellow", "running": "cyan", "waiting": "dim"}


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
    from indigo_async.cli.temporal_client import open_temporal, suggesting_batch  # noqa: PLC0415 - optional extra
    from indigo_async.temporal import list_jobs  # noqa: PLC0415 - optional extra

    output = options.create_output()

    async def read() -> list[JobStatus]:
        return await list_jobs(await open_temporal(temporal), batch)

    with suggesting_batch(batch):
        everything = run_async(read)
    shown = sorted(
        (job for job in everything if job.state in (state or _STYLES) and customer in {None, job.customer_id}),
        key=lambda job: (job.customer_id, job.audience_name),
    )
    for job in shown:
        output.write_json({"type": "job", **job_to_json(job)})
    counts = Counter(str(job.state) for job in everything)
    spent_cents = sum(job.spent_cents for job in everything)
    output.write_json(
        {
            "type": "summary",
            "batch": batch,
            "jobs": len(everything),
            **{name: counts[name] for name in _STYLES},
            "spent_cents": spent_cents,
        }
    )
    if shown:
        output.show(_render_jobs(shown))
    elif everything:
        output.show("No job matches --state and --customer.")
    states = ", ".join(f"{counts[name]:,} {name}" for name in _STYLES if counts[name])
    spent = f"{format_dollars(spent_cents)} spent in its last run"
    output.show(f"{batch}: {states or 'no worker has received its jobs yet'}; {spent}")


def job_to_json(job: JobStatus) -> dict[str, Any]:
    """A job as a JSON object."""
    error = job.error_type or None
    return {
        "key": job.key,
        "customer_id": job.customer_id,
        "audience_name": job.audience_name,
        "state": str(job.state),
        "stage": job.stage or None,
        "error": error,
        "message": redact(use_option_names(job.message)) or None,
        "advice": None if error is None else advice_for(error),
        "spent_cents": job.spent_cents,
    }


def _render_jobs(shown: Sequence[JobStatus]) -> Any:
    rows = (
        (
            job.key,
            Text(str(job.state), style=_STYLES[job.state]),
            "" if job.state == "done" else job.stage,
            format_dollars(job.spent_cents) if job.spent_cents else "",
            " ".join(f"{job.error_type}: {redact(use_option_names(job.message))}".split()) if job.error_type else "",
        )
        for job in shown
    )
    return make_table({"job": "left", "state": "left", "stage": "left", "spent": "right", "error": "left"}, rows)
