"""The token and signed URLs never appear in errors, logs, events or reprs: all are searched for canaries."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from indigo_async._listeners import listen
from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError
from indigo_async.events import Event
from indigo_async.files.downloads.download import download
from tests.support.servers.scripted import (
    QUICK_RETRY,
    Responder,
    respond_with,
    respond_with_json,
    scripted_server,
    server_and_client,
)

TOKEN = "canary-token-4be1"
SIGNED = "https://files.example.org/p.csv?X-Amz-Signature=canary-signature-90aa"
CANARIES = ("canary-token-4be1", "canary-signature-90aa")
ECHO = f"Bearer {TOKEN} may not fetch {SIGNED} (token={TOKEN})"


async def disconnect(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection without a response."""
    request.transport.abort()
    return web.Response()


RESPONSES: dict[str, Responder] = {
    "an error that repeats them": respond_with_json({"error": ECHO, "errorType": TOKEN}, 400),
    "an error inside a 2xx response": respond_with_json({"error": ECHO, "errorType": TOKEN}),
    "a 500 that repeats them": respond_with_json({"error": ECHO}, 500),
    "a rate limit that repeats them": respond_with(429, ECHO.encode(), retry_after="9999"),
    "a page that repeats them": respond_with(200, ECHO.encode(), content_type="text/html"),
    "a wrong shape that repeats them": respond_with_json({"id": {"a": ECHO}, "status": ECHO, "csvExports": ECHO}),
    "another customer": respond_with_json({"id": 1, "customerId": "2", "uploadedAudienceCsv": {"url": SIGNED}}),
    "a redirect that repeats them": respond_with(302, location=f"https://{TOKEN}@example.org/?sig={SIGNED}"),
    "a disconnect": disconnect,
}

CALLS: dict[str, Callable[[IndigoClient], Awaitable[Any]]] = {
    "POST": lambda client: client.upload_csv(customer_id="1", url=SIGNED),
    "GET": lambda client: client.get_audience("aud-1", customer_id="1"),
}


class CapturedOutput(logging.Handler):
    """Collects output that people might see: log records of every logger, events, and added values."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(f"{record.getMessage()} {record.args} {self.format(record)}")

    def add(self, *values: object) -> None:
        self.seen.extend(f"{value} {value!r}" for value in values)

    def add_error(self, error: BaseException) -> None:
        self.add(error, vars(error), error.args)
        self.seen.extend(traceback.format_exception(error))

    def assert_clean(self) -> None:
        text = "\n".join(self.seen)
        assert [line for line in text.splitlines() if any(canary in line for canary in CANARIES)] == []


@asynccontextmanager
async def capture_output() -> AsyncGenerator[CapturedOutput]:
    """Collect log records of any level, and events, inside the block."""
    output, root = CapturedOutput(), logging.getLogger()
    level = root.level
    root.addHandler(output)
    root.setLevel(logging.DEBUG)

    def on_event(event: Event) -> None:
        output.add(event)

    try:
        with listen(on_event):
            yield output
    finally:
        root.setLevel(level)
        root.removeHandler(output)


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES.keys())
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_no_error_log_or_event_shows_a_secret(call, response: Responder):
    async with capture_output() as output, server_and_client(response, token=TOKEN) as (_, client):
        with pytest.raises(IndigoError) as caught:
            await call(client)
        output.add_error(caught.value)
        output.add(client, client.settings, client.transport)
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, IndigoError)
    assert output.seen
    output.assert_clean()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_no_connection_error_shows_a_secret(call):
    async with scripted_server(respond_with()) as server:
        closed_origin = server.origin
    async with capture_output() as output, IndigoClient(TOKEN, base_url=closed_origin, retry=QUICK_RETRY) as client:
        with pytest.raises(IndigoError) as caught:
            await call(client)
        output.add_error(caught.value)
    output.assert_clean()


@pytest.mark.parametrize(
    "response",
    [
        respond_with_json({"error": "No."}, 401),
        respond_with_json({"error": "No."}),
        respond_with_json({"id": True}),
        respond_with(503),
        disconnect,
    ],
    ids=["a 401", "an error inside a 2xx response", "a wrong shape", "a 503", "a disconnect"],
)
async def test_a_traceback_with_its_variables_shows_no_token(response: Responder):
    async with server_and_client(response, token=TOKEN) as (_, client):
        try:
            await CALLS["GET"](client)
        except IndigoError as error:
            shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "endpoint = " in shown
    assert TOKEN not in shown


async def test_a_record_shows_no_signed_url():
    document = {
        "id": "aud-1",
        "uploadedAudienceCsv": {"url": SIGNED, "previewUrl": SIGNED},
        "csvExports": [{"id": 1, "downloadUrl": SIGNED, "alternateUrl": SIGNED}],
        "iconUrl": SIGNED,
    }
    async with (
        capture_output() as output,
        server_and_client(respond_with_json(document), token=TOKEN) as (_, client),
    ):
        output.add(await client.get_audience("aud-1"))
    output.assert_clean()


DOWNLOADS: dict[str, Responder] = {
    "a 403": respond_with(403, ECHO.encode()),
    "a 503": respond_with(503, ECHO.encode()),
    "a page": respond_with(200, ECHO.encode(), content_type="text/html"),
    "a redirect to ftp": respond_with(302, location=SIGNED.replace("https", "ftp")),
    "a redirect to http": respond_with(302, location=SIGNED.replace("https", "http")),
    "a disconnect": disconnect,
}


@pytest.mark.parametrize("response", DOWNLOADS.values(), ids=DOWNLOADS.keys())
async def test_a_failed_download_shows_no_secret(response: Responder, tmp_path: Path):
    async with capture_output() as output, server_and_client(response, token=TOKEN) as (server, client):
        url = f"{server.origin}/x.csv?X-Amz-Signature=canary-signature-90aa"
        with pytest.raises(IndigoError) as caught:
            await download(client.transport, url, tmp_path / "x.csv", retry=QUICK_RETRY)
        output.add_error(caught.value)
    output.assert_clean()


async def test_an_invalid_input_shows_no_secret():
    async with capture_output() as output, server_and_client(respond_with(), token=TOKEN) as (_, client):
        for url in (f"{SIGNED} ", SIGNED.replace("https", "http"), SIGNED.replace("https", "ftp")):
            with pytest.raises(IndigoError) as caught:
                await client.upload_csv(customer_id="1", url=url)
            output.add_error(caught.value)
    output.assert_clean()


@pytest.mark.parametrize("token", [f"{TOKEN}\0", f"{TOKEN} {TOKEN}", f"{TOKEN}\u00e9"])
def test_an_invalid_token_is_not_shown(token: str):
    with pytest.raises(IndigoError) as caught:
        IndigoClient(token)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
