"""Servers that send the rest of a file in slices. The file is complete or absent."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from indigo_async.client import IndigoClient
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.download import download as download_function
from indigo_async.files.downloads.part_file import PartFile
from tests.support.downloads import (
    BODY,
    ETAG_ONE,
    ETAG_TWO,
    cut_response,
    download_from,
    files_in,
    full_response,
    rest_response,
)
from tests.support.servers.scripted import Responder, ScriptedServer, respond_with, scripted_server

TOTAL = len(BODY)


def a_slice(
    start: int, end: int, total: int | str = TOTAL, *, body: bytes = BODY, etag: str = ETAG_ONE, last: int | None = None
) -> Responder:
    """The bytes from `start` up to `end`; `last` makes the response announce another end."""
    content_range = f"bytes {start}-{end - 1 if last is None else last}/{total}"
    return respond_with(206, body[start:end], content_type="text/csv", content_range=content_range, etag=etag)


def chunked(status: int, body: bytes, **headers: str) -> Responder:
    """A body of unknown length."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        http_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        response = web.StreamResponse(status=status, headers={"Content-Type": "text/csv"} | http_headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(body)
        await response.write_eof()
        return response

    return respond


def ranges(server: ScriptedServer) -> list[str | None]:
    return [request.headers.get("range") for request in server.requests]


async def test_slices_are_requested_until_the_file_is_complete(client: IndigoClient, tmp_path: Path):
    parts = [cut_response(5_000), a_slice(5_000, 6_000), a_slice(6_000, 6_001), a_slice(6_001, TOTAL)]
    async with scripted_server(*parts, respond_with(500)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert (done.path.read_bytes(), done.size_bytes) == (BODY, TOTAL)
    assert done.sha256 == hashlib.sha256(BODY).hexdigest()
    assert ranges(server) == [None, "bytes=5000-", "bytes=6000-", "bytes=6001-"]
    assert files_in(tmp_path) == [done.path]


async def test_many_small_slices_do_not_use_up_the_attempts(client: IndigoClient, tmp_path: Path):
    parts = [a_slice(start, min(start + 1_000, TOTAL)) for start in range(1_000, TOTAL, 1_000)]
    async with scripted_server(cut_response(1_000), *parts, respond_with(500)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY


async def test_endless_slices_fail(client: IndigoClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(download_function.__globals__, "_MAX_REQUESTS", 7)
    parts = [a_slice(start, start + 1) for start in range(1_000, 1_100)]
    async with scripted_server(cut_response(1_000), *parts) as server:
        with pytest.raises(DownloadError, match="incomplete after 7 requests"):
            await download_from(client, server, tmp_path / "x.csv")
    assert len(server.requests) == 7


async def test_the_next_call_resumes_to_the_length_that_was_known_before(client: IndigoClient, tmp_path: Path):
    async with scripted_server(cut_response(5_000), a_slice(5_000, 6_000), respond_with(503)) as server:
        with pytest.raises(DownloadError):
            await download_from(client, server, tmp_path / "x.csv", source="1")
    async with scripted_server(a_slice(6_000, 7_000, "*"), a_slice(7_000, TOTAL, "*"), respond_with(500)) as server:
        done = await download_from(client, server, tmp_path / "x.csv", source="1")
    assert done.path.read_bytes() == BODY
    assert ranges(server) == ["bytes=6000-", "bytes=7000-"]


@pytest.mark.parametrize(
    "invalid",
    [
        a_slice(5_000, 6_000, TOTAL + 1),
        a_slice(5_000, 6_000, 5_500),
        a_slice(5_000, 6_000, last=4_999),
        a_slice(5_000, 6_000, last=6_000),
        a_slice(5_000, 6_000, etag=ETAG_TWO),
        respond_with(206, BODY[5_000:6_000], content_type="text/csv", content_range="bytes 5000-", etag=ETAG_ONE),
        respond_with(
            206, BODY[5_000:6_000], content_type="text/csv", content_range=f"bytes 5000-{'9' * 5_000}/*", etag=ETAG_ONE
        ),
        respond_with(206, BODY[5_000:6_000], content_type="text/csv", etag=ETAG_ONE),
        chunked(206, BODY[5_000:6_001], Content_Range=f"bytes 5000-5999/{TOTAL}", ETag=ETAG_ONE),
    ],
    ids=[
        "a different length",
        "beyond the length",
        "a range that ends before it begins",
        "a body shorter than its range",
        "a different version",
        "half a range",
        "a long number",
        "no range",
        "a body longer than its range",
    ],
)
async def test_a_slice_that_contradicts_itself_starts_the_download_over(
    client: IndigoClient, tmp_path: Path, invalid: Responder
):
    async with scripted_server(cut_response(5_000), invalid, full_response()) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=5000-", None]


async def test_a_slice_of_unknown_length_that_ends_early_is_resumed(client: IndigoClient, tmp_path: Path):
    short = chunked(206, BODY[5_000:5_500], Content_Range=f"bytes 5000-5999/{TOTAL}", ETag=ETAG_ONE)
    async with scripted_server(cut_response(5_000), short, rest_response(5_500)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=5000-", "bytes=5500-"]


@pytest.mark.parametrize("headers", [{}, {"content_range": f"bytes */{TOTAL}"}])
async def test_slices_of_a_file_of_unknown_length_end_with_416(
    client: IndigoClient, tmp_path: Path, headers: dict[str, str]
):
    async with scripted_server(
        cut_response_of_unknown_length(5_000),
        a_slice(5_000, TOTAL, "*"),
        respond_with(416, **headers),
        respond_with(500),
    ) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=5000-", f"bytes={TOTAL}-"]


def cut_response_of_unknown_length(size: int) -> Responder:
    """The first bytes of a body of unknown length, then a broken connection."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/csv", "ETag": ETAG_ONE})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(BODY[:size])
        request.transport.close()
        return response

    return respond


async def test_a_total_length_that_becomes_known_later_is_checked(client: IndigoClient, tmp_path: Path):
    async with scripted_server(
        cut_response_of_unknown_length(5_000), a_slice(5_000, 6_000, "*"), a_slice(6_000, TOTAL), respond_with(500)
    ) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "unsatisfied",
    [
        respond_with(416),
        respond_with(416, content_range="bytes */6000"),
        respond_with(416, content_range="bytes */4000"),
    ],
)
async def test_416_while_bytes_are_missing_starts_the_download_over(
    client: IndigoClient, tmp_path: Path, unsatisfied: Responder
):
    async with scripted_server(cut_response(5_000), a_slice(5_000, 6_000), unsatisfied, full_response()) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert ranges(server)[-1] is None


async def test_a_complete_part_file_is_not_downloaded_again(client: IndigoClient, tmp_path: Path):
    """As left by a disk error at the very end."""

    def leave_complete_part_file() -> None:
        part = PartFile(tmp_path / "x.csv", "1")
        part.open()
        part.validator, part.total = ETAG_ONE, TOTAL
        part.write([BODY])
        part.close()

    await asyncio.to_thread(leave_complete_part_file)
    async with scripted_server(respond_with(416, content_range=f"bytes */{TOTAL}"), respond_with(500)) as server:
        done = await download_from(client, server, tmp_path / "x.csv", source="1")
    assert done.path.read_bytes() == BODY
    assert len(server.requests) == 1


async def test_a_shorter_body_of_the_same_version_is_not_complete(client: IndigoClient, tmp_path: Path):
    async with scripted_server(
        cut_response(5_000), chunked(200, BODY[:6_000], ETag=ETAG_ONE), full_response()
    ) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY


async def test_a_206_without_a_length_ends_with_its_range(client: IndigoClient, tmp_path: Path):
    async def until_closed(request: web.BaseRequest) -> web.StreamResponse:
        head = f"HTTP/1.1 206 Partial Content\r\nContent-Type: text/csv\r\nETag: {ETAG_ONE}\r\n"
        rest = f"Content-Range: bytes 5000-{TOTAL - 1}/{TOTAL}\r\nConnection: close\r\n\r\n"
        request.transport.write((head + rest).encode() + BODY[5_000:])
        request.transport.close()
        return web.Response()

    async with scripted_server(cut_response(5_000), until_closed, respond_with(500)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY


def test_an_incomplete_part_file_is_never_moved_to_the_destination(tmp_path: Path):
    part = PartFile(tmp_path / "x.csv", "s")
    part.open()
    part.total = 10
    part.write([b"a,b\n"])
    with pytest.raises(DownloadError, match="received 4 of 10 bytes"):
        part.commit()
    part.close()
    assert files_in(tmp_path) == []


@settings(max_examples=25)
@given(st.data())
async def test_any_mix_of_breaks_and_slices_gives_a_complete_file_or_none(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    target = tmp_path_factory.mktemp("slices") / "x.csv"
    body = BODY[:400]

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        requested = request.headers.get("Range")
        start = int(requested[6:-1]) if requested else 0
        if start >= len(body):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
        if requested and data.draw(st.integers(0, 9)) > 0:
            end = data.draw(st.integers(start + 1, len(body)))
            total = data.draw(st.sampled_from([str(len(body)), "*"]))
            return await a_slice(start, end, total, body=body)(request)
        return await data.draw(
            st.sampled_from([cut_response(200, body), cut_response(100, body), full_response(body)])
        )(request)

    async with (
        IndigoClient("token", base_url="http://127.0.0.1:9", timeout=5.0) as client,
        scripted_server(respond) as server,
    ):
        try:
            done = await download_from(client, server, target)
        except DownloadError:
            assert not target.exists()
        else:
            assert done.path.read_bytes() == body
