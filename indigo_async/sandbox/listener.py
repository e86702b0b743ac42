"""The sandbox's socket: opened, closed, and opened again on the same port."""

from __future__ import annotations

import asyncio
import socket

import attrs
from aiohttp import web

__all__ = ["Listener"]

_ADDRESS = "127.0.0.1"
_BACKLOG = 4_096
_SHUTDOWN_SECONDS = 1.0


def _bind(port: int) -> socket.socket:
    return socket.create_server((_ADDRESS, port), backlog=_BACKLOG)


@attrs.define
class Listener:
    """Listens on this machine alone. It is bound at once, so that its port is known, and serves once opened."""

    _port: int
    _bound: socket.socket = attrs.field(init=False)
    _server: web.Server | None = None
    _accepting: asyncio.Server | None = None

    def __attrs_post_init__(self) -> None:
        self._bound = _bind(self._port)
        self._port = self._bound.getsockname()[1]

    @property
    def origin(self) -> str:
        return f"http://{_ADDRESS}:{self._port}"

    async def open(self, server: web.Server) -> None:
        """Begin to serve the connections that have come and will come."""
        self._server = server
        self._accepting = await asyncio.get_running_loop().create_server(server, sock=self._bound, backlog=_BACKLOG)

    def refuse(self) -> None:
        """Break all connections and take no more."""
        if self._accepting is not None:
            self._accepting.close()
        if self._server is not None:
            for connection in self._server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    async def reopen(self) -> None:
        """Take connections again, on the same port."""
        if self._server is not None:
            self._bound = _bind(self._port)
            await self.open(self._server)

    async def aclose(self) -> None:
        """Let requests end, for a second at most, and close everything."""
        if self._accepting is not None:
            self._accepting.close()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(_SHUTDOWN_SECONDS)
        self._bound.close()
