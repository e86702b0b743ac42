"""What an outcome means and what to do about it: pure decisions, no I/O, no clock, no randomness of their own.

An attempt ends with an `Response` or with a `NoResponse`. `make_error` says which exception it is, `retry_delay`
whether and when the request is sent again. A GET is sent again after anything that may pass. A POST is sent again only
when it certainly was not carried out: it was refused with 429, or no connection was made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, cast

import attrs
import msgspec

from indigo_async._redaction import sanitize_text
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

__all__ = [
    "MAX_RETRY_AFTER",
    "Endpoint",
    "FailureReason",
    "NoResponse",
    "Response",
    "RetryPolicy",
    "find_embedded_error",
    "has_absurd_retry_after",
    "is_outcome_unknown",
    "make_api_error",
    "make_error",
    "parse_retry_after",
    "retry_delay",
]

_TOO_MANY_REQUESTS = 429
_FIRST_SERVER_ERROR = 500
_NOT_FOUND = 404
_API_PATH = "/api/v1"
_BASE_URL_HINT = f"check base_url: the API's own ends with {_API_PATH}"
_ALREADY_PURCHASED = "PurchasableEntityAlreadyPurchased"
_MAX_MESSAGE_LENGTH = 500
MAX_RETRY_AFTER = 3_600.0
"""Seconds. Servers that ask for more mostly send a wrong unit or an epoch time, which would silence us for years."""
_MAX_ERROR_TYPE_LENGTH = 100


@attrs.frozen
class Endpoint:
    """One call of the API. Its text, such as `GET /audience`, names it in errors, events and counts."""

    method: str
    path: str
    name: str = attrs.field(
        default=attrs.Factory(lambda self: f"{self.method} {self.path}", takes_self=True), init=False
    )
    idempotent: bool = attrs.field(
        default=attrs.Factory(lambda self: self.method == "GET", takes_self=True), init=False
    )

    def __str__(self) -> str:
        return self.name


@attrs.frozen
class Response:
    """A whole HTTP response. Its headers are looked up by their names in lower case."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own classes


class FailureReason(Enum):
    """Why there is no answer."""

    NOT_SENT = "no connection could be made"
    TIMEOUT = "no answer within the timeout"
    BROKEN = "the connection broke"
    UNTRUSTED = "the server's certificate was not accepted"
    UNREADABLE = "the answer is no JSON"
    TOO_LARGE = "the answer is larger than allowed"


@attrs.frozen
class NoResponse:
    """No whole response came. `detail` is for people and holds no secret."""

    reason: FailureReason
    detail: str


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and how long one request is tried.

    `attempts` counts the first one. `timeout` (seconds) bounds the attempts and the waits between them, without the
    time that requests queue here: a wait that would go past it is not begun, the call fails at once. Delays double from
    `wait_initial` up to `wait_max` (seconds), each cut by a random part of up to a half. A `Retry-After` is obeyed in
    full.
    """

    attempts: int = attrs.field(default=6, validator=attrs.validators.ge(1))
    timeout: float = attrs.field(default=120.0, validator=attrs.validators.ge(0))
    wait_initial: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))
    wait_max: float = attrs.field(default=20.0, validator=attrs.validators.ge(0))

    def backoff(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after the failed attempt of that number (from 1); `jitter` is in [0, 1)."""
        full = min(self.wait_max, self.wait_initial * 2 ** min(attempt - 1, 32))
        return full * (1 - jitter / 2)


def retry_delay(
    endpoint: Endpoint,
    outcome: Response | NoResponse,
    *,
    policy: RetryPolicy,
    attempt: int,
    elapsed: float,
    jitter: float,
) -> float | None:
    """Seconds until the request is sent again; None when it is not.

    `attempt` counts from 1; `elapsed` is the seconds spent of the budget so far; `jitter` is random in [0, 1).
    """
    if attempt >= policy.attempts or not _is_retryable(endpoint, outcome):
        return None
    delay = policy.backoff(attempt, jitter)
    if isinstance(outcome, Response):
        delay = max(delay, parse_retry_after(outcome) or 0.0)
    return delay if elapsed + delay <= policy.timeout else None


def _is_retryable(endpoint: Endpoint, outcome: Response | NoResponse) -> bool:
    if isinstance(outcome, Response):
        refused = outcome.status == _TOO_MANY_REQUESTS
        return refused or (endpoint.idempotent and outcome.status >= _FIRST_SERVER_ERROR)
    if outcome.reason in {FailureReason.TOO_LARGE, FailureReason.UNTRUSTED}:
        return False
    return endpoint.idempotent or outcome.reason is FailureReason.NOT_SENT


def is_outcome_unknown(outcome: Response | NoResponse) -> bool:
    """Whether a POST that ended so may have been carried out or not."""
    if isinstance(outcome, Response):
        return outcome.status >= _FIRST_SERVER_ERROR
    return outcome.reason not in {FailureReason.NOT_SENT, FailureReason.UNTRUSTED}


def parse_retry_after(response: Response) -> float | None:
    """The seconds that the server asks to wait, from a `Retry-After` in seconds or as a date; None if over an hour.

    A date is compared with the answer's own `Date`, so that a wrong clock here changes nothing.
    """
    seconds = _requested_delay(response)
    return seconds if seconds is not None and seconds <= MAX_RETRY_AFTER else None


def has_absurd_retry_after(response: Response) -> bool:
    """Whether a response asks for a wait that is not obeyed: longer than an hour, or no time at all."""
    return "retry-after" in response.headers and parse_retry_after(response) is None


def _requested_delay(response: Response) -> float | None:
    value = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{0,20})?", value):
        return float(value)
    try:
        seconds = parsedate_to_datetime(value) - parsedate_to_datetime(response.headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds.total_seconds())


def make_error(
    endpoint: Endpoint, outcome: Response | NoResponse, *, token: str = "", base_url: str = ""
) -> IndigoError:
    """The exception that tells the caller how the last attempt ended, without the `token` in it.

    `base_url` is where the request went, which is told where it may be wrong.
    """
    if isinstance(outcome, Response):
        return _make_error_from_response(endpoint, outcome, token, base_url)
    message = f"{outcome.reason.value} ({sanitize_text(outcome.detail, token)})"
    if outcome.reason in {FailureReason.NOT_SENT, FailureReason.UNTRUSTED}:
        return ConnectionFailedError(f"{message}; check base_url and the network", endpoint=endpoint.name)
    if outcome.reason is FailureReason.UNREADABLE and "html" in outcome.detail:
        message += f"; {_BASE_URL_HINT}"
    if not endpoint.idempotent:
        hint = "it may or may not have been carried out, so look at the server before sending it again"
        return AmbiguousOutcomeError(f"{message}; {hint}", endpoint=endpoint.name)
    if outcome.reason is FailureReason.UNREADABLE:
        return ResponseDecodeError(message, endpoint=endpoint.name)
    if outcome.reason is FailureReason.TIMEOUT:
        return RequestTimeoutError(message, endpoint=endpoint.name)
    return ConnectionFailedError(message, endpoint=endpoint.name)


def _make_error_from_response(endpoint: Endpoint, response: Response, token: str, base_url: str) -> ApiError:
    try:
        document: Any = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    fields = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    message = fields.get("error")
    if not isinstance(message, str) or not message:
        message = _fallback_message(response)
    elif response.status == _NOT_FOUND and base_url and not base_url.endswith(_API_PATH):
        message = f"{message.rstrip('.')}; {_BASE_URL_HINT}"
    return make_api_error(
        response.status,
        message,
        fields.get("errorType"),
        endpoint.name,
        token=token,
        retry_after=parse_retry_after(response),
    )


def find_embedded_error(document: dict[str, Any] | None, endpoint: Endpoint, *, token: str = "") -> ApiError | None:
    """Return the error that a good status hides: an `error` in the object, or null where a record was requested.

    After a POST, an `error` beside a record's ID counts, too: the request was not carried out as asked. In a record
    that was only read, it may say why that audience failed.
    """
    if document is None and endpoint.idempotent:
        return NotFoundError(404, "the server answered null: no such record for this customer", None, endpoint.name)
    message = document.get("error") if type(document) is dict else None
    if document is None or not isinstance(message, str) or (endpoint.idempotent and "id" in document):
        return None
    if "id" in document and not message.strip():
        return None
    return make_api_error(400, message, document.get("errorType"), endpoint.name, token=token)


def _fallback_message(response: Response) -> str:
    """Words for an answer that has none of the API's own: a proxy's page, an empty body, a redirect."""
    if 300 <= response.status < 400:  # noqa: PLR2004 - HTTP's own classes
        return "the server redirects elsewhere, where the token is not sent; check base_url"
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    no_message = f"the server gave no message ({kind or 'no content type'}, {len(response.body)} bytes)"
    # The API tells why it finds nothing; another server, or another place of this one, does not.
    return f"{no_message}; {_BASE_URL_HINT}" if response.status == _NOT_FOUND else no_message


def make_api_error(
    status: int,
    message: str,
    error_type: object,
    endpoint: str,
    *,
    token: str = "",
    retry_after: float | None = None,
) -> ApiError:
    """The exception for a refusal: by its `errorType` first, then by its status. It is short and holds no secret."""
    message = sanitize_text(message, token, max_length=_MAX_MESSAGE_LENGTH)
    error_type = (
        sanitize_text(error_type, token, max_length=_MAX_ERROR_TYPE_LENGTH)
        if isinstance(error_type, str) and error_type
        else None
    )
    if error_type == _ALREADY_PURCHASED:
        return AlreadyPurchasedError(status, message, error_type, endpoint)
    if status == _TOO_MANY_REQUESTS:
        return RateLimitedError(status, message, error_type, endpoint, retry_after)
    if status >= _FIRST_SERVER_ERROR:
        return ServerError(status, message, error_type, endpoint)
    by_status = {401: AuthenticationError, 403: AuthenticationError, 404: NotFoundError}
    return by_status.get(status, ApiError)(status, message, error_type, endpoint)
