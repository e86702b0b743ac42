"""How an attempt ended: with a `Response`, or with a `NoResponse` and the reason."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from enum import Enum
from typing import Protocol

import aiohttp
import attrs

__all__ = [
    "BodySink",
    "Endpoint",
    "FailureReason",
    "NoResponse",
    "Response",
    "classify_failure",
    "read_response",
    "stream_into",
]

_MAX_BODY_BYTES = 256 * 1024 * 1024
_READ_CHUNK_BYTES = 256 * 1024
_STREAM_CHUNK_BYTES = 64 * 1024


@attrs.frozen
class Endpoint:
    """An endpoint of the API. Its name, such as `GET /audience`, identifies it in errors, events and counters."""

    method: str
    path: str
    name: str = attrs.field(
        default=attrs.Factory(lambda self: f"{self.method} {self.path}", takes_self=True), init=False
    )
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
    UNTRUSTED = "the server's certificate is not trusted"
    UNREADABLE = "the response is not JSON"
    TOO_LARGE = "the response is too large"


@attrs.frozen
class NoResponse:
    """An attempt without a usable response. `detail` holds no secrets."""

    reason: FailureReason
    detail: str


class BodySink(Protocol):
    """Receives a response body in chunks."""

    def begin(self, size: int | None) -> None:
        """Note the announced size in bytes; None if it is unknown or the body is compressed."""
        ...

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        ...


async def read_response(response: aiohttp.ClientResponse) -> Response | NoResponse:
    """Read the whole body. The size limit also holds for compressed and chunked bodies."""
    headers = response.headers
    announced = response.content_length
    if announced is not None and announced > _MAX_BODY_BYTES:
        return NoResponse(FailureReason.TOO_LARGE, f"{announced} bytes announced, {_MAX_BODY_BYTES} allowed")
    if announced is not None and "content-encoding" not in headers:
        return Response(response.status, headers, await response.read())
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_READ_CHUNK_BYTES):
        size += len(chunk)
        if size > _MAX_BODY_BYTES:
            return NoResponse(FailureReason.TOO_LARGE, f"more than {_MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return Response(response.status, headers, b"".join(chunks))


async def stream_into(sink: BodySink, response: aiohttp.ClientResponse) -> Response | NoResponse:
    """Feed a 2xx body to `sink`, yielding to other tasks after each chunk; read any other body as usual."""
    streamed = Response(response.status, {}, b"")
    if not streamed.ok:
        return await read_response(response)
    sink.begin(None if "content-encoding" in response.headers else response.content_length)
    async for data in response.content.iter_chunked(_STREAM_CHUNK_BYTES):
        sink.feed(data)
        await asyncio.sleep(0)
    return streamed


def classify_failure(error: Exception) -> NoResponse:
    """Explain a failed request. The detail never shows the URL, which may be signed."""
    detail = type(error).__name__
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
        return NoResponse(FailureReason.UNTRUSTED, detail)
    if isinstance(error, aiohttp.ClientConnectorError):
        return NoResponse(FailureReason.NOT_SENT, f"{error.host}:{error.port}, {_describe_os_error(error.os_error)}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NoResponse(FailureReason.NOT_SENT, str(error) or detail)
    if isinstance(error, TimeoutError):
        return NoResponse(FailureReason.TIMEOUT, detail)
    return NoResponse(FailureReason.BROKEN, detail)


def _describe_os_error(error: OSError) -> str:
    """Return the system's message alone, such as "connection refused", without aiohttp's text around it."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return error.strerror or type(error).__name__
