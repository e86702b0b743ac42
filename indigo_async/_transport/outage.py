"""Circuit breaker: when the server is down, all requests wait and one at a time probes it.

An outage begins after a few failures in a row and ends with the first good response. A false alarm costs one round
trip, because the first probe is sent at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio
import attrs

from indigo_async._listeners import notify
from indigo_async._transport.retry import RetryPolicy
from indigo_async.events import Listener, OutageEnded, OutageStarted

__all__ = ["CircuitBreaker", "Outage", "may_wait_out_outages", "wait_out_outages"]

_FAILURES_TO_OPEN = 3
_SECONDS_TO_ANNOUNCE = 1.0

_logger = logging.getLogger("indigo_async")

_may_wait: ContextVar[bool] = ContextVar("indigo_async_wait_out_outages", default=False)


@contextmanager
def wait_out_outages() -> Generator[None]:
    """Let the requests of this block, and of tasks started in it, wait for as long as an outage lasts.

    The caller's own deadline must bound the block. Other requests give up after their retry budget.
    """
    token = _may_wait.set(True)
    try:
        yield
    finally:
        _may_wait.reset(token)


def may_wait_out_outages() -> bool:
    """Whether the current task's requests wait for as long as an outage lasts."""
    return _may_wait.get()


@attrs.frozen
class Outage:
    """The server has been down since `started_at` (loop time). `reason` is the latest failure."""

    started_at: float
    reason: str


class CircuitBreaker:
    """Holds requests during an outage and periodically lets one through as a probe.

    It holds only requests whose timeout is no longer than those of the requests that failed: a more patient one may
    get a response. The first probe is sent at once. The intervals between probes grow like those between retries, up to
    `max_interval` seconds. Probes are reads. A write is a probe only if no read waits, because its outcome might stay
    unknown.
    """

    def __init__(self, retry: RetryPolicy, max_interval: float, *, server: str, on_event: Listener | None) -> None:
        self._retry = retry
        self._max_interval = max_interval
        self._server = server
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._failures = 0
        self._first_failure_at = 0.0
        self._longest_timeout = 0.0
        """Of the requests that failed since the last good response, in seconds."""
        self._has_ever_worked = False
        self._outage: Outage | None = None
        self._last_ended_at = float("-inf")
        self._is_announced = False
        self._probes = 0
        self._next_probe_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reads: dict[asyncio.Future[bool], None] = {}
        self._writes: dict[asyncio.Future[bool], None] = {}
        self._ended = asyncio.Event()

    @property
    def outage(self) -> Outage | None:
        """The current outage."""
        return self._outage

    @property
    def has_ever_worked(self) -> bool:
        """Whether the server has given any good response."""
        return self._has_ever_worked

    def had_outage_since(self, since: float) -> bool:
        """Whether there is an outage, or was one at or after `since` (loop time)."""
        return self._outage is not None or self._last_ended_at >= since

    def holds(self, timeout: float) -> bool:
        """Whether requests with this timeout (seconds) have to wait."""
        return self._outage is not None and timeout <= self._longest_timeout

    async def hold(self, *, is_write: bool) -> bool:
        """Wait until the outage is over, or until it is the caller's turn to probe. Returns whether it is."""
        now = self._loop.time()
        waiting = self._writes if is_write else self._reads
        if not self._reads and not self._writes and now >= self._next_probe_at:
            self._schedule_next_probe(now)
            return True
        turn: asyncio.Future[bool] = self._loop.create_future()
        waiting[turn] = None
        self._set_timer()
        try:
            return await turn
        finally:
            waiting.pop(turn, None)

    async def wait_until_over(self, *, seconds: float) -> None:
        """Wait until there is no outage, for at most this many seconds."""
        if self._outage is not None:
            with anyio.move_on_after(seconds):
                await self._ended.wait()

    def record_success(self) -> None:
        """Record a good response."""
        self._failures, self._longest_timeout = 0, 0.0
        self._has_ever_worked = True
        if self._outage is not None:
            self._close(self._outage)

    def record_failure(self, reason: str, *, timeout: float) -> None:
        """Record that a request with this timeout (seconds) got no response or a 5xx.

        `reason` must not contain secrets.
        """
        now = self._loop.time()
        if not self._failures:
            self._first_failure_at = now
        self._failures += 1
        self._longest_timeout = max(self._longest_timeout, timeout)
        if self._failures < _FAILURES_TO_OPEN:
            return
        if self._outage is None:
            self._probes, self._next_probe_at = 0, now
            self._ended.clear()
        elif not self._is_announced and now - self._first_failure_at >= _SECONDS_TO_ANNOUNCE:
            self._announce(reason)
        self._outage = Outage(self._first_failure_at, reason)

    def release(self) -> None:
        """Release all held requests."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for turn in (*self._reads, *self._writes):
            if not turn.done():
                turn.set_result(False)

    def _close(self, outage: Outage) -> None:
        self._outage = None
        self._last_ended_at = self._loop.time()
        self._ended.set()
        self.release()
        if self._is_announced:
            self._is_announced = False
            seconds = self._last_ended_at - outage.started_at
            _logger.warning("%s is responding again after %.0f s: all requests continue", self._server, seconds)
            self._notify(OutageEnded(server=self._server, seconds=seconds))

    def _announce(self, reason: str) -> None:
        self._is_announced = True
        _logger.warning(
            "%s %s (%s): requests wait for it, each until its own deadline%s",
            self._server,
            "is not responding" if self._has_ever_worked else "has not responded yet",
            reason,
            "" if self._has_ever_worked else ". If the address is wrong, stop and correct it",
        )
        self._notify(OutageStarted(server=self._server, reason=reason, has_ever_worked=self._has_ever_worked))

    def _notify(self, event: OutageStarted | OutageEnded) -> None:
        if self._on_event is not None:
            notify(self._on_event, event)

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_at(self._next_probe_at, self._send_probe)

    def _send_probe(self) -> None:
        """Let the first waiting request through, and set the timer for the next one."""
        self._timer = None
        turn = next((turn for waiting in (self._reads, self._writes) for turn in waiting if not turn.done()), None)
        if turn is None:
            return
        turn.set_result(True)
        self._schedule_next_probe(self._loop.time())
        self._set_timer()

    def _schedule_next_probe(self, now: float) -> None:
        self._probes += 1
        jitter = random.random()  # noqa: S311 - jitter needs no secrecy
        self._next_probe_at = now + min(self._max_interval, self._retry.backoff(self._probes, jitter))
