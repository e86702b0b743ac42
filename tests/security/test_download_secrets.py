"""A download that is broken off, and a search of its traceback, variables included, for people and signed URLs."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import os
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import rich.console
import rich.traceback
from aiohttp import web

from indigo_async import workflows
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async.errors import DownloadError, WaitTimeoutError
from indigo_async.files.downloads.download import download as download_function
from indigo_async.sandbox.http.signed_urls import UrlSigner
from indigo_async.workflows import DownloadProgressed
from tests.support.servers.scripted import Responder, sandbox_and_client, scripted_server

SIGNATURE = "canary-signature-0e2d"
PERSON = b"Canaryetta"
CUSTOMER = "42"
DEADLINE = 987.0
ROWS = b"voterbase_id,first_name\r\n" + b"1,%s\r\n" % PERSON * 50


async def no_head(_: web.BaseRequest) -> web.StreamResponse:
    """Nothing."""
    await asyncio.Event().wait()
    return web.Response()


async def half_a_body(request: web.BaseRequest) -> web.StreamResponse:
    """Some rows, and then nothing."""
    response = await _begin(request, len(ROWS) * 2)
    await response.write(ROWS)
    await asyncio.Event().wait()
    return response


async def half_a_gzip(request: web.BaseRequest) -> web.StreamResponse:
    """Some rows, compressed but readable, and then nothing."""
    body = gzip.compress(ROWS, compresslevel=0)
    response = await _begin(request, len(body) + 1, {"Content-Encoding": "gzip"})
    await response.write(body)
    await asyncio.Event().wait()
    return response


async def a_cut_body(request: web.BaseRequest) -> web.StreamResponse:
    """Some rows, and then a broken connection."""
    response = await _begin(request, len(ROWS) * 2)
    await response.write(ROWS)
    request.transport.close()
    return response


async def rows(_: web.BaseRequest) -> web.StreamResponse:
    """All rows."""
    return web.Response(body=ROWS, content_type="text/csv")


async def _begin(request: web.BaseRequest, size: int, headers: dict[str, str] | None = None) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/csv", "ETag": '"one"'} | (headers or {}))
    response.content_length = size
    await response.prepare(request)
    return response


@attrs.define
class Exporting:
    """An export whose CSV a scripted server has. `begun` is set once the download waits for what never comes."""

    export: Callable[[], Coroutine[Any, Any, object]]
    begun: asyncio.Event
    deadlines: list[Any]


@asynccontextmanager
async def exporting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Responder) -> AsyncGenerator[Exporting]:
    """An export under a signed URL."""
    monkeypatch.setitem(download_function.__globals__, "_CHUNK_BYTES", 1)
    monkeypatch.setitem(download_function.__globals__, "_PROGRESS_INTERVAL", 0)
    deadlines: list[Any] = []
    begin = SharedTimeout.add

    def noted(limit: SharedTimeout, block: Any) -> None:
        if limit.seconds == DEADLINE:
            deadlines.append(block)
        begin(limit, block)

    monkeypatch.setattr(SharedTimeout, "add", noted)
    async with scripted_server(answer) as server, sandbox_and_client() as (sandbox, client):
        signed = f"{server.origin}/x.csv?sig={SIGNATURE}"
        monkeypatch.setattr(UrlSigner, "url_for", lambda *_: signed)
        (audience_id,) = await sandbox.seed_audiences(1, CUSTOMER, size=1_500)
        begun = server.request_received if answer is no_head else asyncio.Event()

        def progressed(event: object) -> None:
            if isinstance(event, DownloadProgressed) and event.size_bytes:
                begun.set()

        async def export() -> object:
            return await workflows.export_audience(
                client,
                audience_id,
                customer_id=CUSTOMER,
                destination=tmp_path / "x.csv",
                timeout=DEADLINE,
                on_event=progressed,
            )

        yield Exporting(export, begun, deadlines)


def shown(error: BaseException) -> str:
    """All that Python and rich would show of an error and of what led to it, with the variables of every frame."""
    texts = list(traceback.TracebackException.from_exception(error, capture_locals=True).format(chain=True))
    seen: set[int] = set()
    led_to: list[BaseException | None] = [error]
    while led_to:
        one = led_to.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        texts += [repr(one), str(one)]
        texts += traceback.TracebackException.from_exception(one, capture_locals=True).format(chain=True)
        out = io.StringIO()
        trace = rich.traceback.Traceback.from_exception(
            type(one), one, one.__traceback__, show_locals=True, locals_max_string=None, locals_max_length=1_000
        )
        rich.console.Console(file=out, width=400).print(trace)
        texts.append(out.getvalue())
        led_to += [one.__cause__, one.__context__]
    return "\n".join(texts)


def assert_nothing_is_shown(error: BaseException) -> None:
    text = shown(error)
    assert SIGNATURE not in text
    assert PERSON.decode() not in text


@pytest.mark.parametrize("answer", [no_head, half_a_body, half_a_gzip])
async def test_a_deadline_during_a_download(answer: Responder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with exporting(monkeypatch, tmp_path, answer) as one:
        task = asyncio.create_task(one.export())
        await one.begun.wait()
        one.deadlines[0].expire()
        with pytest.raises(WaitTimeoutError, match="download") as caught:
            await task
    assert_nothing_is_shown(caught.value)


@pytest.mark.parametrize("answer", [no_head, half_a_body, half_a_gzip])
async def test_a_callers_deadline(answer: Responder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with exporting(monkeypatch, tmp_path, answer) as one:
        task = asyncio.create_task(one.export())
        await one.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert_nothing_is_shown(caught.value)


async def test_an_interrupted_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with exporting(monkeypatch, tmp_path, a_cut_body) as one:
        with pytest.raises(DownloadError) as caught:
            await one.export()
    assert_nothing_is_shown(caught.value)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError("a bug")])
@pytest.mark.parametrize("answer", [rows, half_a_gzip])
async def test_a_disk_or_a_bug_that_stops_a_write(
    answer: Responder, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(_: int, __: memoryview) -> int:
        raise error

    async with exporting(monkeypatch, tmp_path, answer) as one:
        monkeypatch.setattr("indigo_async.files.downloads.part_file.os.write", broken)
        monkeypatch.setattr("indigo_async.files.downloads.destination.try_writing", lambda _: None)
        with pytest.raises((DownloadError, ValueError)) as caught:
            await one.export()
        monkeypatch.undo()
    assert_nothing_is_shown(caught.value)


async def test_a_rejected_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with exporting(monkeypatch, tmp_path, rows) as one:
        monkeypatch.setattr(UrlSigner, "url_for", lambda *_: f"http://10.0.0.1:port/x.csv?sig={SIGNATURE}")
        with pytest.raises(DownloadError) as caught:
            await one.export()
    assert_nothing_is_shown(caught.value)
