"""The poller of a real client against the sandbox: every dialect, without unnecessary requests."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from indigo_async._polling import RecordPart
from indigo_async.client import IndigoClient, get_poller
from indigo_async.errors import ApiError, AuthenticationError, ClientNotOpenError, CustomerMismatchError, NotFoundError
from indigo_async.models import Audience
from indigo_async.sandbox import Dialect, Fault, FaultKind, ManualClock, Sandbox, StageTimes
from tests.support.servers.scripted import open_client, respond_with_json, sandbox_and_client, server_and_client

GET, LIST = "GET /audience", "GET /audiences"
STAGE = 10.0
TIMES = StageTimes(upload=STAGE, match=STAGE, lookalike=STAGE, export=STAGE)


def is_ready(audience: Audience) -> Audience | None:
    upload = audience.uploaded_audience_csv
    return audience if upload is not None and upload.status == "READY_FOR_COLUMN_SELECTION" else None


async def upload_many(sandbox, client, count, customer_id="42"):
    url = sandbox.file_host.put(b"First,Last\nAda,Lovelace\n", name="people.csv")
    return await asyncio.gather(*(client.upload_csv(customer_id=customer_id, url=url) for _ in range(count)))


async def wait_until_polled(poller, polls):
    """Wait until this many polls have succeeded."""
    while poller.stats.polls < polls:
        await asyncio.sleep(0.001)


DIALECTS = {
    "as a plain array": Dialect(),
    "in an object": Dialect(list_shape="object"),
    "with numbers as IDs": Dialect(id_type="integer", numeric_customer_ids=True),
    "without customers": Dialect(shows_customer_id=False),
}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
async def test_many_waits_are_served_by_lists(dialect):
    clock = ManualClock()
    async with sandbox_and_client(clock=clock, dialect=dialect, stage_times=TIMES) as (sandbox, client):
        stubs = await upload_many(sandbox, client, 300)
        poller = get_poller(client)
        waits = asyncio.gather(*(poller.wait_until(stub.id, "42", is_ready, part=RecordPart.UPLOAD) for stub in stubs))
        await wait_until_polled(poller, 1_500)
        assert not waits.done()
        clock.advance(STAGE)
        ready = await waits
    assert [audience.id for audience in ready] == [stub.id for stub in stubs]
    assert sandbox.log.count(GET) == 0
    assert sandbox.log.count(LIST) == sum(poller.stats.requests.values()) <= poller.stats.polls / 200


async def test_lists_without_the_awaited_part_are_abandoned():
    clock = ManualClock()
    dialect = Dialect(list_omitted_keys={"uploadedAudienceCsv"})
    async with sandbox_and_client(clock=clock, dialect=dialect, stage_times=TIMES) as (sandbox, client):
        stubs = await upload_many(sandbox, client, 50)
        poller = get_poller(client)
        waits = asyncio.gather(*(poller.wait_until(stub.id, "42", is_ready, part=RecordPart.UPLOAD) for stub in stubs))
        await wait_until_polled(poller, 200)
        clock.advance(STAGE)
        assert len(await waits) == 50
    assert sandbox.log.count(LIST) == 1


async def test_a_big_organization_is_not_listed_for_a_few_waits():
    clock = ManualClock()
    async with sandbox_and_client(clock=clock, stage_times=TIMES) as (sandbox, client):
        await sandbox.seed_audiences(20_000, "42")
        stubs = await upload_many(sandbox, client, 12)
        poller = get_poller(client)
        waits = asyncio.gather(*(poller.wait_until(stub.id, "42", is_ready, part=RecordPart.UPLOAD) for stub in stubs))
        await wait_until_polled(poller, 200)
        clock.advance(STAGE)
        await waits
    assert sandbox.log.count(LIST) <= 1
    assert sandbox.log.count(GET) >= 200


async def test_waits_of_several_customers_share_a_list():
    clock = ManualClock()
    async with sandbox_and_client(clock=clock, stage_times=TIMES) as (sandbox, client):
        poller = get_poller(client)
        waits = []
        for number in range(40):
            customer_id = f"customer {number % 20}"
            (stub,) = await upload_many(sandbox, client, 1, customer_id)
            waits.append(poller.wait_until(stub.id, customer_id, is_ready, part=RecordPart.UPLOAD))
        everything = asyncio.gather(*waits)
        await wait_until_polled(poller, 200)
        clock.advance(STAGE)
        assert len(await everything) == 40
    assert set(poller.stats.requests) == {"all_customers"}


FAULTS = [
    Fault(kind=FaultKind.DISCONNECT_BEFORE, endpoint=LIST, times=2),
    Fault(kind=FaultKind.ERROR_BEFORE, endpoint=LIST, times=2),
    Fault(kind=FaultKind.HTML_AFTER, endpoint=LIST, times=2),
    Fault(kind=FaultKind.TRUNCATED_BODY, endpoint=LIST, times=2),
    Fault(kind=FaultKind.ROW_MISSING, endpoint=LIST, times=5),
    Fault(kind=FaultKind.FIELD_MISSING, field="uploadedAudienceCsv", endpoint=LIST, times=5),
    Fault(kind=FaultKind.UNKNOWN_STATUS, endpoint=LIST, times=5),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind.name)
async def test_no_fault_of_a_list_ends_a_wait(fault):
    clock = ManualClock()
    async with sandbox_and_client(clock=clock, stage_times=TIMES) as (sandbox, client):
        stubs = await upload_many(sandbox, client, 40)
        sandbox.faults.add(fault)
        poller = get_poller(client)
        waits = asyncio.gather(*(poller.wait_until(stub.id, "42", is_ready, part=RecordPart.UPLOAD) for stub in stubs))
        await wait_until_polled(poller, 160)
        clock.advance(STAGE)
        assert len(await waits) == 40
        assert sandbox.log.count(LIST, fault=fault.kind) >= 1


async def test_an_unreachable_server_ends_no_wait():
    clock = ManualClock()
    async with sandbox_and_client(clock=clock, stage_times=TIMES) as (sandbox, client):
        (stub,) = await upload_many(sandbox, client, 1)
        poller = get_poller(client)
        wait = asyncio.create_task(poller.wait_until(stub.id, "42", is_ready, part=RecordPart.UPLOAD))
        await wait_until_polled(poller, 2)
        async with sandbox.refuse_connections():
            reads = sum(poller.stats.requests.values())
            while sum(poller.stats.requests.values()) < reads + 3:
                await asyncio.sleep(0.001)
        clock.advance(STAGE)
        assert (await wait).id == stub.id


async def test_another_customers_audience_is_not_found():
    async with sandbox_and_client() as (sandbox, client):
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        with pytest.raises(NotFoundError):
            await get_poller(client).wait_until(audience_id, "43", lambda audience: audience)
    assert sandbox.log.count(GET) == 3


async def test_a_wrong_token_ends_a_wait():
    async with Sandbox(lite=True) as sandbox, open_client(sandbox) as right:
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        assert await get_poller(right).wait_until(audience_id, "42", lambda audience: audience)
        async with IndigoClient("wrong", base_url=sandbox.base_url, poll_interval=0.005) as wrong:
            with pytest.raises(AuthenticationError):
                await get_poller(wrong).wait_until(audience_id, "42", lambda audience: audience)


@pytest.mark.parametrize(
    ("document", "error", "polls"),
    [
        ({"id": 1, "status": "ACTIVE", "customerId": "43"}, CustomerMismatchError, 1),
        (None, NotFoundError, 3),
        ({"error": "No such audience."}, ApiError, 3),
    ],
    ids=["another customer's", "null", "a refusal"],
)
async def test_an_api_error_inside_a_2xx_response_ends_the_wait(document, error, polls):
    async with server_and_client(respond_with_json(document)) as (server, client):
        with pytest.raises(error):
            await get_poller(client).wait_until(1, "42", lambda audience: audience)
    assert len(server.requests) == polls


async def test_a_client_has_one_poller_that_stops_with_it():
    before = len(asyncio.all_tasks())
    async with sandbox_and_client() as (sandbox, client):
        assert get_poller(client) is get_poller(client)
        (stub,) = await upload_many(sandbox, client, 1)
        wait = asyncio.create_task(get_poller(client).wait_until(stub.id, "42", lambda _: None))
        await wait_until_polled(get_poller(client), 1)
    with pytest.raises(ClientNotOpenError):
        await wait
    with pytest.raises(ClientNotOpenError):
        get_poller(client)
    assert len(asyncio.all_tasks()) == before


async def test_a_client_and_its_poller_are_freed_together():
    async with Sandbox(lite=True) as sandbox:
        async with open_client(sandbox) as client:
            (audience_id,) = await sandbox.seed_audiences(1, "42")
            await get_poller(client).wait_until(audience_id, "42", lambda audience: audience)
        gone = weakref.ref(client)
        del client
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize(
    ("base_url", "asked", "used"),
    [
        ("https://api.example/v1", 0.01, 1.0),
        ("https://api.example/v1", 7.0, 7.0),
        ("http://127.0.0.1:9/v1", 0.01, 0.01),
    ],
)
async def test_a_real_server_is_polled_at_most_once_a_second(base_url, asked, used):
    async with IndigoClient("token", base_url=base_url, poll_interval=asked) as client:
        assert client.poll_interval == get_poller(client)._pace.interval == used
