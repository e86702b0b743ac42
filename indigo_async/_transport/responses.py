"""How an attempt ended: with a `Response`, or with a `NoResponse` and the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum
from typing import Protocol

import aiohttp
import attrs

from indigo_async._transport.bodies import charset_of, to_utf8
from indigo_async._transport.error_bodies import is_web_page

__all__ = [
    "BodySink",
    "Endpoint",
    "FailureReason",
    "NoResponse",
    "Response",
    "read_response",
    "stream_into",
]

_MAX_BODY_BYTES = 256 * 1024 * 1024
_READ_CHUNK_BYTES = 256 * 1024
_STREAM_CHUNK_BYTES = 64 * 1024


@attrs.frozen
class Endpoint:
    """An endpoint of the API. Its name, such as `GET /audience`, identifies it in errors, events and counters.

    `record` is the class of the record that it returns; None if it doesn't return a single record. `parameters` are the
    names that the SDK sets, so callers can't pass them as `extra`. Only reads count as idempotent: no reference says
    what a repeated PUT or DELETE does.
    """

    method: str
    path: str
    record: type | None = None
    parameters: tuple[str, ...] = ()
    name: str = attrs.field(default=attrs.Factory(lambda self: f"{self.method} {self.path}", takes_self=True))
    idempotent: bool = attrs.field(
        default=attrs.Factory(lambda self: self.method == "GET", takes_self=True), init=False
    )

    def __str__(self) -> str:
        return self.name


@attrs.frozen
class Response:
    """A complete HTTP response. Look up headers by lower-case name."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - comparing with HTTPStatus takes ten times as long


class FailureReason(Enum):
    """Why there is no usable response. The values appear in error messages and counters."""

    NOT_SENT = "no connection could be made"
    TIMEOUT = "no response within the timeout"
    BROKEN = "the connection was lost"
    UNKNOWN_HOST = "no host of this name was found"
    UNTRUSTED = "the server's certificate is not trusted"
    NO_TLS = "no secure connection could be made"
    PROXY_UNUSABLE = "the proxy cannot be used"
    UNREADABLE = "the response is not JSON"
    WEB_PAGE = "the response is a web page"
    TOO_LARGE = "the response is too large"

    @property
    def nothing_sent(self) -> bool:
        """Whether the server certainly didn't get the request."""
        return self is FailureReason.NOT_SENT or self.is_misconfiguration

    @property
    def is_misconfiguration(self) -> bool:
        """Whether the address, a certificate or the proxy is probably wrong, so a retry rarely helps."""
        return self in _MISCONFIGURATIONS


_MISCONFIGURATIONS = frozenset(
    {FailureReason.UNKNOWN_HOST, FailureReason.UNTRUSTED, FailureReason.NO_TLS, FailureReason.PROXY_UNUSABLE}
)


@attrs.frozen
class NoResponse:
    """An attempt without a usable response. `detail` and `advice` hold no secrets.

    `headers` are those of the response whose body can't be used, None if there was no response.
    """

    reason: FailureReason
    detail: str
    advice: str = ""
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.reason.value} ({self.detail}){f'; {self.advice}' if self.advice else ''}"


class BodySink(Protocol):
    """Receives a response body in chunks."""

    def begin(self, size: int | None, headers: Mapping[str, str], /) -> None:
        """Receive the announced size in bytes (None if unknown or if the body is compressed) and the headers."""
        ...

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        ...


async def read_response(response: aiohttp.ClientResponse) -> Response | NoResponse:
    """Read the whole body, as UTF-8. The size limit also holds for compressed and chunked bodies."""
    headers = response.headers
    announced = response.content_length
    if announced is not None and announced > _MAX_BODY_BYTES:
        return NoResponse(FailureReason.TOO_LARGE, f"{announced} bytes announced, {_MAX_BODY_BYTES} allowed")
    charset = charset_of(headers.get("content-type", ""))
    if announced is not None and "content-encoding" not in headers:
        body = await response.read()
        return Response(response.status, headers, body if charset is None else to_utf8(body, charset))
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_READ_CHUNK_BYTES):
        size += len(chunk)
        if size > _MAX_BODY_BYTES:
            return NoResponse(FailureReason.TOO_LARGE, f"more than {_MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    body = b"".join(chunks)
    return Response(response.status, headers, body if charset is None else to_utf8(body, charset))


async def stream_into(sink: BodySink, response: aiohttp.ClientResponse) -> Response | NoResponse:
    """Feed a 2xx body to `sink`, yielding to other tasks after each chunk; read any other body as usual."""
    streamed = Response(response.status, response.headers, b"")
    if not streamed.ok:
        return await read_response(response)
    content_type = response.headers.get("content-type", "")
    if charset_of(content_type) is not None or response.content_type == "text/html":  # rare, and read as a whole
        outcome = await read_response(response)
        if isinstance(outcome, NoResponse) or is_web_page(outcome.body, ""):
            return outcome
        sink.begin(len(outcome.body), response.headers)
        sink.feed(outcome.body)
        return streamed
    sink.begin(None if "content-encoding" in response.headers else response.content_length, response.headers)
    async for data in response.content.iter_chunked(_STREAM_CHUNK_BYTES):
        sink.feed(data)
        await asyncio.sleep(0)
    return streamed
