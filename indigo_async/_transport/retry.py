"""Whether and when a request is sent again. Pure: no I/O, no clock, no random numbers.

A GET is retried after any transient failure. A POST is retried only if the server certainly didn't process it: it
responded with 429, or no connection could be made. A 401 is retried twice if the token has worked before.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import attrs

from indigo_async._transport.responses import Endpoint, FailureReason, NoResponse, Response
from indigo_async._validation import InputCheck

__all__ = [
    "MAX_UNEXPECTED_401S",
    "TIMING_STATUSES",
    "RetryPolicy",
    "has_absurd_retry_after",
    "is_outcome_unknown",
    "is_retryable",
    "is_unauthorized",
    "parse_retry_after",
    "retry_delay",
]

# In seconds. Longer values are usually a wrong unit or an epoch time, which would stop the client for years.
_MAX_RETRY_AFTER = 3_600.0
TIMING_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})
MAX_UNEXPECTED_401S = 2


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and how long a request is tried.

    `attempts` includes the first one. `timeout` (seconds) limits the attempts and the waits between them, not the time
    in the client's own queue; the request fails at once when the next wait would exceed it. (The client's `timeout`
    limits a single attempt.) Waits double from `wait_initial` to `wait_max` (seconds), minus a random part of up to one
    half. A `Retry-After` of up to an hour is obeyed in full.

    Raises:
        InvalidInputError: there is no first attempt, or a time is negative or infinite; lists all problems.
    """

    attempts: int = 6
    timeout: float = 120.0
    wait_initial: float = 0.5
    wait_max: float = 20.0

    def __attrs_post_init__(self) -> None:
        check = InputCheck()
        object.__setattr__(self, "attempts", check.positive_integer("attempts", self.attempts))
        for name in ("timeout", "wait_initial", "wait_max"):
            object.__setattr__(self, name, check.seconds(name, getattr(self, name), may_be_zero=True))
        check.raise_if_invalid()

    def backoff(self, attempt: int, jitter: float) -> float:
        """Return the seconds to wait after failed attempt number `attempt` (from 1); `jitter` is in [0, 1)."""
        longest = min(self.wait_max, self.wait_initial * 2.0 ** min(attempt - 1, 32))
        return longest * (1 - jitter / 2)


def retry_delay(
    endpoint: Endpoint,
    outcome: Response | NoResponse,
    *,
    policy: RetryPolicy,
    attempt: int,
    elapsed: float,
    jitter: float,
    has_worked: bool = False,
) -> float | None:
    """Return the seconds until the request is sent again, or None to give up.

    `attempt` counts from 1, `elapsed` is the seconds of the policy's timeout used so far, `jitter` is in [0, 1).
    `has_worked` means that the server has accepted the token before.
    """
    is_unexpected_401 = has_worked and attempt <= MAX_UNEXPECTED_401S and is_unauthorized(outcome)
    if attempt >= policy.attempts or not (is_unexpected_401 or is_retryable(endpoint, outcome)):
        return None
    delay = policy.backoff(attempt, jitter)
    if isinstance(outcome, Response):
        delay = max(delay, parse_retry_after(outcome) or 0.0)
    return delay if elapsed + delay <= policy.timeout else None


def is_retryable(endpoint: Endpoint, outcome: Response | NoResponse) -> bool:
    """Whether the request may be sent again after this outcome, and a retry may help."""
    if isinstance(outcome, Response):
        if outcome.status == HTTPStatus.TOO_MANY_REQUESTS:
            return True
        is_transient = outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR or outcome.status in TIMING_STATUSES
        return endpoint.idempotent and is_transient
    if outcome.reason is FailureReason.UNKNOWN_HOST:
        return True  # some resolvers say so while the network is down
    if outcome.reason is FailureReason.TOO_LARGE or outcome.reason.is_misconfiguration:
        return False
    return endpoint.idempotent or outcome.reason is FailureReason.NOT_SENT


def is_unauthorized(outcome: Response | NoResponse) -> bool:
    """Whether the server rejected the token (401), so it didn't process the request."""
    return isinstance(outcome, Response) and outcome.status == 401  # noqa: PLR2004 - as in `Response.ok`


def is_outcome_unknown(outcome: Response | NoResponse) -> bool:
    """Return whether the server may or may not have processed a POST with this outcome."""
    if isinstance(outcome, Response):
        return outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR or outcome.status in TIMING_STATUSES
    return not outcome.reason.nothing_sent


def parse_retry_after(response: Response) -> float | None:
    """Return the `Retry-After` in seconds; None if it is missing, malformed or longer than an hour.

    A date is compared with the response's own `Date`, so a wrong local clock doesn't matter.
    """
    seconds = _requested_delay(response)
    return seconds if seconds is not None and seconds <= _MAX_RETRY_AFTER else None


def has_absurd_retry_after(response: Response) -> bool:
    """Return whether the response has a `Retry-After` that is ignored: malformed, or longer than an hour."""
    return "retry-after" in response.headers and parse_retry_after(response) is None


def _requested_delay(response: Response) -> float | None:
    value = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{0,20})?", value):
        return float(value)
    try:
        delay = parsedate_to_datetime(value) - parsedate_to_datetime(response.headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, delay.total_seconds())
