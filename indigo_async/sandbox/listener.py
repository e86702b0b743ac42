"""The sandbox's socket: opened, closed, and opened again on the same port."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

import attrs
from aiohttp import web

__all__ = ["Listener"]

_ADDRESS = "127.0.0.1"
_BACKLOG = 4_096
_SHUTDOWN_SECONDS = 1.0

_silent = logging.getLogger(__name__)
_silent.disabled = True  # aiohttp quotes the headers of a malformed request, which may hold the token


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

    async def open(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """Begin to serve the connections that have come and will come."""
        self._server = web.Server(handler, access_log=None, logger=_silent)
        await self._accept()

    async def _accept(self) -> None:
        if self._server is not None:
            loop = asyncio.get_running_loop()
            self._accepting = await loop.create_server(self._server, sock=self._bound, backlog=_BACKLOG)

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
        self._bound = _bind(self._port)
        await self._accept()

    async def aclose(self) -> None:
        """Let requests end, for a second at most, and close everything."""
        if self._accepting is not None:
            self._accepting.close()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(_SHUTDOWN_SECONDS)
        self._bound.close()
