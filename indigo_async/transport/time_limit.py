"""One time limit for many: for all attempts of a client, for all jobs of a batch.

All may take equally long, so those that began first are over first, and one timer, for the oldest, is enough. A timer
for each, as `asyncio.timeout` has, would be made, sorted in and cancelled for every request, and held by every job.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["TimeLimit"]


class TimeLimit:
    """Breaks off what takes longer than `seconds`: `with limit.applied():` then raises `TimeoutError`.

    To be used within one event loop.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._under_way: dict[_Block, None] = {}
        """The oldest first."""
        self._alarm: asyncio.TimerHandle | None = None

    def applied(self) -> _Block:
        """A block of code that is to end in time, within one task."""
        return _Block(self)

    def begin(self, block: _Block) -> None:
        loop = asyncio.get_running_loop()
        block.due = loop.time() + self.seconds
        self._under_way[block] = None
        if self._alarm is None:
            self._alarm = loop.call_at(block.due, self._ring)

    def end(self, block: _Block) -> None:
        self._under_way.pop(block, None)
        if not self._under_way and self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        """Break off those whose time is over, and come back for the next."""
        self._alarm = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._under_way:
            oldest = next(iter(self._under_way))
            if oldest.due > now:
                self._alarm = loop.call_at(oldest.due, self._ring)
                return
            del self._under_way[oldest]
            oldest.break_off()


class _Block:
    """Its task is cancelled when its time is over, which then leaves the block as a `TimeoutError`."""

    __slots__ = ("_cancelling", "_is_over", "_limit", "_task", "due")

    due: float

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self._is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit holds within a task alone")
        self._task = task
        self._cancelling = task.cancelling()
        self._limit.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limit.end(self)
        # Another's cancellation that came besides is left to its own.
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def break_off(self) -> None:
        self._is_over = True
        self._task.cancel()
