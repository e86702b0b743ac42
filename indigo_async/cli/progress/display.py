"""Progress shown while a batch runs: bars in a terminal, lines elsewhere, a picture for a page."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from indigo_async.cli.progress.tracker import ProgressSnapshot
from indigo_async.cli.render.output import Output, format_elapsed, replace_control_characters
from indigo_async.workflows import Stage

__all__ = ["format_progress", "render_progress", "render_svg", "show_progress"]

_REDRAW_INTERVAL = 0.5
_LINE_INTERVAL = 5.0
_MAX_BAR_WIDTH = 60
_STAGE_WIDTH = max(map(len, Stage))
_REMOTE_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def render_progress(moment: ProgressSnapshot) -> RenderableType:
    """The view for a terminal of any width: how many are done, a bar for each stage, time, money, failures."""
    return Group(_render_heading(moment), _render_bars(moment), _render_facts(moment))


def format_progress(moment: ProgressSnapshot) -> str:
    """The same in one line, for a log."""
    where = ", ".join(f"{count.stage} {count.in_progress:,}" for count in moment.stages if count.in_progress)
    failed = f", {moment.failed:,} failed" if moment.failed else ""
    failed += f", {moment.warned:,} with warnings" if moment.warned else ""
    parts = [
        f"{format_elapsed(moment.elapsed_seconds)}  {moment.done:,} of {moment.total:,} jobs done{failed}",
        f"now in {where}" if where else "",
        moment.money,
        f"{moment.requests:,} requests",
        _format_forecast(moment),
    ]
    return "; ".join(part for part in parts if part)


def render_svg(moment: ProgressSnapshot, *, width: int = 100) -> str:
    """The terminal's view as an SVG picture, which loads nothing from elsewhere."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(render_progress(moment))
    return _REMOTE_FONT.sub("", console.export_svg(title="indigo-async run"))


def _render_heading(moment: ProgressSnapshot) -> Text:
    heading = Text(no_wrap=True, overflow="ellipsis")
    heading.append(f"{replace_control_characters(moment.name)}  ", style="bold")
    heading.append(f"{moment.done:,} of {moment.total:,} jobs done", style="green" if moment.done else "")
    if moment.failed:
        heading.append(f", {moment.failed:,} failed", style="red")
    if moment.warned:
        heading.append(f", {moment.warned:,} with warnings", style="yellow")
    return heading


def _format_forecast(moment: ProgressSnapshot) -> str:
    parts: list[str] = []
    if moment.jobs_per_minute:
        parts.append(f"{moment.jobs_per_minute:,.0f} a minute")
    if moment.seconds_left is not None and moment.seconds_left >= 1:
        parts.append(f"about {format_elapsed(moment.seconds_left)} left")
    return ", ".join(parts)


def _render_bars(moment: ProgressSnapshot) -> Table:
    bars = Table.grid(padding=(0, 1), expand=False)
    bars.add_column(width=_STAGE_WIDTH)
    bars.add_column(width=None, ratio=1, max_width=_MAX_BAR_WIDTH)
    for _ in range(3):
        bars.add_column(justify="right", no_wrap=True)
    for count in moment.stages:
        bars.add_row(
            Text(str(count.stage)),
            ProgressBar(
                total=count.planned,
                completed=count.completed,
                style="dim",
                complete_style="cyan",
                finished_style="green",
            ),
            Text(f"{count.completed:,} of {count.planned:,}"),
            Text(f"{count.in_progress:,} now" if count.in_progress else "", style="cyan"),
            Text(f"{count.failed:,} failed" if count.failed else "", style="red"),
        )
    return bars


def _render_facts(moment: ProgressSnapshot) -> Table:
    again = f", {moment.retries:,} sent again" if moment.retries else ""
    facts = Table.grid(padding=(0, 1), expand=True)
    facts.add_column(width=_STAGE_WIDTH)
    facts.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    facts.add_row(
        "time",
        Text(", ".join(part for part in (format_elapsed(moment.elapsed_seconds), _format_forecast(moment)) if part)),
    )
    facts.add_row("money", Text(moment.money))
    facts.add_row("server", Text(f"{moment.requests:,} requests{again}, {moment.reads_saved:,} reads saved"))
    for number, failure in enumerate(moment.failures):
        facts.add_row(
            "" if number else Text("failed", style="red"), Text(replace_control_characters(failure.replace("\n", " ")))
        )
    return facts


@asynccontextmanager
async def show_progress(words: Output, moment: Callable[[], ProgressSnapshot]) -> AsyncGenerator[None]:
    """Show the moments of the block: bars in a terminal, else a line every few seconds; nothing when quiet."""
    if words.quiet:
        yield
        return
    show = _redraw_bars if words.can_redraw else _print_lines
    showing = asyncio.create_task(show(words, moment))
    try:
        yield
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _redraw_bars(words: Output, moment: Callable[[], ProgressSnapshot]) -> None:
    with Live(console=words.stderr, auto_refresh=False, transient=True, redirect_stdout=False) as live:
        while True:
            live.update(render_progress(moment()), refresh=True)
            await asyncio.sleep(_REDRAW_INTERVAL)


async def _print_lines(words: Output, moment: Callable[[], ProgressSnapshot]) -> None:
    while True:
        await asyncio.sleep(_LINE_INTERVAL)
        words.note(format_progress(moment()))
