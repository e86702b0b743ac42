"""The running event loop, and work in it that must not be interrupted when its caller is canceled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

import anyio
import attrs

from indigo_async.errors import ClientNotOpenError

__all__ = [
    "Cleanup",
    "call_in_loop",
    "cleanup",
    "current_cleanups",
    "run_in_thread",
    "run_to_completion",
    "running_loop",
    "shorten_timeouts",
    "wait_shielded",
]

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class Cleanup:
    """Work of limited duration that a cancellation waits for, so that the command can show and skip it.

    `kind` says what it does, such as `checking purchases`. `if_aborted` says what stays unknown or is left behind if
    the process ends first.
    """

    kind: str
    if_aborted: str
    ends_at: float

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.ends_at - time.monotonic())


_cleanups: dict[Cleanup, None] = {}


@contextmanager
def cleanup(kind: str, if_aborted: str, *, seconds: float) -> Generator[None]:
    """List the block as a cleanup. `seconds` is its time limit, which the block itself enforces."""
    current = Cleanup(kind=kind, if_aborted=if_aborted, ends_at=time.monotonic() + seconds)
    _cleanups[current] = None
    try:
        yield
    finally:
        del _cleanups[current]


def current_cleanups() -> Sequence[Cleanup]:
    """The cleanups in progress in this process, the oldest first."""
    return list(_cleanups)


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ClientNotOpenError: asyncio isn't running: the caller uses Trio or no event loop.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise ClientNotOpenError(
        "this SDK needs asyncio, which is not running here: use `asyncio.run(...)`, "
        "or `anyio.run(..., backend='asyncio')`; Trio is not supported"
    )


async def wait_shielded(work: asyncio.Future[T], *, seconds: float | None = None) -> None:
    """Wait until `work` is done, or for `seconds` at most, even if the caller is canceled.

    The caller must raise `CancelledError` itself afterward. This shields from both kinds of cancellation: asyncio's,
    which is delivered once, and anyio's, which is delivered again at every `await` outside a shielded scope.
    """
    clock = asyncio.get_running_loop().time
    until = None if seconds is None else clock() + seconds
    with anyio.CancelScope(shield=True):
        while not work.done() and (until is None or clock() < until):
            try:
                await asyncio.wait([work], timeout=None if until is None else until - clock())
            except asyncio.CancelledError:
                continue


async def run_to_completion(work: asyncio.Future[T]) -> T:
    """Await `work` without ever interrupting it; a cancellation is raised once it is done, instead of its error."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await wait_shielded(work)
        if not work.cancelled():
            work.exception()  # mark it as retrieved
        raise
    finally:
        del work  # break the exception-frame reference cycle


async def run_in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function in a thread, to completion: no file is closed while it is being written."""
    return await run_to_completion(running_loop().run_in_executor(None, function))


def shorten_timeouts(timeouts: Iterable[asyncio.Timeout], end: float) -> None:
    """Let timeouts expire at `end`, in event-loop time, unless they expire earlier or have expired."""
    for timeout in [timeout for timeout in timeouts if not timeout.expired()]:
        timeout.reschedule(min(timeout.when() or end, end))


def call_in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call a function in an event loop, from any thread: now in that loop's own, else when it runs next, if ever."""
    with suppress(RuntimeError):  # no loop runs here
        if asyncio.get_running_loop() is loop:
            callback()
            return
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(callback)
