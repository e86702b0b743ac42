"""The start and the results of a batch: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from indigo_async._redaction import redact
from indigo_async._text import format_dollars
from indigo_async.cli.errors import ExitCode
from indigo_async.cli.render.advice import advice_for, group_warnings
from indigo_async.cli.render.output import (
    Justify,
    format_elapsed,
    format_spending,
    make_table,
    replace_control_characters,
    use_option_names,
)
from indigo_async.workflows import AudienceJob, BatchReport, JobOutcome

__all__ = [
    "BatchResult",
    "outcome_to_json",
    "render_failures",
    "render_results",
    "render_start",
    "render_stop_reason",
    "summary_to_json",
]

_FAILURES_SHOWN = 10
_WARNINGS_SHOWN = 10


@attrs.frozen(kw_only=True)
class BatchResult:
    """How a batch ended. `total` counts all jobs of the manifest; `failures` counts by stage and error type."""

    report: BatchReport
    total: int
    failures: Mapping[tuple[str, str], int]
    interrupted: bool
    exit_code: ExitCode


def outcome_to_json(outcome: JobOutcome) -> dict[str, Any]:
    """A finished job as a JSON object."""
    job, result = outcome.job, outcome.result
    quote = result.quote if result is not None else None
    receipt = result.receipt if result is not None else None
    failure = outcome.failure
    return {
        "type": "outcome",
        "key": job.key,
        "customer_id": job.customer_id,
        "audience_name": job.audience_name,
        "ok": outcome.ok,
        "stage": outcome.stage.value,
        "audience_id": outcome.audience_id,
        "matched_id": result.matched.id if result is not None else None,
        "lookalike_id": result.lookalike.id if result is not None and result.lookalike is not None else None,
        "export_id": quote.id if quote is not None else None,
        "cost_cents": quote.cost_cents if quote is not None else None,
        "path": str(receipt.path) if receipt is not None else None,
        "size_bytes": receipt.size_bytes if receipt is not None else None,
        "sha256": receipt.sha256 if receipt is not None else None,
        "error": None
        if failure is None
        else {
            "type": failure.error_type,
            "message": redact(use_option_names(failure.message)),
            "advice": advice_for(failure.error_type),
        },
        "warnings": [redact(message) for message in outcome.warnings],
        "timings": {stage.value: round(seconds, 3) for stage, seconds in outcome.timings.items()},
    }


def summary_to_json(result: BatchResult) -> dict[str, Any]:
    """The batch as a JSON object, without failures and warnings, which are part of the outcomes."""
    report = result.report.to_json()
    del report["failures"], report["warnings"]
    report["stopped"] = use_option_names(result.report.stopped) if result.report.stopped is not None else None
    return {
        "type": "summary",
        "jobs": result.total,
        "interrupted": result.interrupted,
        "exit_code": int(result.exit_code),
        **report,
    }


def render_start(
    manifest: Path,
    jobs: Sequence[AudienceJob],
    journal: Path,
    *,
    purchase: bool,
    budget_cents: int | None,
    spent_cents: int,
) -> str:
    """What a batch is about to do. `spent_cents` is what earlier runs with this journal spent."""
    customers = len({job.customer_id for job in jobs})
    limit_cents = sum(job.export.max_cost_cents for job in jobs if job.export is not None) if purchase else 0
    return (
        f"{manifest}: {len(jobs):,} job{'s' * (len(jobs) != 1)} for {customers:,} customer{'s' * (customers != 1)}. "
        f"{_describe_limits(limit_cents, budget_cents, spent_cents)}.\n"
        f"Progress is saved in {journal}; run the same command again to resume."
    )


def _describe_limits(limit_cents: int, budget_cents: int | None, spent_cents: int) -> str:
    if not spent_cents:
        limit_cents = limit_cents if budget_cents is None else min(limit_cents, budget_cents)
    if not limit_cents:
        return "They will spend nothing"
    limit = f"They may spend up to {format_dollars(limit_cents)}"
    if not spent_cents:
        return limit
    spent = format_dollars(spent_cents)
    if budget_cents is None:
        return f"{limit}; earlier runs with this journal spent {spent}"
    remaining_cents = min(limit_cents, budget_cents - spent_cents)
    remaining = f"may spend up to {format_dollars(remaining_cents)}" if remaining_cents > 0 else "will spend nothing"
    budget = format_dollars(budget_cents)
    return f"The budget of all runs is {budget}; earlier runs spent {spent}, so this run {remaining}"


def render_results(result: BatchResult) -> RenderableType:
    """The outcome, a table of stages, costs and requests, warnings and failures."""
    report = result.report
    headline = Text(f"{report.done:,} of {result.total:,} jobs done", style="bold green" if report.done else "bold")
    if report.failed:
        headline.append(f", {report.failed:,} failed", style="bold red")
    finished = report.done + report.failed
    if finished < result.total:
        headline.append(f", {result.total - finished:,} unfinished", style="bold yellow")
    headline.append(f", in {format_elapsed(report.seconds)}.", style="bold")
    parts: list[RenderableType] = [headline, *render_stop_reason(report)]
    if finished:
        parts += ["", _render_stages(report)]
    return Group(*parts, "", _render_details(report, finished), *_render_warnings(report), *render_failures(result))


def render_stop_reason(report: BatchReport) -> Iterator[RenderableType]:
    """Why the batch stopped early, if it did."""
    if report.stopped is not None:
        yield Text(f"Stopped: {_clean_message(report.stopped)}", style="yellow")


def _render_stages(report: BatchReport) -> Table:
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


def _render_details(report: BatchReport, finished: int) -> Table:
    details = Table.grid(padding=(0, 2, 0, 0))
    details.add_column()
    details.add_column(overflow="fold")
    details.add_row(
        "cost", Text(format_spending(report.spent_cents, report.budget_cents, by=" by all runs with this journal"))
    )
    details.add_row("", Text(f"{format_dollars(report.quoted_cents)} is the total price of all priced exports"))
    if report.unresolved_cents:
        unresolved = f"{format_dollars(report.unresolved_cents)} in purchases of unknown outcome; run again to check"
        details.add_row("", Text(unresolved, style="yellow"))
    requests = sum(report.requests.values())
    per_job = f", {requests / finished:,.1f} per job" if finished else ""
    details.add_row("server", Text(f"{requests:,} requests{per_job}; {report.reads_saved:,} reads saved"))
    if report.lost_uploads:
        lost = f"{report.lost_uploads:,} uploads were repeated; each may have left an unused audience, which is free"
        details.add_row("", Text(lost))
    return details


def _render_warnings(report: BatchReport) -> Iterator[RenderableType]:
    if not report.warned:
        return
    groups = group_warnings((warning.key, warning.message) for warning in report.warnings)
    yield Text(f"\n{report.warned:,} {'job has' if report.warned == 1 else 'jobs have'} warnings", style="bold yellow")
    for group in groups[:_WARNINGS_SHOWN]:
        yield Text(f"  {replace_control_characters(group.text)}", style="yellow")
    if len(groups) > _WARNINGS_SHOWN:
        yield Text(f"  and {len(groups) - _WARNINGS_SHOWN:,} other kinds; --json shows all", style="yellow")


def render_failures(result: BatchResult) -> Iterator[RenderableType]:
    """Failures by stage and error type with advice, then the first messages, each once."""
    if not result.failures:
        return
    report = result.report
    columns: dict[str, Justify] = {"failed": "right", "stage": "left", "error": "left", "what to do": "left"}
    kinds = sorted(result.failures.items(), key=lambda kind: -kind[1])
    rows = ((f"{count:,}", stage, error, advice_for(error)) for (stage, error), count in kinds)
    yield from ("", make_table(columns, rows))
    jobs_by_message: dict[str, list[str]] = {}
    shown = 0
    for failure in report.failures:
        if _repeats_stop_reason(report, failure.message):
            shown += 1
        else:
            jobs_by_message.setdefault(failure.message, []).append(failure.key)
    if report.failed > shown:
        yield ""
    for message, jobs in list(jobs_by_message.items())[:_FAILURES_SHOWN]:
        others = f" and {len(jobs) - 1:,} more" if len(jobs) > 1 else ""
        yield Text(f"{replace_control_characters(jobs[0])}{others}: {_clean_message(message)}", style="red")
        shown += len(jobs)
    if report.failed > shown:
        start = "and " if jobs_by_message else ""
        yield Text(f"{start}{report.failed - shown:,} more; --json shows all", style="red")


def _repeats_stop_reason(report: BatchReport, message: str) -> bool:
    """Whether a failure says the same as `render_stop_reason`."""
    return report.stopped is not None and (message == report.stopped or message.endswith(f": {report.stopped}"))


def _clean_message(message: str) -> str:
    return replace_control_characters(redact(use_option_names(message)).replace("\n", " "))
