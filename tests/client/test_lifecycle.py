"""A client is opened, used and closed. It closes the session that it created, and no other."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings

import aiohttp
import pytest
from aiohttp import web

from indigo_async import workflows
from indigo_async._transport.retry import RetryPolicy
from indigo_async.client import IndigoClient
from indigo_async.errors import ClientNotOpenError, IndigoError, InvalidInputError, RequestTimeoutError
from tests.support.servers.scripted import (
    QUICK_RETRY,
    open_client,
    respond_with_json,
    sandbox_and_client,
    scripted_server,
    server_and_client,
)

AUDIENCE = {"id": "aud-1"}


async def test_a_client_that_is_not_open_says_how_to_open_it():
    client = IndigoClient("token", base_url="http://127.0.0.1:9")
    with pytest.raises(ClientNotOpenError, match=r"use it inside `async with IndigoClient\(\.\.\.\) as client:`"):
        await client.get_audience("aud-1")


async def test_a_closed_client_says_the_same():
    async with sandbox_and_client() as (_, client):
        pass
    with pytest.raises(ClientNotOpenError):
        await client.list_audiences()


async def test_invalid_input_is_reported_even_by_a_client_that_is_not_open():
    with pytest.raises(InvalidInputError):
        await IndigoClient("token", base_url="http://127.0.0.1:9").get_audience("")


async def test_a_client_can_be_opened_again():
    async with server_and_client(respond_with_json(AUDIENCE)) as (_, client):
        assert (await client.get_audience("aud-1")).id == "aud-1"
        await client.__aexit__(None, None, None)
        async with client:
            assert (await client.get_audience("aud-1")).id == "aud-1"


async def test_a_closed_client_leaves_no_task_and_no_connection():
    async with sandbox_and_client() as (sandbox, _):
        before = asyncio.all_tasks()
        async with open_client(sandbox) as client:
            await asyncio.gather(*(client.list_audiences() for _ in range(5)))
            session = client.transport.http._session
        assert session.closed
        assert session.connector is None
        await asyncio.sleep(0)
        assert {task for task in asyncio.all_tasks() - before if "indigo_async/sandbox" not in repr(task)} == set()


async def _use_and_fail(client: IndigoClient) -> None:
    async with client:
        await client.list_audiences()
        raise RuntimeError("the caller's own")


async def test_an_error_inside_the_block_closes_the_client_too():
    async with sandbox_and_client() as (sandbox, _):
        client = IndigoClient(sandbox.token, base_url=sandbox.base_url)
        with pytest.raises(RuntimeError, match="the caller's own"):
            await _use_and_fail(client)
        with pytest.raises(ClientNotOpenError):
            await client.list_audiences()


async def test_the_callers_session_is_used_and_never_closed():
    async with (
        scripted_server(respond_with_json(AUDIENCE)) as server,
        aiohttp.ClientSession(headers={"X-From": "the caller"}) as session,
    ):
        async with IndigoClient("tok-1", base_url=server.origin, session=session) as client:
            await client.get_audience("aud-1")
        assert not session.closed
        async with session.get(server.origin) as response:
            assert response.status == 200
    assert [request.headers.get("x-from") for request in server.requests] == ["the caller", "the caller"]
    assert [request.headers.get("authorization") for request in server.requests] == ["Bearer tok-1", None]


class FirstRequestTagged:
    """A session that adds a header to the first request by changing the mapping, as tracers do."""

    closed = False

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.tags = ["alice"]

    def request(self, method, url, *, headers, **options):
        if self.tags:
            headers["X-User"] = self.tags.pop()
        return self.session.request(method, url, headers=headers, **options)


async def test_headers_that_the_callers_session_adds_to_one_request_are_not_sent_with_the_next():
    async with (
        scripted_server(respond_with_json([]), respond_with_json([]), respond_with_json(AUDIENCE)) as server,
        aiohttp.ClientSession() as session,
        IndigoClient("tok-1", base_url=server.origin, session=FirstRequestTagged(session)) as client,
    ):
        await client.list_audiences()
        await client.list_audiences()
        await client.upload_csv(customer_id="42", url="https://files.example.org/people.csv")
    assert [request.headers.get("x-user") for request in server.requests] == ["alice", None, None]


async def test_a_callers_session_that_raises_for_status_changes_nothing():
    async with (
        scripted_server(respond_with_json({"error": "No."}, 400)) as server,
        aiohttp.ClientSession(raise_for_status=True) as session,
        IndigoClient("tok-1", base_url=server.origin, session=session) as client,
    ):
        with pytest.raises(IndigoError, match=r"No\."):
            await client.get_audience("aud-1")


async def test_a_callers_session_that_is_closed_is_reported():
    async with aiohttp.ClientSession() as session:
        pass
    async with IndigoClient("tok-1", base_url="http://127.0.0.1:9", session=session) as client:
        with pytest.raises(ClientNotOpenError):
            await client.get_audience("aud-1")


async def test_closing_the_client_ends_its_requests_with_an_error_of_the_sdk():
    async def never(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with scripted_server(never) as server:
        client = IndigoClient("tok-1", base_url=server.origin, retry=QUICK_RETRY)
        async with client:
            calls = [asyncio.create_task(client.list_audiences(customer_id=str(number))) for number in range(100)]
            await server.request_received.wait()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {isinstance(outcome, IndigoError) for outcome in outcomes} == {True}


def test_the_timeout_works_in_a_new_event_loop_after_one_was_abandoned_during_a_request():
    listener = socket.create_server(("127.0.0.1", 0))  # never responds
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    client = IndigoClient("tok-1", base_url=base_url, timeout=0.2, retry=RetryPolicy(attempts=1))
    abandoned: list[asyncio.Task[object]] = []

    async def abandon() -> None:
        async with client:
            abandoned.append(asyncio.create_task(client.list_audiences()))
            await asyncio.sleep(0.05)

    async def send() -> None:
        async with client, asyncio.timeout(30):
            await client.list_audiences()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(abandon())
    with listener, pytest.raises(RequestTimeoutError):
        asyncio.run(send())
    with contextlib.suppress(asyncio.CancelledError, IndigoError):
        abandoned[0].cancel()
        loop.run_until_complete(abandoned[0])
    loop.close()


def test_the_repr_shows_the_base_url_and_no_token():
    client = IndigoClient("canary", base_url="https://example.org/api")
    assert repr(client) == "IndigoClient(base_url='https://example.org/api')"
    assert "canary" not in f"{client} {client.settings} {client.transport}"


async def test_open_returns_the_client_and_aclose_closes_it():
    async with scripted_server(respond_with_json(AUDIENCE)) as server:
        client = IndigoClient("tok-1", base_url=server.origin)
        assert await client.open() is client
        assert (await client.get_audience("aud-1")).id == "aud-1"
        await client.aclose()
        await client.aclose()
        with pytest.raises(ClientNotOpenError, match=r"or open it with `await client\.open\(\)`"):
            await client.get_audience("aud-1")
        await client.open()
        assert (await client.get_audience("aud-1")).id == "aud-1"
        await client.aclose()


async def test_closing_a_client_that_was_never_opened_does_nothing():
    await IndigoClient("tok-1", base_url="http://127.0.0.1:9").aclose()


async def test_an_open_client_is_not_opened_again():
    async with scripted_server(respond_with_json(AUDIENCE)) as server:
        client = await IndigoClient("tok-1", base_url=server.origin).open()
        for use in (client.open, client.__aenter__):
            with pytest.raises(ClientNotOpenError, match="the client is already open"):
                await use()
        assert (await client.get_audience("aud-1")).id == "aud-1"
        await client.aclose()


async def test_of_two_tasks_that_open_a_client_at_once_one_does():
    async with scripted_server(respond_with_json(AUDIENCE)) as server:
        client = IndigoClient("tok-1", base_url=server.origin)
        outcomes = await asyncio.gather(client.open(), client.open(), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [IndigoClient, ClientNotOpenError]
        assert (await client.get_audience("aud-1")).id == "aud-1"
        await client.aclose()


async def test_a_client_that_could_not_be_opened_can_be_opened_later():
    tokens = iter(["", "tok-1"])
    async with scripted_server(respond_with_json(AUDIENCE)) as server:
        client = IndigoClient(lambda: next(tokens), base_url=server.origin)
        with pytest.raises(InvalidInputError):
            await client.open()
        async with client:
            assert (await client.get_audience("aud-1")).id == "aud-1"


async def _open_poll_and_drop(base_url: str) -> None:
    client = await IndigoClient("tok-1", base_url=base_url, poll_interval=0.005).open()
    await workflows.wait_until_active(client, "aud-1", customer_id="42")


async def test_a_client_that_is_dropped_while_open_warns_and_leaves_nothing():
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"id": "aud-1", "status": "ACTIVE"}'
        try:
            while (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 35\r\n\r\n" + body)
        except asyncio.IncompleteReadError:
            closed.set()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with server:
        before = asyncio.all_tasks()
        with pytest.warns(ResourceWarning) as warned:
            await _open_poll_and_drop(base_url)
        async with asyncio.timeout(30):
            await closed.wait()
            while any(task.get_name() == "indigo-polling" for task in asyncio.all_tasks() - before):
                await asyncio.sleep(0)
        gc.collect()
    (warning,) = warned
    assert str(warning.message) == (
        f"IndigoClient(base_url='{base_url}') was never closed: use `async with`, or call `await client.aclose()`"
    )
    assert errors == []


def test_a_client_dropped_at_the_end_of_a_program_warns_once():
    async def forget() -> None:
        client = await IndigoClient("tok-1", base_url="http://127.0.0.1:9", retry=QUICK_RETRY).open()
        with contextlib.suppress(IndigoError):
            await client.list_audiences()

    with pytest.warns(ResourceWarning, match="was never closed") as warned:
        asyncio.run(forget())
    gc.collect()
    assert len(warned) == 1


async def test_a_client_is_kept_by_its_view():
    async with scripted_server(respond_with_json(AUDIENCE)) as server:
        view = (await IndigoClient("tok-1", base_url=server.origin).open()).with_options(timeout=5)
        gc.collect()
        assert (await view.get_audience("aud-1")).id == "aud-1"
        with pytest.warns(ResourceWarning, match="was never closed"):
            del view


async def test_a_closed_client_is_dropped_silently():
    async with server_and_client(respond_with_json(AUDIENCE)) as (_, client):
        await client.get_audience("aud-1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del client
        gc.collect()


async def test_a_dropped_client_leaves_the_callers_session_open():
    async with scripted_server(respond_with_json(AUDIENCE)) as server, aiohttp.ClientSession() as session:
        client = await IndigoClient("tok-1", base_url=server.origin, session=session).open()
        await client.get_audience("aud-1")
        with pytest.warns(ResourceWarning, match="was never closed"):
            del client
        assert not session.closed
