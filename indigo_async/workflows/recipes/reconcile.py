"""Finding out how a POST ended when its answer did not say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from indigo_async._transport.retry import RetryPolicy
from indigo_async._transport.transport import SendState
from indigo_async.errors import AmbiguousOutcomeError, IndigoError, RateLimitedError, ResponseDecodeError, ServerError

__all__ = ["UNKNOWN_OUTCOME", "retry_rate_limited", "send_and_verify"]

T = TypeVar("T")

UNKNOWN_OUTCOME = (AmbiguousOutcomeError, ServerError, ResponseDecodeError)


async def retry_rate_limited(
    send: Callable[[], Awaitable[T]], *, retry: RetryPolicy, send_state: SendState | None = None
) -> T:
    """Send until the answer is another than 429, each time after the wait that the server asks for.

    Raises:
        Whatever else `send` raises; RateLimitedError only under a `send_state` that says stop.
    """
    while True:
        try:
            return await send()
        except RateLimitedError as refusal:
            if send_state is not None and send_state.stop_requested:
                raise
            asked = refusal.retry_after
            await asyncio.sleep(retry.wait_max if asked is None else max(asked, retry.wait_initial))


async def send_and_verify(
    send: Callable[[], Awaitable[T]],
    find_outcome: Callable[[], Awaitable[T | None]],
    *,
    retry: RetryPolicy,
    send_state: SendState | None = None,
) -> T:
    """Send a POST until its outcome is certain: after each answer that leaves it open, look before sending again.

    `find_outcome` returns what the POST was to bring about, where the server has it. A `send_state` that says stop ends
    this after the look. A server that asks to wait (429), however long, is obeyed: the caller's deadline bounds that.

    Raises:
        The last uncertain error, after as many attempts as the policy allows, or from the error of a look that failed:
        that the outcome is unknown is what the caller must hear. Whatever else `send` raises.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await retry_rate_limited(send, retry=retry, send_state=send_state)
        except UNKNOWN_OUTCOME as error:
            if send_state is not None:
                send_state.outcome_unknown = True  # also after an answer of another shape, which is none
                send_state.unknown_outcomes += 1
            try:
                found = await retry_rate_limited(find_outcome, retry=retry, send_state=send_state)
            except IndigoError as unseen:
                raise error from unseen
            if found is not None:
                return found
            if send_state is not None:
                send_state.outcome_unknown = False
            if attempt >= retry.attempts or (send_state is not None and send_state.stop_requested):
                raise error from None
        await asyncio.sleep(retry.backoff(attempt, random.random()))  # noqa: S311 - jitter needs no secrecy
