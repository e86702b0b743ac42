"""A client belongs to the event loop that opened it. Used anywhere else, it raises an error, and nothing is sent."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
import trio

from indigo_async import workflows
from indigo_async.client import IndigoClient
from indigo_async.errors import ClientNotOpenError, IndigoError
from indigo_async.files import suggest_columns
from indigo_async.sandbox import Sandbox
from tests.support.servers.scripted import open_client, sandbox_and_client

COLUMNS = {"first_name": {"column_name": "First", "is_required": True}}
CSV = "https://files.example.org/people.csv"


def job(name: str = "Donors") -> workflows.AudienceJob:
    return workflows.AudienceJob(customer_id="42", audience_name=name, csv=CSV, column_selections=COLUMNS)


async def _iterate(client: IndigoClient) -> list[workflows.JobOutcome]:
    async with workflows.start_batch(client, [job()]) as batch:
        return [outcome async for outcome in batch]


async def _enter(client: IndigoClient) -> None:
    async with client:
        pass


USES: dict[str, Callable[[IndigoClient], Awaitable[Any]]] = {
    "an endpoint": lambda client: client.list_audiences(),
    "an endpoint of a customer": lambda client: client.for_customer("42").list_audiences(),
    "many at once": lambda client: asyncio.gather(*(client.list_audiences() for _ in range(200))),
    "a wait": lambda client: workflows.wait_until_active(client, "aud-1", customer_id="42"),
    "a match": lambda client: workflows.upload_and_match(
        client, CSV, customer_id="42", audience_name="Donors", column_selections=COLUMNS
    ),
    "an export": lambda client: workflows.export_audience(
        client, "aud-1", customer_id="42", destination=Path("never-written.csv")
    ),
    "a job": lambda client: workflows.run_job(client, job()),
    "run_batch": lambda client: workflows.run_batch(client, [job()]),
    "start_batch": _iterate,
    "opening it": _enter,
    "closing it": lambda client: client.__aexit__(None, None, None),
}
every_use = pytest.mark.parametrize("use", USES.values(), ids=USES.keys())


async def outcome_in_another_loop(use: Callable[[], Awaitable[Any]]) -> BaseException | None:
    """How `use` ends in the event loop of another thread."""

    async def run() -> BaseException | None:
        try:
            await asyncio.wait_for(_ensure_coroutine(use), 20)
        except BaseException as error:  # noqa: BLE001 - the outcome
            return error
        return None

    return await anyio.to_thread.run_sync(lambda: asyncio.run(run()))


async def _ensure_coroutine(use: Callable[[], Awaitable[Any]]) -> Any:
    return await use()


@every_use
async def test_another_event_loop_is_refused_and_the_client_keeps_working(use: Callable[[IndigoClient], Any]):
    async with sandbox_and_client() as (sandbox, client):
        await sandbox.seed_audiences(1, "42")
        await client.list_audiences()
        requests = len(sandbox.log.entries)
        outcome = await outcome_in_another_loop(lambda: use(client))
        assert type(outcome) is ClientNotOpenError, repr(outcome)
        assert "the client was opened in another event loop" in str(outcome)
        assert len(sandbox.log.entries) == requests
        assert len(await client.list_audiences()) == 1


@pytest.mark.parametrize("name", sorted(USES.keys() - {"opening it", "closing it"}))
async def test_a_client_that_is_not_open_is_refused_everywhere(name: str):
    async with sandbox_and_client() as (_, closed):
        pass
    for client in (IndigoClient("tok-1", base_url="http://127.0.0.1:9"), closed):
        with pytest.raises(ClientNotOpenError, match="the client is not open"):
            await USES[name](client)


async def test_a_batch_is_iterated_in_its_own_event_loop_and_block():
    async def iterate() -> list[workflows.JobOutcome]:
        return [outcome async for outcome in batch]

    async with sandbox_and_client() as (_, client):
        async with workflows.start_batch(client, []) as batch:
            assert type(await outcome_in_another_loop(iterate)) is ClientNotOpenError
            assert await iterate() == []
        with pytest.raises(IndigoError, match="the batch has ended: iterate over it inside"):
            await iterate()


async def test_a_client_cannot_be_opened_twice():
    async with sandbox_and_client() as (_, client):
        with pytest.raises(ClientNotOpenError, match="the client is already open"):
            await _enter(client)
        assert await client.list_audiences() == []


async def test_a_client_is_neither_pickled_nor_copied():
    async with sandbox_and_client() as (_, client):
        for work in (pickle.dumps, copy.copy, copy.deepcopy):
            for value in (client, client.for_customer("42")):
                if (work, value) != (copy.copy, client.for_customer("42")):
                    with pytest.raises(IndigoError, match="cannot be pickled or copied: create one in each process"):
                        work(value)


async def test_two_clients_share_a_callers_session():
    async with (
        Sandbox(lite=True) as sandbox,
        aiohttp.ClientSession() as session,
        open_client(sandbox, session=session) as first,
    ):
        async with open_client(sandbox, session=session) as second:
            await asyncio.gather(first.list_audiences(), second.list_audiences())
        assert await first.list_audiences() == []


@pytest.mark.parametrize("close", ["session", "connector"])
async def test_a_session_closed_during_a_batch_ends_it_with_errors_of_the_sdk(close: str):
    async with (
        Sandbox(lite=True, speed=10_000.0) as sandbox,
        aiohttp.ClientSession() as session,
        open_client(sandbox, session=session) as client,
    ):
        async with workflows.start_batch(client, [job(f"list {number}") for number in range(30)]) as batch:
            await client.transport.first_success.wait()
            connector = session.connector
            assert connector is not None
            await (session.close() if close == "session" else connector.close())
            outcomes = [outcome async for outcome in batch]
        failures = [outcome.error for outcome in outcomes if outcome.error is not None]
        assert failures
        assert {isinstance(error, IndigoError) for error in failures} == {True}
        with pytest.raises(ClientNotOpenError, match="the client's session was closed"):
            await workflows.wait_until_active(client, "aud-1", customer_id="42")


async def test_a_session_of_another_event_loop_is_refused():
    loop = asyncio.new_event_loop()

    async def create() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = await anyio.to_thread.run_sync(lambda: loop.run_until_complete(create()))
    try:
        with pytest.raises(ClientNotOpenError, match="the session belongs to another event loop"):
            await _enter(IndigoClient("tok-1", base_url="http://127.0.0.1:9", session=session))
    finally:
        await anyio.to_thread.run_sync(lambda: loop.run_until_complete(session.close()))
        loop.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("way", ["reopened", "closed"])
def test_a_client_outlives_an_event_loop_that_was_closed_first(way: str):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = IndigoClient("tok-1", base_url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(client.__aenter__())
        loop.close()

        async def use() -> None:
            with pytest.raises(ClientNotOpenError):
                await client.list_audiences()
            if way == "closed":
                await client.__aexit__(None, None, None)
            async with client:
                client.transport.require_open()

        asyncio.run(use())


def test_a_forked_process_is_refused():
    async def use() -> str:
        async with sandbox_and_client() as (_, client):
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                message = "nothing was raised"
                try:
                    client.list_audiences().send(None)
                except IndigoError as error:
                    message = f"{type(error).__name__}: {error}"
                except BaseException as error:  # noqa: BLE001 - the outcome
                    message = repr(error)
                os.write(writer, message.encode())
                os._exit(0)
            await anyio.to_thread.run_sync(os.waitpid, child, 0)
            os.close(writer)
            with os.fdopen(reader) as stream:
                return stream.read()

    assert asyncio.run(use()).startswith("ClientNotOpenError: ")


async def _suggest(_: IndigoClient) -> None:
    await suggest_columns("no-such-file.csv")


async def _open_sandbox(_: IndigoClient) -> None:
    async with Sandbox(lite=True):
        pass


TRIO_USES = USES | {"a file": _suggest, "the sandbox": _open_sandbox}
del TRIO_USES["many at once"]  # `asyncio.gather` itself needs asyncio


@pytest.mark.parametrize("use", TRIO_USES.values(), ids=TRIO_USES.keys())
def test_trio_gets_one_clear_error(use: Callable[[IndigoClient], Awaitable[Any]]):
    client = IndigoClient("tok-1", base_url="http://127.0.0.1:9")

    async def run() -> None:
        with trio.fail_after(20):
            await use(client)

    outcome: list[BaseException] = []

    def run_in_trio() -> None:
        try:
            trio.run(run)
        except BaseException as error:  # noqa: BLE001 - the outcome
            outcome.append(error)

    thread = threading.Thread(target=run_in_trio)
    thread.start()
    thread.join()
    assert isinstance(outcome[0], IndigoError), repr(outcome)
    assert "needs asyncio, which is not running here" in str(outcome[0])
    assert "Trio is not supported" in str(outcome[0])
