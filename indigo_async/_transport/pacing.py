"""When a request may be sent: one limit per client, shared by everything it does.

Writes (POSTs) go before reads (GETs). Each kind leaves some slots to the other, so slow writes never block polls.
A `Retry-After` pauses all requests, not only the one that got it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus

import attrs

from indigo_async._transport.adaptive_limits import ConcurrencyLimit, RateLimit
from indigo_async._transport.responses import FailureReason, NoResponse, Response
from indigo_async._transport.retry import parse_retry_after
from indigo_async._validation import InputCheck

__all__ = ["Pacer", "Pacing"]

# The largest share of the slots that writes, or reads, may occupy.
_MAX_SHARE = 7 / 8


@attrs.frozen(kw_only=True)
class Pacing:
    """Upper limits for a client's requests. Below them, the client adapts to what the server accepts.

    `max_concurrency` bounds the requests in flight, `requests_per_second` (None: no limit) how many are sent in a
    second.

    Raises:
        InvalidInputError: a limit is not above 0; lists all problems.
    """

    max_concurrency: int = 64
    requests_per_second: float | None = None

    def __attrs_post_init__(self) -> None:
        check = InputCheck()
        object.__setattr__(self, "max_concurrency", check.positive_integer("max_concurrency", self.max_concurrency))
        if (rate := self.requests_per_second) is not None:
            object.__setattr__(self, "requests_per_second", check.positive_number("requests_per_second", rate))
        check.raise_if_invalid()


class Pacer:
    """Hands out slots for requests. Acquire one before calling the session, so that no timeout runs in the queue.

    Create and use it within one event loop.
    """

    def __init__(self, pacing: Pacing) -> None:
        self._loop = asyncio.get_running_loop()
        self._concurrency = ConcurrencyLimit(pacing.max_concurrency)
        self._rate = RateLimit(pacing.requests_per_second)
        self._in_flight = [0, 0]
        """Reads and writes."""
        self._paused_until = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._write_queue: deque[asyncio.Future[None]] = deque()
        self._read_queue: deque[asyncio.Future[None]] = deque()

    def try_acquire(self, *, is_write: bool) -> bool:
        """Acquire a slot if one is free now."""
        if self._write_queue or (self._read_queue and not is_write):
            return False
        return self._acquire_if_free(is_write=is_write)

    async def acquire(self, *, is_write: bool) -> None:
        """Wait for a slot and acquire it."""
        turn = self._loop.create_future()
        queue = self._write_queue if is_write else self._read_queue
        queue.append(turn)
        self._wake_waiters()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(is_write=is_write)
            raise

    def release(self, *, is_write: bool) -> None:
        """Release the slot of a request that has ended."""
        self._in_flight[is_write] -= 1
        if self._write_queue or self._read_queue:
            self._wake_waiters()

    def record_accepted(self, *, started: float, latency_group: str | None) -> None:
        """Learn from a response other than 429 before its slot is released.

        `started` is when the request was sent (loop time). `latency_group` names requests with comparable latencies;
        None if this one compares with no other.
        """
        now = self._loop.time()
        in_flight = sum(self._in_flight)
        self._concurrency.record_accepted(started=started, now=now, in_flight=in_flight, latency_group=latency_group)
        self._rate.record_accepted(started=started, now=now)

    def record_failure(self, outcome: Response | NoResponse, *, started: float) -> None:
        """Learn from an attempt without a 2xx response before its slot is released."""
        if isinstance(outcome, NoResponse):
            if outcome.reason is FailureReason.TIMEOUT:
                self.record_timeout(started=started)
        elif outcome.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            retry_after = parse_retry_after(outcome)
            if outcome.status == HTTPStatus.TOO_MANY_REQUESTS:
                self.record_rate_limited(started=started, retry_after=retry_after)
            self.pause(retry_after or 0.0)
        elif outcome.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self.record_accepted(started=started, latency_group=None)

    def record_rate_limited(self, *, started: float, retry_after: float | None) -> None:
        """Learn from a 429 with a `Retry-After` of so many seconds, or without one."""
        now = self._loop.time()
        self.pause(self._rate.record_rate_limited(started=started, now=now, is_certain=bool(retry_after)))

    def record_timeout(self, *, started: float) -> None:
        """Learn from a request that timed out."""
        self._concurrency.record_timeout(started=started, now=self._loop.time())

    def pause(self, seconds: float) -> None:
        """Hand out no slots for at least `seconds`."""
        now = self._loop.time()
        resumes_at = max(self._paused_until, now)
        if now + seconds > resumes_at:
            self._paused_until = now + seconds
            self._rate.skip_pause(self._paused_until - resumes_at)

    def pause_remaining(self) -> float:
        """Return the seconds until slots are handed out again."""
        return max(0.0, self._paused_until - self._loop.time())

    @property
    def slot_seconds(self) -> float:
        """What a request costs however fast the response comes: its share of the rate, in seconds of one slot."""
        rate = self._rate.rate
        return 0.0 if rate is None else self._concurrency.current / rate

    def _acquire_if_free(self, *, is_write: bool) -> bool:
        limit = self._concurrency.current
        if sum(self._in_flight) + 1 > limit or self._in_flight[is_write] + 1 > max(1.0, limit * _MAX_SHARE):
            return False
        now = self._loop.time()
        if now < self._paused_until or now < self._rate.ready_at:
            return False
        self._rate.consume(now)
        self._in_flight[is_write] += 1
        return True

    def _wake_waiters(self) -> None:
        """Hand free slots to the queues; if the next slot depends on time alone, set a timer for it."""
        self._wake(self._write_queue, is_write=True)
        self._wake(self._read_queue, is_write=False)
        if self._write_queue or self._read_queue:
            self._set_timer()

    def _wake(self, queue: deque[asyncio.Future[None]], *, is_write: bool) -> None:
        while queue:
            if not queue[0].done():
                if not self._acquire_if_free(is_write=is_write):
                    return
                queue[0].set_result(None)
            queue.popleft()

    def _set_timer(self) -> None:
        due = max(self._paused_until, self._rate.ready_at)
        if due <= self._loop.time() or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake_waiters()
