"""One timer for all attempts does what a timer for each would, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.shared_timeout import SharedTimeout
from tests.support.virtual_time import now, run_in_virtual_time, virtual_backend

anyio_backend = virtual_backend

SECONDS = 10.0


async def attempt(limit, seconds):
    with limit.scope():
        await asyncio.sleep(seconds)


async def test_what_takes_too_long_is_broken_off_in_time():
    began = now()
    with pytest.raises(TimeoutError):
        await attempt(SharedTimeout(SECONDS), 1_000)
    assert now() - began == SECONDS


async def test_what_ends_in_time_is_left_alone():
    limit = SharedTimeout(SECONDS)
    for _ in range(5):
        await attempt(limit, SECONDS - 1)
    await asyncio.sleep(10 * SECONDS)


async def test_many_attempts_have_one_timer_at_a_time(monkeypatch):
    loop = asyncio.get_running_loop()
    limit, timers = SharedTimeout(SECONDS), []
    call_at = loop.call_at
    monkeypatch.setattr(
        loop,
        "call_at",
        lambda when, callback, *args, **more: timers.append(callback) or call_at(when, callback, *args, **more),
    )
    async with asyncio.TaskGroup() as group:
        for _ in range(1_000):
            group.create_task(attempt(limit, 1))
    assert timers.count(limit._on_timer) == 1
    assert not limit._active


async def test_a_caller_who_is_cancelled_is_cancelled():
    limit = SharedTimeout(SECONDS)
    task = asyncio.create_task(attempt(limit, 1_000))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not limit._active


async def test_a_caller_who_is_cancelled_when_the_time_is_over_is_cancelled():
    task = asyncio.create_task(attempt(SharedTimeout(SECONDS), 1_000))
    asyncio.get_running_loop().call_later(SECONDS, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_at_the_last_instant_is_told():
    async def fail():
        with SharedTimeout(SECONDS).scope():
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                raise ValueError from None

    with pytest.raises(ValueError):  # noqa: PT011 - the very one above
        await fail()


async def test_where_nothing_is_under_way_there_is_no_timer():
    limit = SharedTimeout(SECONDS)
    async with asyncio.TaskGroup() as group:
        group.create_task(attempt(limit, 1))
        group.create_task(attempt(limit, 2))
        await asyncio.sleep(1.5)
        alarm = limit._timer
        assert alarm is not None
        assert not alarm.cancelled()
    assert alarm.cancelled()
    assert limit._timer is None


def test_outside_a_task_nothing_is_limited():
    async def outside():
        outcome = asyncio.get_running_loop().create_future()

        def enter():
            with pytest.raises(RuntimeError), SharedTimeout(SECONDS).scope():
                pass
            outcome.set_result(None)

        asyncio.get_running_loop().call_soon(enter)
        await outcome

    run_in_virtual_time(outside())


@asynccontextmanager
async def one_timer(limit):
    with limit.scope():
        yield


async def histories(within, works):
    """How each piece of work ends, and when; each begins, lasts and is cancelled after so many seconds."""

    async def one(begins, lasts):
        await asyncio.sleep(begins)
        try:
            async with within():
                await asyncio.sleep(lasts)
        except TimeoutError:
            return "too late", now() - began
        return "done", now() - began

    loop, began = asyncio.get_running_loop(), now()
    tasks = [asyncio.create_task(one(begins, lasts)) for begins, lasts, _ in works]
    for task, (_, _, cancelled) in zip(tasks, works, strict=True):
        if cancelled is not None:
            loop.call_later(cancelled, task.cancel)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return ["cancelled" if isinstance(end, asyncio.CancelledError) else end for end in ended]


TIMES = st.integers(0, 40).map(lambda quarters: quarters + 0.25)
# Cancelled between all other instants: at one instant, either may come first.
WORKS = st.lists(st.tuples(TIMES, TIMES, st.none() | st.integers(0, 60).map(lambda second: second + 0.6)), max_size=12)


@given(works=WORKS)
def test_it_does_what_a_timer_for_each_does(works):
    def for_each() -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(SECONDS)

    limit = SharedTimeout(SECONDS)
    assert run_in_virtual_time(histories(lambda: one_timer(limit), works)) == run_in_virtual_time(
        histories(for_each, works)
    )
