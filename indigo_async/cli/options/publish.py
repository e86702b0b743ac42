"""Where a CSV comes from: a URL as it is, or a local file, which is put where the server can fetch it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import attrs
from aiohttp import web
from cyclopts import Parameter

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.files import Publisher, content_name
from indigo_async.workflows.recipes.match import check_csv, is_url

__all__ = ["Publish", "open_publisher", "publish_csv"]

Publish: TypeAlias = Annotated[
    str | None,
    Parameter(
        "--publish",
        help="Where a local CSV is put while the server reads it, such as s3://bucket/prefix, gs://... or az://...; "
        "not needed for a server on this machine.",
    ),
]


@asynccontextmanager
async def open_publisher(client: IndigoClient, publish: str | None) -> AsyncGenerator[Publisher | None]:
    """What puts local files at URLs; None where nothing was named and the server is elsewhere.

    Raises:
        InvalidInputError: `publish` names no store.
        ImportError: the extra `publish` is not installed.
    """
    if publish is not None:
        from indigo_async.files.publishing.object_store import ObjectStorePublisher  # noqa: PLC0415 - the extra may be missing

        yield ObjectStorePublisher(publish)
    elif client.settings.is_loopback:
        async with _serve_on_loopback() as publisher:
            yield publisher
    else:
        yield None


async def publish_csv(stack: AsyncExitStack, csv: str, publisher: Publisher | None) -> str:
    """A URL of the CSV, for as long as the stack is open.

    Raises:
        InvalidInputError: it is neither a URL nor a file that something can publish.
    """
    check = InputCheck()
    await run_in_thread(partial(check_csv, check, csv, publisher))
    check.raise_if_invalid()
    if is_url(csv) or publisher is None:
        return csv
    return await stack.enter_async_context(publisher.publish(Path(csv)))


@attrs.frozen
class _LoopbackPublisher:
    """Serves files on loopback to whoever knows their URLs: a sandbox on this machine."""

    _origin: str
    _paths: dict[str, Path]

    @asynccontextmanager
    async def publish(self, path: Path) -> AsyncGenerator[str]:
        place = f"/{secrets.token_urlsafe(16)}/{await content_name(path)}"
        self._paths[place] = path
        try:
            yield self._origin + place
        finally:
            del self._paths[place]


@asynccontextmanager
async def _serve_on_loopback() -> AsyncGenerator[Publisher]:
    paths: dict[str, Path] = {}

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        path = paths.get(request.path)
        return web.Response(status=404) if path is None else web.FileResponse(path)

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield _LoopbackPublisher(f"http://{host}:{port}", paths)
    finally:
        await runner.cleanup()
