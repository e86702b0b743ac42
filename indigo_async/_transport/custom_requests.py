"""Requests to endpoints that the SDK doesn't know: where they may go, and how their responses are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, unquote

from multidict import CIMultiDict

from indigo_async._exact import to_plain
from indigo_async._redaction import Secrets
from indigo_async._transport.codec import decode_document
from indigo_async._transport.errors import find_embedded_error
from indigo_async._transport.parameters import Query, fold_name
from indigo_async._transport.responses import Endpoint, Response
from indigo_async._validation import InputCheck
from indigo_async.models import ApiResponse

__all__ = ["check_endpoint", "find_export_ids", "parse_custom_response"]

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SAFE_IN_SEGMENT = "!$&'()*+,;=:@"
_NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,60}|v[0-9]{1,3}|")


def check_endpoint(check: InputCheck, method: object, path: object) -> Endpoint:
    """Check that a path leads below the base URL, so the token can't get anywhere else. Returns the endpoint.

    Messages never show the path, which may be a signed URL.
    """
    method = to_plain(method)
    name = method.upper() if isinstance(method, str) else ""
    if name not in _METHODS:
        check.add("method", f"must be one of {', '.join(_METHODS)}")
    segments = _check_path(check, path)
    # IDs would make an endless number of names in counters and metrics.
    shown = "/".join(segment if _NAME.fullmatch(segment) else "{id}" for segment in segments)
    encoded = "/".join(quote(segment, safe=_SAFE_IN_SEGMENT) for segment in segments)
    return Endpoint(name, f"/{encoded}", name=f"{name} /{shown}")


def _check_path(check: InputCheck, path: object) -> list[str]:
    """Return the decoded segments of a path."""
    text = check.text("path", path)
    if not text:
        return []
    if not text.startswith("/") or text.startswith("//"):
        check.add("path", "must begin with one slash, such as /audiences: the token is only sent to base_url")
        return []
    if "?" in text or "#" in text:
        check.add("path", "must not contain a query or fragment; pass the parameters as params=...")
        return []
    try:
        segments = [unquote(segment, errors="strict") for segment in text[1:].split("/")]
    except UnicodeDecodeError:
        segments = [""]
    last = len(segments) - 1
    for position, segment in enumerate(segments):
        is_trailing_slash = segment == "" and position == last > 0
        steps = segment.partition(";")[0] in {"", ".", ".."}  # some servers ignore what follows a semicolon
        if (steps and not is_trailing_slash) or not segment.isprintable() or re.search(r"[/\\%]", segment):
            check.add(
                "path",
                "must consist of plain names below base_url: no empty part, no . or .., no backslash, no control "
                "character, and nothing that is encoded twice",
            )
            return []
    return segments


def parse_custom_response(response: Response, endpoint: Endpoint, secrets: Secrets) -> ApiResponse:
    """Decode a 2xx response, whose body may be empty.

    Raises:
        ResponseDecodeError: the body is not JSON.
        ApiError: it holds an error.
    """
    document = decode_document(response.body, endpoint.name) if response.body.strip() else None
    error = None if document is None else find_embedded_error(document, endpoint, secrets=secrets)
    if error is not None:
        raise error
    return ApiResponse(status=response.status, headers=CIMultiDict(response.headers), json=document)


def find_export_ids(endpoint: Endpoint, purchase: Endpoint, body: Any, query: Query) -> list[str]:
    """Return the IDs of the exports that a request purchases, as text; none if it is about something else."""
    if (endpoint.method, endpoint.path.rstrip("/").lower()) != (purchase.method, purchase.path):
        return []
    fields = [*query.items(), *(cast("Mapping[str, Any]", body).items() if isinstance(body, dict) else ())]
    return [str(value) for name, value in fields if fold_name(name) == "exportid" and isinstance(value, (str, int))]
