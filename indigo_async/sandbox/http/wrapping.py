"""Wrap finished API responses as the dialect says: pages, envelopes, error shapes, byte order marks."""

from __future__ import annotations

import codecs
from typing import Any, cast

import attrs
import msgspec
from yarl import URL

from indigo_async.sandbox.dialect import Dialect
from indigo_async.sandbox.http.responses import Response

__all__ = ["wrap_response"]

_PLAIN = ("none", "error", False, "none")
_LIST = "GET /audiences"
_EXPORT_ENDPOINTS = {"POST /create_preview_csv_export", "POST /purchase_csv_export"}
_FIRST_ERROR_STATUS = 400


def wrap_response(dialect: Dialect, endpoint: str, url: URL, reply: Response) -> Response:
    """Return the response to a request for `url` in the dialect's shape. Other content stays unchanged."""
    body = reply.body
    if (dialect.envelope, dialect.error_format, dialect.byte_order_mark, dialect.pagination) == _PLAIN:
        return reply
    if not isinstance(body, bytes) or reply.headers.get("Content-Type") != "application/json":
        return reply
    if reply.status >= _FIRST_ERROR_STATUS:
        reply = _format_error(dialect, reply, msgspec.json.decode(body))
    else:
        if endpoint == _LIST and dialect.pagination != "none":
            reply = _cut_page(dialect, url, reply, body)
        reply = attrs.evolve(reply, body=_put_in_envelope(dialect, endpoint, cast("bytes", reply.body)))
    if dialect.byte_order_mark and reply.headers.get("Content-Type") == "application/json":
        reply = attrs.evolve(reply, body=codecs.BOM_UTF8 + cast("bytes", reply.body))
    return reply


def _format_error(dialect: Dialect, reply: Response, error: dict[str, str]) -> Response:
    message, error_type = error["error"], error["errorType"]
    shapes: dict[str, object] = {
        "message": {"message": message, "code": error_type},
        "detail": {"detail": message, "type": error_type},
        "nested": {"error": {"message": message, "type": error_type}},
        "list": {"errors": [{"message": message, "code": error_type}]},
    }
    if dialect.error_format in shapes:
        return attrs.evolve(reply, body=msgspec.json.encode(shapes[dialect.error_format]))
    if dialect.error_format == "error":
        return reply
    is_page = dialect.error_format == "html"
    text = f"<html><head><title>{message}</title></head></html>" if is_page else message
    headers = {**reply.headers, "Content-Type": "text/html" if is_page else "text/plain"}
    return attrs.evolve(reply, body=text.encode(), headers=headers)


def _put_in_envelope(dialect: Dialect, endpoint: str, body: bytes) -> bytes:
    if dialect.envelope == "none":
        return body
    if dialect.envelope == "data":
        return b'{"data":' + body + b"}"
    if endpoint == _LIST:
        return b'{"audiences":' + body + b"}" if body.startswith(b"[") else body
    name = b"export" if endpoint in _EXPORT_ENDPOINTS else b"audience"
    return b'{"' + name + b'":' + body + b"}"


def _cut_page(dialect: Dialect, url: URL, reply: Response, body: bytes) -> Response:
    """Return the page of a list that the request asks for, and say whether there is another one."""
    is_array = body.startswith(b"[")
    rows: list[Any] = msgspec.json.decode(body) if is_array else msgspec.json.decode(body)["audiences"]
    number = int(url.query.get("page", "1"))
    end = number * dialect.page_size
    page, has_more = rows[end - dialect.page_size : end], end < len(rows)
    next_url = str(url.update_query(page=number + 1))
    if dialect.pagination == "link header":
        shown: object = page if is_array else {"audiences": page}
        headers = {**reply.headers, "Link": f'<{next_url}>; rel="next"'} if has_more else reply.headers
        return attrs.evolve(reply, body=msgspec.json.encode(shown), headers=headers)
    notes: dict[str, dict[str, Any]] = {
        "next url": {"next": next_url if has_more else None},
        "next token": {"nextPageToken": f"page-{number + 1}" if has_more else None},
        "has more": {"hasMore": has_more},
    }
    return attrs.evolve(reply, body=msgspec.json.encode({"audiences": page, **notes[dialect.pagination]}))
