"""Work that must not be left half-done when its caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio

__all__ = ["run_in_thread", "run_to_completion", "wait_shielded"]

T = TypeVar("T")


async def wait_shielded(work: asyncio.Future[T], *, seconds: float | None = None) -> None:
    """Wait until `work` is done, through any cancellation of the caller; for `seconds` at most.

    The caller raises `CancelledError` itself afterwards. Both ways of cancelling are kept out: asyncio's, which is
    delivered once, and anyio's, which is delivered again at every wait unless a scope shields from it.
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
    """Await work that is never broken off: a cancellation is raised when it is done."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await wait_shielded(work)
        raise
    finally:
        del work  # it keeps what it raised, which refers to this frame: only a collection would free them


async def run_in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function in a thread, to its end: a file is never closed under a write that goes on."""
    return await run_to_completion(asyncio.get_running_loop().run_in_executor(None, function))
