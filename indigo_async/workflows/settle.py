"""Finding out how a POST ended when its answer did not say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from indigo_async.errors import AmbiguousOutcomeError, IndigoError, ResponseDecodeError, ServerError
from indigo_async.transport.policy import RetryPolicy
from indigo_async.transport.session import Flight

__all__ = ["UNCERTAIN", "settled"]

T = TypeVar("T")

UNCERTAIN = (AmbiguousOutcomeError, ServerError, ResponseDecodeError)


async def settled(
    send: Callable[[], Awaitable[T]],
    look: Callable[[], Awaitable[T | None]],
    *,
    retry: RetryPolicy,
    flight: Flight | None = None,
) -> T:
    """Send a POST until its outcome is certain: after each answer that leaves it open, look before sending again.

    `look` returns what the POST was to bring about, where the server has it. A `flight` that says stop ends this after
    the look.

    Raises:
        The last uncertain error, after as many attempts as the policy allows, or from the error of a look that failed:
        that the outcome is unknown is what the caller must hear. Whatever else `send` raises.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await send()
        except UNCERTAIN as error:
            if flight is not None:
                flight.uncertain = True  # also after an answer of another shape, which is none
            try:
                found = await look()
            except IndigoError as unseen:
                raise error from unseen
            if found is not None:
                return found
            if flight is not None:
                flight.uncertain = False
            if attempt >= retry.attempts or (flight is not None and flight.stop):
                raise error from None
        await asyncio.sleep(retry.backoff(attempt, random.random()))  # noqa: S311 - jitter needs no secrecy
