"""Publish local CSVs to an API on the same machine, such as the sandbox."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, TypeAlias

import attrs
from aiohttp import web

from indigo_async._redaction import SecretText
from indigo_async._transport.cancellation import run_in_thread, run_to_completion
from indigo_async.errors import PublishError
from indigo_async.files.publishing.publisher import content_name, unreadable

__all__ = ["LocalPublisher"]

_CHUNK_BYTES = 256 * 1024
_SHUTDOWN_SECONDS = 1.0

_Version: TypeAlias = tuple[int, int, int]
"""A file's inode, its size in bytes, and when it was last changed."""


@attrs.define(eq=False)
class _ServedFile:
    path: Path
    name: str
    version: _Version
    has_changed: bool = False


@attrs.frozen(eq=False)
class _Server:
    runner: web.ServerRunner
    origin: str


class LocalPublisher:
    """A `Publisher` that serves files from this machine to an API on the same machine, such as the sandbox.

    Each file has a loopback URL that can't be guessed, for as long as its match needs it. Nothing else is served. The
    public API can't reach this machine; for it, use `ObjectStorePublisher`.
    """

    def __init__(self) -> None:
        self._files: dict[str, _ServedFile] = {}
        self._server: _Server | None = None
        self._starting = asyncio.Lock()
        self._users = 0

    def __repr__(self) -> str:
        return "LocalPublisher()"

    @asynccontextmanager
    async def publish(self, path: Path) -> AsyncGenerator[str]:
        """Serve a file during the block, and yield its URL.

        Raises:
            PublishError: the file can't be read, or it changed before the server had fetched it.
        """
        try:
            version = await run_in_thread(partial(_version_at, path))
            file = _ServedFile(path, await content_name(path), version)
        except OSError as error:
            raise unreadable(path, error) from None
        async with self._serving() as origin:
            url_path = SecretText(f"/{secrets.token_urlsafe(16)}/{file.name}")
            self._files[url_path] = file
            try:
                yield SecretText(origin + url_path)
            except Exception:
                if file.has_changed:
                    raise PublishError(
                        f"{path} changed while it was being published; try again when nothing is writing to it"
                    ) from None
                raise
            finally:
                del self._files[url_path]

    @asynccontextmanager
    async def _serving(self) -> AsyncGenerator[str]:
        """Share one server among all files: the first starts it, and the last stops it."""
        if not self._users:
            self._starting = asyncio.Lock()  # for the current event loop
        self._users += 1
        try:
            async with self._starting:
                if self._server is None:
                    self._server = await _start_server(self._respond)
            yield self._server.origin
        finally:
            self._users -= 1
            if not self._users and self._server is not None:
                server, self._server = self._server, None  # before any await: a file that comes now starts a new one
                await run_to_completion(asyncio.ensure_future(server.runner.cleanup()))

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        file = self._files.get(request.path)
        if file is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        try:
            opened = await run_in_thread(lambda: file.path.open("rb"))
        except OSError:
            file.has_changed = True
            return web.Response(status=HTTPStatus.GONE)
        with opened:
            return await _send(request, file, opened)


def _version_at(path: Path) -> _Version:
    with path.open("rb") as file:
        return _version_of(file)


def _version_of(opened: BinaryIO) -> _Version:
    stat = os.fstat(opened.fileno())
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


async def _send(request: web.BaseRequest, file: _ServedFile, opened: BinaryIO) -> web.StreamResponse:
    """Send the file or the requested range. A file that has changed is never sent in full."""

    async def is_unchanged() -> bool:
        file.has_changed |= await run_in_thread(partial(_version_of, opened)) != file.version
        return not file.has_changed

    if not await is_unchanged():
        return web.Response(status=HTTPStatus.GONE)
    size, tag = file.version[1], f'"{file.name}"'
    headers = {"Accept-Ranges": "bytes", "Content-Type": "text/csv", "ETag": tag}
    part = _find_requested_range(request, size, tag)
    if part is None:
        response = web.StreamResponse(headers=headers)
        part = range(size)
    elif part:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
        response = web.StreamResponse(status=HTTPStatus.PARTIAL_CONTENT, headers=headers)
    else:
        headers["Content-Range"] = f"bytes */{size}"
        return web.Response(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
    left = response.content_length = len(part)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    opened.seek(part.start)
    while left:
        chunk = await run_in_thread(partial(opened.read, min(left, _CHUNK_BYTES)))
        left -= len(chunk)
        if not chunk or (not left and not await is_unchanged()):
            file.has_changed = True
            if request.transport is not None:
                request.transport.abort()
            break
        try:
            await response.write(chunk)
        except ConnectionResetError:  # the server wants no more of it
            break
    return response


def _find_requested_range(request: web.BaseRequest, size: int, tag: str) -> range | None:
    """The bytes that a request asks for; None means all. It is empty if the file has none of them (RFC 9110, 14)."""
    if "Range" not in request.headers or request.headers.get("If-Range", tag) != tag:
        return None
    try:
        start, stop, _ = request.http_range.indices(size)
    except ValueError:  # several parts, or not in bytes
        return None
    return range(start, stop)


async def _start_server(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> _Server:
    # Neither access log: the URLs are as secret as the files.
    runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    except BaseException:
        await runner.cleanup()
        raise
    host, port = runner.addresses[0][:2]
    return _Server(runner, f"http://{host}:{port}")
