"""Attributes of requests, following OpenTelemetry's semantic conventions for HTTP clients."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

import attrs

from indigo_async.events import RequestEnded

__all__ = ["Attributes", "ServerAttributes", "error_type_for"]

Attributes = dict[str, str | int | float | bool]


@attrs.frozen
class ServerAttributes:
    """The parts of the API's address. `base_path` is the prefix of every endpoint's path."""

    origin: str
    address: str
    port: int
    base_path: str

    @classmethod
    def from_url(cls, base_url: str) -> ServerAttributes:
        parts = urlsplit(base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(f"{parts.scheme}://{parts.netloc}", parts.hostname or "", port, parts.path)

    def span_name_for(self, endpoint: str) -> str:
        """The name of the spans of an endpoint's requests, such as `GET /api/v1/audience`."""
        method, path = endpoint.split(" ", 1)
        return f"{method} {self.base_path}{path}"

    def attributes_for(self, endpoint: str) -> Attributes:
        """The attributes of all requests of an endpoint. They exclude the query, which contains the customer ID."""
        method, path = endpoint.split(" ", 1)
        return {
            "http.request.method": method,
            "server.address": self.address,
            "server.port": self.port,
            "url.template": f"{self.base_path}{path}",
        }

    def url_for(self, endpoint: str) -> str:
        """An endpoint's URL, without the query."""
        return f"{self.origin}{self.base_path}{endpoint.split(' ', 1)[1]}"


def error_type_for(ended: RequestEnded) -> str | None:
    """The HTTP status or kind of error with which a request failed; None if it succeeded."""
    if ended.status is not None and ended.status >= HTTPStatus.BAD_REQUEST:
        return str(ended.status)
    return ended.error_type
