"""Work that must not be interrupted when its caller is canceled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio

__all__ = ["run_in_thread", "run_to_completion", "wait_shielded"]

T = TypeVar("T")


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
    """Await `work` without ever interrupting it; a cancellation is raised once it is done."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await wait_shielded(work)
        raise
    finally:
        del work  # break the exception-frame reference cycle


async def run_in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function in a thread, to completion: no file is closed while it is being written."""
    return await run_to_completion(asyncio.get_running_loop().run_in_executor(None, function))
