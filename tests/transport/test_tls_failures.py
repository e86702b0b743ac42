"""A failed connection says why, and whether a setting is probably wrong. Tested over real sockets."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientConnectorDNSError
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from indigo_async._transport.failures import classify_failure
from indigo_async._transport.responses import FailureReason
from indigo_async._transport.retry import RetryPolicy
from indigo_async.client import IndigoClient
from indigo_async.errors import AmbiguousOutcomeError, ConnectionFailedError, TransportError
from tests.support.servers.scripted import QUICK_RETRY, respond_with_json, scripted_server
from tests.support.servers.tls import AUTHORITY, raw_server, server_context, tls_server, write_authority

YEAR = dt.timedelta(days=365)
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(autouse=True)
def _trusted_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(write_authority(tmp_path)))


async def failure_at(origin: str) -> TransportError:
    """The error of a GET there."""
    async with IndigoClient("tok-1", base_url=f"{origin}/api/v1", retry=QUICK_RETRY, timeout=5.0) as client:
        with pytest.raises(TransportError) as caught:
            await client.list_audiences()
    assert "tok-1" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("context", "problem", "advice"),
    [
        (
            server_context("127.0.0.1", not_before=NOW - 2 * YEAR, not_after=NOW - YEAR),
            "the certificate has expired",
            "check this machine's clock",
        ),
        (
            server_context("127.0.0.1", not_before=NOW + YEAR, not_after=NOW + 2 * YEAR),
            "the certificate is not valid yet",
            "check this machine's clock",
        ),
        (
            server_context("127.0.0.1", authority=trustme.CA()),
            "the certificate was issued by an unknown authority",
            "set SSL_CERT_FILE",
        ),
        (server_context("10.0.0.1"), "the certificate is for another host", "check the host name in the URL"),
        (server_context("example.org"), "the certificate is for another host", "check the host name in the URL"),
    ],
    ids=["expired", "not yet valid", "unknown authority", "another address", "another name"],
)
async def test_an_untrusted_certificate_says_why(context: ssl.SSLContext, problem: str, advice: str):
    async with tls_server(respond_with_json([]), context=context) as server:
        error = await failure_at(server.origin)
        assert server.requests == []
    assert isinstance(error, ConnectionFailedError)
    assert error.is_misconfiguration
    address = server.origin.removeprefix("https://")
    assert f"the server's certificate is not trusted ({address}: {problem}); " in str(error)
    assert advice in str(error)


async def test_a_self_signed_certificate_is_named(tmp_path: Path):
    certificate = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with tls_server(respond_with_json([]), context=context) as server:
        error = await failure_at(server.origin)
    assert "the certificate is self-signed" in str(error)
    assert "SSL_CERT_FILE" in str(error)


def _self_signed(folder: Path) -> Path:
    """An authority's own certificate, used by a server."""
    path = folder / "self-signed.pem"
    authority = trustme.CA()
    path.write_bytes(authority.cert_pem.bytes() + authority.private_key_pem.bytes())
    return path


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.7\r\n", b"220 mail.example.org ESMTP\r\n"])
async def test_a_port_without_tls_is_not_about_certificates(banner: bytes):
    async with raw_server(banner, after_request=False) as address:
        error = await failure_at(f"https://{address}")
    assert isinstance(error, ConnectionFailedError)
    assert error.is_misconfiguration
    assert f"no secure connection could be made ({address}: the server on this port does not use TLS)" in str(error)
    assert "certificate" not in str(error)


async def test_plain_http_on_an_https_port_suggests_http():
    async with scripted_server(respond_with_json([])) as server:
        error = await failure_at(server.origin.replace("http:", "https:"))
    assert isinstance(error, ConnectionFailedError)
    assert error.is_misconfiguration
    assert "does not use TLS); if it serves plain HTTP, use http://" in str(error)
    assert "certificate" not in str(error)


@contextmanager
def _old_tls_server() -> Iterator[str]:
    """A server that only speaks TLS 1.1. In a thread, because asyncio's own sends no alert."""
    context = server_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    with connection, pytest.raises(OSError, match=r".*"):
                        context.wrap_socket(connection, server_side=True)
            except OSError:  # closed
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_an_old_tls_version_is_named():
    with _old_tls_server() as address:
        error = await failure_at(f"https://{address}")
    assert isinstance(error, ConnectionFailedError)
    assert error.is_misconfiguration
    assert f"({address}: no common TLS version)" in str(error)


async def test_a_server_that_hangs_up_during_the_handshake_is_an_outage():
    async with raw_server(b"") as address:
        error = await failure_at(f"https://{address}")
    assert isinstance(error, ConnectionFailedError)
    assert not error.is_misconfiguration
    assert f"no connection could be made ({address}, connection reset by peer)" in str(error)


async def test_a_refused_connection_is_an_outage():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = await failure_at(f"https://127.0.0.1:{port}")
    assert isinstance(error, ConnectionFailedError)
    assert not error.is_misconfiguration


@pytest.mark.parametrize(
    ("code", "reason"),
    [(socket.EAI_NONAME, FailureReason.UNKNOWN_HOST), (socket.EAI_AGAIN, FailureReason.NOT_SENT)],
)
def test_only_a_name_that_does_not_exist_is_an_unknown_host(code: int, reason: FailureReason):
    key = ConnectionKey("api.example.org", 443, True, True, None, None, None)
    error = ClientConnectorDNSError(key, socket.gaierror(code, "the resolver's text"))
    failure = classify_failure(error, URL("https://api.example.org/api/v1/audience?audienceId=canary"))
    assert failure.reason is reason
    assert failure.detail.startswith("api.example.org:443")
    assert "canary" not in str(failure)


@asynccontextmanager
async def _tls_alert_server() -> AsyncGenerator[str]:
    """What a TLS server responds to plain HTTP."""
    async with raw_server(b"\x15\x03\x03\x00\x02\x02\x46") as address:
        yield f"http://{address}"


async def test_http_to_an_https_port_suggests_https():
    async with _tls_alert_server() as origin:
        error = await failure_at(origin)
    assert "the server expects TLS; use https://" in str(error)


async def test_a_response_that_is_not_http_leaves_the_outcome_of_a_post_unknown():
    async with raw_server(b"SSH-2.0-OpenSSH_9.7\r\n") as address:
        base_url = f"http://{address}"
        async with IndigoClient("tok-1", base_url=base_url, retry=RetryPolicy(attempts=2)) as client:
            with pytest.raises(AmbiguousOutcomeError, match="the response is not valid HTTP"):
                await client.upload_csv(customer_id="42", url="https://files.example.org/people.csv")


async def test_a_trusted_certificate_is_accepted():
    async with (
        tls_server(respond_with_json([])) as server,
        IndigoClient("tok-1", base_url=server.origin, retry=QUICK_RETRY) as client,
    ):
        assert await client.list_audiences() == []
    assert AUTHORITY.cert_pem.bytes()
