"""Work that must not be interrupted when its caller is canceled, by asyncio or by anyio."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import anyio
import pytest

from indigo_async._transport.cancellation import run_in_thread, run_to_completion, wait_shielded
from tests.support.servers.scripted import wait_until


async def test_wait_shielded_survives_repeated_cancellation():
    finish = asyncio.Event()
    work = asyncio.create_task(finish.wait())
    waiting = asyncio.create_task(wait_shielded(work))
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
        waiting.cancel()
    await anyio.lowlevel.checkpoint()
    assert not waiting.done()
    finish.set()
    await waiting
    assert work.result() is True


async def test_wait_shielded_survives_a_canceled_scope():
    finish = asyncio.Event()
    work = asyncio.create_task(finish.wait())
    async with anyio.create_task_group() as group:
        group.start_soon(wait_shielded, work)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
        asyncio.get_running_loop().call_soon(finish.set)
    assert work.done()


async def test_a_canceled_scope_does_not_cause_a_busy_loop(monkeypatch: pytest.MonkeyPatch):
    waits: list[object] = []
    wait = asyncio.wait

    async def counted(*arguments: Any, **options: Any) -> object:
        waits.append(arguments)
        return await wait(*arguments, **options)

    monkeypatch.setattr(asyncio, "wait", counted)
    finish = asyncio.Event()
    work = asyncio.create_task(finish.wait())
    with anyio.CancelScope() as scope:
        scope.cancel()
        steps = asyncio.create_task(_after_steps(50, finish))
        await wait_shielded(work)
    await steps
    assert len(waits) <= 2


async def _after_steps(steps: int, event: asyncio.Event) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)
    event.set()


async def test_wait_shielded_stops_after_its_timeout():
    work = asyncio.create_task(asyncio.Event().wait())
    await wait_shielded(work, seconds=0.01)
    assert not work.done()
    work.cancel()


async def test_wait_shielded_ends_when_the_work_fails():
    async def fail() -> None:
        raise RuntimeError("the work's own")

    work = asyncio.create_task(fail())
    await wait_shielded(work)
    with pytest.raises(RuntimeError, match="the work's own"):
        work.result()


async def test_run_in_thread_returns_and_raises_like_its_function():
    assert await run_in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 // 0)


async def test_a_canceled_run_in_thread_waits_for_its_thread():
    started, finish, finished = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        finish.wait()
        finished.set()

    task = asyncio.create_task(run_in_thread(work))
    await wait_until(started.is_set)
    task.cancel()
    await anyio.lowlevel.checkpoint()
    assert not task.done()
    finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert finished.is_set()


async def test_the_error_of_work_whose_caller_was_canceled_is_not_reported_as_lost():
    fail = asyncio.Event()

    async def work() -> None:
        await fail.wait()
        raise ValueError

    waiting = asyncio.create_task(run_to_completion(asyncio.ensure_future(work())))
    await anyio.lowlevel.checkpoint()
    waiting.cancel()
    await anyio.lowlevel.checkpoint()
    fail.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    gc.collect()
    assert reported == []
