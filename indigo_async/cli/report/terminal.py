"""The report in words, for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from indigo_async._text import format_dollars
from indigo_async.cli.render.output import make_table, replace_control_characters
from indigo_async.cli.report.formatting import (
    KILLED_RUN_MESSAGE,
    format_count,
    format_duration,
    format_percent,
    format_time,
)
from indigo_async.cli.report.statistics import BatchStatistics, CustomerStatistics, FailureGroup

__all__ = ["render_summary"]

_CUSTOMERS_SHOWN = 12
_WARNINGS_SHOWN = 20
_BAR_WIDTH = 24
_STATES = {
    "ended": "bold green",
    "stopped": "bold red",
    "under way": "bold cyan",
    "cut off": "bold yellow",
    "unknown": "dim",
}


def render_summary(name: str, figures: BatchStatistics) -> RenderableType:
    """What matters first, then stages, money, failures with what to do, and what waiting took."""
    parts: list[RenderableType] = [_render_headline(name, figures), _render_numbers(figures)]
    if figures.stages:
        parts += [_render_title("Time in each stage"), _render_stages(figures)]
    if figures.customers:
        parts += [_render_title("Customers"), _render_customers(figures)]
    if figures.warnings:
        parts.append(_render_title(f"Warnings of {format_count(figures.warned, 'job')}"))
        parts += [
            Text(f"  {replace_control_characters(group.text)}", style="yellow")
            for group in figures.warnings[:_WARNINGS_SHOWN]
        ]
    if figures.failures:
        parts.append(_render_title("Failures, and what to do"))
        parts += [_render_failure(group) for group in figures.failures]
    return Group(*parts)


def _render_title(words: str) -> Text:
    return Text(f"\n{words}", style="bold")


def _render_headline(name: str, figures: BatchStatistics) -> Text:
    words = Text(replace_control_characters(name), style="bold")
    state = "end not recorded" if figures.state == "unknown" else figures.state
    words.append("  ").append(state, style=_STATES[figures.state])
    words.append(f"  {format_time(figures.began)}", style="dim")
    if figures.stopped is not None:
        words.append(f"\nstopped: {replace_control_characters(figures.stopped)}", style="red")
    if figures.state == "cut off":
        words.append(f"\n{KILLED_RUN_MESSAGE}", style="yellow")
    return words


def _render_numbers(figures: BatchStatistics) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("jobs", _render_job_counts(figures))
    money = f"{format_dollars(figures.spent_cents)} spent of {format_dollars(figures.quoted_cents)} priced"
    if figures.budget_cents is not None:
        whose = "the last run's budget" if figures.budget_changed else "budget"
        money += f", {whose} {format_dollars(figures.budget_cents)}"
    if figures.unsettled_cents:
        money += f"; {format_dollars(figures.unsettled_cents)} in purchases whose outcome the next run finds out"
    table.add_row("money", money)
    time = format_duration(figures.active_seconds)
    if figures.half_done_seconds is not None:
        time += f", half were done after {format_duration(figures.half_done_seconds)}"
    table.add_row("time", time + (f", in {format_count(figures.runs, 'run')}" if figures.runs > 1 else ""))
    matches, polling = figures.matches, figures.polling
    if matches is not None:
        rate = format_percent(matches.matched / matches.rows)
        table.add_row("matches", f"{matches.matched:,} of {matches.rows:,} people, {rate}")
    if polling is not None:
        saved = max(0, polling.reads_saved)
        requests = f"{polling.posts:,} POSTs, {polling.reads:,} reads; {saved:,} reads saved"
        if figures.cut_off_runs:
            killed = format_count(figures.cut_off_runs, "run that was killed is", "runs that were killed are")
            requests = f"at least {requests} ({killed} counted to the last note)"
        table.add_row("requests", requests)
        if polling.failed_requests:
            setbacks = ", ".join(f"{number:,} x {reason}" for reason, number in polling.failed_requests.items())
            table.add_row("setbacks", replace_control_characters(setbacks))
    return table


def _render_job_counts(figures: BatchStatistics) -> Text:
    words = Text(f"{figures.done:,} done", style="green")
    if figures.failed:
        words.append(f", {figures.failed:,} failed", style="red")
    if figures.open:
        words.append(f", {figures.open:,} without an end", style="yellow")
    return words.append(f"  of {figures.jobs:,}", style="dim")


def _render_stages(figures: BatchStatistics) -> Table:
    longest = max(stage.median_seconds for stage in figures.stages) or 1.0
    rows = (
        (
            stage.stage,
            f"{stage.jobs:,}",
            format_duration(stage.median_seconds),
            format_duration(stage.p90_seconds),
            format_duration(stage.longest_seconds),
            Text("█" * max(1, round(_BAR_WIDTH * stage.median_seconds / longest)), style="cyan"),
        )
        for stage in figures.stages
    )
    columns = {"stage": "left", "jobs": "right", "half": "right", "9 in 10": "right", "longest": "right", "": "left"}
    return make_table(columns, rows)  # pyright: ignore[reportArgumentType] - a dict of literals is one of strings


def _render_customers(figures: BatchStatistics) -> Table:
    with_rates = figures.matches is not None
    columns = {"customer": "left", "jobs": "right", "done": "right", "failed": "right", "priced": "right"}
    columns |= {"spent": "right"} | ({"match rate": "right"} if with_rates else {})
    shown = figures.customers[:_CUSTOMERS_SHOWN]
    rows = [_customer_row(customer, with_rates=with_rates) for customer in shown]
    others = len(figures.customers) - len(shown)
    if others:
        rows.append([Text(f"and {format_count(others, 'other')}", style="dim"), *[""] * (len(columns) - 1)])
    return make_table(columns, rows)  # pyright: ignore[reportArgumentType] - as above


def _customer_row(customer: CustomerStatistics, *, with_rates: bool) -> list[object]:
    row: list[object] = [customer.customer_id, f"{customer.jobs:,}", f"{customer.done:,}"]
    row.append(Text(f"{customer.failed:,}", style="red" if customer.failed else "dim"))
    row += [format_dollars(customer.quoted_cents), format_dollars(customer.spent_cents)]
    if with_rates:
        row.append(format_percent(customer.matched / customer.rows) if customer.rows else None)
    return row


def _render_failure(group: FailureGroup) -> RenderableType:
    words = Text(f"{len(group.jobs):,} x {replace_control_characters(group.error_type)}", style="red")
    words.append(f" at {replace_control_characters(group.stage)}", style="dim")
    example = Text(
        f"such as {replace_control_characters(group.jobs[0].customer_id)}/"
        f"{replace_control_characters(group.jobs[0].audience_name)}: "
    )
    example.append(" ".join(replace_control_characters(line) for line in group.example.splitlines()))
    example.stylize("dim")
    return Group(words, Padding(Group(Text(group.advice), example), (0, 0, 0, 4)))
