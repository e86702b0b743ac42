"""One time limit for many: for all attempts of a client, for all jobs of a batch.

All may take equally long, so those that began first are over first, and one timer, for the oldest, is enough. A timer
for each, as `asyncio.timeout` has, would be made, sorted in and cancelled for every request, and held by every job.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["SharedTimeout"]


class SharedTimeout:
    """Breaks off what takes longer than `seconds`: `with limit.applied():` then raises `TimeoutError`.

    To be used within one event loop.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._active: dict[_TimeoutScope, None] = {}
        """The oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    def scope(self) -> _TimeoutScope:
        """A block of code that is to end in time, within one task."""
        return _TimeoutScope(self)

    def add(self, block: _TimeoutScope) -> None:
        loop = asyncio.get_running_loop()
        block.due = loop.time() + self.seconds
        self._active[block] = None
        if self._timer is None:
            self._timer = loop.call_at(block.due, self._on_timer)

    def discard(self, block: _TimeoutScope) -> None:
        self._active.pop(block, None)
        if not self._active and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        """Break off those whose time is over, and come back for the next."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._active:
            oldest = next(iter(self._active))
            if oldest.due > now:
                self._timer = loop.call_at(oldest.due, self._on_timer)
                return
            del self._active[oldest]
            oldest.cancel()


class _TimeoutScope:
    """Its task is cancelled when its time is over, which then leaves the block as a `TimeoutError`."""

    __slots__ = ("_cancelling", "_is_over", "_limit", "_task", "due")

    due: float

    def __init__(self, limit: SharedTimeout) -> None:
        self._limit = limit
        self._is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit holds within a task alone")
        self._task = task
        self._cancelling = task.cancelling()
        self._limit.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limit.discard(self)
        # Another's cancellation that came besides is left to its own.
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def cancel(self) -> None:
        self._is_over = True
        self._task.cancel()
