"""Admits requests: each one waits for the end of an outage, and then for a slot of the pacer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import anyio
import attrs

from indigo_async._transport.outage import CircuitBreaker, may_wait_out_outages
from indigo_async._transport.pacing import Pacer
from indigo_async._transport.responses import Endpoint
from indigo_async.errors import ConnectionFailedError, RateLimitedError

__all__ = ["Admission"]


@attrs.frozen
class Admission:
    """`require_pacer` returns the pacer of the open client, and raises `ClientNotOpenError` if it isn't open."""

    breaker: CircuitBreaker
    require_pacer: Callable[[], Pacer]

    async def acquire_slot(
        self, pacer: Pacer, endpoint: Endpoint, *, request_timeout: float, max_pause: float
    ) -> tuple[Pacer, float]:
        """Wait for the end of an outage and for a slot. Also returns how much of `max_pause` the outage took.

        `request_timeout` is in seconds. The client may be closed and opened again during an outage, so the slot may be
        another pacer's.

        Raises:
            ConnectionFailedError: the outage lasts longer than `max_pause` seconds.
            RateLimitedError: the server's `Retry-After` pauses all requests for longer than that.
        """
        held = 0.0
        is_write = not endpoint.idempotent
        while True:
            is_probe = False
            if self.breaker.holds(request_timeout):
                is_probe, seconds = await self._hold(endpoint, max_pause - held)
                held += seconds
                pacer = self.require_pacer()
            if not pacer.try_acquire(is_write=is_write):
                await _wait_for_slot(pacer, endpoint, max_pause=max_pause - held)
            if is_probe or not self.breaker.holds(request_timeout):
                return pacer, held
            pacer.release(is_write=is_write)

    async def _hold(self, endpoint: Endpoint, seconds: float) -> tuple[bool, float]:
        """Wait until the outage is over, or until it is this request's turn to probe.

        Returns whether this request is the probe, and the seconds that count against `max_pause`: none if the caller
        waits out outages.
        """
        if may_wait_out_outages():
            return await self.breaker.hold(is_write=not endpoint.idempotent), 0.0
        clock = asyncio.get_running_loop().time
        held_from = clock()
        with anyio.move_on_after(max(seconds, 0.0)):
            is_probe = await self.breaker.hold(is_write=not endpoint.idempotent)
            return is_probe, clock() - held_from
        outage = self.breaker.outage
        message = (
            "nothing was sent"
            if outage is None
            else f"the server is not responding ({outage.reason}); nothing was sent"
        )
        raise ConnectionFailedError(message, endpoint=endpoint.name)


async def _wait_for_slot(pacer: Pacer, endpoint: Endpoint, *, max_pause: float) -> None:
    pause = pacer.pause_remaining()
    if pause > max(max_pause, 0.0):
        message = "the server asked all requests to wait longer than the retry budget"
        raise RateLimitedError(HTTPStatus.TOO_MANY_REQUESTS.value, message, None, endpoint.name, retry_after=pause)
    await pacer.acquire(is_write=not endpoint.idempotent)
