from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from indigo_async.sandbox import Fault, FaultKind
from indigo_async.sandbox.errors import HttpError
from indigo_async.sandbox.http.downloads import build_csv_response
from indigo_async.sandbox.http.responses import FileSlice
from indigo_async.sandbox.state.records import CsvFile
from tests.support.sandbox_http import SandboxApi, open_api


@pytest.fixture
async def stranger() -> AsyncGenerator[aiohttp.ClientSession]:
    """A session without a token."""
    async with aiohttp.ClientSession() as session:
        yield session


async def download(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
    async with session.get(url, headers={key.replace("_", "-"): value for key, value in headers.items()}) as response:
        return response, await response.read()


async def test_a_download_is_complete_and_labeled(api: SandboxApi, stranger: aiohttp.ClientSession):
    url = (await api.purchased())["downloadUrl"]
    response, body = await download(stranger, url)
    assert response.status == 200
    assert response.headers["Content-Length"] == str(len(body))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["ETag"] == f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    assert body.startswith(b"voterbase_id,")
    assert api.sandbox.log.entries[-1].status == 200


async def test_an_interrupted_download_is_resumed(api: SandboxApi, stranger: aiohttp.ClientSession):
    url = (await api.purchased())["downloadUrl"]
    whole, body = await download(stranger, url)
    etag = whole.headers["ETag"]
    response, rest = await download(stranger, url, Range="bytes=100-", If_Range=etag)
    assert (response.status, rest) == (206, body[100:])
    assert response.headers["Content-Range"] == f"bytes 100-{len(body) - 1}/{len(body)}"
    response, again = await download(stranger, url, Range="bytes=100-", If_Range='"other"')
    assert (response.status, again) == (200, body)
    response, _ = await download(stranger, url, Range=f"bytes={len(body)}-")
    assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{len(body)}")


async def test_a_url_expires_and_the_audience_has_a_new_one(stranger: aiohttp.ClientSession):
    async with open_api(download_lifetime=60) as api:
        export = await api.purchased()
        audience_id = export["audience"]["id"]
        await api.get("/audiences")
        await api.advance_time(60)
        assert (await download(stranger, export["downloadUrl"]))[0].status == 200
        await api.advance_time(0.1)
        assert (await download(stranger, export["downloadUrl"]))[0].status == 403
        listed = (await api.get("/audiences")).body[0]
        for record in (await api.audience(audience_id), listed):
            assert (await download(stranger, record["csvExports"][0]["downloadUrl"]))[0].status == 200


async def test_a_listed_url_stays_valid_for_a_while(stranger: aiohttp.ClientSession):
    async with open_api(download_lifetime=60) as api:
        await api.purchased()
        for _ in range(10):
            await api.advance_time(17)
            (row,) = (await api.get("/audiences")).body
            api.clock.advance(29)
            assert (await download(stranger, row["csvExports"][0]["downloadUrl"]))[0].status == 200


@pytest.mark.parametrize("change", ["expires=9", "signature=0", "signature=\u00e9"])
async def test_a_forged_url_is_rejected(api: SandboxApi, stranger: aiohttp.ClientSession, change: str):
    url = (await api.purchased())["downloadUrl"]
    name = change.partition("=")[0]
    forged = "&".join(change if part.startswith(name) else part for part in url.replace("?", "?&").split("&"))
    assert (await download(stranger, forged))[0].status == 403
    assert (await download(stranger, url.partition("?")[0]))[0].status == 403


async def test_a_url_is_valid_for_its_export_only(api: SandboxApi, stranger: aiohttp.ClientSession):
    export = await api.purchased()
    other = await api.preview(export["audience"]["id"])
    url = export["downloadUrl"].replace(f"/{export['id']}?", f"/{other['id']}?")
    assert (await download(stranger, url))[0].status == 403


async def test_the_token_is_not_accepted_for_a_download(api: SandboxApi):
    url = (await api.purchased())["downloadUrl"]
    assert (await download(api.session, url))[0].status == 400


async def test_downloads_are_logged_by_export_without_their_url(api: SandboxApi, stranger: aiohttp.ClientSession):
    export = await api.purchased()
    await download(stranger, export["downloadUrl"])
    (entry,) = api.sandbox.log.find(endpoint="GET download")
    assert (entry.export_id, entry.audience_id, entry.customer_id) == (export["id"], export["audience"]["id"], "1")
    assert "signature" not in repr(api.sandbox.log)
    assert api.sandbox.token not in repr(api.sandbox.log)


@pytest.mark.parametrize(
    "kind", [FaultKind.TRUNCATED_BODY, FaultKind.CONTENT_LENGTH_WRONG, FaultKind.DISCONNECT_BEFORE]
)
async def test_an_interrupted_download_is_recognizable(
    api: SandboxApi, stranger: aiohttp.ClientSession, kind: FaultKind
):
    url = (await api.purchased())["downloadUrl"]
    api.sandbox.faults.add(Fault(kind=kind, endpoint="GET download", times=None))
    with pytest.raises(aiohttp.ClientError):
        await download(stranger, url)
    api.sandbox.faults.clear()
    assert (await download(stranger, url))[0].status == 200


async def test_a_truncated_download_is_its_first_half(api: SandboxApi, stranger: aiohttp.ClientSession):
    url = (await api.purchased())["downloadUrl"]
    _, whole = await download(stranger, url)
    api.sandbox.faults.add(Fault(kind=FaultKind.TRUNCATED_BODY, endpoint="GET download"))
    received: list[bytes] = []

    async def receive(response: aiohttp.ClientResponse) -> None:
        async for chunk in response.content.iter_any():
            received.append(chunk)  # noqa: PERF401 - what came before the break is kept

    async with stranger.get(url) as response:
        assert response.headers["Content-Length"] == str(len(whole))
        with pytest.raises(aiohttp.ClientPayloadError):
            await receive(response)
    half = b"".join(received)
    assert half == whole[: len(half)]
    assert len(half) <= len(whole) // 2


async def test_ranges_and_etags_can_be_wrong(api: SandboxApi, stranger: aiohttp.ClientSession):
    url = (await api.purchased())["downloadUrl"]
    whole, body = await download(stranger, url)
    etag = whole.headers["ETag"]
    api.sandbox.faults.add(
        Fault(kind=FaultKind.RANGE_IGNORED), Fault(kind=FaultKind.RANGE_SHIFTED), Fault(kind=FaultKind.ETAG_CHANGED)
    )
    ignored, wrong, changed = [await download(stranger, url, Range="bytes=100-", If_Range=etag) for _ in range(3)]
    assert (ignored[0].status, ignored[1]) == (200, body)
    assert (wrong[0].status, wrong[1]) == (206, body[101:])
    assert wrong[0].headers["Content-Range"].startswith("bytes 101-")
    assert (changed[0].status, changed[1]) == (200, body)
    assert changed[0].headers["ETag"] != etag
    assert (await download(stranger, url, Range="bytes=100-", If_Range=etag))[0].status == 206


@given(st.integers(1, 300), st.integers(0, 400) | st.none(), st.integers(0, 400) | st.none())
@example(100, None, 0)
@example(100, 0, 0)
def test_ranges_return_the_requested_bytes(size: int, first: int | None, last: int | None):
    file = CsvFile(Path("x.csv"), size, '"tag"')
    asked = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    everything = range(size)
    if first is None:
        expected = everything[size - min(last, size) :] if last is not None else everything
    elif last is not None and last < first:
        expected = everything
    else:
        expected = everything[first : None if last is None else last + 1]
    if not expected:
        with pytest.raises(HttpError) as refusal:
            build_csv_response(file, {"Range": asked}, None)
        assert refusal.value.status == 416
        return
    reply = build_csv_response(file, {"Range": asked}, None)
    assert isinstance(reply.body, FileSlice)
    assert range(reply.body.start, reply.body.stop) == expected
    is_backwards = first is not None and last is not None and last < first
    assert reply.status == (200 if asked == "bytes=-" or is_backwards else 206)


@pytest.mark.parametrize("asked", ["", "bytes", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1"])
def test_invalid_ranges_are_ignored(asked: str):
    assert build_csv_response(CsvFile(Path("x.csv"), 10, '"tag"'), {"Range": asked}, None).status == 200
