"""Hostile answers over sockets: each is a clear error, nothing is left under way, and the client goes on.

What single answers become is in `tests/transport/test_session_wire.py`.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import brotli
import pytest
from aiohttp import web

from indigo_async import workflows
from indigo_async._transport import responses as answers
from indigo_async._transport.pacing import Pacing
from indigo_async.client import IndigoClient
from indigo_async.errors import AmbiguousOutcomeError, DownloadError, IndigoError, WaitTimeoutError
from indigo_async.files.downloads.download import download
from indigo_async.sandbox.http.signed_urls import UrlSigner
from tests.support.debug_mode import anyio_backend  # noqa: F401
from tests.support.servers.scripted import (
    QUICK_RETRY,
    Responder,
    open_client,
    respond_with,
    respond_with_json,
    sandbox_and_client,
    scripted_server,
    server_and_client,
)

MEGABYTE = 1_000_000
COLUMNS = {"first_name": {"column_name": "First", "is_required": True}}
DEEP = b"[" * 200_000


@pytest.fixture
def _small_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answers, "_MAX_BODY_BYTES", MEGABYTE)


def endless(head: bytes, piece: bytes, *, content_type: str = "application/json") -> Responder:
    """An answer without an end, sent as fast as it is taken."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(head)
        while True:
            await response.write(piece)

    return answer


def bomb(encoding: str, body: bytes) -> Responder:
    return respond_with(200, body, content_encoding=encoding, content_type="application/json")


HUGE = b" " * (50 * MEGABYTE)
TOO_LARGE: dict[str, Responder] = {
    "gzip": bomb("gzip", gzip.compress(HUGE)),
    "deflate": bomb("deflate", zlib.compress(HUGE)),
    "brotli": bomb("br", brotli.compress(HUGE, quality=1)),
    "many members": bomb("gzip", gzip.compress(b" " * 5_000) * 500),
    "endless": endless(b"[", b" " * 65_536),
}
UNREADABLE: dict[str, Responder] = {
    "twice compressed": bomb("gzip, gzip", gzip.compress(gzip.compress(b"[]"))),
    "half of it compressed": bomb("gzip", gzip.compress(b'[{"id": "aud-1"}]')[:-14]),
    "nested": respond_with(200, DEEP, content_type="application/json"),
    "nested in a row": respond_with(
        200, b'[{"id": 1, "x": ' + DEEP + b"]" * 200_000 + b"}]", content_type="application/json"
    ),
    "no UTF-8": respond_with(200, b'[{"id": "\xff"}]', content_type="application/json"),
    "half a surrogate pair": respond_with(200, b'[{"id": "\\ud800"}]', content_type="application/json"),
    "an image": respond_with(200, b"\x89PNG\r\n\x1a\n", content_type="image/png"),
}

CALLS: dict[str, Callable[[IndigoClient], Awaitable[Any]]] = {
    "a GET": lambda client: client.list_audiences(),
    "a POST": lambda client: client.purchase_csv_export(export_id="exp-1"),
}


@pytest.mark.usefixtures("_small_bound")
@pytest.mark.parametrize("answer", (TOO_LARGE | UNREADABLE).values(), ids=(TOO_LARGE | UNREADABLE).keys())
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_a_hostile_response_is_an_error_and_releases_the_slot(call, answer: Responder):
    good = respond_with_json({"id": "aud-1"})
    pacing = Pacing(max_concurrency=1)
    async with server_and_client(answer, pacing=pacing) as (server, client):
        for _ in range(2):
            with pytest.raises(IndigoError):
                await call(client)
        server.responders = [good]
        assert (await client.get_audience("aud-1")).id == "aud-1"


@pytest.mark.usefixtures("_small_bound")
@pytest.mark.parametrize("answer", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_a_response_that_is_too_large_is_not_retried(answer: Responder):
    async with server_and_client(answer) as (server, client):
        with pytest.raises(IndigoError, match="GET /audiences: the response is too large"):
            await client.list_audiences()
        with pytest.raises(AmbiguousOutcomeError, match="the response is too large"):
            await client.purchase_csv_export(export_id="exp-1")
    assert len(server.requests) == 2


HOSTILE_IDS = [
    "a/b",
    "../../x",
    "a\nb",
    "a\r\nX-Injected: 1\r\n\r\nb",
    "a\"b'c",
    "100%",
    "%2F",
    "a%0Ab",
    "a&customerId=2",
    "a?b#c",
    "a+b c",
    "a;b",
    "a\\b",
    "a\0b",
    "\u202eé😀",
    "<script>",
    "9" * 4_000,
    2**70,
    -1,
    0,
]


@pytest.mark.parametrize("record_id", HOSTILE_IDS, ids=lambda value: ascii(value)[:30])
async def test_an_id_is_sent_back_unchanged(record_id: str | int):
    text = str(record_id)
    async with server_and_client(respond_with_json({"id": record_id, "customerId": text})) as (server, client):
        audience = await client.upload_csv(customer_id=text, url="https://files.example.org/donors.csv")
        assert audience.id == record_id
        await client.get_audience(audience.id, customer_id=text)
        await client.match_uploaded_csv(
            audience_id=audience.id, customer_id=text, audience_name=text, column_selections=COLUMNS
        )
        await client.purchase_csv_export(export_id=record_id, customer_id=text)
    _, asked, matched, bought = server.requests
    query = parse_qs(urlsplit(asked.path).query, strict_parsing=True)
    assert query == {"audienceId": [text], "customerId": [text]}
    assert matched.json["audienceID"] == matched.json["audienceId"] == bought.json["exportId"] == record_id
    assert matched.json["customerId"] == matched.json["audienceName"] == bought.json["customerId"] == text
    assert all("x-injected" not in request.headers for request in server.requests)
    assert [urlsplit(request.path).path for request in server.requests[1:]] == [
        "/api/v1/audience",
        "/api/v1/match_uploaded_csv",
        "/api/v1/purchase_csv_export",
    ]


async def test_an_endless_download_ends_at_the_deadline_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    line = b"voterbase_id,first_name\r\n"
    async with (
        scripted_server(endless(line, line, content_type="text/csv")) as server,
        sandbox_and_client() as (sandbox, client),
    ):
        monkeypatch.setattr(UrlSigner, "url_for", lambda links, of: f"{server.origin}/x.csv?{id(links)}{of}")
        (audience_id,) = await sandbox.seed_audiences(1, "42", size=1_500)
        tasks = asyncio.all_tasks()
        with pytest.raises(WaitTimeoutError, match=r"^download: not done after 0\.5 s"):
            await workflows.export_audience(
                client, audience_id, customer_id="42", destination=tmp_path / "folder" / "x.csv", timeout=0.5
            )
        assert list((tmp_path / "folder").iterdir()) == []
        assert {task for task in asyncio.all_tasks() - tasks if "aiohttp/web_protocol" not in repr(task)} == set()
        assert len(await client.list_audiences(customer_id="42")) == 1


async def test_a_download_with_huge_headers_is_an_error(tmp_path: Path):
    async with (
        scripted_server(respond_with(200, b"x", x_huge="x" * 100_000)) as server,
        server_and_client(respond_with()) as (_, client),
    ):
        with pytest.raises(DownloadError, match=r"\(after 4 attempts\)"):
            await download(client.transport, f"{server.origin}/x.csv", tmp_path / "x.csv", retry=QUICK_RETRY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../escaped.csv", "..%2Fescaped.csv", "/etc/escaped.csv", "a\0b.csv"])
async def test_server_file_names_do_not_choose_the_path(name: str, tmp_path: Path):
    answer = respond_with(
        200, b"a,b\r\n", content_type="text/csv", content_disposition=f'attachment; filename="{name!a}"'
    )
    folder = tmp_path / "folder"
    async with (
        scripted_server(respond_with(302, location="/../../escaped.csv"), answer) as server,
        server_and_client(respond_with()) as (_, client),
    ):
        await download(client.transport, f"{server.origin}/x.csv", folder / "x.csv", retry=QUICK_RETRY)
    assert await written(tmp_path) == [folder / "x.csv"]


async def test_server_names_and_ids_do_not_choose_the_path(tmp_path: Path):
    folder = tmp_path / "folder"
    async with sandbox_and_client() as (sandbox, _), open_client(sandbox) as client:
        (audience_id,) = await sandbox.seed_audiences(1, "../../x", size=1_500)
        await workflows.export_audience(client, audience_id, customer_id="../../x", destination=folder / "x.csv")
    assert await written(tmp_path) == [folder / "x.csv"]


async def written(folder: Path) -> list[Path]:
    return [Path(path) async for path in anyio.Path(folder).rglob("*") if await path.is_file()]
