"""When a request may leave: one limit for a client, shared by everything that it does.

Actions go before looks: a POST never queues behind GETs, and some slots are never given to GETs. A `Retry-After` holds
everybody back, not only the one who met it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus

import attrs

from indigo_async._transport.adaptive_limits import ConcurrencyLimit, RateLimit
from indigo_async._transport.responses import FailureReason, NoResponse, Response
from indigo_async._transport.retry import parse_retry_after

__all__ = ["Pacer", "Pacing"]

_READ_SHARE = 7 / 8


@attrs.frozen(kw_only=True)
class Pacing:
    """The most that a client asks of the server; below that it finds by itself what the server bears.

    At most `max_concurrency` requests are under way at once, and at most `requests_per_second`, where set, leave in a
    second.
    """

    max_concurrency: int = attrs.field(default=64, validator=attrs.validators.ge(1))
    requests_per_second: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )


class Pacer:
    """Hands out slots. Take one before the session is called, so that no timeout runs while queueing.

    To be made, and used, within one event loop.
    """

    def __init__(self, pacing: Pacing) -> None:
        self._loop = asyncio.get_running_loop()
        self._concurrency = ConcurrencyLimit(pacing.max_concurrency)
        self._rate = RateLimit(pacing.requests_per_second)
        self._in_flight = 0
        self._paused_until = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._write_queue: deque[asyncio.Future[None]] = deque()
        self._read_queue: deque[asyncio.Future[None]] = deque()

    def try_acquire(self, *, is_write: bool) -> bool:
        """Take a slot if that needs no waiting."""
        if self._write_queue or (self._read_queue and not is_write):
            return False
        return self._acquire_if_free(is_write=is_write)

    async def acquire(self, *, is_write: bool) -> None:
        """Wait for a slot and take it."""
        turn = self._loop.create_future()
        queue = self._write_queue if is_write else self._read_queue
        queue.append(turn)
        self._wake_waiters()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """End a request, whatever became of it."""
        self._in_flight -= 1
        if self._write_queue or self._read_queue:
            self._wake_waiters()

    def record_accepted(self, *, started: float, latency_group: str | None) -> None:
        """Learn from an answer that was no refusal, before its slot is given back.

        `started` is when the request was sent (loop time). `latency_group` names the requests whose latencies compare
        with its own; None for one that compares with no other.
        """
        now = self._loop.time()
        self._concurrency.record_accepted(
            started=started, now=now, in_flight=self._in_flight, latency_group=latency_group
        )
        self._rate.record_accepted(now)

    def record_rate_limited(self, *, started: float, retry_after: float | None) -> None:
        """Learn from a refusal (429) of a request sent at `started`, before its slot is given back.

        `retry_after` is the server's wish in seconds, where it gave one.
        """
        now = self._loop.time()
        if self._rate.record_rate_limited(started=started, now=now, is_certain=bool(retry_after)):
            self._concurrency.record_overload(started=started, now=now)

    def record_timeout(self, *, started: float) -> None:
        """Learn from an answer that never came, before its slot is given back."""
        self._concurrency.record_overload(started=started, now=self._loop.time())

    def record_failure(self, outcome: Response | NoResponse, *, started: float) -> None:
        """Learn from an attempt without a 2xx response, sent at `started`, before its slot is released."""
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

    def pause(self, seconds: float) -> None:
        """Hand out no slot for that long."""
        now = self._loop.time()
        held_until = max(self._paused_until, now)
        if now + seconds > held_until:
            self._paused_until = now + seconds
            self._rate.skip_pause(self._paused_until - held_until)

    def pause_remaining(self) -> float:
        """Seconds for which no slot is handed out."""
        return max(0.0, self._paused_until - self._loop.time())

    @property
    def slot_seconds(self) -> float:
        """What a request costs however fast it is answered: its share of the rate, in seconds of one slot."""
        rate = self._rate.rate
        return 0.0 if rate is None else self._concurrency.current / rate

    def _acquire_if_free(self, *, is_write: bool) -> bool:
        limit = self._concurrency.current
        if self._in_flight + 1 > (limit if is_write else max(1.0, limit * _READ_SHARE)):
            return False
        now = self._loop.time()
        if now < self._paused_until or now < self._rate.ready_at:
            return False
        self._rate.consume(now)
        self._in_flight += 1
        return True

    def _wake_waiters(self) -> None:
        """Hand out what is free to those who queue; where time alone keeps them waiting, come back then."""
        while queue := self._write_queue or self._read_queue:
            if not queue[0].done():
                if not self._acquire_if_free(is_write=queue is self._write_queue):
                    self._set_timer()
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
