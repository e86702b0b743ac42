"""What came of an attempt: the body of an answer, read within bounds, or why there is none."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Protocol

import aiohttp

from indigo_async.transport.codec import decode_document
from indigo_async.transport.policy import Answer, Endpoint, Reason, Silence, refusal_in

__all__ = ["Sink", "document_in", "pour", "read_answer", "silence"]

_MAX_BODY_BYTES = 256 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_POURED_BYTES = 64 * 1024


class Sink(Protocol):
    """Takes an answer's body as it comes."""

    def begin(self, size: int | None) -> None:
        """Note the announced bytes; None where none are announced, or they are compressed."""
        ...

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        ...


async def read_answer(response: aiohttp.ClientResponse) -> Answer | Silence:
    """The whole body, within bounds: compressed and unannounced ones are counted as they come."""
    headers = response.headers
    announced = response.content_length
    if announced is not None and announced > _MAX_BODY_BYTES:
        return Silence(Reason.TOO_LARGE, f"{announced} bytes announced, {_MAX_BODY_BYTES} allowed")
    if announced is not None and "content-encoding" not in headers:
        return Answer(response.status, headers, await response.read())
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(chunk)
        if size > _MAX_BODY_BYTES:
            return Silence(Reason.TOO_LARGE, f"more than {_MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return Answer(response.status, headers, b"".join(chunks))


async def pour(sink: Sink, response: aiohttp.ClientResponse) -> Answer | Silence:
    """Give a good answer's body to a sink as it comes, between turns of other tasks; any other is read as usual."""
    if not Answer(response.status, {}, b"").ok:
        return await read_answer(response)
    sink.begin(None if "content-encoding" in response.headers else response.content_length)
    async for data in response.content.iter_chunked(_POURED_BYTES):
        sink.feed(data)
        await asyncio.sleep(0)
    return Answer(response.status, {}, b"")


def document_in(body: bytes, endpoint: Endpoint, *, token: str) -> Any:
    """The JSON of a good answer.

    Raises:
        ResponseDecodeError: it is none.
        ApiError: it is a refusal, which the good status hides.
    """
    document = decode_document(body, endpoint.text)
    refusal = refusal_in(document, endpoint, token=token)
    if refusal is not None:
        raise refusal
    return document


def silence(error: Exception) -> Silence:
    """Why no answer came, in words without URLs (they may be signed)."""
    detail = type(error).__name__
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
        return Silence(Reason.UNTRUSTED, detail)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Silence(Reason.NOT_SENT, f"{error.host}:{error.port}, {_system_words(error.os_error)}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Silence(Reason.NOT_SENT, str(error) or detail)
    if isinstance(error, TimeoutError):
        return Silence(Reason.TIMEOUT, detail)
    return Silence(Reason.BROKEN, detail)


def _system_words(error: OSError) -> str:
    """Why the system refused, such as "connection refused", without the HTTP library's own words around it."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return error.strerror or type(error).__name__
