"""Showing the progress of a batch: bars in a terminal, lines elsewhere, an SVG for documents."""

from __future__ import annotations

import asyncio
import io
import math
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from indigo_async.cli.progress.tracker import ProgressSnapshot, StageCount
from indigo_async.cli.render.live import redrawn
from indigo_async.cli.render.output import Output, format_elapsed, replace_control_characters
from indigo_async.cli.report.formatting import format_count
from indigo_async.workflows import Stage

__all__ = [
    "format_progress",
    "render_bars",
    "render_details",
    "render_failures",
    "render_heading",
    "render_progress",
    "render_svg",
    "show_live",
    "show_progress",
]

_REDRAW_INTERVAL = 0.5
_LINE_INTERVAL = 5.0
_MAX_BAR_WIDTH = 60
_STAGE_WIDTH = max(map(len, Stage))
_REMOTE_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def render_progress(snapshot: ProgressSnapshot) -> RenderableType:
    """The progress for a terminal: a heading, a bar per stage, then time, cost, requests and recent failures."""
    report = snapshot.report
    heading = render_heading(
        snapshot.name, done=report.done, total=snapshot.total, failed=report.failed, warned=report.warned
    )
    return Group(heading, render_bars(snapshot.stages), _render_details(snapshot))


def format_progress(snapshot: ProgressSnapshot) -> str:
    """The progress in one line, for logs."""
    report = snapshot.report
    stages = ", ".join(f"{count.stage} {count.in_progress:,}" for count in snapshot.stages if count.in_progress)
    failed = f", {report.failed:,} failed" if report.failed else ""
    warned = f", {report.warned:,} with warnings" if report.warned else ""
    parts = [
        f"{format_elapsed(report.seconds)}  {report.done:,} of {snapshot.total:,} jobs done{failed}{warned}",
        f"in progress: {stages}" if stages else "",
        snapshot.cost,
        format_count(sum(report.requests.values()), "request"),
        snapshot.outage or "",
        _format_forecast(snapshot),
    ]
    return "; ".join(part for part in parts if part)


def render_svg(snapshot: ProgressSnapshot, *, width: int = 100) -> str:
    """The terminal's view as a self-contained SVG."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(render_progress(snapshot))
    return _REMOTE_FONT.sub("", console.export_svg(title="indigo-async run"))


def render_heading(name: str, *, done: int, total: int, failed: int, warned: int = 0) -> Text:
    """The name of a batch and the numbers of its jobs."""
    heading = Text(no_wrap=True, overflow="ellipsis")
    heading.append(f"{replace_control_characters(name)}  ", style="bold")
    heading.append(f"{done:,} of {total:,} jobs done", style="green" if done else "")
    if failed:
        heading.append(f", {failed:,} failed", style="red")
    if warned:
        heading.append(f", {warned:,} with warnings", style="yellow")
    return heading


def _format_forecast(snapshot: ProgressSnapshot) -> str:
    parts: list[str] = []
    if snapshot.jobs_per_minute is not None and snapshot.jobs_per_minute >= 1:
        parts.append(f"{snapshot.jobs_per_minute:,.0f} jobs per minute")
    if snapshot.seconds_left is not None and snapshot.seconds_left >= 1:
        parts.append(f"about {format_elapsed(_round_up(snapshot.seconds_left))} left")
    return ", ".join(parts)


def _round_up(seconds: float) -> float:
    """Round an estimate to 5 seconds, or to a minute from 5 minutes on."""
    step = 5 if seconds < 300 else 60  # noqa: PLR2004 - 5 minutes
    return math.ceil(seconds / step) * step


def render_bars(stages: Sequence[StageCount]) -> Table:
    """A bar for each stage."""
    bars = Table.grid(padding=(0, 1), expand=False)
    bars.add_column(width=_STAGE_WIDTH)
    bars.add_column(width=None, ratio=1, max_width=_MAX_BAR_WIDTH)
    for _ in range(3):
        bars.add_column(justify="right", no_wrap=True)
    for count in stages:
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
            Text(f"{count.in_progress:,} in progress" if count.in_progress else "", style="cyan"),
            Text(f"{count.failed:,} failed" if count.failed else "", style="red"),
        )
    return bars


def _render_details(snapshot: ProgressSnapshot) -> Table:
    report = snapshot.report
    requests = sum(report.requests.values())
    retries = f", {format_count(snapshot.retries, 'retry', 'retries')}" if snapshot.retries else ""
    times = (format_elapsed(report.seconds), _format_forecast(snapshot))
    details = render_details(time=", ".join(part for part in times if part), cost=snapshot.cost)
    saved = f"{format_count(report.reads_saved, 'read')} saved"
    details.add_row("server", Text(f"{format_count(requests, 'request')}{retries}, {saved}"))
    if snapshot.outage is not None:
        details.add_row("", Text(snapshot.outage, style="red"))
    render_failures(details, snapshot.failures)
    return details


def render_details(*, time: str, cost: str) -> Table:
    """A table below the bars. Rows may be added."""
    details = Table.grid(padding=(0, 1), expand=True)
    details.add_column(width=_STAGE_WIDTH)
    details.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    details.add_row("time", Text(time))
    details.add_row("cost", Text(cost))
    return details


def render_failures(details: Table, failures: Sequence[str]) -> None:
    """Add recent failures to the table below the bars."""
    for number, failure in enumerate(failures):
        details.add_row(
            "" if number else Text("failed", style="red"), Text(replace_control_characters(failure.replace("\n", " ")))
        )


def show_progress(output: Output, take_snapshot: Callable[[], ProgressSnapshot]) -> AbstractAsyncContextManager[None]:
    """Show progress while the block runs, as `show_live` does."""
    return show_live(output, lambda: render_progress(take_snapshot()), lambda: format_progress(take_snapshot()))


@asynccontextmanager
async def show_live(
    output: Output, render: Callable[[], RenderableType], format_line: Callable[[], str]
) -> AsyncGenerator[None]:
    """Show progress while the block runs: a view in a terminal, otherwise a line every 5 seconds; nothing if quiet.

    A line that has not changed is not repeated.
    """
    if output.quiet:
        yield
        return
    if output.can_redraw:
        async with redrawn(output.stderr, render, interval=_REDRAW_INTERVAL):
            yield
        return
    showing = asyncio.create_task(_print_lines(output, format_line))
    try:
        yield
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _print_lines(output: Output, format_line: Callable[[], str]) -> None:
    last_line = ""
    while True:
        await asyncio.sleep(_LINE_INTERVAL)
        line = format_line()
        if line != last_line:
            last_line = line
            output.note(line)
