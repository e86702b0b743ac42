"""Show, drop and cancel the jobs of a batch on Temporal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from indigo_async._redaction import redact
from indigo_async._text import format_dollars
from indigo_async.cli.options.batch import TemporalOptions
from indigo_async.cli.render.advice import advice_for, use_option_names
from indigo_async.cli.render.output import Output, make_table
from indigo_async.cli.runners.temporal import show_summary
from indigo_async.cli.runners.temporal_client import open_temporal, suggesting_batch
from indigo_async.cli.signals import run_async
from indigo_async.temporal import BatchSummary, JobStatus, cancel_batch, drop_job, list_jobs

__all__ = ["cancel_and_show", "drop_and_show", "show_jobs"]

_STYLES = {"done": "green", "failed": "red", "canceled": "yellow", "running": "cyan", "waiting": "dim"}


def show_jobs(
    batch: str, states: Sequence[str], customer: str | None, temporal: TemporalOptions, output: Output
) -> None:
    """Show the jobs of a batch that are in one of these states; without states, all of them."""

    async def read() -> list[JobStatus]:
        return await list_jobs(await open_temporal(temporal), batch)

    with suggesting_batch(batch):
        everything = run_async(read)
    shown = sorted(
        (job for job in everything if job.state in (states or _STYLES) and customer in {None, job.customer_id}),
        key=lambda job: (job.customer_id, job.audience_name),
    )
    for job in shown:
        output.write_json({"type": "job", **_job_to_json(job)})
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
    summary = ", ".join(f"{counts[name]:,} {name}" for name in _STYLES if counts[name])
    spent = f"{format_dollars(spent_cents)} spent in its last run"
    output.show(f"{batch}: {summary or 'no worker has received its jobs yet'}; {spent}")


def drop_and_show(batch: str, job: str, temporal: TemporalOptions, output: Output) -> None:
    """Stop one running job of a batch, and show how it ended. The others continue."""

    async def stop() -> JobStatus:
        client = await open_temporal(temporal)
        output.note(f"Stopping {job}. If its purchase is in flight, its worker checks the outcome first.")
        return await drop_job(client, batch, job)

    with suggesting_batch(batch):
        status = run_async(stop)
    output.write_json({"type": "job", **_job_to_json(status)})
    stage = f" at {status.stage}" if status.stage and status.state != "done" else ""
    output.show(f"{status.key}: {status.state}{stage}; {format_dollars(status.spent_cents)} spent")
    if status.state != "canceled":
        output.note("It ended before its worker could stop it.")


def cancel_and_show(batch: str, temporal: TemporalOptions, output: Output) -> None:
    """Cancel a running batch, and show how far its jobs got."""

    async def stop() -> BatchSummary:
        client = await open_temporal(temporal)
        output.note(f"Canceling {batch}. Workers check the outcomes of purchases in flight first.")
        return await cancel_batch(client, batch)

    with suggesting_batch(batch):
        summary = run_async(stop)
    show_summary(batch, summary, output)


def _job_to_json(job: JobStatus) -> dict[str, Any]:
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
