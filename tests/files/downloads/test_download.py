"""Downloads are streamed, resumed, verified, private, and complete or absent."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from indigo_async._transport.cancellation import run_in_thread
from indigo_async.client import IndigoClient
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.download import DownloadedFile, download
from tests.support.downloads import (
    BODY,
    ETAG_ONE,
    ETAG_TWO,
    TOKEN,
    cancel_scope,
    cancel_task,
    cut_response,
    download_from,
    files_in,
    full_response,
    redirect_response,
    rest_response,
    stalled_response,
)
from tests.support.servers.scripted import QUICK_RETRY, respond_with, scripted_server


async def test_a_download_is_complete_hashed_and_private(client: IndigoClient, tmp_path: Path):
    target = tmp_path / "new" / "folder" / "donors.csv"
    async with scripted_server(full_response()) as server:
        done = await download_from(client, server, target)
    assert done == DownloadedFile(target, len(BODY), hashlib.sha256(BODY).hexdigest())
    assert target.read_bytes() == BODY
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert files_in(target.parent) == [target]


async def test_an_empty_file_is_downloaded(client: IndigoClient, tmp_path: Path):
    async with scripted_server(full_response(b"")) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert (done.size_bytes, done.path.read_bytes()) == (0, b"")


async def test_a_small_file_needs_two_calls_in_threads(
    client: IndigoClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = 0

    async def counted(function: Callable[[], object]) -> object:
        nonlocal calls
        calls += 1
        return await run_in_thread(function)

    monkeypatch.setattr("indigo_async.files.downloads.download.run_in_thread", counted)
    async with scripted_server(full_response()) as server:
        await download_from(client, server, tmp_path / "x.csv")
    assert calls == 2
    assert (tmp_path / "x.csv").read_bytes() == BODY


async def test_the_token_is_never_sent_to_a_download_host(client: IndigoClient, tmp_path: Path):
    async with (
        scripted_server(full_response()) as target,
        scripted_server(redirect_response(f"{target.origin}/y.csv")) as server,
    ):
        await download_from(client, server, tmp_path / "x.csv")
    for request in server.requests + target.requests:
        assert "authorization" not in request.headers
        assert TOKEN not in str(request)


async def test_the_file_is_private_from_the_first_byte(client: IndigoClient, tmp_path: Path):
    async with scripted_server(stalled_response) as server, anyio.create_task_group() as group:
        group.start_soon(download_from, client, server, tmp_path / "x.csv")
        await server.request_received.wait()
        (part,) = files_in(tmp_path)
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
        group.cancel_scope.cancel()


async def test_a_broken_download_resumes_where_it_stopped(client: IndigoClient, tmp_path: Path):
    async with scripted_server(cut_response(20_000), rest_response(20_000)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert done.sha256 == hashlib.sha256(BODY).hexdigest()
    first, second = server.requests
    assert "range" not in first.headers
    assert (second.headers["range"], second.headers["if-range"]) == ("bytes=20000-", ETAG_ONE)


async def test_a_download_that_breaks_twice_resumes_twice(client: IndigoClient, tmp_path: Path):
    async def middle(request: web.BaseRequest) -> web.StreamResponse:
        headers = {
            "Content-Range": f"bytes 20000-{len(BODY) - 1}/{len(BODY)}",
            "ETag": ETAG_ONE,
            "Content-Type": "text/csv",
        }
        response = web.StreamResponse(status=206, headers=headers)
        response.content_length = len(BODY) - 20_000
        await response.prepare(request)
        await response.write(BODY[20_000:30_000])
        request.transport.close()
        return response

    async with scripted_server(cut_response(20_000), middle, rest_response(30_000)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert [request.headers.get("range") for request in server.requests] == [None, "bytes=20000-", "bytes=30000-"]


async def test_if_the_server_ignores_the_range_the_download_starts_over(client: IndigoClient, tmp_path: Path):
    async with scripted_server(cut_response(20_000), full_response()) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert done.size_bytes == len(BODY)


async def test_a_file_that_changed_is_downloaded_again(client: IndigoClient, tmp_path: Path):
    changed = BODY.replace(b"ANN", b"BOB")
    async with scripted_server(cut_response(20_000), full_response(changed, ETAG_TWO)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == changed
    assert done.sha256 == hashlib.sha256(changed).hexdigest()


@pytest.mark.parametrize("etag", [ETAG_TWO, None])
async def test_two_versions_are_never_joined_even_by_a_server_that_ignores_if_range(
    client: IndigoClient, tmp_path: Path, etag: str | None
):
    changed = BODY.replace(b"ANN", b"BOB")
    async with scripted_server(
        cut_response(20_000), rest_response(20_000, changed, etag), full_response(changed, ETAG_TWO)
    ) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == changed


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
async def test_without_a_strong_validator_nothing_is_resumed(client: IndigoClient, tmp_path: Path, etag: str | None):
    async with scripted_server(cut_response(20_000, etag=etag), full_response()) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert [request.headers.get("range") for request in server.requests] == [None, None]


async def test_a_range_that_was_not_requested_is_rejected(client: IndigoClient, tmp_path: Path):
    async with scripted_server(cut_response(20_000), rest_response(20_001), full_response()) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY


async def test_an_unsatisfiable_range_starts_the_download_over(client: IndigoClient, tmp_path: Path):
    shorter = BODY[:10_000]
    async with scripted_server(cut_response(20_000), respond_with(416), full_response(shorter, ETAG_TWO)) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == shorter


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_transient_status_is_retried(client: IndigoClient, tmp_path: Path, status: int):
    async with scripted_server(respond_with(status), full_response()) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY


@pytest.mark.parametrize(("status", "expired"), [(401, True), (403, True), (404, True), (410, True), (400, False)])
async def test_a_final_status_is_reported_at_once_and_shows_whether_a_fresh_url_may_help(
    client: IndigoClient, tmp_path: Path, status: int, *, expired: bool
):
    async with scripted_server(respond_with(status)) as server:
        with pytest.raises(DownloadError, match=rf"x\.csv: 127\.0\.0\.1 returned {status}") as caught:
            await download_from(client, server, tmp_path / "x.csv")
    assert caught.value.expired is expired
    assert len(server.requests) == 1


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "application/xml"])
async def test_a_page_instead_of_a_csv_is_rejected(client: IndigoClient, tmp_path: Path, content_type: str):
    async with scripted_server(respond_with(200, b"<html>", content_type=content_type)) as server:
        with pytest.raises(DownloadError, match=f"{content_type} instead of a CSV"):
            await download_from(client, server, tmp_path / "x.csv")


async def test_a_download_that_keeps_breaking_fails_and_changes_nothing(client: IndigoClient, tmp_path: Path):
    target = tmp_path / "x.csv"
    target.write_bytes(b"old content")
    async with scripted_server(cut_response(20_000, etag=None)) as server:
        with pytest.raises(DownloadError, match=r"\(after 4 attempts\)"):
            await download_from(client, server, target)
    assert len(server.requests) == QUICK_RETRY.attempts
    assert target.read_bytes() == b"old content"
    assert files_in(tmp_path) == [target]


async def test_an_existing_file_is_replaced_by_the_complete_download(client: IndigoClient, tmp_path: Path):
    target = tmp_path / "x.csv"
    target.write_bytes(b"old content")
    target.chmod(0o644)
    async with scripted_server(full_response()) as server:
        await download_from(client, server, target)
    assert target.read_bytes() == BODY
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


async def test_a_body_of_unknown_length_is_rejected(client: IndigoClient, tmp_path: Path):
    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nConnection: close\r\n\r\n" + BODY)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(until_closed, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x.csv"
        with pytest.raises(DownloadError, match="does not say how long the file is"):
            await download(client.transport, url, tmp_path / "x.csv", retry=QUICK_RETRY)
    assert files_in(tmp_path) == []


async def test_a_chunked_body_ends_with_its_last_chunk(client: IndigoClient, tmp_path: Path):
    async def chunked(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/csv"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(BODY), 7_000):
            await response.write(BODY[start : start + 7_000])
        await response.write_eof()
        return response

    async with scripted_server(chunked) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY


async def test_a_body_that_is_compressed_without_being_requested_is_accepted(client: IndigoClient, tmp_path: Path):
    async def compressed(_: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(body=BODY, headers={"Content-Type": "text/csv", "ETag": ETAG_ONE})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with scripted_server(compressed) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(client: IndigoClient, tmp_path: Path, status: int):
    async with scripted_server(redirect_response("/elsewhere.csv?sig=2", status), full_response()) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY
    assert [request.path for request in server.requests] == ["/x.csv?sig=1", "/elsewhere.csv?sig=2"]


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://example.org/x.csv?sig=canary", "example.org is not https"),
        ("http://127.0.0.1.example.org/x.csv?sig=canary", "is not https"),
        ("ftp://example.org/x.csv?sig=canary", "has the scheme 'ftp'"),
        ("file:///etc/passwd", "has the scheme 'file'"),
        ("https://user:canary@example.org/x.csv", "contains a user name or password"),
        ("https://canary@example.org/x.csv", "contains a user name or password"),
        ("http://[::1/x.csv?sig=canary", "is not a URL"),
        ("https:///x.csv?sig=canary", "has no host"),
    ],
)
@pytest.mark.parametrize("how", ["at once", "after a redirect"])
async def test_an_unsafe_url_is_never_requested(
    client: IndigoClient, tmp_path: Path, location: str, message: str, how: str
):
    async with scripted_server(redirect_response(location)) as server:
        url = location if how == "at once" else f"{server.origin}/x.csv"
        with pytest.raises(DownloadError, match=message) as caught:
            await download(client.transport, url, tmp_path / "x.csv", retry=QUICK_RETRY)
    assert "canary" not in str(caught.value)
    assert len(server.requests) == (how == "after a redirect")
    assert files_in(tmp_path) == []


async def test_a_redirect_loop_fails(client: IndigoClient, tmp_path: Path):
    async with scripted_server(redirect_response("/x.csv")) as server:
        with pytest.raises(DownloadError, match="more than 5 redirects"):
            await download_from(client, server, tmp_path / "x.csv")


async def test_a_redirect_without_a_location_fails(client: IndigoClient, tmp_path: Path):
    async with scripted_server(respond_with(302)) as server:
        with pytest.raises(DownloadError, match="redirects"):
            await download_from(client, server, tmp_path / "x.csv")


async def test_a_refused_connection_is_retried_and_reported(client: IndigoClient, tmp_path: Path):
    async with scripted_server(full_response()) as server:
        origin = server.origin
    with pytest.raises(DownloadError, match=r"no connection could be made \(.*, connection refused\) \(after 4"):
        await download(client.transport, f"{origin}/x.csv", tmp_path / "x.csv", retry=QUICK_RETRY)
    assert files_in(tmp_path) == []


async def test_a_line_end_in_a_url_injects_no_header(client: IndigoClient, tmp_path: Path):
    async with scripted_server(full_response()) as server:
        with contextlib.suppress(DownloadError):
            await download_from(client, server, tmp_path / "x.csv", "/x.csv?a=b HTTP/1.1\r\nX-Injected: 1\r\n\r\n")
    assert all("x-injected" not in request.headers for request in server.requests)
    assert len(server.requests) <= 1


async def test_a_folder_as_destination_is_rejected(client: IndigoClient, tmp_path: Path):
    async with scripted_server(full_response()) as server:
        with pytest.raises(DownloadError, match="is a folder; name a file"):
            await download_from(client, server, tmp_path)
    assert server.requests == []
    assert files_in(tmp_path) == []


async def test_a_destination_that_cannot_be_written_fails_before_any_request(client: IndigoClient, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    async with scripted_server(full_response()) as server:
        with pytest.raises(OSError, match="file"):
            await download_from(client, server, tmp_path / "file" / "x.csv")
    assert server.requests == []


@pytest.mark.parametrize("cancel", [cancel_task, cancel_scope])
async def test_a_canceled_download_leaves_the_old_file_and_no_part_file(client: IndigoClient, tmp_path: Path, cancel):
    target = tmp_path / "x.csv"
    target.write_bytes(b"old content")
    async with scripted_server(stalled_response) as server:
        await cancel(download_from(client, server, target), until=server.request_received)
    assert target.read_bytes() == b"old content"
    assert files_in(tmp_path) == [target]
