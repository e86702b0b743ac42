"""Responses that are unusual but harmless, and URLs that a server forgot to encode."""

from __future__ import annotations

from pathlib import Path

import pytest

from indigo_async.client import IndigoClient
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.download import download
from indigo_async.files.downloads.download import download as download_function
from indigo_async.files.downloads.urls import validate_url
from tests.support.downloads import BODY, ETAG_ONE, download_from, files_in, full_response, redirect_response
from tests.support.servers.scripted import QUICK_RETRY, respond_with, scripted_server

API = "https://app.indigo.engineering/api/v1"


@pytest.mark.parametrize("status", [202, 204])
async def test_a_file_that_is_not_ready_is_retried(client: IndigoClient, tmp_path: Path, status: int):
    async with scripted_server(respond_with(status), full_response()) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY


@pytest.mark.parametrize("status", [202, 204])
async def test_a_file_that_is_never_ready_is_reported(client: IndigoClient, tmp_path: Path, status: int):
    async with scripted_server(respond_with(status)) as server:
        with pytest.raises(DownloadError, match=rf"returned {status} \(the file is not ready\) \(after 4 attempts\)"):
            await download_from(client, server, tmp_path / "x.csv")
    assert len(server.requests) == QUICK_RETRY.attempts
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("retry_after", "waited"), [("7", 7.0), ("3600", 3600.0), ("3601", 0.0), ("9" * 310, 0.0), ("soon", 0.0)]
)
async def test_retry_after_is_obeyed_up_to_an_hour(
    client: IndigoClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry_after: str, waited: float
):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    responses = [respond_with(status, retry_after=retry_after) for status in (202, 429, 503)]
    async with scripted_server(*responses, full_response()) as server:
        monkeypatch.setattr(download_function.__globals__["asyncio"], "sleep", sleep)
        done = await download_from(client, server, tmp_path / "x.csv")
        monkeypatch.undo()
    assert done.path.read_bytes() == BODY
    assert waits == [pytest.approx(waited, abs=QUICK_RETRY.wait_max)] * 3


@pytest.mark.parametrize(
    "encoding",
    [
        "UTF-8",
        "utf8",
        "us-ascii",
        "ISO-8859-1",
        "windows-1252",
        "binary",
        "8bit",
        "none",
        "identity",
        "aws-chunked",
        "identity, utf-8",
    ],
)
async def test_a_charset_as_content_encoding_is_ignored(client: IndigoClient, tmp_path: Path, encoding: str):
    async with scripted_server(
        respond_with(200, BODY, content_type="text/csv", content_encoding=encoding, etag=ETAG_ONE)
    ) as server:
        done = await download_from(client, server, tmp_path / "x.csv")
    assert done.path.read_bytes() == BODY


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, br", "gzip, gzip", "utf-8; q=1", "rot13"])
async def test_a_compression_that_was_not_requested_is_rejected(client: IndigoClient, tmp_path: Path, encoding: str):
    async with scripted_server(respond_with(200, BODY, content_type="text/csv", content_encoding=encoding)) as server:
        with pytest.raises(DownloadError, match=r"compression, which was not requested \(after 4 attempts\)"):
            await download_from(client, server, tmp_path / "x.csv")
    assert files_in(tmp_path) == []


UNENCODED = [
    ("/lists/my donors.csv?sig=a b", "/lists/my%20donors.csv?sig=a%20b"),
    ("/spenden-für-übermorgen.csv?von=Jürgen", "/spenden-f%C3%BCr-%C3%BCbermorgen.csv?von=J%C3%BCrgen"),
    ("/my%20donors (1).csv?sig=a%2Fb%2bc+d==", "/my%20donors%20(1).csv?sig=a%2Fb%2bc+d=="),
    ('/a"<b>\\^`{|}.csv', "/a%22%3Cb%3E%5C%5E%60%7B%7C%7D.csv"),
    ("/\x01\x7f.csv", "/%01%7F.csv"),
]


@pytest.mark.parametrize(("written", "sent"), UNENCODED)
async def test_an_unencoded_url_is_encoded(client: IndigoClient, tmp_path: Path, written: str, sent: str):
    async with scripted_server(full_response()) as server:
        done = await download_from(client, server, tmp_path / "x.csv", written)
    assert done.path.read_bytes() == BODY
    assert [request.path for request in server.requests] == [sent]


async def test_an_unencoded_redirect_is_encoded(client: IndigoClient, tmp_path: Path):
    async with scripted_server(redirect_response("/my donors.csv?sig=%2F"), full_response()) as server:
        await download_from(client, server, tmp_path / "x.csv")
    assert server.requests[-1].path == "/my%20donors.csv?sig=%2F"


@pytest.mark.parametrize(
    "url",
    [
        "https://files.example.org/x.csv?X-Amz-Signature=a%2Fb%2fc%20d+e&X-Amz-Date=20240101T000000Z&y=~*'();:@$,!",
        "https://files.example.org/a/../b//c/./d.csv?sig=/?:@",
        "https://files.example.org/x.csv?",
        "https://files.example.org/x.csv?sig=100%",
        "https://files.example.org/x.csv?a[0]=1;b=%E4",
        "https://files.example.org:8443/x.csv;v=1?sig=%C3%BC",
        "https://files.example.org?sig=1",
    ],
)
def test_a_valid_url_is_unchanged(url: str):
    assert validate_url(url, referrer_url=API) == url


def test_a_host_name_is_encoded_as_ascii():
    assert (
        validate_url("https://bücher.example:8443/x.csv", referrer_url=API)
        == "https://xn--bcher-kva.example:8443/x.csv"
    )


def test_blanks_and_line_ends_are_removed_from_a_url():
    assert validate_url(" https://files.example.org/x\n.csv\r\n", referrer_url=API) == "https://files.example.org/x.csv"


async def test_a_valid_url_is_sent_unchanged(client: IndigoClient, tmp_path: Path):
    path = "/a%2Fb/c%20d.csv?sig=a%2fb%2Bc+d%3D&e=~*'();:@$,!/?"
    async with scripted_server(full_response()) as server:
        await download(client.transport, server.origin + path, tmp_path / "x.csv", retry=QUICK_RETRY)
    assert [request.path for request in server.requests] == [path]
