"""Showing progress while a batch runs: redrawn at a bounded rate, however much happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from rich.live import Live

from indigo_async.cli.progress.tracker import ProgressSnapshot
from indigo_async.cli.progress.views import format_progress, render_progress
from indigo_async.cli.render.output import Output

__all__ = ["show_progress"]

_REDRAW_INTERVAL = 0.5
_LINE_INTERVAL = 5.0


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
