"""When a request may leave: one limit for a client, shared by everything that it does.

Actions go before looks: a POST never queues behind GETs, and some slots are never given to GETs. A `Retry-After` holds
everybody back, not only the one who met it.
"""

from __future__ import annotations

import asyncio
from collections import deque

import attrs

from indigo_async.transport.limits import ConcurrencyLimit, RateLimit

__all__ = ["Pacer", "Pacing"]

_SHARE_OF_LOOKS = 7 / 8


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
        self._under_way = 0
        self._held_until = float("-inf")
        self._alarm: asyncio.TimerHandle | None = None
        self._actions: deque[asyncio.Future[None]] = deque()
        self._looks: deque[asyncio.Future[None]] = deque()

    def try_take(self, *, action: bool) -> bool:
        """Take a slot if that needs no waiting."""
        if self._actions or (self._looks and not action):
            return False
        return self._take_if_free(action=action)

    async def take(self, *, action: bool) -> None:
        """Wait for a slot and take it."""
        turn = self._loop.create_future()
        queue = self._actions if action else self._looks
        queue.append(turn)
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """End a request, whatever became of it."""
        self._under_way -= 1
        if self._actions or self._looks:
            self._serve()

    def answered(self, *, started: float, like: str | None) -> None:
        """Learn from an answer that was no refusal, before its slot is given back.

        `started` is when the request was sent (loop time). `like` names the requests whose latencies compare with
        its own; None for one that compares with no other.
        """
        now = self._loop.time()
        self._concurrency.answered(started=started, now=now, under_way=self._under_way, like=like)
        self._rate.answered(now)

    def refused(self, *, started: float, retry_after: float | None) -> None:
        """Learn from a refusal (429) of a request sent at `started`, before its slot is given back.

        `retry_after` is the server's wish in seconds, where it gave one.
        """
        now = self._loop.time()
        if self._rate.refused(started=started, now=now, is_certain=bool(retry_after)):
            self._concurrency.refused(started=started, now=now)

    def timed_out(self, *, started: float) -> None:
        """Learn from an answer that never came, before its slot is given back."""
        self._concurrency.refused(started=started, now=self._loop.time())

    def hold(self, seconds: float) -> None:
        """Hand out no slot for that long."""
        now = self._loop.time()
        held_until = max(self._held_until, now)
        if now + seconds > held_until:
            self._held_until = now + seconds
            self._rate.held(self._held_until - held_until)

    def held_for(self) -> float:
        """Seconds for which no slot is handed out."""
        return max(0.0, self._held_until - self._loop.time())

    @property
    def slot_seconds(self) -> float:
        """What a request costs however fast it is answered: its share of the rate, in seconds of one slot."""
        rate = self._rate.rate
        return 0.0 if rate is None else self._concurrency.current / rate

    def _take_if_free(self, *, action: bool) -> bool:
        limit = self._concurrency.current
        if self._under_way + 1 > (limit if action else max(1.0, limit * _SHARE_OF_LOOKS)):
            return False
        now = self._loop.time()
        if now < self._held_until or now < self._rate.ready_at:
            return False
        self._rate.spend(now)
        self._under_way += 1
        return True

    def _serve(self) -> None:
        """Hand out what is free to those who queue; where time alone keeps them waiting, come back then."""
        while queue := self._actions or self._looks:
            if not queue[0].done():
                if not self._take_if_free(action=queue is self._actions):
                    self._set_alarm()
                    return
                queue[0].set_result(None)
            queue.popleft()

    def _set_alarm(self) -> None:
        due = max(self._held_until, self._rate.ready_at)
        if due <= self._loop.time() or (self._alarm is not None and self._alarm.when() <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._serve()
