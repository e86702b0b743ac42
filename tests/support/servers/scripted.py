"""What tests over sockets share: a quick client on a lite sandbox, and a server that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
import attrs
import msgspec
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from indigo_async._transport.retry import RetryPolicy
from indigo_async.client import IndigoClient
from indigo_async.sandbox import Sandbox

QUICK_RETRY = RetryPolicy(attempts=4, wait_initial=0.001, wait_max=0.002)
"""Retries that nobody has to wait for."""

SPEED = 10_000.0
"""Sandbox seconds in a second: each stage takes milliseconds, and is still seen to take time."""

Responder: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def open_client(sandbox: Sandbox, **options: Any) -> AsyncGenerator[IndigoClient]:
    """A client that polls and retries at once."""
    settings = {"base_url": sandbox.base_url, "retry": QUICK_RETRY, "poll_interval": 0.005} | options
    async with IndigoClient(sandbox.token, **settings) as client:
        yield client


@asynccontextmanager
async def sandbox_and_client(
    *, client: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[tuple[Sandbox, IndigoClient]]:
    """A sandbox without people and a client on it. `options` are the sandbox's, `client` the client's."""
    options = {"speed": SPEED, "download_lifetime": 1e12} | options
    async with Sandbox(lite=True, **options) as sandbox, open_client(sandbox, **client or {}) as quick:
        yield sandbox, quick


@attrs.frozen
class ReceivedRequest:
    """A request as it came; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@attrs.define
class ScriptedServer:
    """Gives its answers in turn, the last one for ever, and keeps what it was asked."""

    responders: list[Responder]
    origin: str = ""
    requests: list[ReceivedRequest] = attrs.field(factory=list, repr=False)
    request_received: asyncio.Event = attrs.Factory(asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.request_received.set()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(ReceivedRequest(request.method, request.path_qs, headers, await request.read()))
        answer = self.responders.pop(0) if len(self.responders) > 1 else self.responders[0]
        return await answer(request)


@asynccontextmanager
async def scripted_server(*answers: Responder) -> AsyncGenerator[ScriptedServer]:
    """A server on loopback that gives these answers."""
    script = ScriptedServer(list(answers))
    server = RawTestServer(script.handle)
    await server.start_server(access_log=None)
    async with server:
        script.origin = str(server.make_url("")).rstrip("/")
        yield script


async def wait_until(condition: Callable[[], bool]) -> None:
    """Let the others run until something has happened; a minute at most."""
    with anyio.fail_after(60):
        while not condition():
            await anyio.lowlevel.checkpoint()


def respond_with(status: int = 200, body: bytes = b"", **headers: str) -> Responder:
    """An answer with a body; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=named)

    return answer


def respond_with_json(document: object, status: int = 200) -> Responder:
    return respond_with(status, msgspec.json.encode(document), content_type="application/json")


@asynccontextmanager
async def server_and_client(
    *answers: Responder, token: str = "token", **options: Any
) -> AsyncGenerator[tuple[ScriptedServer, IndigoClient]]:
    """A server that gives these answers, and a quick client on it."""
    async with scripted_server(*answers) as server:
        settings = {"retry": QUICK_RETRY, "timeout": 5.0, "poll_interval": 0.005} | options
        async with IndigoClient(token, base_url=f"{server.origin}/api/v1", **settings) as client:
            yield server, client
