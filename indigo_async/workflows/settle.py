"""Finding out how a POST ended when its answer did not say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from indigo_async.errors import AmbiguousOutcomeError, IndigoError, RateLimitedError, ResponseDecodeError, ServerError
from indigo_async.transport.policy import RetryPolicy
from indigo_async.transport.session import Flight

__all__ = ["UNCERTAIN", "patiently", "settled"]

T = TypeVar("T")

UNCERTAIN = (AmbiguousOutcomeError, ServerError, ResponseDecodeError)


async def patiently(send: Callable[[], Awaitable[T]], *, retry: RetryPolicy, flight: Flight | None = None) -> T:
    """Send until the answer is another than 429, each time after the wait that the server asks for.

    Raises:
        Whatever else `send` raises; RateLimitedError only under a `flight` that says stop.
    """
    while True:
        try:
            return await send()
        except RateLimitedError as refusal:
            if flight is not None and flight.stop:
                raise
            asked = refusal.retry_after
            await asyncio.sleep(retry.max_delay if asked is None else max(asked, retry.first_delay))


async def settled(
    send: Callable[[], Awaitable[T]],
    look: Callable[[], Awaitable[T | None]],
    *,
    retry: RetryPolicy,
    flight: Flight | None = None,
) -> T:
    """Send a POST until its outcome is certain: after each answer that leaves it open, look before sending again.

    `look` returns what the POST was to bring about, where the server has it. A `flight` that says stop ends this after
    the look. A server that asks to wait (429), however long, is obeyed: the caller's deadline bounds that.

    Raises:
        The last uncertain error, after as many attempts as the policy allows, or from the error of a look that failed:
        that the outcome is unknown is what the caller must hear. Whatever else `send` raises.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await patiently(send, retry=retry, flight=flight)
        except UNCERTAIN as error:
            if flight is not None:
                flight.uncertain = True  # also after an answer of another shape, which is none
                flight.doubts += 1
            try:
                found = await patiently(look, retry=retry, flight=flight)
            except IndigoError as unseen:
                raise error from unseen
            if found is not None:
                return found
            if flight is not None:
                flight.uncertain = False
            if attempt >= retry.attempts or (flight is not None and flight.stop):
                raise error from None
        await asyncio.sleep(retry.backoff(attempt, random.random()))  # noqa: S311 - jitter needs no secrecy
