"""How many requests are under way at once: one limit for a client, shared by everything that it does.

Actions go before looks: a POST never queues behind GETs. A `Retry-After` holds everybody back, not only the one who
met it.
"""

from __future__ import annotations

import asyncio
from collections import deque

import attrs

__all__ = ["Pacer", "Pacing"]


@attrs.frozen(kw_only=True)
class Pacing:
    """`max_concurrency` requests at most are under way at once."""

    max_concurrency: int = attrs.field(default=64, validator=attrs.validators.ge(1))


class Pacer:
    """Hands out slots. Take one before the session is called, so that no timeout runs while queueing."""

    def __init__(self, pacing: Pacing) -> None:
        self._free = pacing.max_concurrency
        self._held_until = 0.0
        self._actions: deque[asyncio.Future[None]] = deque()
        self._looks: deque[asyncio.Future[None]] = deque()

    def try_take(self) -> bool:
        """Take a slot if that needs no waiting."""
        if self._free == 0 or self._held_until:
            return False
        self._free -= 1
        return True

    async def take(self, *, action: bool) -> None:
        """Wait for a slot and take it."""
        turn = asyncio.get_running_loop().create_future()
        queue = self._actions if action else self._looks
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        self._free += 1
        self._wake()

    def held_for(self) -> float:
        """Seconds for which no slot is handed out."""
        return max(0.0, self._held_until - asyncio.get_running_loop().time()) if self._held_until else 0.0

    def hold(self, seconds: float) -> None:
        """Hand out no slot for that long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if until > self._held_until:
            self._held_until = until
            loop.call_at(until, self._resume)

    def _resume(self) -> None:
        if asyncio.get_running_loop().time() >= self._held_until:
            self._held_until = 0.0
            self._wake()

    def _wake(self) -> None:
        while self._free and not self._held_until:
            queue = self._actions or self._looks
            if not queue:
                return
            turn = queue.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
