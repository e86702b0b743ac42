"""Malformed responses: each ends in a clear error, within bounds on time and memory."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from indigo_async._transport import responses
from indigo_async.client import IndigoClient
from indigo_async.errors import AmbiguousOutcomeError, ApiError, IndigoError, ResponseDecodeError
from tests.support.servers.scripted import (
    QUICK_RETRY,
    Responder,
    respond_with,
    respond_with_json,
    scripted_server,
    server_and_client,
)

MEGABYTE = 1_000_000


@pytest.fixture
def _small_size_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(responses, "_MAX_BODY_BYTES", MEGABYTE)


@asynccontextmanager
async def raw_server(response: bytes) -> AsyncGenerator[str]:
    """A server that responds to every request with these bytes and closes the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("same_origin", [True, False])
async def test_no_redirect_is_followed_with_the_token(status: int, *, same_origin: bool):
    async with scripted_server(respond_with_json([])) as elsewhere:
        location = "/api/v2/audiences" if same_origin else f"{elsewhere.origin}/audiences"
        async with server_and_client(respond_with(status, location=location), token="canary") as (server, client):
            with pytest.raises(ApiError, match="redirects to another address, which never gets the token"):
                await client.list_audiences()
    assert len(server.requests) == 1
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    "response",
    [
        respond_with(200, b'[{"id": "aud-1"}]', content_type="text/html"),
        respond_with(200, b'[{"id": "aud-1"}]'),
        respond_with(
            200, gzip.compress(b'[{"id": "aud-1"}]'), content_type="application/json", content_encoding="gzip"
        ),
        respond_with(201, b'[{"id": "aud-1"}]', content_type="application/json; charset=latin-1"),
    ],
    ids=["HTML content type", "no content type", "compressed", "created"],
)
async def test_json_is_read_whatever_its_content_type(response: Responder):
    async with server_and_client(response) as (_, client):
        assert [audience.id for audience in await client.list_audiences()] == ["aud-1"]


UNREADABLE = {
    "empty": respond_with(200),
    "no content": respond_with(204),
    "HTML page": respond_with(200, b"<html>", content_type="text/html"),
    "not UTF-8": respond_with(200, b'{"id": "\xff"}'),
    "not a number": respond_with(200, b'{"id": NaN}'),
    "nested deeply": respond_with(200, b"[" * 200_000),
    "invalid gzip": respond_with(200, b"not gzip", content_encoding="gzip"),
}


@pytest.mark.parametrize("response", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_an_unreadable_response_is_an_error_of_the_sdk(response: Responder):
    async with server_and_client(response) as (server, client):
        with pytest.raises(IndigoError):
            await client.get_audience("aud-1")
        assert len(server.requests) == QUICK_RETRY.attempts
        with pytest.raises(AmbiguousOutcomeError):
            await client.purchase_csv_export(export_id="exp-1")
        assert len(server.requests) == QUICK_RETRY.attempts + 1


async def test_json_of_another_shape_is_reported_with_its_path_and_not_retried():
    async with server_and_client(respond_with_json({"id": {}, "csvExports": []})) as (server, client):
        with pytest.raises(ResponseDecodeError, match=r"GET /audience: expected an ID .*, got an object at") as caught:
            await client.get_audience("aud-1")
    assert caught.value.path == "$.id"
    assert len(server.requests) == 1


LARGE = {
    "announced": respond_with(200, b" " * (MEGABYTE + 1)),
    "compressed": respond_with(200, gzip.compress(b" " * (50 * MEGABYTE)), content_encoding="gzip"),
    "a large error": respond_with(500, b" " * (MEGABYTE + 1)),
}


@pytest.mark.usefixtures("_small_size_limit")
@pytest.mark.parametrize("response", LARGE.values(), ids=LARGE.keys())
async def test_a_body_that_is_too_large_is_not_read_to_its_end(response: Responder):
    async with server_and_client(response) as (server, client):
        with pytest.raises(IndigoError, match="the response is too large"):
            await client.list_audiences()
    assert len(server.requests) == 1


RAW = {
    "nothing": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-",
    "a huge header": b"HTTP/1.1 200 OK\r\nX-Huge: " + b"x" * 100_000 + b"\r\nContent-Length: 2\r\n\r\n[]",
    "a thousand headers": b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 100_000 + b"\r\n",
    "a wrong length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]",
    "a length that is not a number": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n[]",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n[]",
    "a terabyte announced": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n[]",
}


@pytest.mark.parametrize("response", RAW.values(), ids=RAW.keys())
async def test_bytes_that_are_not_http_are_an_error_of_the_sdk(response: bytes):
    async with (
        raw_server(response) as origin,
        IndigoClient("token", base_url=origin, retry=QUICK_RETRY, timeout=5.0) as client,
    ):
        with pytest.raises(IndigoError, match=r"^GET /audiences: "):
            await client.list_audiences()
        with pytest.raises(AmbiguousOutcomeError):
            await client.purchase_csv_export(export_id="exp-1")
