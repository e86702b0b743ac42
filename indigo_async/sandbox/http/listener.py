"""The sandbox's socket, which can be closed and reopened on the same port."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

import attrs
from aiohttp import web

__all__ = ["Listener"]

_HOST = "127.0.0.1"
_BACKLOG = 4_096
_SHUTDOWN_SECONDS = 1.0

_disabled_logger = logging.getLogger(__name__)
_disabled_logger.disabled = True  # aiohttp logs the headers of malformed requests, which may contain the token


def _bind(port: int) -> socket.socket:
    return socket.create_server((_HOST, port), backlog=_BACKLOG)


@attrs.define
class Listener:
    """Listens on 127.0.0.1. It binds immediately, so its port is known, and serves once opened."""

    _port: int
    _socket: socket.socket = attrs.field(init=False)
    _web_server: web.Server | None = None
    _asyncio_server: asyncio.Server | None = None

    def __attrs_post_init__(self) -> None:
        self._socket = _bind(self._port)
        self._port = self._socket.getsockname()[1]

    @property
    def origin(self) -> str:
        return f"http://{_HOST}:{self._port}"

    async def open(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """Start serving connections."""
        self._web_server = web.Server(handler, access_log=None, logger=_disabled_logger)
        await self._accept()

    async def _accept(self) -> None:
        if self._web_server is not None:
            loop = asyncio.get_running_loop()
            self._asyncio_server = await loop.create_server(self._web_server, sock=self._socket, backlog=_BACKLOG)

    def refuse_connections(self) -> None:
        """Break all connections and refuse new ones."""
        if self._asyncio_server is not None:
            self._asyncio_server.close()
        if self._web_server is not None:
            for connection in self._web_server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    async def reopen(self) -> None:
        """Accept connections again, on the same port."""
        self._socket = _bind(self._port)
        await self._accept()

    async def aclose(self) -> None:
        """Let requests finish for up to a second, then close everything."""
        if self._asyncio_server is not None:
            self._asyncio_server.close()
        if self._web_server is not None:
            self._web_server.pre_shutdown()
            await self._web_server.shutdown(_SHUTDOWN_SECONDS)
        self._socket.close()
