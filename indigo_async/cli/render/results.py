"""What a batch came to: a table for people, JSON for machines, and what to do about what failed."""

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
from indigo_async.workflows.batches.report import summarize_failure

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
    """How a batch ended. `total` counts the manifest's jobs, also those never begun; `failures` by stage and error."""

    report: BatchReport
    total: int
    failures: Mapping[tuple[str, str], int]
    interrupted: bool
    exit_code: ExitCode


def outcome_to_json(outcome: JobOutcome) -> dict[str, Any]:
    """A job that ended, as one line of JSON."""
    job, result = outcome.job, outcome.result
    quote = result.quote if result is not None else None
    receipt = result.receipt if result is not None else None
    failure = summarize_failure(outcome, outcome.error) if outcome.error is not None else None
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


def summary_to_json(end: BatchResult) -> dict[str, Any]:
    """The whole batch, as the last line of JSON. Failures and warnings stand in their own lines."""
    numbers = end.report.to_json()
    del numbers["failures"], numbers["warnings"]
    numbers["stopped"] = use_option_names(end.report.stopped) if end.report.stopped is not None else None
    return {
        "type": "summary",
        "jobs": end.total,
        "interrupted": end.interrupted,
        "exit_code": int(end.exit_code),
        **numbers,
    }


def render_results(end: BatchResult) -> RenderableType:
    """The batch in a few lines, and a row for each stage."""
    report = end.report
    ended = Text(f"{report.done:,} of {end.total:,} jobs done", style="bold green" if report.done else "bold")
    if report.failed:
        ended.append(f", {report.failed:,} failed", style="bold red")
    begun = report.done + report.failed
    if begun < end.total:
        ended.append(f", {end.total - begun:,} not ended", style="bold yellow")
    ended.append(f", in {format_elapsed(report.seconds)}.", style="bold")
    parts: list[RenderableType] = [ended]
    parts += render_stop_reason(report)
    if begun:
        parts += ["", _render_stages(report)]
    return Group(*parts, "", _render_facts(report, begun), *_render_warnings(report), *render_failures(end))


def render_stop_reason(report: BatchReport) -> Iterator[RenderableType]:
    """Why no more jobs were begun, if that is so."""
    if report.stopped is not None:
        yield Text(f"Stopped: {_clean_message(report.stopped)}", style="yellow")


def _render_stages(report: BatchReport) -> Table:
    columns: dict[str, Justify] = {
        "stage": "left",
        "passed": "right",
        "mean": "right",
        "longest": "right",
        "failed": "right",
    }
    stages = [*report.stages, *(stage for stage in report.failed_by_stage if stage not in report.stages)]
    return make_table(columns, (_stage_row(report, stage) for stage in stages))


def _stage_row(report: BatchReport, stage: str) -> tuple[object, ...]:
    time, failed = report.stages.get(stage), report.failed_by_stage.get(stage, 0)
    shown = Text(f"{failed:,}", style="red") if failed else ""
    if time is None:
        return stage, "0", None, None, shown
    return stage, f"{time.jobs:,}", f"{time.total_seconds / time.jobs:,.1f} s", f"{time.longest_seconds:,.1f} s", shown


def _render_facts(report: BatchReport, begun: int) -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column()
    facts.add_column(overflow="fold")
    facts.add_row(
        "money", Text(format_spending(report.spent_cents, report.budget_cents, by=" by all runs with this journal"))
    )
    facts.add_row("", Text(f"{format_dollars(report.quoted_cents)} is the price of what was priced or bought"))
    if report.unresolved_cents:
        unsettled = (
            f"{format_dollars(report.unresolved_cents)} belongs to purchases of unknown outcome; run again to know"
        )
        facts.add_row("", Text(unsettled, style="yellow"))
    requests = sum(report.requests.values())
    per_job = f", {requests / begun:,.1f} a job" if begun else ""
    facts.add_row("server", Text(f"{requests:,} requests{per_job}; {report.reads_saved:,} reads saved"))
    if report.lost_uploads:
        lost = f"{report.lost_uploads:,} uploads were sent again; each may have left a stub, which is harmless and free"
        facts.add_row("", Text(lost))
    return facts


def _render_warnings(report: BatchReport) -> Iterator[RenderableType]:
    """What people should know about jobs, each kind of warning once."""
    if not report.warned:
        return
    groups = group_warnings((warning.key, warning.message) for warning in report.warnings)
    yield Text(f"\n{report.warned:,} {'job has' if report.warned == 1 else 'jobs have'} warnings", style="bold yellow")
    for group in groups[:_WARNINGS_SHOWN]:
        yield Text(f"  {replace_control_characters(group.text)}", style="yellow")
    if len(groups) > _WARNINGS_SHOWN:
        yield Text(f"  and {len(groups) - _WARNINGS_SHOWN:,} other kinds; --json shows each", style="yellow")


def render_failures(end: BatchResult) -> Iterator[RenderableType]:
    """What failed, by kind, with what to do; the first messages in full, each once."""
    if not end.failures:
        return
    report = end.report
    kinds = sorted(end.failures.items(), key=lambda kind: -kind[1])
    columns: dict[str, Justify] = {"failed": "right", "stage": "left", "error": "left", "what to do": "left"}
    rows = ((f"{count:,}", stage, kind, advice_for(kind)) for (stage, kind), count in kinds)
    yield from ("", make_table(columns, rows))
    jobs_by_message: dict[str, list[str]] = {}
    for failure in report.failures:
        jobs_by_message.setdefault(failure.message, []).append(failure.key)
    told = sum(
        len(jobs_by_message.pop(message)) for message in list(jobs_by_message) if _explains_stop(report, message)
    )
    first = list(jobs_by_message.items())[:_FAILURES_SHOWN]
    if report.failed > told:
        yield ""
    for message, jobs in first:
        others = f" and {len(jobs) - 1:,} more" if len(jobs) > 1 else ""
        yield Text(f"{replace_control_characters(jobs[0])}{others}: {_clean_message(message)}", style="red")
        told += len(jobs)
    if report.failed > told:
        yield Text(f"{'and ' if first else ''}{report.failed - told:,} more; --json tells each", style="red")


def _explains_stop(report: BatchReport, message: str) -> bool:
    """Whether a job failed of what stopped the batch, or because it was stopped: `render_stop_reason` tells that."""
    return report.stopped is not None and (message == report.stopped or message.endswith(f": {report.stopped}"))


def _clean_message(message: str) -> str:
    return replace_control_characters(redact(use_option_names(message)).replace("\n", " "))


def render_start(
    manifest: Path,
    jobs: Sequence[AudienceJob],
    journal: Path,
    *,
    purchase: bool,
    budget_cents: int | None,
    spent_cents: int,
) -> str:
    """The words. `spent_cents` is what earlier runs with the journal spent, of the budget of them all."""
    customers = len({job.customer_id for job in jobs})
    limit = sum(job.export.max_cost_cents for job in jobs if job.export is not None)
    money = _format_limits(limit, budget_cents, spent_cents) if purchase and limit else "Nothing will be bought"
    return (
        f"{manifest}: {len(jobs):,} job{'s' * (len(jobs) != 1)} for {customers:,} customer{'s' * (customers != 1)}. "
        f"{money}.\nThe journal is {journal}; the same command goes on from it."
    )


def _format_limits(limit: int, budget: int | None, spent: int) -> str:
    if not spent:
        may = limit if budget is None else min(limit, budget)
        return f"They may spend up to {format_dollars(may)}" if may else "Nothing will be bought"
    if budget is None:
        return (
            f"They may spend up to {format_dollars(limit)}; "
            f"earlier runs with this journal spent {format_dollars(spent)}"
        )
    left = min(limit, budget - spent)
    so = f"this one may spend up to {format_dollars(left)}" if left > 0 else "nothing more is bought"
    return f"All runs together may spend {format_dollars(budget)}; earlier ones spent {format_dollars(spent)}, so {so}"
