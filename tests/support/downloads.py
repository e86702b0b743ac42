"""Helpers for tests of downloads: a CSV, servers that send it in various ways, and the download itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web

from indigo_async.client import IndigoClient
from indigo_async.files.downloads.download import DownloadedFile, download
from tests.support.servers.scripted import QUICK_RETRY, Responder, ScriptedServer, respond_with

BODY = b"voterbase_id,first_name\r\n" + b"".join(b"%06d,ANN\r\n" % row for row in range(5_000))
TOKEN = "canary-token-77"
ETAG_ONE, ETAG_TWO = '"one"', '"two"'


async def download_from(
    client: IndigoClient, server: ScriptedServer, target: Path, path: str = "/x.csv?sig=1", **options: Any
) -> DownloadedFile:
    return await download(client.transport, server.origin + path, target, retry=QUICK_RETRY, **options)


def full_response(body: bytes = BODY, etag: str = ETAG_ONE) -> Responder:
    return respond_with(200, body, content_type="text/csv", etag=etag)


def rest_response(start: int, body: bytes = BODY, etag: str | None = ETAG_ONE) -> Responder:
    """The bytes from `start` on."""
    headers = {"content_range": f"bytes {start}-{len(body) - 1}/{len(body)}"} | ({"etag": etag} if etag else {})
    return respond_with(206, body[start:], content_type="text/csv", **headers)


def cut_response(size: int, body: bytes = BODY, etag: str | None = ETAG_ONE) -> Responder:
    """The first `size` bytes, then a broken connection."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/csv"} | ({"ETag": etag} if etag else {}))
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[:size])
        request.transport.close()
        return response

    return respond


def redirect_response(location: str, status: int = 302) -> Responder:
    return respond_with(status, location=location)


async def stalled_response(request: web.BaseRequest) -> web.StreamResponse:
    """The head and the first bytes, and then nothing more."""
    response = web.StreamResponse(headers={"Content-Type": "text/csv"})
    response.content_length = len(BODY)
    await response.prepare(request)
    await response.write(BODY[:100])
    await asyncio.Event().wait()
    return response


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def cancel_task(work: Coroutine[Any, Any, object], until: asyncio.Event) -> None:
    task = asyncio.create_task(work)
    await until.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_scope(work: Coroutine[Any, Any, object], until: asyncio.Event) -> None:
    async def run() -> None:
        await work

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await until.wait()
        group.cancel_scope.cancel()
