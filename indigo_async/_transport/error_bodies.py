"""Read the message and the machine-readable type from an error response's body. Pure: no I/O.

The API reference documents `{"error": "...", "errorType": "..."}`. Gateways and frameworks in front of an API use other
shapes, so the usual ones are read as well. Texts come from the server: callers must sanitize them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from typing import Any, cast

import attrs
import msgspec

from indigo_async._transport.bodies import to_utf8

__all__ = [
    "NOT_JSON",
    "ErrorBody",
    "decode_json",
    "find_page_title",
    "is_error_text",
    "is_message_key",
    "is_web_page",
    "read_error_body",
    "read_error_document",
    "read_text",
]

# Keys are compared in lower case without underscores: `errorMessage`, `error_message` and `ErrorMessage` are the same.
_MESSAGE_KEYS = (
    "error",
    "message",
    "errormessage",
    "msg",
    "title",
    "detail",
    "details",
    "description",
    "errordescription",
    "reason",
    "errors",
)
_TYPE_KEYS = ("errortype", "errorcode", "code", "type")
_PLACE_KEYS = ("field", "loc", "path", "pointer", "param", "parameter")
_NO_TYPE = "about:blank"
"""The RFC 9457 problem type that says no more than the status."""

_SHOWN_KEYS = frozenset({*_MESSAGE_KEYS, *_TYPE_KEYS, *_PLACE_KEYS, "status", "statuscode", "requestid", "traceid"})

NOT_JSON = object()
"""What `decode_json` returns for a body that is not JSON."""
_MAX_DEPTH = 4
_MAX_ITEMS = 5
_MAX_PAGE_BYTES = 16 * 1024
_MAX_TEXT_LENGTH = _MAX_PAGE_BYTES
"""Longer than any token: a part of one could not be redacted."""
_HEADLINE = re.compile(r"(?is)<(title|h1|message|faultstring)\b[^<>]{0,200}>([^<>]{1,500})</\1\s*>")


@attrs.frozen
class ErrorBody:
    """`message` is None if the body has none. `is_json`: it came from JSON, as the API's own errors do."""

    message: str | None = None
    error_type: str | None = None
    is_json: bool = False


def read_error_body(body: bytes, content_type: str) -> ErrorBody:
    """Read the body of an error response."""
    document = decode_json(body)
    if document is not NOT_JSON:
        return read_error_document(document)
    if is_web_page(body, content_type):
        title = find_page_title(body)
        return ErrorBody(f"a web page titled {title!r}" if title else None)
    text = read_text(body)
    return ErrorBody(text[:_MAX_TEXT_LENGTH] if is_error_text(text) else None)


def read_error_document(document: object) -> ErrorBody:
    """Read a JSON error."""
    return ErrorBody(_describe(document, _MAX_DEPTH) or None, _find_type(document), is_json=True)


def is_web_page(body: bytes, content_type: str) -> bool:
    """Whether a body is markup, which the API never sends."""
    return "html" in content_type.lower() or body[:100].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def find_page_title(body: bytes) -> str:
    """Return the title of a page, its first heading, or the message of an XML error. Empty if there is none."""
    headlines = _HEADLINE.finditer(read_text(body))
    found = [(match[1].lower(), " ".join(unescape(match[2]).split())) for match in headlines]
    return dict(found).get("title") or next((text for _, text in found), "")


def is_message_key(key: str) -> bool:
    """Whether the field of an error is about the error: its message, type or place, and not the request's data."""
    return _fold_key(key) in _SHOWN_KEYS


def read_text(body: bytes) -> str:
    return to_utf8(body)[:_MAX_PAGE_BYTES].decode("utf-8", errors="replace").strip()


def decode_json(body: bytes) -> Any:
    for attempt in (body, to_utf8(body)):
        try:
            return msgspec.json.decode(attempt)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return NOT_JSON


def is_error_text(text: str) -> bool:
    """Whether text is a message, and not binary data or part of a JSON document."""
    shown = text[:_MAX_TEXT_LENGTH]
    is_text = all(character.isprintable() or character.isspace() for character in shown)
    return shown[:1] not in {"", "{", "[", '"'} and is_text and "\N{REPLACEMENT CHARACTER}" not in shown


def _describe(value: object, depth: int) -> str:
    """Return the message in a JSON value; empty if there is none."""
    if isinstance(value, str):
        return value.strip()[:_MAX_TEXT_LENGTH]
    if depth and isinstance(value, list):
        items = cast("list[object]", value)
        texts = [text for item in items[:_MAX_ITEMS] if (text := _describe_item(item, depth - 1))]
        more = len(items) - _MAX_ITEMS
        return "; ".join([*texts, f"and {more} more"] if texts and more > 0 else texts)
    if depth and isinstance(value, dict):
        return _describe_object(cast("dict[str, object]", value), depth)
    return ""


def _describe_item(item: object, depth: int) -> str:
    """Return the message in one of several errors, with the field that it is about."""
    text = _describe(item, depth)
    if not text or not isinstance(item, dict):
        return text
    folded = _fold_keys(cast("dict[str, object]", item))
    place = next((place for key in _PLACE_KEYS if (place := _describe_place(folded.get(key)))), "")
    return f"{place}: {text}" if place else text


def _describe_object(fields: dict[str, object], depth: int) -> str:
    folded = _fold_keys(fields)
    parts: list[str] = []
    for key in _MESSAGE_KEYS:
        value = folded.get(key)
        text = _describe(value, depth - 1)
        if not text and isinstance(value, dict):  # messages by field: {"customerId": ["is required"]}
            text = _describe_fields(cast("dict[str, object]", value), depth - 1)
        if text and not any(text in part for part in parts):
            parts.append(text)
    return ": ".join(parts)


def _describe_fields(fields: Mapping[str, object], depth: int) -> str:
    texts = [(name[:_MAX_TEXT_LENGTH], _describe(value, depth)) for name, value in [*fields.items()][:_MAX_ITEMS]]
    return "; ".join(f"{name}: {text}" for name, text in texts if text)


def _describe_place(value: object) -> str:
    """Return where an error is: `customerId`, or `body.filters.0` for the path ["body", "filters", 0]."""
    parts = cast("list[object]", value) if isinstance(value, list) else [value]
    return ".".join(str(part)[:_MAX_TEXT_LENGTH] for part in parts[:_MAX_ITEMS] if isinstance(part, (str, int)))


def _find_type(value: object, depth: int = _MAX_DEPTH) -> str | None:
    """Return the machine-readable type of an error or of a nested error."""
    if isinstance(value, list):
        items = cast("list[object]", value)
        return _find_type(items[0], depth - 1) if depth and len(items) == 1 else None
    if not depth or not isinstance(value, dict):
        return None
    folded = _fold_keys(cast("dict[str, object]", value))
    types = (folded.get(key) for key in _TYPE_KEYS)
    own = next((text for text in types if isinstance(text, str) and text and text != _NO_TYPE), None)
    nested = (_find_type(folded.get(key), depth - 1) for key in ("error", "errors", "detail"))
    return own or next((text for text in nested if text), None)


def _fold_keys(fields: dict[str, object]) -> dict[str, object]:
    """Return the fields by folded key. Among several spellings, the first with a value wins."""
    folded: dict[str, object] = {}
    for key, value in fields.items():
        if value is not None:
            folded.setdefault(_fold_key(key), value)
    return folded


def _fold_key(key: str) -> str:
    return key.replace("_", "").lower()
