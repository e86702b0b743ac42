"""How an endpoint is called in OpenTelemetry's conventions for HTTP clients."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from indigo_async.transport.events import RequestEnded

__all__ = ["Attributes", "Server", "error_type_of"]

Attributes = dict[str, str | int | float | bool]

_FIRST_REFUSAL = 400


@attrs.frozen
class Server:
    """The API's address in parts; `path` comes before each endpoint's own."""

    origin: str
    address: str
    port: int
    path: str

    @classmethod
    def at(cls, base_url: str) -> Server:
        parts = urlsplit(base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(f"{parts.scheme}://{parts.netloc}", parts.hostname or "", port, parts.path)

    def name_of(self, endpoint: str) -> str:
        """What requests of an endpoint, such as `GET /audience`, are called together."""
        method, path = endpoint.split(" ", 1)
        return f"{method} {self.path}{path}"

    def attributes_of(self, endpoint: str) -> Attributes:
        """What holds for each request of an endpoint. Queries, where customers stand, are in none of it."""
        method, path = endpoint.split(" ", 1)
        return {
            "http.request.method": method,
            "server.address": self.address,
            "server.port": self.port,
            "url.template": f"{self.path}{path}",
        }

    def url_of(self, endpoint: str) -> str:
        """An endpoint's URL, without a query."""
        return f"{self.origin}{self.path}{endpoint.split(' ', 1)[1]}"


def error_type_of(ended: RequestEnded) -> str | None:
    """What was wrong with a request, in a word or an HTTP status; None for a good one."""
    if ended.status is not None and ended.status >= _FIRST_REFUSAL:
        return str(ended.status)
    return ended.error_type
