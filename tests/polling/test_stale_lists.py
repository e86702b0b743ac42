"""Lists that are out of date, in virtual time: they stop no wait, and verifying correct lists costs little."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indigo_async._polling import RecordPart
from indigo_async.errors import ServerError
from tests.support.servers.fake_audience_api import (
    INTERVAL,
    FakeAudienceApi,
    active_from,
    active_or_none,
    audience,
    open_poller,
)
from tests.support.virtual_time import now, run_in_virtual_time, virtual_backend

anyio_backend = virtual_backend

LASTING = 20 * INTERVAL


def frozen():
    """Replace rows with their first versions."""
    first = {}
    return lambda row: first.setdefault(row["id"], row)


def delayed(seconds):
    """Replace rows with their versions of some seconds ago."""
    history = {}

    def alter(row):
        states = history.setdefault(row["id"], [])
        states.append((now(), row))
        return next((old for since, old in reversed(states) if since <= now() - seconds), states[0][1])

    return alter


async def delays_of_waits(server, count, *, lasting=LASTING, customers=1, spread=0.0, seed=0):
    """Wait for `count` audiences. Returns how many seconds late each change was noticed."""
    rng = Random(seed)

    async def one(poller, number):
        await asyncio.sleep(spread * rng.random())
        customer_id = f"customer {number % customers}"
        finished = now() + lasting
        server.add(customer_id, number, active_from(finished, number))
        await poller.wait_until(number, customer_id, active_or_none)
        return now() - finished

    async with open_poller(server) as poller, asyncio.timeout(3_600):
        return await asyncio.gather(*(one(poller, number) for number in range(count)))


@pytest.mark.parametrize("count", [3, 20, 500])
@pytest.mark.parametrize("customers", [1, 2])
async def test_lists_that_never_update_delay_waits_but_end_none(count, customers):
    server = FakeAudienceApi(alter_row=frozen())
    delays = await delays_of_waits(server, count, customers=customers)
    # An audience is verified at the latest after 8 lists; then the list has six intervals to catch up.
    assert max(delays) <= 60 * INTERVAL


async def test_a_list_that_never_updates_is_paused_and_logged_once(caplog):
    server = FakeAudienceApi(alter_row=frozen())
    async with open_poller(server) as poller:
        for number in range(50):
            server.add("42", number, active_from(now() + LASTING, number))
        await asyncio.gather(*(poller.wait_until(number, "42", active_or_none) for number in range(50)))
        lists = server.request_kinds["list"]
        for number in range(50, 100):
            server.add("42", number, active_from(now() + LASTING, number))
        began = now()
        await asyncio.gather(*(poller.wait_until(number, "42", active_or_none) for number in range(50, 100)))
        assert now() - began <= LASTING + 2 * INTERVAL
        assert server.request_kinds["list"] == lists
        assert len(caplog.messages) == 1
        assert (
            "the list of customer '42' is out of date: single reads of several audiences show newer data."
            in caplog.text
        )
        assert "not used for 600 s" in caplog.text
        await asyncio.sleep(600)
        for number in range(100, 150):
            server.add("42", number, active_from(now() + LASTING, number))
        await asyncio.gather(*(poller.wait_until(number, "42", active_or_none) for number in range(100, 150)))
    assert server.request_kinds["list"] > lists
    assert "not used for 1200 s" in caplog.text


async def test_a_list_that_is_a_little_late_is_trusted():
    server = FakeAudienceApi(alter_row=delayed(3.0))
    delays = await delays_of_waits(server, 500, spread=200.0)
    assert max(delays) <= 5 * INTERVAL
    assert server.request_kinds["list"] >= 40
    assert server.request_kinds["single"] <= 20


async def test_a_single_stale_row_is_detected_and_its_list_stays_trusted():
    first = frozen()
    server = FakeAudienceApi(alter_row=lambda row: first(row) if row["id"] == 7 else row)
    delays = await delays_of_waits(server, 200, spread=60.0)
    assert delays.pop(7) <= 40 * INTERVAL
    assert max(delays) <= 2 * INTERVAL
    assert server.request_kinds["single"] <= 30


async def test_an_audience_with_a_stale_row_is_polled_individually_from_then_on():
    """A single read shows a change that does not end the wait."""
    first = frozen()
    server = FakeAudienceApi(alter_row=lambda row: first(row) if row["id"] == 7 else row)
    started = now()

    def status_at(time):
        return "PROCESSING" if time < started + 50 else "HALF DONE" if time < started + 10_000 else "ACTIVE"

    server.add("42", 7, lambda time: audience(7, status_at(time)))
    for number in range(100, 110):
        server.add("42", number, audience(number))
    seen = []

    def check(record):
        if not seen or seen[-1][1] != record.status:
            seen.append((now() - started, record.status))
        return active_or_none(record)

    async with open_poller(server) as poller:
        others = [asyncio.create_task(poller.wait_until(number, "42", active_or_none)) for number in range(100, 110)]
        await poller.wait_until(7, "42", check)
        for other in others:
            other.cancel()
    assert [status for _, status in seen] == ["PROCESSING", "HALF DONE", "ACTIVE"]
    assert seen[-1][0] <= 10_000 + 35


async def test_verifying_a_correct_list_costs_little_for_ten_thousand_waits():
    server = FakeAudienceApi()
    for number in range(10_000):
        server.add("42", number, audience(number))
    async with open_poller(server) as poller:
        waits = asyncio.gather(*(poller.wait_until(number, "42", active_or_none) for number in range(10_000)))
        await asyncio.sleep(60 * INTERVAL)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
    assert server.request_kinds["list"] >= 25
    assert server.request_kinds["single"] <= 8
    assert sum(poller.stats.requests.values()) <= 0.01 * poller.stats.polls


async def test_failed_verification_reads_do_not_count_against_a_list():
    def fault(request):
        if request.kind == "single":
            raise ServerError(500, "broken", None, "GET /audience")

    server = FakeAudienceApi(fault=fault)
    assert max(await delays_of_waits(server, 100)) <= 2 * INTERVAL
    assert 1 <= server.request_kinds["single"] <= 5


async def test_lists_are_verified_for_waits_for_exports_too():
    server = FakeAudienceApi(alter_row=frozen())
    finished = now() + LASTING
    before, after = {"id": 1, "status": "IN_PROGRESS"}, {"id": 1, "status": "REQUIRES_PAYMENT"}
    for number in range(20):
        server.add(
            "42",
            number,
            lambda time, number=number: audience(number, csvExports=[before if time < finished else after]),
        )

    def priced(record):
        return next((export for export in record.csv_exports if export.status != "IN_PROGRESS"), None)

    async with open_poller(server) as poller, asyncio.timeout(3_600):
        await asyncio.gather(
            *(poller.wait_until(number, "42", priced, part=RecordPart.EXPORTS) for number in range(20))
        )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    customers=st.sampled_from([1, 2, 10]),
    latency=st.sampled_from([0.01, 1.0, 7.0]),
    spread=st.sampled_from([0.0, 80.0]),
    lasting=st.sampled_from([3.0, 40.0, 700.0]),
    stale=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_every_wait_ends_however_many_rows_are_stale(*, seed, count, customers, latency, spread, lasting, stale):
    async def scenario():
        first, rng = frozen(), Random(seed)
        is_stale = {number: rng.random() < stale for number in range(count)}
        server = FakeAudienceApi(latency=latency, alter_row=lambda row: first(row) if is_stale[row["id"]] else row)
        await delays_of_waits(server, count, customers=customers, spread=spread, lasting=lasting, seed=seed)

    run_in_virtual_time(scenario())
