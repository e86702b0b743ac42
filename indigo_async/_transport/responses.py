"""What came of an attempt: the body of an answer, read within bounds, or why there is none."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Protocol

import aiohttp

from indigo_async._transport.codec import decode_document
from indigo_async._transport.retry import Endpoint, FailureReason, NoResponse, Response, find_embedded_error

__all__ = ["BodySink", "classify_failure", "parse_json_response", "read_response", "stream_into"]

_MAX_BODY_BYTES = 256 * 1024 * 1024
_READ_CHUNK_BYTES = 256 * 1024
_STREAM_CHUNK_BYTES = 64 * 1024


class BodySink(Protocol):
    """Takes an answer's body as it comes."""

    def begin(self, size: int | None) -> None:
        """Note the announced bytes; None where none are announced, or they are compressed."""
        ...

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        ...


async def read_response(response: aiohttp.ClientResponse) -> Response | NoResponse:
    """The whole body, within bounds: compressed and unannounced ones are counted as they come."""
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
    """Give a good answer's body to a sink as it comes, between turns of other tasks; any other is read as usual."""
    if not Response(response.status, {}, b"").ok:
        return await read_response(response)
    sink.begin(None if "content-encoding" in response.headers else response.content_length)
    async for data in response.content.iter_chunked(_STREAM_CHUNK_BYTES):
        sink.feed(data)
        await asyncio.sleep(0)
    return Response(response.status, {}, b"")


def parse_json_response(body: bytes, endpoint: Endpoint, *, token: str) -> Any:
    """The JSON of a good answer.

    Raises:
        ResponseDecodeError: it is none.
        ApiError: it is a refusal, which the good status hides.
    """
    document = decode_document(body, endpoint.name)
    refusal = find_embedded_error(document, endpoint, token=token)
    if refusal is not None:
        raise refusal
    return document


def classify_failure(error: Exception) -> NoResponse:
    """Why no answer came, in words without URLs (they may be signed)."""
    detail = type(error).__name__
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
        return NoResponse(FailureReason.UNTRUSTED, detail)
    if isinstance(error, aiohttp.ClientConnectorError):
        return NoResponse(FailureReason.NOT_SENT, f"{error.host}:{error.port}, {_system_error_text(error.os_error)}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NoResponse(FailureReason.NOT_SENT, str(error) or detail)
    if isinstance(error, TimeoutError):
        return NoResponse(FailureReason.TIMEOUT, detail)
    return NoResponse(FailureReason.BROKEN, detail)


def _system_error_text(error: OSError) -> str:
    """Why the system refused, such as "connection refused", without the HTTP library's own words around it."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return error.strerror or type(error).__name__
