"""Slots for requests, in virtual time."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.pacing import Pacer, Pacing
from indigo_async.errors import InvalidInputError
from tests.support.virtual_time import now, run_in_virtual_time, virtual_backend

anyio_backend = virtual_backend


async def let_tasks_run():
    """Run all tasks that are ready."""
    for _ in range(5):
        await asyncio.sleep(0)


def fill(pacer, *, is_write):
    acquired = 0
    while pacer.try_acquire(is_write=is_write):
        acquired += 1
    return acquired


async def test_reads_leave_slots_for_writes():
    pacer = Pacer(Pacing(max_concurrency=8))
    reads = fill(pacer, is_write=False)
    writes = fill(pacer, is_write=True)
    assert reads == 7
    assert writes == 1


async def test_a_single_slot_serves_reads_too():
    pacer = Pacer(Pacing(max_concurrency=1))
    assert fill(pacer, is_write=False) == 1
    assert fill(pacer, is_write=True) == 0


async def test_writes_go_before_reads_that_queued_earlier():
    pacer = Pacer(Pacing(max_concurrency=1))
    assert pacer.try_acquire(is_write=True)
    order = []

    async def queue(name, *, is_write):
        await pacer.acquire(is_write=is_write)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for name, is_write in (("read 1", False), ("read 2", False), ("write 1", True), ("write 2", True)):
            group.create_task(queue(name, is_write=is_write))
        await let_tasks_run()
        assert not order
        for is_write in (True, True, True, False):
            pacer.release(is_write=is_write)
            await let_tasks_run()
    assert order == ["write 1", "write 2", "read 1", "read 2"]


async def test_slow_writes_leave_slots_to_reads():
    pacer = Pacer(Pacing(max_concurrency=8))
    assert fill(pacer, is_write=True) == 7
    queued_writes = [asyncio.create_task(pacer.acquire(is_write=True)) for _ in range(20)]
    await let_tasks_run()
    for _ in range(100):
        await pacer.acquire(is_write=False)
        pacer.release(is_write=False)
    assert not any(write.done() for write in queued_writes)
    for write in queued_writes:
        write.cancel()


async def test_timeouts_leave_a_slot_each_to_writes_and_reads():
    pacer = Pacer(Pacing())
    for _ in range(100):
        asyncio.get_running_loop().now += 1
        pacer.record_timeout(started=now() - 0.5)
    assert fill(pacer, is_write=True) == 1
    assert fill(pacer, is_write=False) == 1


async def test_try_acquire_does_not_pass_the_queue():
    pacer = Pacer(Pacing(max_concurrency=8))
    fill(pacer, is_write=False)
    queued = asyncio.create_task(pacer.acquire(is_write=False))
    await let_tasks_run()
    assert pacer.try_acquire(is_write=True)
    assert not pacer.try_acquire(is_write=False)
    pacer.release(is_write=True)
    pacer.release(is_write=False)
    await queued


async def test_try_acquire_does_not_pass_a_queue_that_is_due():
    pacer = Pacer(Pacing(requests_per_second=10))
    assert pacer.try_acquire(is_write=False)
    queued = asyncio.create_task(pacer.acquire(is_write=False))
    await let_tasks_run()
    asyncio.get_running_loop().now += 0.1
    assert not pacer.try_acquire(is_write=False)
    await queued


async def test_a_pause_does_not_lower_the_accepted_rate():
    """100 requests a second were accepted before the pause. One 429 after it must not lower that to one a second."""
    pacer = Pacer(Pacing())
    for _ in range(100):
        assert pacer.try_acquire(is_write=True)
        pacer.record_accepted(started=now(), latency_group=None)
        pacer.release(is_write=True)
    pacer.pause(10)
    await pacer.acquire(is_write=True)
    pacer.record_rate_limited(started=now(), retry_after=1)
    assert pacer.slot_seconds < 1


async def test_nothing_but_429s_pauses_all_requests_longer_each_time():
    pacer = Pacer(Pacing())
    pauses = []
    for _ in range(1_000):
        await pacer.acquire(is_write=False)
        await asyncio.sleep(0.01)
        pacer.record_rate_limited(started=now() - 0.01, retry_after=None)
        pacer.release(is_write=False)
        if pacer.pause_remaining():
            pauses.append(pacer.pause_remaining())
    assert pauses[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(pauses) == pytest.approx(5)


async def test_a_pause_holds_all_requests_and_ends():
    pacer = Pacer(Pacing())
    pacer.pause(30)
    pacer.pause(10)
    assert pacer.pause_remaining() == pytest.approx(30)
    assert not pacer.try_acquire(is_write=True)
    started = now()
    await asyncio.gather(pacer.acquire(is_write=True), pacer.acquire(is_write=False))
    assert now() - started == pytest.approx(30)
    assert pacer.pause_remaining() == 0
    assert pacer.try_acquire(is_write=False)


async def test_an_extended_pause_lasts_to_its_end():
    pacer = Pacer(Pacing())
    pacer.pause(10)
    started = now()
    queued = asyncio.create_task(pacer.acquire(is_write=True))
    await asyncio.sleep(9)
    pacer.pause(10)
    await queued
    assert now() - started == pytest.approx(19)


async def test_a_fixed_rate_spaces_requests_without_spending_slots():
    pacer = Pacer(Pacing(requests_per_second=10))
    started = now()
    for _ in range(50):
        if not pacer.try_acquire(is_write=False):
            await pacer.acquire(is_write=False)
        pacer.release(is_write=False)
    assert now() - started == pytest.approx(4.9, abs=0.1)


async def test_requests_cost_their_share_of_a_rate():
    assert Pacer(Pacing()).slot_seconds == 0
    pacer = Pacer(Pacing(max_concurrency=4, requests_per_second=8))
    assert pacer.slot_seconds == pytest.approx(0.5)


async def test_canceling_a_queued_request_loses_no_slot():
    pacer = Pacer(Pacing(max_concurrency=1))
    assert pacer.try_acquire(is_write=True)
    queued = asyncio.create_task(pacer.acquire(is_write=True))
    await let_tasks_run()
    queued.cancel()
    await let_tasks_run()
    pacer.release(is_write=True)
    assert pacer.try_acquire(is_write=True)


async def test_canceling_a_request_as_it_gets_its_slot_loses_no_slot():
    pacer = Pacer(Pacing(max_concurrency=1))
    assert pacer.try_acquire(is_write=True)
    queued = asyncio.create_task(pacer.acquire(is_write=True))
    await let_tasks_run()
    pacer.release(is_write=True)
    queued.cancel()
    await let_tasks_run()
    assert queued.cancelled()
    assert pacer.try_acquire(is_write=True)


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.floats(0, 1), st.sampled_from(["accepted", "rate limited", "timeout", "cancelled"])
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 12),
    st.sampled_from([None, 5.0, 200.0]),
    st.integers(0, 2**32 - 1),
)
def test_the_limit_holds_all_are_served_and_no_slot_is_lost(requests, limit, rate, seed):
    randomness = random.Random(seed)

    async def scenario():
        pacer = Pacer(Pacing(max_concurrency=limit, requests_per_second=rate))
        in_flight = served = 0

        async def request(*, is_write, seconds, outcome):
            nonlocal in_flight, served
            if not pacer.try_acquire(is_write=is_write):
                await pacer.acquire(is_write=is_write)
            served += 1
            in_flight += 1
            assert in_flight <= limit
            started = now()
            try:
                await asyncio.sleep(seconds)
                if outcome == "accepted":
                    pacer.record_accepted(started=started, latency_group="GET")
                elif outcome == "rate limited":
                    pacer.record_rate_limited(started=started, retry_after=seconds)
                    pacer.pause(seconds)
                else:
                    pacer.record_timeout(started=started)
            finally:
                in_flight -= 1
                pacer.release(is_write=is_write)

        tasks = []
        for is_write, seconds, outcome in requests:
            tasks.append(asyncio.create_task(request(is_write=is_write, seconds=seconds, outcome=outcome)))
            await asyncio.sleep(seconds / 10)
            if outcome == "cancelled":
                randomness.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert served >= sum(result is None for result in results)
        assert in_flight == 0
        await asyncio.sleep(pacer.pause_remaining())
        pacer.record_accepted(started=now(), latency_group=None)
        await asyncio.wait_for(pacer.acquire(is_write=True), timeout=3_600)

    run_in_virtual_time(scenario())


def test_invalid_limits_are_rejected_together():
    with pytest.raises(InvalidInputError) as caught:
        Pacing(max_concurrency=0, requests_per_second=math.nan)
    assert [str(problem) for problem in caught.value.problems] == [
        "max_concurrency: must be at least 1, not 0",
        "requests_per_second: must be more than 0 and finite, not nan",
    ]
