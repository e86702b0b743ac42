"""The start and the results of a batch: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from indigo_async._redaction import redact
from indigo_async._text import format_dollars
from indigo_async.cli.errors import ErrorReport, describe_error
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.render.advice import use_option_names
from indigo_async.cli.render.failures import FailureGroup, MessageGroup, group_messages, render_failures
from indigo_async.cli.render.output import (
    Justify,
    format_elapsed,
    format_spending,
    make_table,
    replace_control_characters,
)
from indigo_async.cli.report.formatting import format_count
from indigo_async.workflows import AudienceJob, BatchReport, JobOutcome
from indigo_async.workflows.sharding.split import Shard

__all__ = [
    "BatchResult",
    "JobTotals",
    "describe_jobs",
    "outcome_to_json",
    "render_failed_jobs",
    "render_job_warnings",
    "render_results",
    "render_start",
    "render_stop_reason",
    "render_warnings",
    "summary_to_json",
]

_WARNINGS_SHOWN = 10


@attrs.define
class JobTotals:
    """What the jobs of a manifest may create and purchase. `limit_cents` is the sum of their `max_cost_cents`."""

    jobs: int = 0
    lookalikes: int = 0
    exports: int = 0
    limit_cents: int = 0
    customer_ids: set[str] = attrs.field(factory=set[str])

    def add(self, job: AudienceJob) -> None:
        """Count a job."""
        self.jobs += 1
        self.customer_ids.add(job.customer_id)
        self.lookalikes += job.lookalike is not None
        if job.export is not None:
            self.exports += 1
            self.limit_cents += job.export.max_cost_cents


@attrs.frozen(kw_only=True)
class BatchResult:
    """How a batch ended. `total` counts all jobs of the manifest."""

    report: BatchReport
    total: int
    failures: Sequence[FailureGroup]
    interrupted: bool
    exit_code: ExitCode

    @property
    def unfinished(self) -> int:
        """The jobs that were canceled or not started."""
        return self.total - self.report.done - self.report.failed


def outcome_to_json(outcome: JobOutcome) -> dict[str, Any]:
    """A finished job as a JSON object."""
    job, result = outcome.job, outcome.result
    quote = result.quote if result is not None else None
    receipt = result.receipt if result is not None else None
    return {
        "type": "outcome",
        "key": job.key,
        "customer_id": job.customer_id,
        "audience_name": job.audience_name,
        "ok": outcome.ok,
        "recalled": outcome.recalled,
        "stage": outcome.stage.value,
        "audience_id": outcome.audience_id,
        "matched_id": result.matched.id if result is not None else None,
        "lookalike_id": result.lookalike.id if result is not None and result.lookalike is not None else None,
        "export_id": quote.id if quote is not None else None,
        "cost_cents": quote.cost_cents if quote is not None else None,
        "path": str(receipt.path) if receipt is not None else None,
        "size_bytes": receipt.size_bytes if receipt is not None else None,
        "sha256": receipt.sha256 if receipt is not None else None,
        "error": None if outcome.error is None else _describe_failure(outcome, outcome.error).to_json(),
        "warnings": [redact(use_option_names(message)) for message in outcome.warnings],
        "timings": {stage.value: round(seconds, 3) for stage, seconds in outcome.timings.items()},
    }


def _describe_failure(outcome: JobOutcome, error: Exception) -> ErrorReport:
    report = describe_error(error, in_batch=True)
    return attrs.evolve(
        report,
        message=redact(report.message),
        stage=outcome.stage.value,
        customer_id=outcome.job.customer_id,
        audience_name=outcome.job.audience_name,
        audience_id=outcome.audience_id,
    )


def summary_to_json(result: BatchResult) -> dict[str, Any]:
    """The batch as a JSON object, without failures and warnings, which are part of the outcomes."""
    report = result.report.to_json()
    del report["failures"], report["warnings"]
    report["stopped"] = use_option_names(result.report.stopped) if result.report.stopped is not None else None
    return {
        "type": "summary",
        "jobs": result.total,
        "unfinished": result.unfinished,
        "interrupted": result.interrupted,
        "exit_code": int(result.exit_code),
        **report,
    }


def render_start(
    manifest: Path,
    totals: JobTotals,
    journal: Path,
    *,
    purchase: bool,
    budget_cents: int | None,
    spent_cents: int,
    fence_spent_cents: int | None = None,
    part: tuple[Shard, int] | None = None,
) -> str:
    """What a batch is about to do. `spent_cents` is what earlier runs with this journal spent.

    `fence_spent_cents` is what all runs with this fence spent, if there is one. `part`: the shard to run, and how many
    jobs there are in all shards.
    """
    if part is not None and not totals.jobs:
        return f"{manifest}: shard {part[0]} has no jobs ({part[1]:,} in all shards), so there is nothing to do."
    shard = "" if part is None else f" in shard {part[0]} of {format_count(part[1], 'job')}"
    keeper = "journal" if fence_spent_cents is None else "fence"
    spent_cents = spent_cents if fence_spent_cents is None else fence_spent_cents
    limits = _describe_limits(totals.limit_cents if purchase else 0, budget_cents, spent_cents, keeper)
    is_free = limits.endswith("will spend nothing") and purchase and totals.exports
    free = ": only free exports are purchased" if is_free else ""
    return (
        f"{manifest}: {describe_jobs(totals)}{shard}. {limits}{free}.\n"
        f"Progress is saved in {journal}; run the same command again to resume."
    )


def describe_jobs(totals: JobTotals) -> str:
    """How many jobs there are, for how many customers."""
    return f"{format_count(totals.jobs, 'job')} for {format_count(len(totals.customer_ids), 'customer')}"


def _describe_limits(limit_cents: int, budget_cents: int | None, spent_cents: int, keeper: str) -> str:
    if not spent_cents:
        limit_cents = limit_cents if budget_cents is None else min(limit_cents, budget_cents)
    if not limit_cents:
        return "They will spend nothing"
    limit = f"They may spend up to {format_dollars(limit_cents)}"
    if not spent_cents:
        return limit
    spent = format_dollars(spent_cents)
    if budget_cents is None:
        return f"{limit}; earlier runs with this {keeper} spent {spent}"
    remaining_cents = min(limit_cents, budget_cents - spent_cents)
    remaining = f"may spend up to {format_dollars(remaining_cents)}" if remaining_cents > 0 else "will spend nothing"
    budget = format_dollars(budget_cents)
    return f"The budget of all runs is {budget}; earlier runs spent {spent}, so this run {remaining}"


def render_results(result: BatchResult) -> RenderableType:
    """The outcome, a table of stages, costs and requests, warnings and failures."""
    report = result.report
    headline = Text(f"{report.done:,} of {result.total:,} jobs done", style="bold green" if report.done else "bold")
    if report.recalled:
        headline.append(f" ({report.recalled:,} of them by earlier runs)", style="bold green")
    if report.failed:
        headline.append(f", {report.failed:,} failed", style="bold red")
    if result.unfinished:
        headline.append(f", {result.unfinished:,} unfinished", style="bold yellow")
    headline.append(f", in {format_elapsed(report.seconds)}.", style="bold")
    parts: list[RenderableType] = [headline, *render_stop_reason(result)]
    if report.stages or report.failed:
        parts += ["", _render_stages(report)]
    return Group(*parts, "", _render_details(report), *render_job_warnings(report), *render_failed_jobs(result))


def render_stop_reason(result: BatchResult) -> Iterator[RenderableType]:
    """Why the batch stopped early, if it did. Interruptions are reported separately."""
    if result.report.stopped is not None and not result.interrupted:
        yield Text(f"Stopped: {_clean_message(result.report.stopped)}", style="yellow")


def render_failed_jobs(result: BatchResult) -> Iterator[RenderableType]:
    """The failures by kind, below a blank line."""
    if result.failures:
        yield ""
        yield from render_failures(result.failures, known=result.report.stopped)


def _render_stages(report: BatchReport) -> RenderableType:
    columns: dict[str, Justify] = {
        "stage": "left",
        "completed": "right",
        "mean": "right",
        "longest": "right",
        "failed": "right",
    }
    stages = [*report.stages, *(stage for stage in report.failed_by_stage if stage not in report.stages)]
    return make_table(columns, (_stage_row(report, stage) for stage in stages))


def _stage_row(report: BatchReport, stage: str) -> tuple[object, ...]:
    time = report.stages.get(stage)
    failures = report.failed_by_stage.get(stage, 0)
    failed = Text(f"{failures:,}", style="red") if failures else ""
    if time is None:
        return stage, "0", None, None, failed
    return stage, f"{time.jobs:,}", f"{time.total_seconds / time.jobs:,.1f} s", f"{time.longest_seconds:,.1f} s", failed


def _render_details(report: BatchReport) -> Table:
    details = Table.grid(padding=(0, 2, 0, 0))
    details.add_column()
    details.add_column(overflow="fold")
    for number, line in enumerate(_describe_costs(report)):
        details.add_row("" if number else "cost", Text(line))
    if report.unresolved_cents:
        unresolved = f"{format_dollars(report.unresolved_cents)} in purchases of unknown outcome; run again to check"
        details.add_row("", Text(unresolved, style="yellow"))
    requests = sum(report.requests.values())
    jobs = report.done + report.failed + report.canceled
    per_job = f", {requests / jobs:,.1f} per job" if jobs else ""
    saved = f"{format_count(report.reads_saved, 'read')} saved"
    details.add_row("server", Text(f"{format_count(requests, 'request')}{per_job}; {saved}"))
    if report.lost_uploads:
        repeated = format_count(report.lost_uploads, "upload was", "uploads were")
        lost = f"{repeated} repeated; each may have left an unused audience, which is free"
        details.add_row("", Text(lost))
    return details


def _describe_costs(report: BatchReport) -> Iterator[str]:
    if report.spent_this_run_cents < report.spent_cents:
        yield format_spending(report.spent_this_run_cents, None, by=" by this run")
    by_journal = " by all runs with this journal"
    if report.fence_spent_cents is None:
        yield format_spending(report.spent_cents, report.budget_cents, by=by_journal)
    else:
        yield format_spending(report.fence_spent_cents, report.budget_cents, by=" by all runs with this fence")
        yield format_spending(report.spent_cents, None, by=by_journal)
    yield f"{format_dollars(report.quoted_cents)} quoted for all exports so far"


def render_job_warnings(report: BatchReport) -> Iterator[RenderableType]:
    """The warnings of a batch by kind, below a blank line."""
    if report.warned:
        groups = group_messages((warning.key, use_option_names(warning.message)) for warning in report.warnings)
        yield from render_warnings(report.warned, groups)


def render_warnings(warned: int, groups: Sequence[MessageGroup]) -> Iterator[RenderableType]:
    """The warnings of jobs by kind, below a blank line. `warned` counts the jobs."""
    yield Text(f"\n{format_count(warned, 'job has', 'jobs have')} warnings", style="bold yellow")
    for group in groups[:_WARNINGS_SHOWN]:
        yield Text(f"  {replace_control_characters(group.text)}", style="yellow")
    if len(groups) > _WARNINGS_SHOWN:
        yield Text(f"  and {len(groups) - _WARNINGS_SHOWN:,} other kinds; --json shows all", style="yellow")


def _clean_message(message: str) -> str:
    return replace_control_characters(redact(use_option_names(message)).replace("\n", " "))
