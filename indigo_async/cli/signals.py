"""SIGINT and SIGTERM: how they end a coroutine, and how they stop a batch cleanly."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["run_async", "stop_on_signals"]

T = TypeVar("T")

_SHOW_CURSOR = "\x1b[?25h"


def run_async(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to completion. SIGTERM cancels it cleanly, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        return asyncio.run(function())

    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        return asyncio.run(function())
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` on the first SIGINT or SIGTERM inside the block; the second one kills the process."""
    loop = asyncio.get_running_loop()
    stopping = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            stop()
            return
        if sys.stderr.isatty():
            sys.stderr.write(_SHOW_CURSOR)
            sys.stderr.flush()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)  # remove_signal_handler resets SIGTERM to its default, which kills
