"""Handle SIGINT, SIGTERM and SIGHUP: the first stops a command cleanly, the second ends it immediately."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import attrs
from rich.text import Text

from indigo_async._transport.cancellation import current_cleanups
from indigo_async.cli.render.events import shown_events_not_logged
from indigo_async.cli.render.live import redrawn
from indigo_async.cli.render.output import Output

__all__ = ["run_async", "stop_on_signals"]

T = TypeVar("T")

_NUMBERS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
_SHOW_CURSOR = "\x1b[?25h"
_SECONDS_BEFORE_MESSAGE = 0.2
_REDRAW_INTERVAL = 0.5
_MAX_SHOWN = 10
_HOW_TO_FIND_OUT = (
    "`indigo-async audience` shows the exports of an audience. `run` checks what its journal lists before it purchases "
    "anything."
)


def run_async(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to completion. What commands show themselves is kept out of the log.

    The first SIGINT, SIGTERM or SIGHUP cancels it, or calls the `stop` of `stop_on_signals`, and shows what the
    command waits for. The second ends the process immediately and says what is unknown. Ignored signals, as in
    background jobs and under nohup, stay ignored.

    Raises:
        KeyboardInterrupt: a signal canceled it.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        with shown_events_not_logged():
            return asyncio.run(function())
    interruption = _Interruption()
    with shown_events_not_logged(), interruption.on_signals():
        try:
            return asyncio.run(interruption.run(function))
        except asyncio.CancelledError:
            if not interruption.received:
                raise
            raise KeyboardInterrupt from None


@contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Generator[None]:
    """Call `stop` on the first signal inside the block, instead of canceling the whole command."""
    interruption = _current.get()
    if interruption is None:
        yield
        return
    previous, interruption.stop = interruption.stop, stop
    try:
        yield
    finally:
        interruption.stop = previous


@attrs.define(eq=False)
class _Interruption:
    """How signals end one command."""

    received: bool = False
    stop: Callable[[], object] = lambda: None
    _loop: asyncio.AbstractEventLoop | None = None
    _stopping: asyncio.Event = attrs.Factory(asyncio.Event)

    @contextmanager
    def on_signals(self) -> Generator[None]:
        """Handle signals inside the block."""
        previous = {number: signal.getsignal(number) for number in _NUMBERS}
        handled = [number for number, handler in previous.items() if handler is not signal.SIG_IGN]
        for number in handled:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number in handled:
                signal.signal(number, previous[number])

    async def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run the command's coroutine function in this task, and show what it waits for once it has been stopped."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a command runs in a task")
        self.stop, self._loop = task.cancel, asyncio.get_running_loop()
        if self.received:
            self._stop()
        _current.set(self)
        showing = asyncio.create_task(_show_cleanups(self._stopping))
        try:
            return await function()
        finally:
            showing.cancel()
            with suppress(asyncio.CancelledError):
                await showing

    def _on_signal(self, number: int, _: object) -> None:
        if not self.received:
            self.received = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop)
        elif number != getattr(signal, "SIGHUP", None):  # a closed terminal may send it twice
            _quit(number)

    def _stop(self) -> None:
        self._stopping.set()
        self.stop()


_current: ContextVar[_Interruption | None] = ContextVar("indigo_async_interruption", default=None)


async def _show_cleanups(stopping: asyncio.Event) -> None:
    """Once the command is stopping, show what it waits for, with a countdown in a terminal."""
    await stopping.wait()
    await asyncio.sleep(_SECONDS_BEFORE_MESSAGE)  # most commands end before that
    output = Output()
    if output.can_redraw:
        async with redrawn(output.stderr, lambda: Text(_describe_cleanups(), "yellow"), interval=_REDRAW_INTERVAL):
            await asyncio.Event().wait()
    last_kinds: set[str] | None = None
    while True:
        kinds = {cleanup.kind for cleanup in current_cleanups()}
        if kinds != last_kinds:
            output.note(_describe_cleanups())
            last_kinds = kinds
        await asyncio.sleep(_REDRAW_INTERVAL)


def _describe_cleanups() -> str:
    cleanups = current_cleanups()
    quit_now = "Press Ctrl-C again to quit immediately."
    if not cleanups:
        return f"Stopping. {quit_now}"
    counts = Counter(cleanup.kind for cleanup in cleanups)
    kinds = ", ".join(f"{kind} ({count:,})" for kind, count in counts.items())
    seconds = math.ceil(max(cleanup.seconds_left for cleanup in cleanups))
    return f"Stopping: {kinds}; at most {seconds} s left. {quit_now}"


def _quit(number: int) -> None:
    """End the process with a signal's default action, after saying what is left unfinished."""
    cleanups = current_cleanups()
    lines = [f"  {cleanup.if_aborted}" for cleanup in cleanups[:_MAX_SHOWN]]
    if len(cleanups) > _MAX_SHOWN:
        lines.append(f"  and {len(cleanups) - _MAX_SHOWN:,} more")
    text = "\n".join(["\nindigo-async: quit without waiting for:", *lines, _HOW_TO_FIND_OUT, ""]) if lines else ""
    with suppress(OSError):
        # Not `sys.stderr`: the signal may have interrupted its `write`.
        os.write(2, ((_SHOW_CURSOR if sys.stderr.isatty() else "") + text).encode(errors="replace"))
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
