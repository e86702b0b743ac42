"""The exception for a failed request. Pure: no I/O."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, cast

import msgspec

from indigo_async._redaction import sanitize_text
from indigo_async._transport.codec import decode_document
from indigo_async._transport.responses import Endpoint, FailureReason, NoResponse, Response
from indigo_async._transport.retry import parse_retry_after
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

__all__ = ["find_embedded_error", "make_error", "parse_json_response"]

_API_PATH = "/api/v1"
_BASE_URL_HINT = f"check base_url: the API's own ends with {_API_PATH}"
_ALREADY_PURCHASED = "PurchasableEntityAlreadyPurchased"
_MAX_MESSAGE_LENGTH = 500
_MAX_ERROR_TYPE_LENGTH = 100


def make_error(
    endpoint: Endpoint, outcome: Response | NoResponse, *, token: str = "", base_url: str = ""
) -> IndigoError:
    """Return the exception for a request whose last attempt ended with `outcome`.

    `token` is removed from its message. `base_url` is the server's, which a 404 may question.
    """
    if isinstance(outcome, Response):
        return _make_error_from_response(endpoint, outcome, token, base_url)
    message = f"{outcome.reason.value} ({sanitize_text(outcome.detail, token)})"
    if outcome.advice:
        message += f"; {outcome.advice}"
    if outcome.reason.nothing_sent:
        is_misconfiguration = outcome.reason.is_misconfiguration
        return ConnectionFailedError(message, endpoint=endpoint.name, is_misconfiguration=is_misconfiguration)
    if outcome.reason is FailureReason.UNREADABLE and "html" in outcome.detail:
        message += f"; {_BASE_URL_HINT}"
    if not endpoint.idempotent:
        hint = "the server may or may not have processed the request, so check before sending it again"
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
    elif response.status == HTTPStatus.NOT_FOUND and base_url and not base_url.endswith(_API_PATH):
        message = f"{message.rstrip('.')}; {_BASE_URL_HINT}"
    return _make_api_error(
        response.status,
        message,
        fields.get("errorType"),
        endpoint,
        token=token,
        retry_after=parse_retry_after(response),
    )


def _fallback_message(response: Response) -> str:
    """Describe a response without an API error: a proxy's page, an empty body, a redirect."""
    if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
        return "the server redirects elsewhere, where the token is not sent; check base_url"
    content_type = response.headers.get("content-type", "").partition(";")[0].strip() or "no content type"
    message = f"the server gave no message ({content_type}, {len(response.body)} bytes)"
    # The API explains its own 404s, so this one is from another server or another path.
    return f"{message}; {_BASE_URL_HINT}" if response.status == HTTPStatus.NOT_FOUND else message


def parse_json_response(body: bytes, endpoint: Endpoint, *, token: str) -> Any:
    """Decode the JSON body of a 2xx response.

    Raises:
        ResponseDecodeError: it is not JSON.
        ApiError: it holds an error, see `find_embedded_error`.
    """
    document = decode_document(body, endpoint.name)
    error = find_embedded_error(document, endpoint, token=token)
    if error is not None:
        raise error
    return document


def find_embedded_error(document: Any, endpoint: Endpoint, *, token: str = "") -> ApiError | None:
    """Return the API error inside a 2xx response: an object with `error`, or null instead of the requested record.

    An `error` beside a record's ID is an API error only after a POST, which was then not carried out. In a record that
    was read, it may describe the audience.
    """
    if document is None and endpoint.idempotent:
        message = "the server answered null: no such record for this customer"
        return NotFoundError(HTTPStatus.NOT_FOUND.value, message, None, endpoint.name)
    if type(document) is not dict:
        return None
    fields = cast("dict[str, Any]", document)
    message = fields.get("error")
    if not isinstance(message, str) or ("id" in fields and (endpoint.idempotent or not message.strip())):
        return None
    return _make_api_error(HTTPStatus.BAD_REQUEST.value, message, fields.get("errorType"), endpoint, token=token)


def _make_api_error(
    status: int, message: str, error_type: object, endpoint: Endpoint, *, token: str, retry_after: float | None = None
) -> ApiError:
    """Choose the class by `errorType`, then by status. Texts are shortened and hold no secrets."""
    message = sanitize_text(message, token, max_length=_MAX_MESSAGE_LENGTH)
    error_type = (
        sanitize_text(error_type, token, max_length=_MAX_ERROR_TYPE_LENGTH)
        if isinstance(error_type, str) and error_type
        else None
    )
    if error_type == _ALREADY_PURCHASED:
        return AlreadyPurchasedError(status, message, error_type, endpoint.name)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitedError(status, message, error_type, endpoint.name, retry_after)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerError(status, message, error_type, endpoint.name)
    by_status = {401: AuthenticationError, 403: AuthenticationError, 404: NotFoundError}
    return by_status.get(status, ApiError)(status, message, error_type, endpoint.name)
