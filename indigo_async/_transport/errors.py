"""The exception for a failed request. Pure: no I/O."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, cast

from indigo_async._redaction import Secrets, sanitize_response_text
from indigo_async._transport.codec import decode_document, unwrap_record
from indigo_async._transport.error_bodies import find_page_title, is_web_page, read_error_body, read_error_document
from indigo_async._transport.response_details import add_details, describe_outcome
from indigo_async._transport.responses import Endpoint, FailureReason, NoResponse, Response
from indigo_async._transport.retry import TIMING_STATUSES, parse_retry_after
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
    TransportError,
)

__all__ = [
    "describe_unreadable",
    "find_embedded_error",
    "is_transient",
    "make_error",
    "parse_json_response",
    "rejects_token",
]

_API_PATH = "/api/v1"
_BASE_URL_HINT = f"check base_url: the API's own ends with {_API_PATH}"
_ALREADY_PURCHASED = "PurchasableEntityAlreadyPurchased"
_REFUSALS = frozenset(range(400, 500)) - {HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS}
_MAX_MESSAGE_LENGTH = 500
_MAX_ERROR_TYPE_LENGTH = 100


def make_error(
    endpoint: Endpoint, outcome: Response | NoResponse, *, secrets: Secrets = "", base_url: str = ""
) -> IndigoError:
    """Return the exception for a request whose last attempt ended with `outcome`.

    `secrets` are removed from it. `base_url` is the server's, which a 404 may question.
    """
    error = (
        _make_error_from_response(endpoint, outcome, secrets, base_url)
        if isinstance(outcome, Response)
        else _make_error_without_response(endpoint, outcome, secrets)
    )
    return add_details(error, describe_outcome(outcome, secrets))


def _make_error_without_response(endpoint: Endpoint, outcome: NoResponse, secrets: Secrets) -> IndigoError:
    message = sanitize_response_text(str(outcome), secrets)
    if outcome.reason.nothing_sent:
        message += "" if outcome.advice else "; check base_url and the network"
        is_misconfiguration = outcome.reason.is_misconfiguration
        return ConnectionFailedError(message, endpoint=endpoint.name, is_misconfiguration=is_misconfiguration)
    if outcome.reason is FailureReason.WEB_PAGE:
        message += f"; {_BASE_URL_HINT}. Otherwise it is probably the login page of a proxy or of this network"
    if not endpoint.idempotent:
        hint = "the server may or may not have processed the request, so check before sending it again"
        reported_success = outcome.reason is FailureReason.UNREADABLE
        return AmbiguousOutcomeError(f"{message}; {hint}", endpoint=endpoint.name, reported_success=reported_success)
    if outcome.reason in {FailureReason.UNREADABLE, FailureReason.WEB_PAGE}:
        return ResponseDecodeError(message, endpoint=endpoint.name)
    if outcome.reason is FailureReason.TIMEOUT:
        return RequestTimeoutError(message, endpoint=endpoint.name)
    return ConnectionFailedError(message, endpoint=endpoint.name)


def _make_error_from_response(endpoint: Endpoint, response: Response, secrets: Secrets, base_url: str) -> ApiError:
    content_type = response.headers.get("content-type", "")
    error = read_error_body(response.body, content_type)
    is_redirect = HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST
    if is_redirect and not (error.is_json and error.message):
        message = "the server redirects to another address, which never gets the token; check base_url"
    elif error.message is None:
        shown_type = content_type.partition(";")[0].strip() or "no content type"
        message = f"the server gave no message ({shown_type}, {len(response.body)} bytes)"
    else:
        message = error.message
    # The API explains its own 404s, so one without JSON is from another server or another path.
    is_misdirected = not (error.is_json and error.message) or (base_url and not base_url.endswith(_API_PATH))
    hint = _BASE_URL_HINT if response.status == HTTPStatus.NOT_FOUND and is_misdirected else None
    is_page = bool(response.body) and not error.is_json and is_web_page(response.body, content_type)
    return _make_api_error(
        response.status,
        message,
        error.error_type,
        endpoint,
        secrets=secrets,
        retry_after=parse_retry_after(response),
        hint=hint or _explain_intermediary(response.status, is_page=is_page),
        is_page=is_page,
    )


def _explain_intermediary(status: int, *, is_page: bool) -> str | None:
    """Explain a response that comes from a proxy, a firewall or the network instead of the API."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return "a proxy requires a user name and password; add them to its URL"
    if status == HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED:
        return "this network requires a login; open any web page in a browser first"
    if not is_page or status not in _REFUSALS:
        return None
    hint = "probably from a proxy or firewall, not from the API"
    return f"{hint}; if there is none, check the token" if status == HTTPStatus.UNAUTHORIZED else hint


def is_transient(error: IndigoError) -> bool:
    """Whether a GET that failed like this may succeed later."""
    if isinstance(error, ApiError) and error.status in TIMING_STATUSES:
        return True
    return isinstance(error, (TransportError, ResponseDecodeError, RateLimitedError, ServerError))


def rejects_token(error: BaseException | None) -> bool:
    """Whether the server rejected the token itself (401). A 403 may be about one customer."""
    return isinstance(error, AuthenticationError) and error.status == HTTPStatus.UNAUTHORIZED


def describe_unreadable(response: Response) -> NoResponse:
    """Explain a 2xx response whose body is not JSON."""
    content_type = response.headers.get("content-type", "no content type")
    detail = f"{content_type}, {len(response.body)} bytes"
    if not is_web_page(response.body, content_type):
        return NoResponse(FailureReason.UNREADABLE, detail, headers=response.headers)
    title = find_page_title(response.body)
    detail = f"{detail}, titled {title!r}" if title else detail
    return NoResponse(FailureReason.WEB_PAGE, detail, headers=response.headers)


def parse_json_response(body: bytes, endpoint: Endpoint, *, secrets: Secrets) -> Any:
    """Decode the JSON body of a 2xx response. A record is taken out of its envelope, such as `{"data": {...}}`.

    Raises:
        ResponseDecodeError: it is not JSON.
        ApiError: it holds an error, see `find_embedded_error`.
    """
    document = decode_document(body, endpoint.name)
    record = document if endpoint.record is None else unwrap_record(document, endpoint.record)
    is_enveloped = record is not document
    error = find_embedded_error(document, endpoint, secrets=secrets, holds_record=is_enveloped and record is not None)
    if error is None and is_enveloped:
        error = find_embedded_error(record, endpoint, secrets=secrets)
    if error is not None:
        raise error
    return record


def find_embedded_error(
    document: Any, endpoint: Endpoint, *, secrets: Secrets = "", holds_record: bool = False
) -> ApiError | None:
    """Return the API error inside a 2xx response: an object with `error`, or null instead of the requested record.

    After a POST, an `error` beside a record is an API error: the POST was not carried out. After a GET, it may describe
    the audience. `errors` count only if the response contains nothing else.
    """
    if document is None and endpoint.idempotent:
        message = "the server answered null: no such record for this customer"
        return NotFoundError(HTTPStatus.NOT_FOUND.value, message, None, endpoint.name)
    if type(document) is not dict:
        return None
    fields = cast("dict[str, Any]", document)
    holds_record = holds_record or "id" in fields
    if holds_record and (endpoint.idempotent or not fields.get("error")):
        return None
    names = ["error", "errorType"] if holds_record else list(fields)
    if not (fields.get("error") or (fields.get("errors") and not _holds_data(fields))):
        return None
    error = read_error_document({name: fields[name] for name in names if name in fields})
    if error.message is None:
        return None
    return _make_api_error(HTTPStatus.BAD_REQUEST.value, error.message, error.error_type, endpoint, secrets=secrets)


def _holds_data(fields: dict[str, Any]) -> bool:
    return any(value and isinstance(value, (dict, list)) for name, value in fields.items() if name != "errors")


def _make_api_error(
    status: int,
    message: str,
    error_type: object,
    endpoint: Endpoint,
    *,
    secrets: Secrets,
    retry_after: float | None = None,
    hint: str | None = None,
    is_page: bool = False,
) -> ApiError:
    """Choose the class by `errorType`, then by status. Texts are shortened and hold no secrets.

    A web page (`is_page`) says nothing about the token.
    """
    message = sanitize_response_text(message, secrets, max_length=_MAX_MESSAGE_LENGTH)
    if hint is not None:
        message = f"{message.rstrip('.')}; {hint}"
    error_type = (
        sanitize_response_text(error_type, secrets, max_length=_MAX_ERROR_TYPE_LENGTH)
        if isinstance(error_type, str) and error_type
        else None
    )
    if error_type == _ALREADY_PURCHASED:
        return AlreadyPurchasedError(status, message, error_type, endpoint.name)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitedError(status, message, error_type, endpoint.name, retry_after)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerError(status, message, error_type, endpoint.name)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} and not is_page:
        return AuthenticationError(status, message, error_type, endpoint.name)
    kind = NotFoundError if status == HTTPStatus.NOT_FOUND else ApiError
    return kind(status, message, error_type, endpoint.name)
