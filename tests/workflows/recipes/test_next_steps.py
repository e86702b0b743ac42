"""After a timeout, the message says what the same call does, and the same call does that."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest

from indigo_async import workflows
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async.client import IndigoClient
from indigo_async.errors import WaitTimeoutError
from indigo_async.sandbox import Dialect, Fault, FaultKind, ManualClock, Sandbox
from indigo_async.workflows import AudienceJob, run_batch
from indigo_async.workflows.recipes import purchase
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT
from tests.support.recipes import (
    COLUMNS,
    CSV,
    CUSTOMER,
    LOOKALIKE,
    MATCH,
    PREVIEW,
    PURCHASE,
    UPLOAD,
    create_lookalike,
    export_csv,
    match_csv,
    seed_audience,
)
from tests.support.servers.scripted import open_client

T = TypeVar("T")
Call = Callable[[IndigoClient], Awaitable[Any]]

GET = "GET /audience"
GET_LIST = "GET /audiences"
DOWNLOAD = "GET /download"


@attrs.frozen
class World:
    """A sandbox whose stages end only when its clock is moved, and the timeouts of the recipes that run on it."""

    sandbox: Sandbox
    clock: ManualClock
    scopes: list[Any]

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[IndigoClient]:
        async with open_client(self.sandbox) as client:
            yield client

    async def time_out(self, call: Call, *moments: Callable[[IndigoClient], bool]) -> str:
        """Run a call to the last of these moments, let its time run out there, and return the message.

        At each of the others, the stage that the sandbox works on ends.
        """
        async with self.client() as client:
            task = asyncio.ensure_future(call(client))
            for number, moment in enumerate(moments):
                if number:
                    self.clock.advance(1_000)
                await until(lambda moment=moment: moment(client) or task.done())
            self.scopes[-1].expire()
            with pytest.raises(WaitTimeoutError) as caught:
                await task
            return str(caught.value)

    async def finish(self, call: Call) -> Any:
        """Run a call to its end, in another client, as another process would."""
        self.sandbox.faults.clear()
        async with self.client() as client:
            task = asyncio.ensure_future(call(client))
            while not task.done():
                self.clock.advance(1_000)
                await asyncio.sleep(0.005)
            return await task

    def made(self) -> dict[str, int]:
        """How many audiences of each name the sandbox made; `never matched` are those without one."""
        return {name or "never matched": count for (_, name), count in self.sandbox.counts().audiences.items()}

    def hang(self, endpoint: str, kind: FaultKind = FaultKind.DELAY_AFTER) -> None:
        """Let the next response of an endpoint not come."""
        self.sandbox.faults.add(Fault(kind=kind, endpoint=endpoint, delay=60))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def sent(endpoint: str, count: int = 1) -> Callable[[IndigoClient], bool]:
    """The client has sent this many requests of an endpoint, and had responses to them."""
    return lambda client: client.transport.requests[endpoint] >= count


def polled_after(endpoint: str) -> Callable[[IndigoClient], bool]:
    """The client polls, after it had a response of this endpoint."""
    polls: list[int] = []

    def moment(client: IndigoClient) -> bool:
        requests = client.transport.requests
        if requests[endpoint] and not polls:
            polls.append(requests[GET])
        return bool(polls) and requests[GET] >= polls[0] + 2

    return moment


@pytest.fixture
def scopes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The timeouts of recipes that have started."""
    found: list[Any] = []
    add = SharedTimeout.add

    def note(timeout: SharedTimeout, scope: Any) -> None:
        if timeout.seconds == DEFAULT_TIMEOUT:
            found.append(scope)
        add(timeout, scope)

    monkeypatch.setattr(SharedTimeout, "add", note)
    return found


@asynccontextmanager
async def open_world(scopes: list[Any], **options: Any) -> AsyncGenerator[World]:
    clock = ManualClock()
    async with Sandbox(lite=True, clock=clock, download_lifetime=1e12, **options) as sandbox:
        yield World(sandbox, clock, scopes)


@pytest.fixture
async def world(scopes: list[Any]) -> AsyncGenerator[World]:
    async with open_world(scopes) as world:
        yield world


def named(world: World, name: str) -> Callable[[IndigoClient], bool]:
    return lambda _: (CUSTOMER, name) in world.sandbox.counts().audiences


def anything_uploaded(world: World) -> Callable[[IndigoClient], bool]:
    return lambda _: bool(world.sandbox.counts().audiences)


async def batch_of_one(client: IndigoClient, journal: Path) -> Any:
    job = AudienceJob(customer_id=CUSTOMER, audience_name="Donors", csv=CSV, column_selections=COLUMNS)
    outcomes = []
    async with workflows.start_batch(client, [job], journal=journal) as batch:
        outcomes = [outcome async for outcome in batch]
    if outcomes[0].error is not None:
        raise outcomes[0].error
    return outcomes[0].result


def match_calls(tmp_path: Path) -> dict[str, Call]:
    return {
        "no journal": match_csv,
        "journal": lambda client: batch_of_one(client, tmp_path / "run.sqlite"),
    }


@pytest.mark.parametrize("kind", ["no journal", "journal"])
async def test_nothing_was_uploaded(world: World, tmp_path: Path, kind: str):
    call = match_calls(tmp_path)[kind]
    world.hang(GET_LIST)
    message = await world.time_out(call, lambda client: bool(client.transport.requests) or bool(world.scopes))
    assert message.endswith("; nothing was uploaded, and the same call starts again")
    await world.finish(call)
    assert world.made() == {"Donors": 1}


@pytest.mark.parametrize("kind", ["no journal", "journal"])
async def test_the_upload_is_in_flight(world: World, tmp_path: Path, kind: str):
    call = match_calls(tmp_path)[kind]
    world.hang(UPLOAD)
    message = await world.time_out(call, anything_uploaded(world))
    assert message.endswith("; the upload may have arrived; the same call uploads the CSV again, which is free")
    await world.finish(call)
    assert world.made() == {"never matched": 1, "Donors": 1}


@pytest.mark.parametrize(
    ("kind", "advice", "made"),
    [
        (
            "no journal",
            r"without a journal, the same call uploads the CSV again; audience \S+ was not matched and costs nothing",
            {"never matched": 1, "Donors": 1},
        ),
        ("journal", r"the server keeps working, and the same call continues with audience \S+", {"Donors": 1}),
    ],
)
async def test_the_server_reads_the_csv(world: World, tmp_path: Path, kind: str, advice: str, made: dict[str, int]):
    call = match_calls(tmp_path)[kind]
    message = await world.time_out(call, sent(GET))
    assert re.search(rf"; {advice}\Z", message)
    await world.finish(call)
    assert world.made() == made


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("no journal", r"the same call looks for the audience by name, and uploads the CSV again if there is none"),
        ("journal", r"the same call checks before it sends the match again"),
    ],
)
async def test_the_match_is_in_flight(world: World, tmp_path: Path, kind: str, advice: str):
    call = match_calls(tmp_path)[kind]
    world.hang(MATCH)
    message = await world.time_out(call, sent(GET), named(world, "Donors"))
    assert re.search(rf"; the match of audience \S+ may have arrived; {advice}\Z", message)
    await world.finish(call)
    assert world.made() == {"Donors": 1}


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("no journal", r"the same call finds audience \S+ by name"),
        ("journal", r"the same call continues waiting for audience \S+"),
    ],
)
async def test_the_server_matches(world: World, tmp_path: Path, kind: str, advice: str):
    call = match_calls(tmp_path)[kind]
    message = await world.time_out(call, sent(GET), polled_after(MATCH))
    assert re.search(rf"; the server keeps working, and {advice}\Z", message)
    await world.finish(call)
    assert world.made() == {"Donors": 1}


async def test_the_server_matches_and_shows_no_names(scopes: list[Any]):
    async with open_world(scopes, dialect=Dialect(name_key=None)) as world:
        await seed_audience(world.sandbox)
        message = await world.time_out(match_csv, sent(GET), polled_after(MATCH))
        found = re.search(r"workflows\.wait_until_active waits for audience (\S+), which the same call cannot", message)
        assert found is not None
        await world.finish(lambda client: workflows.wait_until_active(client, found[1], customer_id=CUSTOMER))
        assert world.made() == {"Seeded aud-1": 1, "Donors": 1}


async def test_an_existing_audience_is_waited_for(world: World):
    await world.time_out(match_csv, sent(GET), polled_after(MATCH))
    message = await world.time_out(match_csv, sent(GET, 2))
    assert re.search(r"; the server keeps working, and the same call finds audience \S+ by name\Z", message)
    await world.finish(match_csv)
    assert world.made() == {"Donors": 1}


@pytest.mark.parametrize(
    ("endpoint", "moment", "advice"),
    [
        (GET_LIST, lambda _: lambda _: True, r"no lookalike was requested, and the same call continues from here"),
        (
            LOOKALIKE,
            lambda world: named(world, "Donors+"),
            r"the lookalike may have been requested; the same call looks",
        ),
        (
            None,
            lambda _: polled_after(LOOKALIKE),
            r"the server keeps working, and the same call finds audience \S+ by name",
        ),
    ],
    ids=["not sent", "in flight", "accepted"],
)
async def test_a_lookalike_is_created_once(world: World, endpoint: str | None, moment: Any, advice: str):
    base = await seed_audience(world.sandbox)
    if endpoint is not None:
        world.hang(endpoint)

    def call(client: IndigoClient) -> Awaitable[Any]:
        return create_lookalike(client, base)

    reached = moment(world)
    message = await world.time_out(call, lambda client: bool(world.scopes) and reached(client))
    assert re.search(f"; {advice}", message)
    await world.finish(call)
    assert world.made()["Donors+"] == 1


async def test_a_preview_in_flight_costs_nothing(world: World, tmp_path: Path):
    audience = await seed_audience(world.sandbox)

    def call(client: IndigoClient) -> Awaitable[Any]:
        return export_csv(client, audience, tmp_path / "x.csv")

    world.hang(PREVIEW)
    message = await world.time_out(call, lambda _: world.sandbox.log.count(GET) > 0 and world.scopes != [])
    assert "; this call purchased nothing; the same call reuses the preview or creates another one" in message
    assert world.sandbox.counts().purchases == 0
    await world.finish(call)
    assert world.sandbox.counts().purchases == 1


@pytest.mark.parametrize("reuse_purchased", [None, True, False])
async def test_a_purchase_in_flight_is_made_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reuse_purchased: bool | None
):
    monkeypatch.setattr(purchase, "_CANCEL_GRACE_SECONDS", 0.2)
    audience = await seed_audience(world.sandbox)

    def call(client: IndigoClient, **options: Any) -> Awaitable[Any]:
        return export_csv(client, audience, tmp_path / "x.csv", **options)

    world.hang(PURCHASE)
    message = await world.time_out(
        lambda client: call(client, reuse_purchased=reuse_purchased),
        lambda _: world.sandbox.counts().purchases == 1,
    )
    if "workflows.download_export(..., export_id=" in message:  # the recipe found out
        pass
    elif reuse_purchased is False:
        assert "might purchase another, because of reuse_purchased=False: leave that out" in message
    else:
        assert message.endswith("; the same call checks the server before it purchases anything")
    await world.finish(call)
    assert world.sandbox.counts().purchases == 1


async def test_a_download_goes_on_without_a_purchase(world: World, tmp_path: Path):
    audience = await seed_audience(world.sandbox)
    world.hang(DOWNLOAD, FaultKind.DELAY_BEFORE)
    message = await world.time_out(
        lambda client: export_csv(client, audience, tmp_path / "x.csv"),
        lambda client: world.sandbox.counts().purchases == 1 and client.core.download_slots._value < 16,
    )
    found = re.search(
        r"; workflows\.download_export\(\.\.\., export_id='(\S+)'\) downloads the purchased export\Z", message
    )
    assert found is not None
    await world.finish(
        lambda client: workflows.download_export(
            client, audience, customer_id=CUSTOMER, destination=tmp_path / "x.csv", export_id=found[1]
        )
    )
    assert (tmp_path / "x.csv").stat().st_size > 0
    assert world.sandbox.counts().purchases == 1


async def test_a_wait_goes_on(world: World):
    async with world.client() as client:
        stub = await client.upload_csv(customer_id=CUSTOMER, url=CSV)

    def call(client: IndigoClient) -> Awaitable[Any]:
        return workflows.wait_for_column_selection(client, stub, customer_id=CUSTOMER)

    message = await world.time_out(call, sent(GET))
    advice = f"workflows.wait_for_column_selection continues waiting for audience {stub.id}"
    assert message.endswith(f"; the server keeps working; {advice}")
    assert (await world.finish(call)).id == stub.id


async def test_a_batch_with_a_journal_says_what_it_does_next(world: World, tmp_path: Path):
    """The same batch, run again with its journal, uploads no CSV twice."""
    job = AudienceJob(customer_id=CUSTOMER, audience_name="Donors", csv=CSV, column_selections=COLUMNS)

    async def call(client: IndigoClient) -> Any:
        return await run_batch(client, [job], journal=tmp_path / "run.sqlite")

    async with world.client() as client:
        task = asyncio.ensure_future(call(client))
        await until(lambda: sent(GET)(client))
        world.scopes[-1].expire()
        report = await task
    assert report.failed == 1
    assert "the same call continues with audience" in str(report.failures[0].message)
    assert (await world.finish(call)).done == 1
    assert world.made() == {"Donors": 1}
