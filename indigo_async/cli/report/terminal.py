"""The report in words, for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from indigo_async.cli.output import dollars, plain_table, printable
from indigo_async.cli.report.figures import CustomerFigures, FailureGroup, Figures
from indigo_async.cli.report.wording import CUT_OFF, clock_words, count_words, duration_words, percent_words

__all__ = ["summary"]

_CUSTOMERS_SHOWN = 12
_WARNINGS_SHOWN = 20
_BAR = 24
_STATES = {
    "ended": "bold green",
    "stopped": "bold red",
    "under way": "bold cyan",
    "cut off": "bold yellow",
    "unknown": "dim",
}


def summary(name: str, figures: Figures) -> RenderableType:
    """What matters first, then stages, money, failures with what to do, and what waiting took."""
    parts: list[RenderableType] = [_headline(name, figures), _numbers(figures)]
    if figures.stages:
        parts += [_title("Time in each stage"), _stages(figures)]
    if figures.customers:
        parts += [_title("Customers"), _customers(figures)]
    if figures.warnings:
        parts.append(_title(f"Warnings of {count_words(figures.warned, 'job')}"))
        parts += [Text(f"  {printable(group.text)}", style="yellow") for group in figures.warnings[:_WARNINGS_SHOWN]]
    if figures.failures:
        parts.append(_title("Failures, and what to do"))
        parts += [_failure(group) for group in figures.failures]
    return Group(*parts)


def _title(words: str) -> Text:
    return Text(f"\n{words}", style="bold")


def _headline(name: str, figures: Figures) -> Text:
    words = Text(printable(name), style="bold")
    state = "end not recorded" if figures.state == "unknown" else figures.state
    words.append("  ").append(state, style=_STATES[figures.state])
    words.append(f"  {clock_words(figures.began)}", style="dim")
    if figures.stopped is not None:
        words.append(f"\nstopped: {printable(figures.stopped)}", style="red")
    if figures.state == "cut off":
        words.append(f"\n{CUT_OFF}", style="yellow")
    return words


def _numbers(figures: Figures) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("jobs", _jobs(figures))
    money = f"{dollars(figures.spent_cents)} spent of {dollars(figures.quoted_cents)} priced"
    if figures.budget_cents is not None:
        whose = "the last run's budget" if figures.budget_changed else "budget"
        money += f", {whose} {dollars(figures.budget_cents)}"
    if figures.unsettled_cents:
        money += f"; {dollars(figures.unsettled_cents)} in purchases whose outcome the next run finds out"
    table.add_row("money", money)
    time = duration_words(figures.active_seconds)
    if figures.half_done_seconds is not None:
        time += f", half were done after {duration_words(figures.half_done_seconds)}"
    table.add_row("time", time + (f", in {count_words(figures.runs, 'run')}" if figures.runs > 1 else ""))
    matches, polling = figures.matches, figures.polling
    if matches is not None:
        rate = percent_words(matches.matched / matches.rows)
        table.add_row("matches", f"{matches.matched:,} of {matches.rows:,} people, {rate}")
    if polling is not None:
        saved = max(0, polling.reads_saved)
        requests = f"{polling.posts:,} POSTs, {polling.reads:,} reads; {saved:,} reads saved"
        if figures.cut_off_runs:
            killed = count_words(figures.cut_off_runs, "run that was killed is", "runs that were killed are")
            requests = f"at least {requests} ({killed} counted to the last note)"
        table.add_row("requests", requests)
        if polling.setbacks:
            setbacks = ", ".join(f"{number:,} x {reason}" for reason, number in polling.setbacks.items())
            table.add_row("setbacks", printable(setbacks))
    return table


def _jobs(figures: Figures) -> Text:
    words = Text(f"{figures.done:,} done", style="green")
    if figures.failed:
        words.append(f", {figures.failed:,} failed", style="red")
    if figures.open:
        words.append(f", {figures.open:,} without an end", style="yellow")
    return words.append(f"  of {figures.jobs:,}", style="dim")


def _stages(figures: Figures) -> Table:
    longest = max(stage.median_seconds for stage in figures.stages) or 1.0
    rows = (
        (
            stage.stage,
            f"{stage.jobs:,}",
            duration_words(stage.median_seconds),
            duration_words(stage.p90_seconds),
            duration_words(stage.longest_seconds),
            Text("█" * max(1, round(_BAR * stage.median_seconds / longest)), style="cyan"),
        )
        for stage in figures.stages
    )
    columns = {"stage": "left", "jobs": "right", "half": "right", "9 in 10": "right", "longest": "right", "": "left"}
    return plain_table(columns, rows)  # pyright: ignore[reportArgumentType] - a dict of literals is one of strings


def _customers(figures: Figures) -> Table:
    with_rates = figures.matches is not None
    columns = {"customer": "left", "jobs": "right", "done": "right", "failed": "right", "priced": "right"}
    columns |= {"spent": "right"} | ({"match rate": "right"} if with_rates else {})
    shown = figures.customers[:_CUSTOMERS_SHOWN]
    rows = [_customer(customer, with_rates=with_rates) for customer in shown]
    others = len(figures.customers) - len(shown)
    if others:
        rows.append([Text(f"and {count_words(others, 'other')}", style="dim"), *[""] * (len(columns) - 1)])
    return plain_table(columns, rows)  # pyright: ignore[reportArgumentType] - as above


def _customer(customer: CustomerFigures, *, with_rates: bool) -> list[object]:
    row: list[object] = [customer.customer_id, f"{customer.jobs:,}", f"{customer.done:,}"]
    row.append(Text(f"{customer.failed:,}", style="red" if customer.failed else "dim"))
    row += [dollars(customer.quoted_cents), dollars(customer.spent_cents)]
    if with_rates:
        row.append(percent_words(customer.matched / customer.rows) if customer.rows else None)
    return row


def _failure(group: FailureGroup) -> RenderableType:
    words = Text(f"{len(group.jobs):,} x {printable(group.error_type)}", style="red")
    words.append(f" at {printable(group.stage)}", style="dim")
    example = Text(f"such as {printable(group.jobs[0].customer_id)}/{printable(group.jobs[0].audience_name)}: ")
    example.append(" ".join(printable(line) for line in group.example.splitlines()))
    example.stylize("dim")
    return Group(words, Padding(Group(Text(group.advice), example), (0, 0, 0, 4)))
