"""How an endpoint is called in OpenTelemetry's conventions for HTTP clients."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from indigo_async.events import RequestEnded

__all__ = ["Attributes", "ServerAttributes", "error_type_for"]

Attributes = dict[str, str | int | float | bool]

_FIRST_ERROR_STATUS = 400


@attrs.frozen
class ServerAttributes:
    """The API's address in parts; `base_path` comes before each endpoint's own."""

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
        """What requests of an endpoint, such as `GET /audience`, are called together."""
        method, path = endpoint.split(" ", 1)
        return f"{method} {self.base_path}{path}"

    def attributes_for(self, endpoint: str) -> Attributes:
        """What holds for each request of an endpoint. Queries, where customers stand, are in none of it."""
        method, path = endpoint.split(" ", 1)
        return {
            "http.request.method": method,
            "server.address": self.address,
            "server.port": self.port,
            "url.template": f"{self.base_path}{path}",
        }

    def url_for(self, endpoint: str) -> str:
        """An endpoint's URL, without a query."""
        return f"{self.origin}{self.base_path}{endpoint.split(' ', 1)[1]}"


def error_type_for(ended: RequestEnded) -> str | None:
    """What was wrong with a request, in a word or an HTTP status; None for a good one."""
    if ended.status is not None and ended.status >= _FIRST_ERROR_STATUS:
        return str(ended.status)
    return ended.error_type
