"""A moment of a batch as people see it: bars in a terminal, a line elsewhere, a picture for a page."""

from __future__ import annotations

import io
import re
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from indigo_async.cli.output import printable
from indigo_async.cli.progress import Moment
from indigo_async.workflows import Stage

__all__ = ["as_line", "as_svg", "as_view", "clock_time"]

_LONGEST_BAR = 60
_WIDEST_STAGE = max(map(len, Stage))
_REMOTE_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def clock_time(seconds: float) -> str:
    """Seconds as hours, minutes and seconds, such as `0:02:10`."""
    return str(timedelta(seconds=round(seconds)))


def as_view(moment: Moment) -> RenderableType:
    """The view for a terminal of any width: how many are done, a bar for each stage, time, money, failures."""
    return Group(_heading(moment), _bars(moment), _facts(moment))


def as_line(moment: Moment) -> str:
    """The same in one line, for a log."""
    where = ", ".join(f"{count.stage} {count.now:,}" for count in moment.stages if count.now)
    failed = f", {moment.failed:,} failed" if moment.failed else ""
    failed += f", {moment.warned:,} with warnings" if moment.warned else ""
    parts = [
        f"{clock_time(moment.seconds)}  {moment.done:,} of {moment.total:,} jobs done{failed}",
        f"now in {where}" if where else "",
        moment.money,
        f"{moment.requests:,} requests",
        _forecast(moment),
    ]
    return "; ".join(part for part in parts if part)


def as_svg(moment: Moment, *, width: int = 100) -> str:
    """The terminal's view as an SVG picture, which loads nothing from elsewhere."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(as_view(moment))
    return _REMOTE_FONT.sub("", console.export_svg(title="indigo-async run"))


def _heading(moment: Moment) -> Text:
    heading = Text(no_wrap=True, overflow="ellipsis")
    heading.append(f"{printable(moment.name)}  ", style="bold")
    heading.append(f"{moment.done:,} of {moment.total:,} jobs done", style="green" if moment.done else "")
    if moment.failed:
        heading.append(f", {moment.failed:,} failed", style="red")
    if moment.warned:
        heading.append(f", {moment.warned:,} with warnings", style="yellow")
    return heading


def _forecast(moment: Moment) -> str:
    parts: list[str] = []
    if moment.jobs_a_minute:
        parts.append(f"{moment.jobs_a_minute:,.0f} a minute")
    if moment.seconds_left is not None and moment.seconds_left >= 1:
        parts.append(f"about {clock_time(moment.seconds_left)} left")
    return ", ".join(parts)


def _bars(moment: Moment) -> Table:
    bars = Table.grid(padding=(0, 1), expand=False)
    bars.add_column(width=_WIDEST_STAGE)
    bars.add_column(width=None, ratio=1, max_width=_LONGEST_BAR)
    for _ in range(3):
        bars.add_column(justify="right", no_wrap=True)
    for count in moment.stages:
        bars.add_row(
            Text(str(count.stage)),
            ProgressBar(
                total=count.planned, completed=count.passed, style="dim", complete_style="cyan", finished_style="green"
            ),
            Text(f"{count.passed:,} of {count.planned:,}"),
            Text(f"{count.now:,} now" if count.now else "", style="cyan"),
            Text(f"{count.failed:,} failed" if count.failed else "", style="red"),
        )
    return bars


def _facts(moment: Moment) -> Table:
    again = f", {moment.sent_again:,} sent again" if moment.sent_again else ""
    facts = Table.grid(padding=(0, 1), expand=True)
    facts.add_column(width=_WIDEST_STAGE)
    facts.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    facts.add_row("time", Text(", ".join(part for part in (clock_time(moment.seconds), _forecast(moment)) if part)))
    facts.add_row("money", Text(moment.money))
    facts.add_row("server", Text(f"{moment.requests:,} requests{again}, {moment.reads_saved:,} reads saved"))
    for number, failure in enumerate(moment.failures):
        facts.add_row("" if number else Text("failed", style="red"), Text(printable(failure.replace("\n", " "))))
    return facts
