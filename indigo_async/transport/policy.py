"""What an outcome means and what to do about it: pure decisions, no I/O, no clock, no randomness of their own.

An attempt ends with an `Answer` or with a `Silence`. `error_of` says which exception it is, `retry_delay` whether and
when the request is sent again. A GET is sent again after anything that may pass. A POST is sent again only when it
certainly was not carried out: it was refused with 429, or no connection was made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, cast

import attrs
import msgspec

from indigo_async.errors import (
    AlreadyPurchasedError,
    AmbiguousOutcomeError,
    ApiError,
    AuthenticationError,
    ConnectionFailedError,
    IndigoError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
)
from indigo_async.hidden import safe_text

__all__ = [
    "LONGEST_RETRY_AFTER",
    "Answer",
    "Endpoint",
    "Reason",
    "RetryPolicy",
    "Silence",
    "api_error",
    "error_of",
    "is_absurd_retry_after",
    "is_uncertain",
    "refusal_in",
    "retry_after_of",
    "retry_delay",
]

_TOO_MANY_REQUESTS = 429
_FIRST_SERVER_ERROR = 500
_NOT_FOUND = 404
_API_PATH = "/api/v1"
_CHECK_BASE_URL = f"check base_url: the API's own ends with {_API_PATH}"
_ALREADY_PURCHASED = "PurchasableEntityAlreadyPurchased"
_MESSAGE_LENGTH = 500
LONGEST_RETRY_AFTER = 3_600.0
"""Seconds. Servers that ask for more mostly send a wrong unit or an epoch time, which would silence us for years."""
_TYPE_LENGTH = 100


@attrs.frozen
class Endpoint:
    """One call of the API. Its text, such as `GET /audience`, names it in errors, events and counts."""

    method: str
    path: str
    text: str = attrs.field(
        default=attrs.Factory(lambda self: f"{self.method} {self.path}", takes_self=True), init=False
    )
    idempotent: bool = attrs.field(
        default=attrs.Factory(lambda self: self.method == "GET", takes_self=True), init=False
    )

    def __str__(self) -> str:
        return self.text


@attrs.frozen
class Answer:
    """A whole HTTP response. Its headers are looked up by their names in lower case."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own classes


class Reason(Enum):
    """Why there is no answer."""

    NOT_SENT = "no connection could be made"
    TIMEOUT = "no answer within the timeout"
    BROKEN = "the connection broke"
    UNTRUSTED = "the server's certificate was not accepted"
    UNREADABLE = "the answer is no JSON"
    TOO_LARGE = "the answer is larger than allowed"


@attrs.frozen
class Silence:
    """No whole response came. `detail` is for people and holds no secret."""

    reason: Reason
    detail: str


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and how long one request is tried.

    `attempts` counts the first one. `budget` (seconds) bounds the attempts and the waits between them, without the
    time that requests queue here: a wait that would go past it is not begun, the call fails at once. Delays double from
    `first_delay` up to `max_delay` (seconds), each cut by a random part of up to a half. A `Retry-After` is obeyed in
    full.
    """

    attempts: int = attrs.field(default=6, validator=attrs.validators.ge(1))
    budget: float = attrs.field(default=120.0, validator=attrs.validators.ge(0))
    first_delay: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))
    max_delay: float = attrs.field(default=20.0, validator=attrs.validators.ge(0))

    def backoff(self, attempt: int, chance: float) -> float:
        """Seconds to wait after the failed attempt of that number (from 1); `chance` is in [0, 1)."""
        full = min(self.max_delay, self.first_delay * 2 ** min(attempt - 1, 32))
        return full * (1 - chance / 2)


def retry_delay(
    endpoint: Endpoint,
    outcome: Answer | Silence,
    *,
    policy: RetryPolicy,
    attempt: int,
    elapsed: float,
    chance: float,
) -> float | None:
    """Seconds until the request is sent again; None when it is not.

    `attempt` counts from 1; `elapsed` is the seconds spent of the budget so far; `chance` is random in [0, 1).
    """
    if attempt >= policy.attempts or not _may_send_again(endpoint, outcome):
        return None
    delay = policy.backoff(attempt, chance)
    if isinstance(outcome, Answer):
        delay = max(delay, retry_after_of(outcome) or 0.0)
    return delay if elapsed + delay <= policy.budget else None


def _may_send_again(endpoint: Endpoint, outcome: Answer | Silence) -> bool:
    if isinstance(outcome, Answer):
        refused = outcome.status == _TOO_MANY_REQUESTS
        return refused or (endpoint.idempotent and outcome.status >= _FIRST_SERVER_ERROR)
    if outcome.reason in {Reason.TOO_LARGE, Reason.UNTRUSTED}:
        return False
    return endpoint.idempotent or outcome.reason is Reason.NOT_SENT


def is_uncertain(outcome: Answer | Silence) -> bool:
    """Whether a POST that ended so may have been carried out or not."""
    if isinstance(outcome, Answer):
        return outcome.status >= _FIRST_SERVER_ERROR
    return outcome.reason not in {Reason.NOT_SENT, Reason.UNTRUSTED}


def retry_after_of(answer: Answer) -> float | None:
    """The seconds that the server asks to wait, from a `Retry-After` in seconds or as a date; None if over an hour.

    A date is compared with the answer's own `Date`, so that a wrong clock here changes nothing.
    """
    seconds = _requested_wait(answer)
    return seconds if seconds is not None and seconds <= LONGEST_RETRY_AFTER else None


def is_absurd_retry_after(answer: Answer) -> bool:
    """Whether a response asks for a wait that is not obeyed: longer than an hour, or no time at all."""
    return "retry-after" in answer.headers and retry_after_of(answer) is None


def _requested_wait(answer: Answer) -> float | None:
    value = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{0,20})?", value):
        return float(value)
    try:
        seconds = parsedate_to_datetime(value) - parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds.total_seconds())


def error_of(endpoint: Endpoint, outcome: Answer | Silence, *, token: str = "", base_url: str = "") -> IndigoError:
    """The exception that tells the caller how the last attempt ended, without the `token` in it.

    `base_url` is where the request went, which is told where it may be wrong.
    """
    if isinstance(outcome, Answer):
        return _error_of_answer(endpoint, outcome, token, base_url)
    message = f"{outcome.reason.value} ({safe_text(outcome.detail, token)})"
    if outcome.reason in {Reason.NOT_SENT, Reason.UNTRUSTED}:
        return ConnectionFailedError(f"{message}; check base_url and the network", endpoint=endpoint.text)
    if outcome.reason is Reason.UNREADABLE and "html" in outcome.detail:
        message += f"; {_CHECK_BASE_URL}"
    if not endpoint.idempotent:
        hint = "it may or may not have been carried out, so look at the server before sending it again"
        return AmbiguousOutcomeError(f"{message}; {hint}", endpoint=endpoint.text)
    if outcome.reason is Reason.UNREADABLE:
        return ResponseDecodeError(message, endpoint=endpoint.text)
    if outcome.reason is Reason.TIMEOUT:
        return RequestTimeoutError(message, endpoint=endpoint.text)
    return ConnectionFailedError(message, endpoint=endpoint.text)


def _error_of_answer(endpoint: Endpoint, answer: Answer, token: str, base_url: str) -> ApiError:
    try:
        document: Any = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    fields = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    message = fields.get("error")
    if not isinstance(message, str) or not message:
        message = _plain_message(answer)
    elif answer.status == _NOT_FOUND and base_url and not base_url.endswith(_API_PATH):
        message = f"{message.rstrip('.')}; {_CHECK_BASE_URL}"
    return api_error(
        answer.status,
        message,
        fields.get("errorType"),
        endpoint.text,
        token=token,
        retry_after=retry_after_of(answer),
    )


def refusal_in(document: dict[str, Any] | None, endpoint: Endpoint, *, token: str = "") -> ApiError | None:
    """Return the error that a good status hides: an `error` in the object, or null where a record was requested.

    After a POST, an `error` beside a record's ID counts, too: the request was not carried out as asked. In a record
    that was only read, it may say why that audience failed.
    """
    if document is None and endpoint.idempotent:
        return NotFoundError(404, "the server answered null: no such record for this customer", None, endpoint.text)
    message = document.get("error") if type(document) is dict else None
    if document is None or not isinstance(message, str) or (endpoint.idempotent and "id" in document):
        return None
    if "id" in document and not message.strip():
        return None
    return api_error(400, message, document.get("errorType"), endpoint.text, token=token)


def _plain_message(answer: Answer) -> str:
    """Words for an answer that has none of the API's own: a proxy's page, an empty body, a redirect."""
    if 300 <= answer.status < 400:  # noqa: PLR2004 - HTTP's own classes
        return "the server redirects elsewhere, where the token is not sent; check base_url"
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    no_message = f"the server gave no message ({kind or 'no content type'}, {len(answer.body)} bytes)"
    # The API tells why it finds nothing; another server, or another place of this one, does not.
    return f"{no_message}; {_CHECK_BASE_URL}" if answer.status == _NOT_FOUND else no_message


def api_error(
    status: int,
    message: str,
    error_type: object,
    endpoint: str,
    *,
    token: str = "",
    retry_after: float | None = None,
) -> ApiError:
    """The exception for a refusal: by its `errorType` first, then by its status. It is short and holds no secret."""
    message = safe_text(message, token, longest=_MESSAGE_LENGTH)
    error_type = (
        safe_text(error_type, token, longest=_TYPE_LENGTH) if isinstance(error_type, str) and error_type else None
    )
    if error_type == _ALREADY_PURCHASED:
        return AlreadyPurchasedError(status, message, error_type, endpoint)
    if status == _TOO_MANY_REQUESTS:
        return RateLimitedError(status, message, error_type, endpoint, retry_after)
    if status >= _FIRST_SERVER_ERROR:
        return ServerError(status, message, error_type, endpoint)
    by_status = {401: AuthenticationError, 403: AuthenticationError, 404: NotFoundError}
    return by_status.get(status, ApiError)(status, message, error_type, endpoint)
