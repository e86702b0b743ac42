"""The report as text for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from indigo_async._text import format_dollars
from indigo_async.cli.render.failures import render_failures
from indigo_async.cli.render.output import Justify, make_table, replace_control_characters
from indigo_async.cli.report.formatting import format_count, format_duration, format_percent, format_time
from indigo_async.cli.report.statistics import KILLED_RUN_MESSAGE, BatchStatistics
from indigo_async.workflows import CustomerTotals

__all__ = ["render_summary"]

_CUSTOMERS_SHOWN = 12
_WARNINGS_SHOWN = 20
_BAR_WIDTH = 24
_STATE_STYLES = {
    "finished": "bold green",
    "stopped": "bold red",
    "running": "bold cyan",
    "killed": "bold yellow",
    "unknown": "dim",
}


def render_summary(name: str, statistics: BatchStatistics, *, bar: str = "█") -> RenderableType:
    """Render the totals first, then stages, customers, warnings, and failures with advice.

    `bar` is the character that bars are made of.
    """
    parts: list[RenderableType] = [_render_heading(name, statistics), _render_totals(statistics)]
    if statistics.stages:
        parts += [_render_title("Time in each stage"), _render_stages(statistics, bar)]
    if statistics.customers:
        parts += [_render_title("Customers"), _render_customers(statistics)]
    if statistics.warnings:
        parts.append(_render_title(f"Warnings about {format_count(statistics.warned, 'job')}"))
        parts += [
            Text(f"  {replace_control_characters(group.text)}", style="yellow")
            for group in statistics.warnings[:_WARNINGS_SHOWN]
        ]
    if statistics.failures:
        parts.append(_render_title("Failures, and what to do"))
        parts += render_failures([failed.kind for failed in statistics.failures], known=statistics.stopped)
    return Group(*parts)


def _render_title(title: str) -> Text:
    return Text(f"\n{title}", style="bold")


def _render_heading(name: str, statistics: BatchStatistics) -> Text:
    heading = Text(replace_control_characters(name), style="bold")
    state = "end not recorded" if statistics.state == "unknown" else statistics.state
    heading.append("  ").append(state, style=_STATE_STYLES[statistics.state])
    heading.append(f"  {format_time(statistics.started_at)}", style="dim")
    if statistics.stopped is not None:
        heading.append(f"\nstopped: {replace_control_characters(statistics.stopped)}", style="red")
    if statistics.state == "killed":
        heading.append(f"\n{KILLED_RUN_MESSAGE}", style="yellow")
    return heading


def _render_totals(statistics: BatchStatistics) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("jobs", _render_job_counts(statistics))
    cost = f"{format_dollars(statistics.spent_cents)} spent of {format_dollars(statistics.quoted_cents)} quoted"
    if statistics.budget_cents is not None:
        budget = "the last run's budget" if statistics.budget_changed else "budget"
        cost += f", {budget} {format_dollars(statistics.budget_cents)}"
    if statistics.unresolved_cents:
        cost += f"; {format_dollars(statistics.unresolved_cents)} in purchases that the next run will check"
    table.add_row("cost", cost)
    time = format_duration(statistics.active_seconds)
    if statistics.half_done_seconds is not None:
        time += f", half done within {format_duration(statistics.half_done_seconds)}"
    table.add_row("time", time + (f", in {format_count(statistics.runs, 'run')}" if statistics.runs > 1 else ""))
    matches, requests = statistics.matches, statistics.requests
    if matches is not None:
        rate = format_percent(matches.matched / matches.rows)
        table.add_row("matches", f"{matches.matched:,} of {matches.rows:,} people, {rate}")
    if requests is not None:
        counts = f"{requests.posts:,} POSTs, {requests.reads:,} reads; {max(0, requests.reads_saved):,} reads saved"
        if statistics.killed_runs:
            killed = format_count(statistics.killed_runs, "killed run", "killed runs")
            counts = f"at least {counts} (the last requests of {killed} were not counted)"
        table.add_row("requests", counts)
        if requests.failed_requests:
            reasons = ", ".join(f"{number:,} x {reason}" for reason, number in requests.failed_requests.items())
            table.add_row("failed requests", replace_control_characters(reasons))
    return table


def _render_job_counts(statistics: BatchStatistics) -> Text:
    counts = Text(f"{statistics.done:,} done", style="green")
    if statistics.failed:
        counts.append(f", {statistics.failed:,} failed", style="red")
    if statistics.unfinished:
        counts.append(f", {statistics.unfinished:,} unfinished", style="yellow")
    return counts.append(f"  of {statistics.jobs:,}", style="dim")


def _render_stages(statistics: BatchStatistics, bar: str) -> RenderableType:
    longest = max(stage.median_seconds for stage in statistics.stages) or 1.0
    columns: dict[str, Justify] = {
        "stage": "left",
        "jobs": "right",
        "median": "right",
        "90% within": "right",
        "longest": "right",
        "": "left",
    }
    rows = (
        (
            stage.stage,
            f"{stage.jobs:,}",
            format_duration(stage.median_seconds),
            format_duration(stage.p90_seconds),
            format_duration(stage.longest_seconds),
            Text(bar * max(1, round(_BAR_WIDTH * stage.median_seconds / longest)), style="cyan"),
        )
        for stage in statistics.stages
    )
    return make_table(columns, rows)


def _render_customers(statistics: BatchStatistics) -> RenderableType:
    with_rates = statistics.matches is not None
    headings = ["jobs", "done", "failed", *(["unfinished"] if statistics.unfinished else []), "quoted", "spent"]
    headings += ["match rate"] if with_rates else []
    columns: dict[str, Justify] = {"customer": "left"}
    columns |= dict.fromkeys(headings, "right")
    shown = statistics.customers[:_CUSTOMERS_SHOWN]
    rows: list[list[object]] = []
    for customer_id, totals in shown:
        cells = _customer_cells(customer_id, totals)
        rows.append([cells[heading] for heading in columns])
    others = len(statistics.customers) - len(shown)
    if others:
        rows.append([Text(f"and {format_count(others, 'other')}", style="dim"), *[""] * (len(columns) - 1)])
    return make_table(columns, rows)


def _customer_cells(customer_id: str, totals: CustomerTotals) -> dict[str, object]:
    """The cells of a customer's row, by heading."""
    return {
        "customer": customer_id,
        "jobs": f"{totals.jobs:,}",
        "done": f"{totals.done:,}",
        "failed": Text(f"{totals.failed:,}", style="red" if totals.failed else "dim"),
        "unfinished": f"{totals.unfinished:,}",
        "quoted": format_dollars(totals.quoted_cents),
        "spent": format_dollars(totals.spent_cents),
        "match rate": format_percent(totals.matched / totals.rows) if totals.rows else None,
    }
