"""One timeout shared by many blocks of code: all attempts of a client, all jobs of a batch.

All blocks have the same time limit, so the oldest expires first and one timer is enough. `asyncio.timeout` would create
and cancel one for every request, which costs 7% of a call.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["SharedTimeout"]


class SharedTimeout:
    """Limits each block to `seconds`: `with shared_timeout.scope():` raises `TimeoutError` after that.

    Use it within one event loop.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._active: dict[_TimeoutScope, None] = {}
        """The oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    def scope(self) -> _TimeoutScope:
        """Return a context manager for a block within one task."""
        return _TimeoutScope(self)

    def add(self, scope: _TimeoutScope) -> None:
        loop = asyncio.get_running_loop()
        scope.deadline = loop.time() + self.seconds
        self._active[scope] = None
        if self._timer is None:
            self._timer = loop.call_at(scope.deadline, self._on_timer)

    def discard(self, scope: _TimeoutScope) -> None:
        self._active.pop(scope, None)
        if not self._active and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        """Cancel the scopes that have expired, and set the timer for the next one."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._active:
            oldest = next(iter(self._active))
            if oldest.deadline > now:
                self._timer = loop.call_at(oldest.deadline, self._on_timer)
                return
            del self._active[oldest]
            oldest.expire()


class _TimeoutScope:
    """Cancels its task when it expires, and turns that cancellation into a `TimeoutError`."""

    __slots__ = ("_cancelling_before", "_expired", "_task", "_timeout", "deadline")

    deadline: float

    def __init__(self, timeout: SharedTimeout) -> None:
        self._timeout = timeout
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a timeout scope needs a running task")
        self._task = task
        self._cancelling_before = task.cancelling()
        self._timeout.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timeout.discard(self)
        # If the task was also canceled by someone else, that cancellation goes on.
        if self._expired and self._task.uncancel() <= self._cancelling_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    @property
    def expired(self) -> bool:
        """Whether the block ran out of time."""
        return self._expired

    def expire(self) -> None:
        self._expired = True
        self._task.cancel()
