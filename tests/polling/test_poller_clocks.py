"""Waits use the event loop's monotonic clock, so a jump of the wall clock or a suspended machine changes little."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from tests.support.servers.fake_audience_api import FakeAudienceApi, active_from, active_or_none, audience, open_poller
from tests.support.virtual_time import now, run_in_virtual_time, virtual_backend

anyio_backend = virtual_backend

HOUR = 3_600.0
WAITS = 10_000


async def waits_of_all_kinds() -> list[tuple[float, str]]:
    """The requests and their times while one wait succeeds and another one times out."""
    server = FakeAudienceApi()
    server.add("42", 1, active_from(now() + 60, 1))
    server.add("42", 2, audience(2))
    async with open_poller(server) as poller:
        assert (await poller.wait_until(1, "42", active_or_none)).id == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(poller.wait_until(2, "42", active_or_none), 60)
    return [(request.sent, request.kind) for request in server.log]


def test_a_jump_of_the_wall_clock_does_not_affect_waits(monkeypatch: pytest.MonkeyPatch):
    expected = run_in_virtual_time(waits_of_all_kinds())
    for name in ("time", "time_ns"):
        jumping = itertools.cycle([0, 2**31, 5])
        monkeypatch.setattr(time, name, lambda jumping=jumping: next(jumping))
    assert run_in_virtual_time(waits_of_all_kinds()) == expected
    assert len(expected) > 20


async def test_ten_thousand_waits_are_not_all_polled_when_a_machine_wakes_up():
    server = FakeAudienceApi(padding=10**12)  # no lists
    for number in range(WAITS):
        server.add(f"customer {number}", number, audience(number))
    async with open_poller(server) as poller:
        waits = [
            asyncio.create_task(poller.wait_until(number, f"customer {number}", active_or_none))
            for number in range(WAITS)
        ]
        await asyncio.sleep(3)
        asyncio.get_running_loop().now += HOUR
        woken = now()
        await asyncio.sleep(3)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
    polls = [sent - woken for sent in server.request_times("single") if sent >= woken]
    seconds = [sum(1 for poll in polls if second <= poll < second + 1) for second in range(3)]
    assert 0 < max(seconds) <= WAITS / 5
