"""An event loop over real sockets and real threads in which waiting takes no time.

When nothing is ready and no thread is at work, its clock moves on to what is due next. So a minute's timeout, an hour's
`Retry-After` and the server's own stage times cost nothing, and happen in an order that a run can repeat.
"""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

import anyio.to_thread

_MAX_IDLE_SECONDS = 30.0


class FastForwardLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 1_000.0
        self._at_work = 0
        self._threads: anyio.CapacityLimiter | None = None
        super().__init__(_FastForwardSelector(self))

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        work = super().run_in_executor(executor, func, *args)
        self._at_work += 1
        work.add_done_callback(self._end_work)
        return work

    async def shutdown_default_executor(self, *timeout: float) -> None:
        """End the threads; from Python 3.12 on that has a time limit, which is not to be skipped to."""
        self._at_work += 1
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._at_work -= 1

    def _end_work(self, _: object) -> None:
        self._at_work -= 1

    async def track_anyio_threads(self) -> None:
        """Know of AnyIO's threads, too, which are not handed out by the loop; to be called once, first."""
        self._threads = anyio.to_thread.current_default_thread_limiter()

    @property
    def has_running_threads(self) -> bool:
        """Whether a thread is at work for the loop."""
        return self._at_work > 0 or (self._threads is not None and self._threads.borrowed_tokens > 0)


class _FastForwardSelector(selectors.DefaultSelector):
    def __init__(self, loop: FastForwardLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self._loop.has_running_threads:
            ready = super().select(_MAX_IDLE_SECONDS)
            if not ready:
                raise RuntimeError(f"nothing has happened for {_MAX_IDLE_SECONDS:g} real seconds")
            return ready
        os.sched_yield()
        ready = super().select(0)  # what was just sent on a loopback socket may need a moment
        if not ready:
            self._loop.now += timeout
        return ready


class LoopClock:
    """The sandbox's time is the loop's."""

    started_at = datetime(2026, 1, 1, tzinfo=UTC)

    def __init__(self, loop: FastForwardLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()
