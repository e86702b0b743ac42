"""A shared timer behaves like one timer per block, in virtual time."""

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


async def attempt(shared, seconds):
    with shared.scope():
        await asyncio.sleep(seconds)


async def test_a_block_that_takes_too_long_times_out():
    started = now()
    with pytest.raises(TimeoutError):
        await attempt(SharedTimeout(SECONDS), 1_000)
    assert now() - started == SECONDS


async def test_a_block_that_ends_in_time_is_not_canceled():
    shared = SharedTimeout(SECONDS)
    for _ in range(5):
        await attempt(shared, SECONDS - 1)
    await asyncio.sleep(10 * SECONDS)


async def test_many_attempts_share_one_timer(monkeypatch):
    loop = asyncio.get_running_loop()
    shared, timers = SharedTimeout(SECONDS), []
    call_at = loop.call_at
    monkeypatch.setattr(
        loop,
        "call_at",
        lambda when, callback, *args, **more: timers.append(callback) or call_at(when, callback, *args, **more),
    )
    async with asyncio.TaskGroup() as group:
        for _ in range(1_000):
            group.create_task(attempt(shared, 1))
    assert timers.count(shared._on_timer) == 1
    assert not shared._active


async def test_a_canceled_caller_is_canceled():
    shared = SharedTimeout(SECONDS)
    task = asyncio.create_task(attempt(shared, 1_000))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not shared._active


async def test_a_caller_that_is_canceled_at_the_deadline_is_canceled():
    task = asyncio.create_task(attempt(SharedTimeout(SECONDS), 1_000))
    asyncio.get_running_loop().call_later(SECONDS, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_at_the_deadline_is_raised():
    async def fail():
        with SharedTimeout(SECONDS).scope():
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                raise ValueError from None

    with pytest.raises(ValueError):  # noqa: PT011 - the one raised above
        await fail()


async def test_there_is_no_timer_while_no_block_is_active():
    shared = SharedTimeout(SECONDS)
    async with asyncio.TaskGroup() as group:
        group.create_task(attempt(shared, 1))
        group.create_task(attempt(shared, 2))
        await asyncio.sleep(1.5)
        timer = shared._timer
        assert timer is not None
        assert not timer.cancelled()
    assert timer.cancelled()
    assert shared._timer is None


def test_a_scope_outside_a_task_is_an_error():
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
async def shared_timeout(shared):
    with shared.scope():
        yield


async def run_blocks(timeout_scope, blocks):
    """Run blocks that start, last and are canceled after so many seconds. Returns how and when each one ends."""

    async def one(delay, duration):
        await asyncio.sleep(delay)
        try:
            async with timeout_scope():
                await asyncio.sleep(duration)
        except TimeoutError:
            return "timed out", now() - started
        return "done", now() - started

    loop, started = asyncio.get_running_loop(), now()
    tasks = [asyncio.create_task(one(delay, duration)) for delay, duration, _ in blocks]
    for task, (_, _, cancelled) in zip(tasks, blocks, strict=True):
        if cancelled is not None:
            loop.call_later(cancelled, task.cancel)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return ["canceled" if isinstance(end, asyncio.CancelledError) else end for end in ended]


TIMES = st.integers(0, 40).map(lambda quarters: quarters + 0.25)
# Cancellations never coincide with other events, whose order would be undefined.
BLOCKS = st.lists(st.tuples(TIMES, TIMES, st.none() | st.integers(0, 60).map(lambda second: second + 0.6)), max_size=12)


@given(blocks=BLOCKS)
def test_it_behaves_like_one_timer_per_block(blocks):
    def separate_timeout() -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(SECONDS)

    shared = SharedTimeout(SECONDS)
    assert run_in_virtual_time(run_blocks(lambda: shared_timeout(shared), blocks)) == run_in_virtual_time(
        run_blocks(separate_timeout, blocks)
    )
