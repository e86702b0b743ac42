"""Downloads that resume: in the next call, with a fresh URL, after a proxy's page; and what is never joined."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import os
import stat
import sys
from pathlib import Path

import pytest
from aiohttp import web

from indigo_async.client import IndigoClient
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.download import _ProgressThrottle, download
from indigo_async.files.downloads.responses import GzipDecoder
from tests.support.downloads import (
    BODY,
    ETAG_ONE,
    ETAG_TWO,
    cancel_scope,
    cancel_task,
    cut_response,
    download_from,
    files_in,
    full_response,
    rest_response,
)
from tests.support.servers.scripted import Responder, respond_with, scripted_server


async def test_the_next_call_resumes_a_failed_download_with_a_fresh_url(client: IndigoClient, tmp_path: Path):
    target = tmp_path / "x.csv"
    async with scripted_server(cut_response(20_000), respond_with(503)) as server:
        with pytest.raises(DownloadError, match=r"returned 503 \(after 4 attempts\)"):
            await download_from(client, server, target, source="export 1")
    left_files = files_in(tmp_path)
    assert sorted(path.name for path in left_files) == [".x.csv.part", ".x.csv.part.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in left_files} == {0o600}
    async with scripted_server(rest_response(20_000)) as server:
        done = await download_from(client, server, target, "/elsewhere.csv?sig=2", source="export 1")
    assert (done.path.read_bytes(), done.sha256) == (BODY, hashlib.sha256(BODY).hexdigest())
    assert [(request.headers["range"], request.headers["if-range"]) for request in server.requests] == [
        ("bytes=20000-", ETAG_ONE)
    ]
    assert files_in(tmp_path) == [target]


@pytest.mark.parametrize("cancel", [cancel_task, cancel_scope])
async def test_a_canceled_download_is_resumed(
    client: IndigoClient, tmp_path: Path, cancel, monkeypatch: pytest.MonkeyPatch
):
    async def part(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/csv", "ETag": ETAG_ONE})
        response.content_length = len(BODY)
        await response.prepare(request)
        await response.write(BODY[:30_000])
        await asyncio.Event().wait()
        return response

    def on_progress(size: int, _: int | None) -> None:
        if size == 30_000:
            arrived.set()

    target = tmp_path / "x.csv"
    arrived = asyncio.Event()
    monkeypatch.setattr(sys.modules[download.__module__], "_CHUNK_BYTES", 1)
    monkeypatch.setattr(sys.modules[download.__module__], "_PROGRESS_INTERVAL", 0)
    async with scripted_server(part) as server:
        await cancel(download_from(client, server, target, source="1", on_progress=on_progress), until=arrived)
    async with scripted_server(rest_response(30_000)) as server:
        done = await download_from(client, server, target, source="1")
    assert done.path.read_bytes() == BODY
    assert [request.headers.get("range") for request in server.requests] == ["bytes=30000-"]
    assert files_in(tmp_path) == [target]


async def fail_download(client: IndigoClient, target: Path, *responses: Responder, source: str = "1") -> None:
    """A download that fails before its file is complete."""
    async with scripted_server(*responses, respond_with(503)) as server:
        with pytest.raises(DownloadError):
            await download_from(client, server, target, source=source)


async def test_a_part_file_of_another_export_is_not_resumed(client: IndigoClient, tmp_path: Path):
    target = tmp_path / "x.csv"
    await fail_download(client, target, cut_response(20_000), source="1")
    async with scripted_server(full_response()) as server:
        done = await download_from(client, server, target, source="2")
    assert "range" not in server.requests[0].headers
    assert done.path.read_bytes() == BODY
    assert files_in(tmp_path) == [target]


async def test_the_default_source_is_the_url_without_its_query(client: IndigoClient, tmp_path: Path):
    target = tmp_path / "x.csv"
    async with scripted_server(
        cut_response(20_000), respond_with(503), respond_with(503), respond_with(503), rest_response(20_000)
    ) as server:
        with pytest.raises(DownloadError):
            await download_from(client, server, target, "/x.csv?sig=1")
        done = await download_from(client, server, target, "/x.csv?sig=2")
    assert server.requests[-1].headers["range"] == "bytes=20000-"
    assert done.path.read_bytes() == BODY


async def test_the_next_call_never_joins_two_versions(client: IndigoClient, tmp_path: Path):
    target, changed = tmp_path / "x.csv", BODY.replace(b"ANN", b"BOB")
    await fail_download(client, target, cut_response(20_000))
    async with scripted_server(rest_response(20_000, changed, ETAG_TWO), full_response(changed, ETAG_TWO)) as server:
        done = await download_from(client, server, target, source="1")
    assert done.path.read_bytes() == changed
    assert ["range" in request.headers for request in server.requests] == [True, False]


def cut_rest(start: int, end: int, body: bytes, etag: str) -> Responder:
    """The bytes from `start` to `end` of a longer range, then a broken connection."""

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        content_range = f"bytes {start}-{len(body) - 1}/{len(body)}"
        response = web.StreamResponse(
            status=206, headers={"Content-Type": "text/csv", "ETag": etag, "Content-Range": content_range}
        )
        response.content_length = len(body) - start
        await response.prepare(request)
        await response.write(body[start:end])
        request.transport.close()
        return response

    return respond


async def test_a_new_version_gets_all_attempts_even_if_an_old_one_was_partly_downloaded(
    client: IndigoClient, tmp_path: Path
):
    target, changed = tmp_path / "x.csv", BODY.replace(b"ANN", b"BOB")
    await fail_download(client, target, cut_response(20_000))
    cuts = [cut_rest(start, start + 1_000, changed, ETAG_TWO) for start in range(1_000, 8_000, 1_000)]
    async with scripted_server(
        cut_response(1_000, changed, ETAG_TWO), *cuts, rest_response(8_000, changed, ETAG_TWO)
    ) as server:
        done = await download_from(client, server, target, source="1")
    assert done.path.read_bytes() == changed


async def test_a_server_that_sends_a_new_version_and_breaks_off_each_time_fails(client: IndigoClient, tmp_path: Path):
    target = tmp_path / "x.csv"
    await fail_download(client, target, cut_response(20_000))
    async with scripted_server(*(cut_response(1_000, etag=f'"{row}"') for row in range(20))) as server:
        with pytest.raises(DownloadError, match=r"\(after 4 attempts\)"):
            await download_from(client, server, target, source="1")
    assert len(server.requests) <= 5


async def test_an_etag_that_is_not_text_is_ignored(client: IndigoClient, tmp_path: Path):
    """A byte that is not UTF-8 can be neither saved nor sent back."""
    body = b"a,b\n" * (9 * 256 * 1024)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: {len(body)}\r\n".encode()

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        request.transport.write(head + b'ETag: "\xe9"\r\nConnection: close\r\n\r\n' + body)
        request.transport.close()
        return web.Response()

    async with scripted_server(respond) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.sha256 == hashlib.sha256(body).hexdigest()
    assert files_in(tmp_path) == [done.path]


def _truncate_part(part: Path, _: Path) -> None:
    part.write_bytes(part.read_bytes()[:-1])


def _alter_part(part: Path, _: Path) -> None:
    part.write_bytes(b"X" + part.read_bytes()[1:])


def _remove_state(_: Path, state: Path) -> None:
    state.unlink()


def _truncate_state(_: Path, state: Path) -> None:
    state.write_bytes(state.read_bytes()[:-9])


def _reshape_state(_: Path, state: Path) -> None:
    state.write_bytes(b'{"source": 1}')


def _replace_state_by_link(_: Path, state: Path) -> None:
    state.rename(state.with_name("elsewhere"))
    state.symlink_to(state.with_name("elsewhere"))


@pytest.mark.parametrize(
    "damage", [_truncate_part, _alter_part, _remove_state, _truncate_state, _reshape_state, _replace_state_by_link]
)
async def test_a_part_file_that_does_not_match_its_resume_state_is_downloaded_again(
    client: IndigoClient, tmp_path: Path, damage
):
    target = tmp_path / "folder" / "x.csv"
    await fail_download(client, target, cut_response(20_000))
    damage(target.with_name(".x.csv.part"), target.with_name(".x.csv.part.json"))
    async with scripted_server(full_response()) as server:
        done = await download_from(client, server, target, source="1")
    assert "range" not in server.requests[0].headers
    assert done.path.read_bytes() == BODY
    assert {path.name for path in files_in(target.parent)} <= {"x.csv", "elsewhere"}


async def test_bytes_after_the_last_saved_state_are_downloaded_again(client: IndigoClient, tmp_path: Path):
    target = tmp_path / "x.csv"
    await fail_download(client, target, cut_response(20_000))
    with (tmp_path / ".x.csv.part").open("ab") as part:
        part.write(b"bytes that may not be on disk")
    async with scripted_server(rest_response(20_000)) as server:
        done = await download_from(client, server, target, source="1")
    assert server.requests[0].headers["range"] == "bytes=20000-"
    assert done.path.read_bytes() == BODY


async def test_a_proxys_temporary_page_is_retried(client: IndigoClient, tmp_path: Path):
    page = respond_with(200, b"<html>Please wait", content_type="text/html")
    async with scripted_server(cut_response(20_000), page, page, rest_response(20_000)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert server.requests[-1].headers["range"] == "bytes=20000-"


GZIPPED = gzip.compress(BODY)


def encoded(body: bytes, encoding: str = "gzip") -> Responder:
    return respond_with(200, body, content_type="text/csv", content_encoding=encoding, etag=ETAG_ONE)


@pytest.mark.parametrize(
    "body", [GZIPPED, gzip.compress(BODY[:9_999]) + gzip.compress(BODY[9_999:])], ids=["one member", "two members"]
)
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
async def test_a_file_from_a_store_that_always_compresses_is_decompressed(
    client: IndigoClient, tmp_path: Path, body: bytes, encoding: str
):
    async with scripted_server(encoded(body, encoding)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert (done.path.read_bytes(), done.sha256) == (BODY, hashlib.sha256(BODY).hexdigest())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (GZIPPED[:-1], "the compressed file ended early"),
        (GZIPPED[:9_000], "the compressed file ended early"),
        (b"", "the compressed file ended early"),
        (GZIPPED[:-8] + b"\0\0\0\0" + GZIPPED[-4:], "announced gzip but sent something else"),
        (BODY, "announced gzip but sent something else"),
    ],
    ids=["a byte short", "half", "empty", "wrong checksum", "not compressed"],
)
async def test_an_incomplete_or_damaged_compressed_file_is_rejected(
    client: IndigoClient, tmp_path: Path, body: bytes, message: str
):
    async with scripted_server(encoded(body)) as server:
        with pytest.raises(DownloadError, match=rf"{message} \(after 4 attempts\)"):
            await download_from(client, server, tmp_path / "x.csv")
    assert files_in(tmp_path) == []


async def test_a_compressed_file_is_never_resumed(client: IndigoClient, tmp_path: Path):
    async def half(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/csv", "ETag": ETAG_ONE, "Content-Encoding": "gzip"}
        )
        response.content_length = len(GZIPPED)
        await response.prepare(request)
        await response.write(GZIPPED[:9_000])
        request.transport.close()
        return response

    async with scripted_server(half, encoded(GZIPPED)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert [request.headers.get("range") for request in server.requests] == [None, None]


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
async def test_other_compressions_are_rejected(client: IndigoClient, tmp_path: Path, encoding: str):
    async with scripted_server(encoded(BODY, encoding)) as server:
        with pytest.raises(DownloadError, match=f"returned {encoding!r} compression, which was not requested"):
            await download_from(client, server, tmp_path / "x.csv")


async def test_a_gzip_bomb_is_decompressed_in_pieces():
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    pieces = list(GzipDecoder().decompress([bomb[:1_000], bomb[1_000:]]))
    assert sum(map(len, pieces)) == 64 * 1024 * 1024
    assert max(map(len, pieces)) <= 1024 * 1024


async def test_an_expired_url_is_refreshed_and_the_download_resumed(client: IndigoClient, tmp_path: Path):
    urls: list[str] = []

    async def fresh() -> str:
        urls.append(f"{server.origin}/x.csv?sig={len(urls) + 2}")
        return urls[-1]

    responses = (cut_response(20_000), respond_with(403), rest_response(20_000, BODY[:20_000] + BODY[20_000:]))
    async with scripted_server(*responses) as server:
        done = await download_from(client, server, tmp_path / "x.csv", refresh_url=fresh)
    assert done.path.read_bytes() == BODY
    assert [request.path for request in server.requests] == ["/x.csv?sig=1", "/x.csv?sig=1", "/x.csv?sig=2"]
    assert server.requests[-1].headers["range"] == "bytes=20000-"


async def test_a_fresh_url_that_is_rejected_at_once_fails_the_download(client: IndigoClient, tmp_path: Path):
    refreshed = 0

    async def fresh() -> str:
        nonlocal refreshed
        refreshed += 1
        return f"{server.origin}/x.csv?sig=2"

    async with scripted_server(respond_with(403)) as server:
        with pytest.raises(DownloadError, match="returned 403") as caught:
            await download_from(client, server, tmp_path / "x.csv", refresh_url=fresh)
    assert caught.value.expired
    assert (refreshed, len(server.requests)) == (1, 2)


async def test_a_missing_fresh_url_is_reported(client: IndigoClient, tmp_path: Path):
    async def fresh() -> None:
        return None

    async with scripted_server(respond_with(403)) as server:
        with pytest.raises(
            DownloadError, match=r"x\.csv: the download URL has expired and the server returned no other"
        ):
            await download_from(client, server, tmp_path / "x.csv", refresh_url=fresh)


async def test_an_unsafe_fresh_url_is_never_requested(client: IndigoClient, tmp_path: Path):
    async def fresh() -> str:
        return "http://example.org/x.csv?sig=canary"

    async with scripted_server(respond_with(403)) as server:
        with pytest.raises(DownloadError, match=r"example\.org is not https") as caught:
            await download_from(client, server, tmp_path / "x.csv", refresh_url=fresh)
    assert "canary" not in str(caught.value)


async def test_progress_is_reported_from_the_start_of_each_attempt(client: IndigoClient, tmp_path: Path):
    reports: list[tuple[int, int | None]] = []
    async with scripted_server(cut_response(20_000), rest_response(20_000)) as server:
        await download_from(client, server, tmp_path / "x.csv", on_progress=lambda *progress: reports.append(progress))
    assert reports[0] == (0, len(BODY))
    assert (20_000, len(BODY)) in reports
    assert all(0 <= size <= len(BODY) == total for size, total in reports)


def test_progress_is_reported_at_most_twice_a_second():
    now, reports = 0.0, []
    meter = _ProgressThrottle(lambda *progress: reports.append(progress), lambda: now)
    meter.emit(0, 100)
    for step in range(1, 11):
        now = step / 8
        meter.emit_throttled(step, 100)
    assert reports == [(0, 100), (4, 100), (8, 100)]


async def test_a_full_disk_is_reported_as_such(client: IndigoClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with scripted_server(full_response()) as server:
        monkeypatch.setattr("indigo_async.files.downloads.part_file.os.write", full)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            await download_from(client, server, tmp_path / "x.csv")
        monkeypatch.undo()
    assert len(server.requests) == 1
    assert files_in(tmp_path) == []
