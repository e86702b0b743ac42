"""Showing progress while a batch runs: redrawn at a bounded rate, however much happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from rich.live import Live

from indigo_async.cli.output import Output
from indigo_async.cli.progress import Moment
from indigo_async.cli.progress_view import as_line, as_view

__all__ = ["displayed"]

_SECONDS_A_REDRAW = 0.5
_SECONDS_A_LINE = 5.0


@asynccontextmanager
async def displayed(words: Output, moment: Callable[[], Moment]) -> AsyncGenerator[None]:
    """Show the moments of the block: bars in a terminal, else a line every few seconds; nothing when quiet."""
    if words.quiet:
        yield
        return
    show = _in_bars if words.can_redraw else _in_lines
    showing = asyncio.create_task(show(words, moment))
    try:
        yield
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _in_bars(words: Output, moment: Callable[[], Moment]) -> None:
    with Live(console=words.notes, auto_refresh=False, transient=True, redirect_stdout=False) as live:
        while True:
            live.update(as_view(moment()), refresh=True)
            await asyncio.sleep(_SECONDS_A_REDRAW)


async def _in_lines(words: Output, moment: Callable[[], Moment]) -> None:
    while True:
        await asyncio.sleep(_SECONDS_A_LINE)
        words.note(as_line(moment()))
