"""TLS servers with certificates of a test's own authority."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme
from aiohttp.test_utils import RawTestServer

from tests.support.servers.scripted import Responder, ScriptedServer

AUTHORITY = trustme.CA()
"""Signs the certificates; no client trusts it unless the test says so."""


def write_authority(folder: Path) -> Path:
    """Write the authority's certificate to a file, as `SSL_CERT_FILE` needs it."""
    path = folder / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path


def server_context(*names: str, authority: trustme.CA = AUTHORITY, **options: Any) -> ssl.SSLContext:
    """A server's TLS context with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1", "localhost")), **options).configure_cert(context)
    return context


@asynccontextmanager
async def tls_server(*answers: Responder, context: ssl.SSLContext | None = None) -> AsyncGenerator[ScriptedServer]:
    """A scripted server over TLS, at `https://127.0.0.1:port`."""
    script = ScriptedServer(list(answers))
    server = RawTestServer(script.handle)
    await server.start_server(access_log=None, ssl=context or server_context())
    async with server:
        script.origin = str(server.make_url("")).rstrip("/")
        _tolerate_refused_certificates()
        yield script


def _tolerate_refused_certificates() -> None:
    """For the rest of this event loop, which reports them as errors of the server in debug mode, even after its end."""
    loop = asyncio.get_running_loop()
    previous = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), ssl.SSLError):
            return
        if previous is None:
            loop.default_exception_handler(context)
        else:
            previous(loop, context)

    loop.set_exception_handler(handle)


@asynccontextmanager
async def raw_server(data: bytes, *, after_request: bool = True) -> AsyncGenerator[str]:
    """A server that sends these bytes, whatever it receives, and closes. Yields its host and port."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if after_request:
            await reader.read(1)
        writer.write(data)
        writer.write_eof()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"{host}:{port}"
