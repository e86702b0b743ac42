"""Retries, and POSTs whose response does not say whether they were carried out."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from indigo_async._transport.retry import TIMING_STATUSES, RetryPolicy
from indigo_async.errors import (
    AmbiguousOutcomeError,
    ApiError,
    IndigoError,
    RateLimitedError,
    ResponseDecodeError,
    ServerError,
)

__all__ = [
    "is_final_refusal",
    "reports_success",
    "retry_delays",
    "retry_rate_limited",
    "says_already_done",
    "says_name_taken",
    "send_and_verify",
]

T = TypeVar("T")

_UNCERTAIN_STATUSES = TIMING_STATUSES | {409, 429}
_NAME_TAKEN = re.compile(r"(?i)already|taken|in use|unique|duplicate|conflict")


def retry_delays(retry: RetryPolicy) -> Iterator[float]:
    """Yield the seconds to wait after each failed attempt. Ends when no attempt is left."""
    for attempt in range(1, retry.attempts):
        yield retry.backoff(attempt, random.random())  # noqa: S311 - jitter needs no secrecy


async def retry_rate_limited(send: Callable[[], Awaitable[T]], *, retry: RetryPolicy) -> T:
    """Send until the response isn't 429, each time after the wait that the server asks for, however long.

    The caller's deadline bounds the waits.

    Raises:
        Exception: whatever else `send` raises.
    """
    while True:
        try:
            return await send()
        except RateLimitedError as error:
            delay = retry.wait_max if error.retry_after is None else max(error.retry_after, retry.wait_initial)
        await asyncio.sleep(delay)


async def send_and_verify(
    send: Callable[[], Awaitable[T]],
    find_outcome: Callable[[], Awaitable[T | None]] | None,
    *,
    retry: RetryPolicy,
    on_unknown_outcome: Callable[[], object] | None = None,
) -> T:
    """Send a POST until its outcome is certain.

    If the outcome is unknown, `find_outcome` reads the server: it returns what the POST was meant to create, or None if
    that doesn't exist. Then the POST is sent again, unless the server reported success: then only the read is repeated.
    `find_outcome` is None if no read can show the outcome. `on_unknown_outcome` is called after each response that
    leaves the outcome unknown.

    Raises:
        AmbiguousOutcomeError, ServerError, ResponseDecodeError, ApiError (408, 425): the outcome is still unknown after
            the last attempt, or `find_outcome` failed.
        Exception: whatever else `send` raises.
    """
    delays = retry_delays(retry)
    while True:
        try:
            return await retry_rate_limited(send, retry=retry)
        except IndigoError as error:
            if not _leaves_outcome_unknown(error):
                raise
            if on_unknown_outcome is not None:
                on_unknown_outcome()
            while True:
                found = None if find_outcome is None else await _read_outcome(find_outcome, error, retry)
                if found is not None:
                    return found
                delay = next(delays, None)
                if delay is None or (find_outcome is None and reports_success(error)):
                    raise error from None
                await asyncio.sleep(delay)
                if not reports_success(error):
                    break


async def _read_outcome(
    find_outcome: Callable[[], Awaitable[T | None]], error: IndigoError, retry: RetryPolicy
) -> T | None:
    try:
        return await retry_rate_limited(find_outcome, retry=retry)
    except IndigoError as read_error:
        raise error from read_error
    finally:
        del error  # break the exception-frame reference cycle


def reports_success(error: IndigoError) -> bool:
    """Whether a POST got a 2xx response that could not be understood. Sent again, it would get the same one."""
    return isinstance(error, ResponseDecodeError) or (
        isinstance(error, AmbiguousOutcomeError) and error.reported_success
    )


def _leaves_outcome_unknown(error: IndigoError) -> bool:
    """Whether a POST that ended with this error may or may not have been carried out."""
    if isinstance(error, ApiError) and error.status in TIMING_STATUSES:
        return True
    return isinstance(error, (AmbiguousOutcomeError, ServerError, ResponseDecodeError))


def is_final_refusal(error: ApiError) -> bool:
    """Whether the server refused a request for good: a 4xx that isn't about time, load or another request."""
    return 400 <= error.status < 500 and error.status not in _UNCERTAIN_STATUSES  # noqa: PLR2004 - HTTP's own classes


def says_already_done(error: ApiError) -> bool:
    """Whether the server's message says that the request was carried out before."""
    return "already" in f"{error.error_type} {error.message}".casefold()


def says_name_taken(error: ApiError) -> bool:
    """Whether the server's message says that an audience with the requested name exists."""
    return _NAME_TAKEN.search(f"{error.error_type} {error.message}") is not None
