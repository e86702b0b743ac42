"""A view in a terminal that is redrawn in place until it is no longer needed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment, SegmentLines

__all__ = ["redrawn"]


@asynccontextmanager
async def redrawn(console: Console, render: Callable[[], RenderableType], *, interval: float) -> AsyncGenerator[None]:
    """Redraw what `render` returns while the block runs, every `interval` seconds, then erase it.

    Other text written to the console, or to stderr, appears above it.
    """
    drawing = asyncio.create_task(_redraw(console, render, interval))
    try:
        yield
    finally:
        drawing.cancel()
        with suppress(asyncio.CancelledError):
            await drawing


async def _redraw(console: Console, render: Callable[[], RenderableType], interval: float) -> None:
    drawn: list[list[Segment]] = []
    with Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False) as live:
        try:
            while True:
                if _is_in_foreground(console):
                    _erase_wrapped_rows(console, drawn)
                    drawn = _render_lines(console, render())
                    live.update(SegmentLines(drawn, new_lines=True), refresh=True)
                await asyncio.sleep(interval)
        finally:
            _erase_wrapped_rows(console, drawn)


def _is_in_foreground(console: Console) -> bool:
    """Whether the terminal shows this process, rather than a shell's prompt or another program."""
    try:
        return os.tcgetpgrp(console.file.fileno()) == os.getpgrp()
    except (AttributeError, OSError):  # no job control
        return True


def _render_lines(console: Console, view: RenderableType) -> list[list[Segment]]:
    """The lines of a view without trailing spaces, which only some terminals count as text."""
    lines = console.render_lines(view, pad=False)
    return [_strip_end(line) for line in lines]


def _strip_end(line: list[Segment]) -> list[Segment]:
    end = len(line)
    while end and not line[end - 1].text.rstrip():
        end -= 1
    if not end:
        return []
    last = line[end - 1]
    return [*line[: end - 1], last._replace(text=last.text.rstrip())]


def _erase_wrapped_rows(console: Console, drawn: Sequence[Sequence[Segment]]) -> None:
    """Erase the extra rows that appeared when a narrower terminal wrapped the drawn lines."""
    width = console.width
    rows = sum(max(0, Segment.get_line_length(list(line)) - 1) // width for line in drawn)
    erase_row = (ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)
    if rows:
        console.control(Control(ControlType.CARRIAGE_RETURN, *(erase_row * rows)))
