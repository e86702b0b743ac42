"""Handing out slots, in virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.pacing import Pacer, Pacing
from tests.support.virtual_time import now, run_in_virtual_time, virtual_backend

anyio_backend = virtual_backend


async def let_tasks_run():
    """Let all that can run now do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def fill(pacer, *, action):
    taken = 0
    while pacer.try_acquire(is_write=action):
        taken += 1
    return taken


async def test_looks_leave_slots_for_actions():
    pacer = Pacer(Pacing(max_concurrency=8))
    looks = fill(pacer, action=False)
    actions = fill(pacer, action=True)
    assert looks == 7
    assert actions == 1


async def test_a_single_slot_serves_looks_as_well():
    pacer = Pacer(Pacing(max_concurrency=1))
    assert fill(pacer, action=False) == 1
    assert fill(pacer, action=True) == 0


async def test_actions_go_before_looks_that_queued_earlier():
    pacer = Pacer(Pacing(max_concurrency=1))
    assert pacer.try_acquire(is_write=True)
    order = []

    async def queue(name, *, action):
        await pacer.acquire(is_write=action)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for name, action in (("look 1", False), ("look 2", False), ("action 1", True), ("action 2", True)):
            group.create_task(queue(name, action=action))
        await let_tasks_run()
        assert not order
        for _ in range(4):
            pacer.release()
            await let_tasks_run()
    assert order == ["action 1", "action 2", "look 1", "look 2"]


async def test_nobody_slips_past_those_who_queue():
    pacer = Pacer(Pacing(max_concurrency=8))
    fill(pacer, action=False)
    queued = asyncio.create_task(pacer.acquire(is_write=False))
    await let_tasks_run()
    assert pacer.try_acquire(is_write=True)
    assert not pacer.try_acquire(is_write=False)
    pacer.release()
    pacer.release()
    await queued


async def test_nobody_slips_past_those_whose_time_has_just_come():
    pacer = Pacer(Pacing(requests_per_second=10))
    assert pacer.try_acquire(is_write=False)
    queued = asyncio.create_task(pacer.acquire(is_write=False))
    await let_tasks_run()
    asyncio.get_running_loop().now += 0.1
    assert not pacer.try_acquire(is_write=False)
    await queued


async def test_a_pause_does_not_count_as_little_borne():
    """A hundred a second were borne before the pause; one refusal after it does not make that one a second."""
    pacer = Pacer(Pacing())
    for _ in range(100):
        assert pacer.try_acquire(is_write=True)
        pacer.record_accepted(started=now(), latency_group=None)
        pacer.release()
    pacer.pause(10)
    await pacer.acquire(is_write=True)
    pacer.record_rate_limited(started=now(), retry_after=1)
    assert pacer.slot_seconds < 1


async def test_a_hold_holds_everybody_and_ends():
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


async def test_a_hold_that_is_extended_is_kept_to_its_end():
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
        pacer.release()
    assert now() - started == pytest.approx(4.9, abs=0.1)


async def test_requests_cost_their_share_of_a_rate():
    assert Pacer(Pacing()).slot_seconds == 0
    pacer = Pacer(Pacing(max_concurrency=4, requests_per_second=8))
    assert pacer.slot_seconds == pytest.approx(0.5)


async def test_one_who_is_cancelled_while_queueing_loses_no_slot():
    pacer = Pacer(Pacing(max_concurrency=1))
    assert pacer.try_acquire(is_write=True)
    queued = asyncio.create_task(pacer.acquire(is_write=True))
    await let_tasks_run()
    queued.cancel()
    await let_tasks_run()
    pacer.release()
    assert pacer.try_acquire(is_write=True)


async def test_one_who_is_cancelled_at_the_moment_of_its_turn_loses_no_slot():
    pacer = Pacer(Pacing(max_concurrency=1))
    assert pacer.try_acquire(is_write=True)
    queued = asyncio.create_task(pacer.acquire(is_write=True))
    await let_tasks_run()
    pacer.release()
    queued.cancel()
    await let_tasks_run()
    assert queued.cancelled()
    assert pacer.try_acquire(is_write=True)


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 1), st.sampled_from(["good", "refused", "timeout", "cancelled"])),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 12),
    st.sampled_from([None, 5.0, 200.0]),
    st.integers(0, 2**32 - 1),
)
def test_whatever_happens_the_limit_holds_everybody_is_served_and_no_slot_is_lost(requests, most, rate, seed):
    chance = random.Random(seed)

    async def scenario():
        pacer = Pacer(Pacing(max_concurrency=most, requests_per_second=rate))
        under_way = served = 0

        async def request(*, action, seconds, outcome):
            nonlocal under_way, served
            if not pacer.try_acquire(is_write=action):
                await pacer.acquire(is_write=action)
            served += 1
            under_way += 1
            assert under_way <= most
            started = now()
            try:
                await asyncio.sleep(seconds)
                if outcome == "good":
                    pacer.record_accepted(started=started, latency_group="look")
                elif outcome == "refused":
                    pacer.record_rate_limited(started=started, retry_after=seconds)
                    pacer.pause(seconds)
                else:
                    pacer.record_timeout(started=started)
            finally:
                under_way -= 1
                pacer.release()

        tasks = []
        for action, seconds, outcome in requests:
            tasks.append(asyncio.create_task(request(action=action, seconds=seconds, outcome=outcome)))
            await asyncio.sleep(seconds / 10)
            if outcome == "cancelled":
                chance.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert served >= sum(result is None for result in results)
        assert under_way == 0
        await asyncio.sleep(pacer.pause_remaining())
        pacer.record_accepted(started=now(), latency_group=None)
        await asyncio.wait_for(pacer.acquire(is_write=True), timeout=3_600)

    run_in_virtual_time(scenario())
