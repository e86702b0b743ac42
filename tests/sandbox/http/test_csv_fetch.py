from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from indigo_async.sandbox.people import VoterFile
from indigo_async.sandbox.state.engine import StageError
from indigo_async.sandbox.state.fetch import FetchLimits, fetch_csv
from tests.support.sandbox_http import open_api

CSV = b"First,Last\nanne,lee\n"


@pytest.fixture
async def site() -> AsyncGenerator[str]:
    """A web server on this machine that holds a CSV and leads astray."""

    async def serve(request: web.Request) -> web.StreamResponse:
        if request.path == "/people.csv":
            return web.Response(body=CSV)
        if request.path == "/to":
            return web.Response(status=302, headers={"Location": request.query["url"]})
        if request.path == "/loop":
            return web.Response(status=302, headers={"Location": "/loop"})
        if request.path == "/silent":
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_csv_is_fetched_and_local_redirects_are_followed(session: aiohttp.ClientSession, site: str):
    for url in (f"{site}/people.csv", f"{site}/to?url=/people.csv", f"{site}/to?url={site}/to?url=/people.csv"):
        assert await fetch_csv(session, url, FetchLimits()) == CSV


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing.csv", "UrlNotReachable"),
        ("/loop", "UrlNotReachable"),
        ("/silent", "UrlNotReachable"),
        ("/to?url=http://192.0.2.1/people.csv", "UrlNotAllowed"),
        ("/to?url=ftp://127.0.0.1/people.csv", "UrlNotReachable"),
        ("/to?url=file:///etc/passwd", "UrlNotAllowed"),
    ],
)
async def test_a_failed_fetch_has_a_reason(session: aiohttp.ClientSession, site: str, path: str, reason: str):
    with pytest.raises(StageError, match=reason):
        await fetch_csv(session, site + path, FetchLimits())


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/x", "https://example.org/x", "http://127.0.0.1.example.org/x", "http://10.0.0.1/x"]
)
async def test_only_this_machine_is_contacted(session: aiohttp.ClientSession, url: str):
    with pytest.raises(StageError, match="UrlNotAllowed"):
        await fetch_csv(session, url, FetchLimits())


async def test_a_csv_may_be_as_large_as_the_limit(session: aiohttp.ClientSession, site: str):
    url = f"{site}/people.csv"
    assert await fetch_csv(session, url, FetchLimits(max_bytes=len(CSV))) == CSV
    with pytest.raises(StageError, match="CsvTooLarge"):
        await fetch_csv(session, url, FetchLimits(max_bytes=len(CSV) - 1))


async def test_an_upload_that_cannot_be_fetched_has_a_reason(voters: VoterFile):
    async with open_api(voters, lite=False) as api:
        stub = await api.post_ok("/upload_csv", customerId="1", url="http://192.0.2.1/people.csv")
        await api.advance_time()
        upload = (await api.audience(stub["id"]))["uploadedAudienceCsv"]
        assert (upload["status"], upload["failureReason"]) == ("FAILED", "UrlNotAllowed")


async def test_the_file_host_serves_paths_and_bytes_until_they_are_removed(tmp_path: Path):
    path = tmp_path / "people.csv"
    path.write_bytes(CSV)
    async with open_api() as api:
        host = api.sandbox.file_host
        urls = [host.put(path, name="a b.csv"), host.put(CSV), host.put(b"")]
        contents = [(await api.request("GET", url)).body for url in urls]
        assert contents == [CSV, CSV, b""]
        assert urls[0].endswith("/a%20b.csv")
        host.remove(urls[1])
        host.remove(urls[1])
        path.unlink()
        assert [(await api.request("GET", url)).status for url in urls] == [404, 404, 200]


async def test_the_file_host_publishes_a_file_under_its_content_hash(tmp_path: Path):
    path = tmp_path / "people.csv"
    path.write_bytes(CSV)
    async with open_api() as api:
        async with api.sandbox.file_host.publish(path) as url:
            assert url.endswith(f"/{hashlib.sha256(CSV).hexdigest()}.csv")
            assert (await api.request("GET", url)).body == CSV
        assert (await api.request("GET", url)).status == 404
