"""Check requests before an endpoint sees them: route, token and body."""

from __future__ import annotations

import hmac
from typing import Any, cast

import msgspec
from aiohttp import web

from indigo_async.sandbox.errors import ErrorType, HttpError
from indigo_async.sandbox.http.endpoints import ENDPOINTS
from indigo_async.sandbox.http.file_host import FILES_PATH
from indigo_async.sandbox.http.parameters import Parameters
from indigo_async.sandbox.http.signed_urls import DOWNLOADS_PATH
from indigo_async.sandbox.state.store import Store

__all__ = ["API_PATH", "authenticate", "build_route_error", "get_endpoint_name", "read_parameters", "require_get"]

API_PATH = "/api/v1"


def get_endpoint_name(request: web.BaseRequest) -> str:
    """Return the endpoint's name for the log. All unknown routes share one name, so the counters stay bounded."""
    named = f"{request.method} {request.path.removeprefix(API_PATH)}"
    if request.path.startswith(API_PATH) and named in ENDPOINTS:
        return named
    if request.method == "GET" and request.path.startswith((DOWNLOADS_PATH, FILES_PATH)):
        return "GET download" if request.path.startswith(DOWNLOADS_PATH) else "GET file"
    return "unknown"


def build_route_error(request: web.BaseRequest) -> HttpError:
    """Return the error for a request that no endpoint handles: 405 if the path exists, otherwise 404."""
    path = request.path.removeprefix(API_PATH)
    methods = [endpoint.split()[0] for endpoint in ENDPOINTS if endpoint.split()[1] == path]
    if methods and request.path.startswith(API_PATH):
        return _build_method_not_allowed(", ".join(methods))
    return HttpError(404, ErrorType.NOT_FOUND, "There is no such endpoint.")


def _build_method_not_allowed(allowed: str) -> HttpError:
    return HttpError(405, ErrorType.METHOD_NOT_ALLOWED, f"This endpoint takes {allowed}.", {"Allow": allowed})


def require_get(request: web.BaseRequest) -> None:
    """Reject every method except GET with 405."""
    if request.method != "GET":
        raise _build_method_not_allowed("GET")


def authenticate(request: web.BaseRequest, token: str) -> None:
    """Reject a request without the API token with 401."""
    given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
    if not hmac.compare_digest(given, f"Bearer {token}".encode()):
        raise HttpError(401, ErrorType.UNAUTHORIZED, "A valid API token is required.", {"WWW-Authenticate": "Bearer"})


async def read_parameters(request: web.BaseRequest, store: Store) -> Parameters:
    """Read a GET's query or a POST's JSON body (inferred).

    Raises:
        HttpError: 400, if a query repeats a parameter or a body is not a JSON object.
    """
    if request.method == "GET":
        query = request.query
        repeated = next((name for name in query if len(query.getall(name)) > 1), None)
        if repeated is not None:
            raise HttpError(400, ErrorType.INVALID_PARAMETER, f"{repeated}: appears more than once")
        return Parameters(
            {name: store.parse_id(text) if name == "audienceId" else text for name, text in query.items()}
        )
    try:
        body = msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise HttpError(400, ErrorType.MALFORMED_JSON, "The request's body is not JSON.") from None
    if not isinstance(body, dict):
        raise HttpError(400, ErrorType.MALFORMED_JSON, "The request's body must be a JSON dictionary.")
    return Parameters(cast("dict[str, Any]", body))
