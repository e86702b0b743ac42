"""An HTTP proxy on loopback: `CONNECT` tunnels and plain forwarding, with all hosts mapped to this machine."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress

import attrs
from yarl import URL


@attrs.define
class ForwardProxy:
    """A proxy and the connections that clients requested.

    `routes` maps `host:port` to the loopback port that serves it. `refuse_with` is the status of all responses, with
    `page` as the body. With `credentials` (`user:password`), other requests get 407.
    """

    routes: Mapping[str, int]
    credentials: str | None = None
    refuse_with: int | None = None
    page: bytes = b""
    address: str = ""
    scheme: str = "http"
    targets: list[str] = attrs.Factory(list)
    """What clients connected to, as `host:port`."""
    heads: list[bytes] = attrs.field(factory=list, repr=False)
    writers: list[asyncio.StreamWriter] = attrs.field(factory=list, repr=False)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    def url_with(self, credentials: str) -> str:
        return f"{self.scheme}://{credentials}@{self.address}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        is_tunnel = method == "CONNECT"
        url = URL(f"https://{target}" if is_tunnel else target)
        self.targets.append(f"{url.host}:{url.port}")
        status = self._find_refusal(head)
        if status is not None:
            writer.write(
                b"HTTP/1.1 %d Refused\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                % (status, len(self.page), self.page)
            )
            await writer.drain()
            return
        port = self.routes.get(f"{url.host}:{url.port}", url.port)
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        if is_tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            upstream_writer.write(head.replace(target.encode(), url.raw_path_qs.encode(), 1))
        await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))

    def _find_refusal(self, head: bytes) -> int | None:
        if self.credentials is not None:
            expected = b"\r\nproxy-authorization: basic " + base64.b64encode(self.credentials.encode()).lower()
            if expected not in head.lower():
                return 407
        return self.refuse_with


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def forward_proxy(
    routes: Mapping[str, int] | None = None, *, tls: ssl.SSLContext | None = None, **options: object
) -> AsyncGenerator[ForwardProxy]:
    """Run a proxy, over TLS if `tls` is given."""
    proxy = ForwardProxy(routes or {}, scheme="https" if tls else "http", **options)
    async with await asyncio.start_server(proxy.handle, "127.0.0.1", 0, ssl=tls) as server:
        proxy.address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
        yield proxy
        for writer in proxy.writers:
            writer.close()
