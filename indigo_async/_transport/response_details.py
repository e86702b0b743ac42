"""What errors and events show of a response: its request ID, headers and body, without secrets or data about people.

An error's body may echo the request, with a signed URL or people's data. So a JSON body keeps only its keys and the
messages of an error, and any other value is replaced by its type. Of bodies that aren't JSON, only messages remain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import attrs
from multidict import CIMultiDict

from indigo_async._redaction import Secrets, sanitize_response_text
from indigo_async._transport.error_bodies import (
    NOT_JSON,
    decode_json,
    find_page_title,
    is_error_text,
    is_message_key,
    is_web_page,
    read_text,
)
from indigo_async._transport.responses import NoResponse, Response
from indigo_async.errors import ApiError, IndigoError

__all__ = [
    "RedactedHeaders",
    "ResponseDetails",
    "add_details",
    "add_latest_details",
    "describe_for_event",
    "describe_outcome",
    "describe_response",
    "find_request_id",
    "remember_head",
]

E = TypeVar("E", bound=IndigoError)

_REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-correlation-id",
    "x-trace-id",
    "cf-ray",
    "traceparent",
)
"""Where a request ID is looked for. The first one present counts; of `traceparent`, the trace ID."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
_SENSITIVE_HEADER = re.compile(
    r"(?i)cookie|auth|token|secret|passw|credential|signature|session|csrf|xsrf|jwt|key|nonce|policy"
)
_MAX_REQUEST_ID_LENGTH = 128
_MAX_HEADERS = 50
_MAX_TEXT_LENGTH = 500
_MAX_NAME_LENGTH = 60
_MAX_BODY_LENGTH = 4_096
_MAX_READ_BYTES = 256 * 1024
_MAX_DEPTH = 6
_MAX_FIELDS = 40
_MAX_ITEMS = 3
_KEY = re.compile(r"[A-Za-z_$][\w.$-]*")


class RedactedHeaders(Mapping[str, str]):
    """The headers of a response that may be shown, redacted when they are first read.

    Few listeners read them, and redacting them takes half as long as the request. The repr, pickles and copies are made
    of the redacted headers, too.
    """

    __slots__ = ("_given", "_redacted")

    def __init__(self, headers: Mapping[str, str], secrets: Secrets) -> None:
        self._given: tuple[Mapping[str, str], Secrets] | None = headers, secrets
        self._redacted: CIMultiDict[str] = CIMultiDict()

    def _read(self) -> CIMultiDict[str]:
        if self._given is not None:
            self._redacted = _redact_headers(*self._given)
            self._given = None
        return self._redacted

    def __getitem__(self, name: str) -> str:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(self._read())

    def __reduce__(self) -> tuple[type[CIMultiDict[str]], tuple[list[tuple[str, str]]]]:
        return CIMultiDict, ([*self._read().items()],)


@attrs.frozen
class ResponseDetails:
    """What may be shown of a response."""

    request_id: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=CIMultiDict[str])
    body: str = ""


def describe_response(response: Response, secrets: Secrets) -> ResponseDetails:
    """Describe a response that is an error."""
    body = _describe_body(response.body, response.headers.get("content-type", ""), secrets)
    return attrs.evolve(describe_head(response.headers, secrets), body=body)


def describe_outcome(outcome: Response | NoResponse, secrets: Secrets) -> ResponseDetails:
    """Describe how an attempt ended. The body of a 2xx response is not described."""
    if isinstance(outcome, Response) and not outcome.ok:
        return describe_response(outcome, secrets)
    return ResponseDetails() if outcome.headers is None else describe_head(outcome.headers, secrets)


def describe_for_event(outcome: Response | NoResponse, secrets: Secrets) -> ResponseDetails:
    """Describe how an attempt ended, as above. The headers of a 2xx response are redacted when they are read."""
    if isinstance(outcome, Response) and outcome.ok:
        headers = outcome.headers
        return ResponseDetails(find_request_id(headers, secrets), RedactedHeaders(headers, secrets))
    return describe_outcome(outcome, secrets)


def add_details(error: E, details: ResponseDetails) -> E:
    """Add what may be shown of the response to an error. Returns the error."""
    error.request_id, error.headers, error.body = details.request_id, details.headers, details.body
    return error


_latest_head: ContextVar[tuple[Mapping[str, str], Secrets] | None] = ContextVar("indigo_async_head", default=None)


def remember_head(headers: Mapping[str, str] | None, secrets: Secrets = "") -> None:
    """Remember the headers of the response that this task decodes next; None while there is no response."""
    _latest_head.set(None if headers is None else (headers, secrets))


def add_latest_details(error: E, document: Any = None) -> E:
    """Add what is known of the response that this task has just received, unless the error has it. Returns the error.

    `document` is the response's JSON, or the parts of its body. Unless the error is the server's, it holds records, so
    none of its texts remain.
    """
    latest = _latest_head.get()
    if latest is None or error.headers:
        return error
    headers, secrets = latest
    if isinstance(document, list) and all(isinstance(part, bytes) for part in cast("list[Any]", document)):
        document = decode_json(b"".join(cast("list[bytes]", document)))
    is_outlined = document is not None and document is not NOT_JSON
    body = _write_json(_outline(document, secrets, shows_texts=isinstance(error, ApiError))) if is_outlined else ""
    return add_details(error, attrs.evolve(describe_head(headers, secrets), body=body))


def describe_head(headers: Mapping[str, str], secrets: Secrets) -> ResponseDetails:
    """Describe a response by its headers, without those whose names suggest a secret."""
    return ResponseDetails(find_request_id(headers, secrets), _redact_headers(headers, secrets))


def _redact_headers(headers: Mapping[str, str], secrets: Secrets) -> CIMultiDict[str]:
    shown = CIMultiDict[str]()
    for name, value in [*headers.items()][:_MAX_HEADERS]:
        if not _SENSITIVE_HEADER.search(name):
            shown.add(
                sanitize_response_text(name, secrets, max_length=_MAX_NAME_LENGTH),
                sanitize_response_text(value, secrets, max_length=_MAX_TEXT_LENGTH),
            )
    return shown


def find_request_id(headers: Mapping[str, str], secrets: Secrets) -> str | None:
    """Return the ID with which the server's operators find a request; None if the response has none."""
    for name in _REQUEST_ID_HEADERS:
        value = headers.get(name)
        if value is None:
            continue
        if name == "traceparent":
            trace = _TRACEPARENT.fullmatch(value)
            value = "" if trace is None else trace[1]
        if request_id := sanitize_response_text(value, secrets, max_length=_MAX_REQUEST_ID_LENGTH):
            return request_id
    return None


def _describe_body(body: bytes, content_type: str, secrets: Secrets) -> str:
    if len(body) > _MAX_READ_BYTES:
        return ""
    document = decode_json(body)
    if document is not NOT_JSON:
        return _write_json(_outline(document, secrets, shows_texts=True))
    if is_web_page(body, content_type):
        return sanitize_response_text(find_page_title(body), secrets)
    text = read_text(body)
    if "csv" in content_type or not is_error_text(text):
        return ""
    return sanitize_response_text(text, secrets, max_length=_MAX_BODY_LENGTH)


def _outline(value: Any, secrets: Secrets, *, shows_texts: bool, depth: int = _MAX_DEPTH) -> Any:
    """Return a JSON value with types instead of its values. Texts and numbers remain only in an error's own fields."""
    if isinstance(value, str):
        return sanitize_response_text(value, secrets, max_length=_MAX_TEXT_LENGTH) if shows_texts else "<text>"
    if isinstance(value, dict):
        fields = [*cast("dict[str, Any]", value).items()]
        shown = {
            _hide_key(key, secrets): _outline(
                item, secrets, shows_texts=shows_texts and is_message_key(key), depth=depth - 1
            )
            for key, item in (fields[:_MAX_FIELDS] if depth else [])
        }
        return shown | _rest(len(fields) - len(shown))
    if isinstance(value, list):
        items = cast("list[Any]", value)
        shown_items = [
            _outline(item, secrets, shows_texts=shows_texts, depth=depth - 1)
            for item in (items[:_MAX_ITEMS] if depth else [])
        ]
        rest = len(items) - len(shown_items)
        return [*shown_items, f"<{rest} more>"] if rest else shown_items
    if value is None or isinstance(value, bool):
        return value
    return value if shows_texts else "<number>"


def _rest(count: int) -> dict[str, str]:
    return {"...": f"<{count} more>"} if count > 0 else {}


def _hide_key(key: str, secrets: Secrets) -> str:
    """Return a key that is a name; any other may be data, such as an email address."""
    return sanitize_response_text(key, secrets, max_length=_MAX_NAME_LENGTH) if _KEY.fullmatch(key) else "<key>"


def _write_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:_MAX_BODY_LENGTH]
