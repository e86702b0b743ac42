"""When lists are read instead of single audiences, in virtual time, measured by the number of requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from indigo_async._polling import RecordPart
from indigo_async.errors import ApiError, CustomerMismatchError, NotFoundError, ServerError
from tests.support.servers.fake_audience_api import (
    INTERVAL,
    MAX_VERIFICATION_READS,
    FakeAudienceApi,
    active_from,
    active_or_none,
    audience,
    open_poller,
)
from tests.support.virtual_time import now, virtual_backend

anyio_backend = virtual_backend


async def wait_for_all(
    server, poller, count, *, lasting, spread=0.0, customers=1, seed=0, needs=RecordPart.STATUS, **keys
):
    """Wait for `count` audiences that start within `spread` seconds and take `lasting` seconds each."""
    rng = Random(seed)

    async def one(number):
        await asyncio.sleep(spread * rng.random())
        customer_id = f"customer {number % customers}"
        server.add(customer_id, number, active_from(now() + lasting, number, **keys))
        assert (await poller.wait_until(number, customer_id, active_or_none, part=needs)).id == number

    await asyncio.gather(*(one(number) for number in range(count)))


@pytest.mark.parametrize("spread", [0.0, 5.0, 20.0, 60.0])
async def test_a_thousand_waits_of_one_customer_cost_fifty_reads_at_most(spread):
    server = FakeAudienceApi()
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 1_000, lasting=20 * INTERVAL, spread=spread)
        assert len(server.log) <= 50
        gaps = [later - earlier for earlier, later in pairwise(server.request_times("list"))]
        assert min(gaps) >= INTERVAL / 2
        assert sum(poller.stats.requests.values()) == len(server.log)
        assert poller.stats.polls >= 17_000
        assert poller.stats.requests_saved == poller.stats.polls - len(server.log)


async def test_waits_that_start_one_by_one_end_up_sharing_lists():
    """With 200 waits a minute, a list costs more than the few single reads that are due at any moment."""
    server = FakeAudienceApi(padding=500_000)
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 200, lasting=20 * INTERVAL, spread=60.0)
    assert len(server.log) <= 150


@pytest.mark.parametrize(("lasting", "mean"), [(8 * INTERVAL, 0.6 * INTERVAL), (60 * INTERVAL, 3 * INTERVAL)])
async def test_changes_are_noticed_soon(lasting, mean):
    server = FakeAudienceApi()
    late = []

    async def one(poller, number):
        finished = now() + lasting
        server.add("42", number, active_from(finished, number))
        await poller.wait_until(number, "42", active_or_none)
        late.append(now() - finished)

    async with open_poller(server) as poller, asyncio.TaskGroup() as group:
        for number in range(500):
            group.create_task(one(poller, number))
            await asyncio.sleep(0.05)
    assert sum(late) / len(late) <= mean
    assert max(late) <= max(1.2 * INTERVAL, lasting / 10)


async def test_a_few_waits_in_a_huge_organization_never_request_a_list():
    server = FakeAudienceApi(padding=180_000_000)
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 5, lasting=200)
    assert set(server.request_kinds) == {"single"}


@pytest.mark.parametrize("slot_seconds", [0.0, 1.0])
async def test_a_huge_list_is_requested_at_most_once(slot_seconds):
    server = FakeAudienceApi(padding=180_000_000, slot_seconds=slot_seconds)
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 100, lasting=200)
        await wait_for_all(server, poller, 100, lasting=200)
    assert server.request_kinds["list"] <= 1
    assert server.request_kinds["everything"] == 0


async def test_new_waits_are_polled_soon_after_a_list_was_abandoned():
    server = FakeAudienceApi(padding=180_000_000)
    async with open_poller(server) as poller:
        waits = asyncio.create_task(wait_for_all(server, poller, 20, lasting=60))
        await asyncio.sleep(1)
        assert server.request_kinds["list"] == 1
        began = now()
        server.add("customer 0", "newcomer", audience("newcomer", "ACTIVE"))
        await poller.wait_until("newcomer", "customer 0", active_or_none)
        assert now() - began < 1
        await waits


async def test_a_list_that_grows_beyond_its_worth_is_abandoned():
    server = FakeAudienceApi()
    async with open_poller(server) as poller:
        waits = asyncio.create_task(wait_for_all(server, poller, 50, lasting=200))
        await asyncio.sleep(100)
        assert server.request_kinds["single"] <= 8
        server.padding = 500_000_000
        await waits
    assert server.request_kinds["list"] <= 25
    assert server.request_kinds["single"] >= 50 * 7


async def test_a_list_abandoned_halfway_loses_no_wait():
    """The list's length is unknown. The watched rows come first, so they are seen before it is abandoned."""
    server = FakeAudienceApi(sends_content_length=False)
    async with open_poller(server) as poller:
        waits = asyncio.create_task(wait_for_all(server, poller, 20, lasting=100))
        await asyncio.sleep(30)
        assert set(server.request_kinds) == {"list"}
        for number in range(10_000, 16_000):
            server.add("customer 0", number, audience(number))
        given_up = now()
        await waits
    polls = [request.sent - given_up for request in server.log if request.kind == "single"]
    assert len(polls) >= 20 * 11
    assert min(polls) <= 2 * INTERVAL
    assert sum(1 for sent in server.request_times("list") if sent > given_up) <= 2


async def test_without_the_list_of_everything_each_customer_has_its_list():
    def refuse_everything(request):
        if request.kind == "everything":
            raise ApiError(400, "customerId is required", None, "GET /audiences")

    server = FakeAudienceApi(fault=refuse_everything)
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 500, lasting=8 * INTERVAL, customers=50)
    assert server.request_kinds["everything"] == 1
    assert server.request_kinds["single"] <= 3 * 50
    assert server.request_kinds["list"] <= 10 * 50


async def test_many_customers_with_few_waits_share_the_list_of_everything():
    server = FakeAudienceApi()
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 600, lasting=20 * INTERVAL, spread=3.0, customers=200)
    assert server.request_kinds["everything"] >= 18
    assert len(server.log) <= 80


async def test_customers_with_many_waits_use_their_own_lists_if_the_list_of_everything_is_huge():
    server = FakeAudienceApi()
    for number in range(100_000, 150_000):
        server.add("another", number, audience(number))
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 100, lasting=10 * INTERVAL, customers=2)
    assert server.request_kinds["everything"] <= 1
    assert 20 <= server.request_kinds["list"] <= 40


async def test_audiences_without_a_customer_are_only_in_the_list_of_everything():
    server = FakeAudienceApi()
    for number in range(100):
        server.add(None, number, active_from(now() + 50, number))
    async with open_poller(server) as poller:
        await asyncio.gather(*(poller.wait_until(number, None, active_or_none) for number in range(100)))
    assert set(server.request_kinds) <= {"everything", "single"}
    assert server.request_kinds["everything"] <= 14
    assert server.request_kinds["single"] <= MAX_VERIFICATION_READS


async def test_an_audience_without_a_row_is_read_singly():
    server = FakeAudienceApi(alter_row=lambda row: row if row["id"] != 7 else None)
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 100, lasting=10 * INTERVAL)
    polls = Counter(request.audience_id for request in server.log if request.kind == "single")
    assert 5 <= polls.pop(7) <= 14
    assert polls.total() <= MAX_VERIFICATION_READS
    assert server.request_kinds["list"] <= 14


async def test_audiences_whose_rows_lack_the_awaited_part_are_read_singly():
    """These are the list's first rows, which prove nothing since other rows include the part."""

    def alter(row):
        return row | {"uploadedAudienceCsv": None} if row["id"] < 5 else row

    server = FakeAudienceApi(alter_row=alter)
    shown = {"uploadedAudienceCsv": {"status": "PROCESSING"}}
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 100, lasting=10 * INTERVAL, needs=RecordPart.UPLOAD, **shown)
        await wait_for_all(server, poller, 100, lasting=10 * INTERVAL, needs=RecordPart.UPLOAD, **shown)
    polls = Counter(request.audience_id for request in server.log if request.kind == "single")
    assert min(polls.pop(number) for number in range(5)) >= 10
    assert polls.total() <= MAX_VERIFICATION_READS
    assert server.request_kinds["list"] <= 40


async def test_a_list_without_any_watched_audience_is_not_requested_again():
    server = FakeAudienceApi(alter_row=lambda _: None)
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 100, lasting=30 * INTERVAL)
    assert server.request_kinds["list"] <= 8


async def test_check_is_called_on_changes_and_not_on_every_poll():
    server = FakeAudienceApi()
    received = []
    started = now()

    def check(record):
        received.append(record.id)
        return active_or_none(record)

    for number in range(20):
        server.add("42", number, active_from(started + 60, number))
    async with open_poller(server) as poller:
        await asyncio.gather(*(poller.wait_until(number, "42", check) for number in range(20)))
    assert poller.stats.polls > 20 * 10
    assert len(received) == 20 * 2


async def test_a_wait_that_starts_during_the_last_list_is_polled():
    server = FakeAudienceApi(latency=20.0)
    for number in range(20):
        server.add("42", number, audience(number, "ACTIVE"))
    server.add("42", 99, audience(99, "ACTIVE"))
    async with open_poller(server) as poller, asyncio.timeout(200):
        older = asyncio.gather(*(poller.wait_until(number, "42", active_or_none) for number in range(20)))
        await asyncio.sleep(12)
        assert server.request_kinds == {"list": 1}
        late = asyncio.create_task(poller.wait_until(99, "42", active_or_none))
        await older
        await late


async def test_a_list_replaces_the_single_reads_in_the_backlog():
    """The list fails at first, so everything is read singly and slowly until the list is tried again."""
    server = FakeAudienceApi(latency=20.0)
    started = now()

    def fault(request):
        if request.kind == "list" and request.sent < started + 10:
            raise ServerError(500, "broken", None, "GET /audiences")

    server.fault = fault
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 500, lasting=150)
    assert server.request_kinds["list"] >= 3
    assert server.request_kinds["single"] <= 250


@pytest.mark.parametrize("left_out", ["uploadedAudienceCsv", "csvExports"])
async def test_lists_that_never_include_the_awaited_part_are_not_requested_again(left_out):
    server = FakeAudienceApi(alter_row=lambda row: row | {left_out: None})
    needs = RecordPart.UPLOAD if left_out == "uploadedAudienceCsv" else RecordPart.EXPORTS
    shown = {"uploadedAudienceCsv": {"status": "PROCESSING"}, "csvExports": [{"id": 1, "status": "IN_PROGRESS"}]}
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 100, lasting=10 * INTERVAL, needs=needs, **shown)
        assert server.request_kinds["list"] <= 2
        await wait_for_all(server, poller, 100, lasting=10 * INTERVAL, needs=needs, **shown)
        assert server.request_kinds["list"] <= 2
        singles = server.request_kinds["single"]
        await wait_for_all(server, poller, 100, lasting=10 * INTERVAL, **shown)
    assert server.request_kinds["single"] <= singles + 8


async def test_lists_that_include_them_serve_waits_for_uploads_and_exports():
    server = FakeAudienceApi()
    shown = {"uploadedAudienceCsv": {"status": "PROCESSING"}, "csvExports": [{"id": 1, "status": "IN_PROGRESS"}]}
    async with open_poller(server) as poller, asyncio.TaskGroup() as group:
        for index, needs in enumerate((RecordPart.UPLOAD, RecordPart.EXPORTS)):
            work = wait_for_all(server, poller, 100, lasting=10 * INTERVAL, needs=needs, seed=index, **shown)
            group.create_task(work)
    assert set(server.request_kinds) <= {"list", "single"}
    assert server.request_kinds["list"] <= 14
    assert server.request_kinds["single"] <= MAX_VERIFICATION_READS


@pytest.mark.parametrize(
    "odd", ["text", {"id": {"an": "object"}}, {"id": 3, "status": ["odd"]}, {"id": 3, "status": 1}]
)
async def test_a_malformed_row_affects_only_its_audience(odd):
    server = FakeAudienceApi(alter_row=lambda row: odd if row["id"] == 3 else row)
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 50, lasting=5 * INTERVAL)
    assert {request.audience_id for request in server.log if request.kind == "single"} == {3}


async def test_an_unreadable_export_does_not_affect_waits_that_do_not_need_it():
    server = FakeAudienceApi(
        alter_row=lambda row: row | ({"csvExports": [{"status": "ACTIVE"}]} if row["id"] == 3 else {})
    )
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 50, lasting=5 * INTERVAL)
    assert server.request_kinds["single"] == 0


async def test_a_row_of_another_customer_ends_the_wait_at_once():
    server = FakeAudienceApi(alter_row=lambda row: row | {"customerId": "another" if row["id"] == 3 else "customer 0"})
    async with open_poller(server) as poller:
        for number in range(20):
            server.add("customer 0", number, active_from(now() + 20, number))
        waits = [poller.wait_until(number, "customer 0", active_or_none) for number in range(20)]
        results = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(results[3], CustomerMismatchError)
    assert [number for number, result in enumerate(results) if isinstance(result, BaseException)] == [3]


async def test_a_customer_id_sent_as_a_number_is_not_a_mismatch():
    server = FakeAudienceApi(alter_row=lambda row: row | {"customerId": 42})
    async with open_poller(server) as poller:
        for number in range(20):
            server.add("42", number, active_from(now() + 20, number))
        await asyncio.gather(*(poller.wait_until(number, "42", active_or_none) for number in range(20)))
    assert set(server.request_kinds) == {"list"}


async def test_an_audience_watched_for_two_customers_is_read_separately():
    """Only one of them can be right; the list of everything must not serve the other."""
    server = FakeAudienceApi()
    for number in range(40):
        server.add(
            f"customer {number % 20}", number, active_from(now() + 30, number, customerId=f"customer {number % 20}")
        )
    server.add("wrong", 7, audience(7, "ACTIVE", customerId="customer 7", note="seen singly"))
    async with open_poller(server) as poller:
        waits = [poller.wait_until(number, f"customer {number % 20}", active_or_none) for number in range(40)]
        results = await asyncio.gather(poller.wait_until(7, "wrong", active_or_none), *waits)
    assert "note" in results[0].extra
    assert "note" not in results[8].extra
    assert server.request_kinds["everything"] >= 3


async def test_the_list_of_everything_does_not_serve_a_customer_without_that_audience():
    server = FakeAudienceApi()
    for number in range(40):
        owner = f"customer {number % 20}"
        server.add(owner, number, active_from(now() + 60, number, customerId=owner))
    async with open_poller(server) as poller:
        waits = [
            poller.wait_until(number, f"customer {number % 20}", active_or_none) for number in range(40) if number != 7
        ]
        wrong, *_ = await asyncio.gather(poller.wait_until(7, "wrong", active_or_none), *waits, return_exceptions=True)
    assert isinstance(wrong, NotFoundError)


async def test_a_thousand_waits_that_start_during_a_list_wait_for_the_next_one():
    server = FakeAudienceApi(latency=2.0)
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 1_000, lasting=10 * INTERVAL, spread=8.0)
    assert len(server.log) <= 30


async def test_a_new_wait_among_old_ones_is_polled_as_often_as_a_new_one():
    server = FakeAudienceApi()
    for number in range(21):
        server.add("42", number, audience(number))
    async with open_poller(server) as poller:
        waits = [asyncio.create_task(poller.wait_until(number, "42", active_or_none)) for number in range(20)]
        await asyncio.sleep(3_600)
        assert sum(1 for sent in server.request_times("list") if sent > now() - 600) <= 22
        waits.append(asyncio.create_task(poller.wait_until(20, "42", active_or_none)))
        began = now()
        await asyncio.sleep(60)
        for wait in waits:
            wait.cancel()
    assert sum(1 for request in server.log if request.sent > began) >= 10


async def test_slow_lists_are_not_requested_back_to_back():
    server = FakeAudienceApi(latency=12.0)
    async with open_poller(server) as poller:
        await wait_for_all(server, poller, 1_000, lasting=100)
    sent = server.request_times("list")
    assert min(later - earlier for earlier, later in pairwise(sent)) >= 12 + INTERVAL / 2
