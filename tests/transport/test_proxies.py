"""The API and downloads are reached through the proxy that the caller or the environment names. Over real sockets."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from yarl import URL

from indigo_async._transport.certificates import create_tls_context
from indigo_async._transport.proxies import Proxies
from indigo_async.client import IndigoClient
from indigo_async.errors import ConnectionFailedError, DownloadError, InvalidInputError
from indigo_async.files import download
from tests.support.servers.proxy import ForwardProxy, forward_proxy
from tests.support.servers.scripted import (
    QUICK_RETRY,
    Responder,
    ScriptedServer,
    respond_with,
    respond_with_json,
    scripted_server,
)
from tests.support.servers.tls import server_context, tls_server, write_authority

API, FILES = "api.example.org", "files.example.org"
BASE_URL = f"https://{API}/api/v1"
VARIABLES = ("INDIGO_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(write_authority(tmp_path)))


@asynccontextmanager
async def api_behind_proxy(
    *answers: Responder, **proxy_options: Any
) -> AsyncGenerator[tuple[ScriptedServer, ForwardProxy]]:
    """An API that can only be reached through a proxy, under a public name."""
    async with tls_server(*answers, context=server_context(API, FILES, "0.0.0.0")) as server:
        port = URL(server.origin).port or 0
        routes = {f"{API}:443": port, f"{FILES}:443": port}
        async with forward_proxy(routes, **proxy_options) as proxy:
            yield server, proxy


def client_for(base_url: str = BASE_URL, **options: Any) -> IndigoClient:
    return IndigoClient("canary-token", base_url=base_url, retry=QUICK_RETRY, timeout=5.0, **options)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "INDIGO_PROXY"])
@pytest.mark.parametrize("form", ["http://{}", "{}", "http://{}/", " http://{}\n"])
async def test_the_environments_proxy_is_used_for_the_api_and_for_downloads(
    name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with api_behind_proxy(respond_with_json([]), respond_with(200, b"a,b\n")) as (server, proxy):
        monkeypatch.setenv(name, form.format(proxy.address))
        async with client_for() as client:
            assert await client.list_audiences() == []
            url = f"https://{FILES}/x.csv"
            await download(client.transport, url, tmp_path / "x.csv", retry=QUICK_RETRY)
    assert proxy.targets == [f"{API}:443", f"{FILES}:443"]
    assert len(server.requests) == 2
    assert all(b"canary-token" not in head for head in proxy.heads)


async def test_the_callers_proxy_takes_precedence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "*")
    async with api_behind_proxy(respond_with_json([])) as (_, proxy), client_for(proxy=proxy.url) as client:
        await client.list_audiences()
    assert proxy.targets == [f"{API}:443"]


async def test_loopback_is_reached_directly_unless_the_caller_says_otherwise(monkeypatch: pytest.MonkeyPatch):
    async with scripted_server(respond_with_json([])) as server, forward_proxy() as proxy:
        for name in ("INDIGO_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with client_for(server.origin) as client:
            await client.list_audiences()
        assert proxy.targets == []
        async with client_for(server.origin, proxy=proxy.url) as client:
            await client.list_audiences()
        assert proxy.targets == [server.origin.removeprefix("http://")]
    assert [request.path for request in server.requests] == ["/audiences"] * 2


async def test_exceptions_differ_by_host(monkeypatch: pytest.MonkeyPatch):
    async with api_behind_proxy(respond_with_json([])) as (server, proxy):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "example.net, 0.0.0.0")
        direct = server.origin.replace("127.0.0.1", "0.0.0.0")  # an address of this machine that isn't loopback's
        async with client_for() as client:
            await client.list_audiences()
            async with client.transport.http.open_url(f"{direct}/x.csv", {}, read_timeout=5) as response:
                assert response.status == 200
    assert proxy.targets == [f"{API}:443"]


async def test_a_proxys_user_name_and_password_are_sent_to_it_alone_and_shown_nowhere(
    caplog: pytest.LogCaptureFixture,
):
    async with api_behind_proxy(respond_with_json([]), credentials="ann:canary p@ss") as (server, proxy):
        url = proxy.url_with("ann:canary%20p%40ss")
        async with client_for(proxy=url) as client:
            await client.list_audiences()
            shown = f"{client!r} {client.transport!r} {vars(client)} {vars(client.transport)}"
    assert "proxy-authorization" not in server.requests[0].headers
    assert "canary%20" not in shown
    assert "canary" not in caplog.text


@pytest.mark.parametrize("credentials", ["", "ann:wrong-canary@"])
async def test_a_proxy_that_wants_a_password_is_named(credentials: str):
    async with api_behind_proxy(respond_with_json([]), credentials="ann:secret") as (server, proxy):
        async with client_for(proxy=f"http://{credentials}{proxy.address}") as client:
            with pytest.raises(ConnectionFailedError) as caught:
                await client.upload_csv(customer_id="42", url="https://files.example.org/x.csv")
        assert server.requests == []
    assert caught.value.is_misconfiguration
    assert (
        f"the proxy cannot be used (the proxy {proxy.address} responded 407 to a connection to {API}:443); "
        "the proxy's URL needs a valid user name and password" in str(caught.value)
    )
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("status", "is_misconfiguration"), [(403, True), (400, True), (502, False), (503, False)])
async def test_a_proxy_that_refuses_a_host_is_not_the_server(status: int, *, is_misconfiguration: bool):
    async with api_behind_proxy(respond_with_json([]), refuse_with=status, page=b"<html>no") as (_, proxy):
        async with client_for(proxy=proxy.url) as client:
            with pytest.raises(ConnectionFailedError, match=f"the proxy {proxy.address} responded {status}") as caught:
                await client.list_audiences()
        assert len(proxy.targets) == (1 if is_misconfiguration else QUICK_RETRY.attempts)
    assert caught.value.is_misconfiguration == is_misconfiguration
    assert "token" not in str(caught.value)


async def test_a_proxy_that_is_down_is_named_and_is_an_outage():
    async with forward_proxy() as proxy:
        address = proxy.address
    async with client_for(proxy=f"http://ann:canary@{address}") as client:
        with pytest.raises(ConnectionFailedError) as caught:
            await client.list_audiences()
    assert f"no connection could be made (the proxy {address}, connection refused); check the proxy's URL" in str(
        caught.value
    )
    assert not caught.value.is_misconfiguration
    assert "canary" not in str(caught.value)


async def test_a_proxy_may_itself_use_tls():
    async with api_behind_proxy(respond_with_json([]), tls=server_context("127.0.0.1")) as (_, proxy):
        async with client_for(proxy=proxy.url) as client:
            assert await client.list_audiences() == []
        assert proxy.targets == [f"{API}:443"]


async def test_a_certificate_of_an_inspecting_proxy_suggests_ssl_cert_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    async with api_behind_proxy(respond_with_json([])) as (_, proxy), client_for(proxy=proxy.url) as client:
        with pytest.raises(ConnectionFailedError, match=r"issued by an unknown authority.*set SSL_CERT_FILE"):
            await client.list_audiences()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must not be empty"),
        (5, "must be text, not int"),
        ("socks5://canary@127.0.0.1:1080", "socks5:// proxies are not supported; use an HTTP proxy: http://host:port"),
        ("socks5h://127.0.0.1:1080", "socks5h:// proxies are not supported"),
        ("http://", "must be the URL of an HTTP proxy: http://host:port or"),
        ("http://canary:secret@", "must be the URL of an HTTP proxy"),
        ("http://proxy:99999", "must be the URL of an HTTP proxy"),
        ("http://proxy:canary", "must be the URL of an HTTP proxy"),
        ("http://an%3An:canary@proxy:1", "must be the URL of an HTTP proxy"),
        ("http://ann:canary%E2%82%AC@proxy:1", "must be the URL of an HTTP proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_without_showing_it(text: Any, message: str):
    with pytest.raises(InvalidInputError, match=f"^proxy: {re.escape(message)}") as caught:
        IndigoClient("tok-1", base_url=BASE_URL, proxy=text)
    assert "canary" not in str(caught.value)


def test_a_variable_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(InvalidInputError, match=r"^ALL_PROXY: socks5:// proxies are not supported"):
        IndigoClient("tok-1", base_url=BASE_URL)
    monkeypatch.setenv("NO_PROXY", API)
    IndigoClient("tok-1", base_url=BASE_URL)


async def test_a_variable_that_only_stops_a_download_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("NO_PROXY", API)
    async with client_for() as client:
        with pytest.raises(DownloadError, match="ALL_PROXY: socks5:// proxies are not supported"):
            await download(client.transport, f"https://{FILES}/x.csv", tmp_path / "x.csv", retry=QUICK_RETRY)


def test_the_source_is_known(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://plain:1")
    monkeypatch.setenv("https_proxy", "http://ann:canary@secure:2")
    proxies = Proxies.resolve(None)
    found = proxies.find(URL(BASE_URL))
    assert found is not None
    assert (found.source, found.address) == ("https_proxy", "http://secure:2")
    assert "canary" not in repr(found) + repr(proxies)


@asynccontextmanager
async def _session_with_netrc(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> AsyncGenerator[aiohttp.ClientSession]:
    netrc = folder / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password canary-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with aiohttp.ClientSession(trust_env=True, **options) as session:
        yield session


async def test_a_callers_session_that_reads_netrc_sends_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    middleware_calls: list[str] = []

    async def own_middleware(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        middleware_calls.append(request.method)
        return await send(request)

    async with (
        scripted_server(respond_with_json([]), respond_with_json({"id": "a-1"}), respond_with(200, b"a,b\n")) as server,
        _session_with_netrc(tmp_path, monkeypatch, middlewares=(own_middleware,)) as session,
        client_for(server.origin, session=session) as client,
    ):
        await client.list_audiences()
        await client.upload_csv(customer_id="42", url="https://files.example.org/x.csv")
        await download(client.transport, f"{server.origin}/x.csv", tmp_path / "x.csv", retry=QUICK_RETRY)
    sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == ["Bearer canary-token", "Bearer canary-token", None]
    assert middleware_calls == ["GET", "POST", "GET"]


async def test_a_callers_session_with_its_own_credentials_sends_the_token(tmp_path: Path):
    async with (
        scripted_server(respond_with_json([]), respond_with(200, b"a,b\n")) as server,
        aiohttp.ClientSession(headers={"Authorization": "Bearer canary-other"}) as session,
        client_for(server.origin, session=session) as client,
    ):
        await client.list_audiences()
        await download(client.transport, f"{server.origin}/x.csv", tmp_path / "x.csv", retry=QUICK_RETRY)
    assert [request.headers.get("authorization") for request in server.requests] == ["Bearer canary-token", None]


async def test_the_clients_own_session_never_reads_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with (
        _session_with_netrc(tmp_path, monkeypatch),
        scripted_server(respond_with_json([])) as server,
        client_for(server.origin) as client,
    ):
        await client.list_audiences()
    assert server.requests[0].headers["authorization"] == "Bearer canary-token"


async def test_a_callers_session_decides_about_the_environments_proxies(monkeypatch: pytest.MonkeyPatch):
    trusting = await anyio.to_thread.run_sync(create_tls_context)
    assert trusting is not None
    async with (
        api_behind_proxy(respond_with_json([])) as (server, proxy),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        direct = server.origin.replace("127.0.0.1", "0.0.0.0")  # as above
        async with client_for(direct, session=session) as client:
            await client.list_audiences()
        assert proxy.targets == []
        async with client_for(session=session, proxy=proxy.url) as client:
            await client.list_audiences()
        assert proxy.targets == [f"{API}:443"]


@pytest.mark.parametrize("own_session", [True, False])
async def test_large_response_headers_are_accepted(own_session: bool, tmp_path: Path):
    large = {"Content_Security_Policy": "x" * 60_000}
    async with (
        scripted_server(respond_with(200, b"[]", **large), respond_with(200, b"a,b\n", **large)) as server,
        aiohttp.ClientSession() as session,
        client_for(server.origin, session=None if own_session else session) as client,
    ):
        assert await client.list_audiences() == []
        await download(client.transport, f"{server.origin}/x.csv", tmp_path / "x.csv", retry=QUICK_RETRY)


async def test_huge_response_headers_are_named(tmp_path: Path):
    answer = respond_with(200, b"[]", Content_Security_Policy="x" * 70_000)
    async with scripted_server(answer) as server, client_for(server.origin) as client:
        with pytest.raises(ConnectionFailedError, match="the response's headers are too large"):
            await client.list_audiences()
        with pytest.raises(DownloadError, match="the response's headers are too large"):
            await download(client.transport, f"{server.origin}/x.csv", tmp_path / "x.csv", retry=QUICK_RETRY)
