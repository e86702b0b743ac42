"""Waits of one client, in virtual time: when audiences are polled, and how waits end."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

from indigo_async._polling import RecordPart
from indigo_async._polling.diagnostics import UnknownStatusLog
from indigo_async._polling.rounds import RoundPlanner
from indigo_async.errors import ClientNotOpenError, IndigoError
from tests.support.servers.fake_audience_api import (
    INTERVAL,
    FakeAudienceApi,
    active_from,
    active_or_none,
    audience,
    open_poller,
)
from tests.support.virtual_time import now, virtual_backend

anyio_backend = virtual_backend


async def test_the_first_poll_comes_soon_and_then_one_every_interval():
    server = FakeAudienceApi()
    started = now()
    server.add("42", 1, active_from(started + 50, 1))
    async with open_poller(server) as poller:
        assert (await poller.wait_until(1, "42", active_or_none)).id == 1
    polls = server.request_times("single")
    assert polls[0] - started <= 0.75
    gaps = [later - earlier for earlier, later in itertools.pairwise(polls)]
    assert min(gaps) >= INTERVAL
    assert max(gaps) <= 1.1 * INTERVAL + 0.1
    assert polls[-1] >= started + 50 - server.latency


async def test_old_waits_are_polled_less_often_but_at_least_twice_a_minute():
    server = FakeAudienceApi()
    started = now()
    server.add("42", 1, active_from(started + 7_200, 1))
    async with open_poller(server) as poller:
        await poller.wait_until(1, "42", active_or_none)
    polls = server.request_times("single")
    gaps = [later - earlier for earlier, later in itertools.pairwise(polls)]
    ages = [poll - started for poll in polls]
    assert max(gaps) <= 30.1
    assert max(gap / age for gap, age in zip(gaps, ages, strict=False) if age >= 10 * INTERVAL) <= 0.11
    assert len(polls) <= 10 + 20 + 7_200 / 30


async def test_one_poll_serves_all_waits_for_an_audience():
    server = FakeAudienceApi()
    started = now()
    ready = {"status": "READY_FOR_COLUMN_SELECTION"}
    server.add("42", 1, active_from(started + 100, 1, uploadedAudienceCsv=ready))
    async with open_poller(server) as poller:
        waits = [poller.wait_until(1, "42", active_or_none, part=needs) for needs in RecordPart for _ in range(5)]
        await asyncio.gather(*waits, poller.wait_until("1", "42", active_or_none))
    assert len(server.log) <= 22


async def test_a_wait_never_receives_a_record_read_before_it_started():
    """A poll in flight has already read the record when the second wait starts."""
    server = FakeAudienceApi(latency=2.0)
    started = now()
    server.add("42", 1, lambda time: audience(1, "ACTIVE" if time < started + 2 else "PROCESSING"))
    seen = []

    async with open_poller(server) as poller, asyncio.TaskGroup() as group:
        group.create_task(poller.wait_until(1, "42", active_or_none))
        await asyncio.sleep(2.3)
        assert server.in_flight == 1
        group.create_task(poller.wait_until(1, "42", lambda record: seen.append(record.status) or record))
    assert seen == ["PROCESSING"]
    first, second, *_ = server.request_times("single")
    assert second - (first + server.latency) < 1


async def test_a_new_wait_for_an_old_audience_is_polled_as_often_as_a_new_one():
    server = FakeAudienceApi()
    server.add("42", 1, audience(1))
    async with open_poller(server) as poller:
        old = asyncio.create_task(poller.wait_until(1, "42", active_or_none))
        await asyncio.sleep(3_600)
        renewed = now()
        new = asyncio.create_task(poller.wait_until(1, "42", active_or_none))
        await asyncio.sleep(60)
        old.cancel()
        new.cancel()
    polls = [sent - renewed for sent in server.request_times("single") if sent >= renewed]
    assert polls[0] < 1
    assert len(polls) >= 11


@pytest.mark.parametrize("begun", [0.0, 3.0])
async def test_an_exception_of_check_ends_only_its_wait(begun):
    server = FakeAudienceApi()
    server.add("42", 1, active_from(now() + 30, 1))

    def refuse(_):
        raise LookupError("not this one")

    async with open_poller(server) as poller:
        other = asyncio.create_task(poller.wait_until(1, "42", active_or_none))
        await asyncio.sleep(begun)
        with pytest.raises(LookupError, match="not this one"):
            await poller.wait_until(1, "42", refuse)
        assert (await other).status == "ACTIVE"


async def test_a_timeout_ends_a_wait_and_its_poll_in_flight():
    server = FakeAudienceApi(latency=1_000)
    async with open_poller(server) as poller:
        started = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(17):
                await poller.wait_until(1, "42", active_or_none)
        assert now() - started <= 17.2
        await asyncio.sleep(0.01)
        assert server.in_flight == 0


async def test_a_timeout_of_one_wait_does_not_affect_the_others():
    server = FakeAudienceApi()
    server.add("42", 1, active_from(now() + 60, 1))
    async with open_poller(server) as poller:
        short = asyncio.wait_for(poller.wait_until(1, "42", active_or_none), 10)
        long = asyncio.wait_for(poller.wait_until(1, "42", active_or_none), 90)
        results = await asyncio.gather(short, long, return_exceptions=True)
    assert isinstance(results[0], TimeoutError)
    assert not isinstance(results[1], BaseException)


async def test_waits_have_no_tasks_or_timers():
    server = FakeAudienceApi()
    for number in range(2_000):
        server.add("42", number, audience(number))
    async with open_poller(server) as poller:
        everything = asyncio.gather(*(poller.wait_until(number, "42", active_or_none) for number in range(2_000)))
        await asyncio.sleep(10)
        loop = asyncio.get_running_loop()
        assert len(asyncio.all_tasks()) <= 2_000 + 5
        assert len(loop._scheduled) <= 5
        everything.cancel()
        with pytest.raises(asyncio.CancelledError):
            await everything


@pytest.mark.parametrize("after", [0.0, 0.3, 2.0, 5.4])
async def test_a_canceled_wait_is_gone_and_does_not_affect_the_others(after):
    server = FakeAudienceApi(latency=0.4)
    for number in range(30):
        server.add("42", number, active_from(now() + 60, number))
    async with open_poller(server) as poller:
        waits = [asyncio.create_task(poller.wait_until(number, "42", active_or_none)) for number in range(30)]
        await asyncio.sleep(after)
        for wait in waits[::2]:
            wait.cancel()
        cancelled_at = now()
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
        assert all(result.status == "ACTIVE" for result in results[1::2])
        gone = {number for number in range(30) if number % 2 == 0}
        assert not [request for request in server.log if request.sent > cancelled_at and request.audience_id in gone]


@pytest.mark.parametrize("count", [1, 30], ids=["singly", "in a list"])
@pytest.mark.parametrize(("latency", "in_flight"), [(10.0, 1), (0.1, 0)], ids=["looking", "between polls"])
async def test_without_waits_nothing_is_in_flight_or_due(latency, in_flight, count):
    server = FakeAudienceApi(latency=latency)
    for number in range(count):
        server.add("42", number, audience(number))
    async with open_poller(server) as poller:
        waits = [asyncio.create_task(poller.wait_until(number, "42", active_or_none)) for number in range(count)]
        await asyncio.sleep(3)
        assert server.in_flight == in_flight
        for wait in waits:
            wait.cancel()
        await asyncio.sleep(0.01)
        assert server.in_flight == 0
        assert not [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]
        requests = len(server.log)
        await asyncio.sleep(1_000)
        assert len(server.log) == requests


async def test_a_wait_ends_if_the_loop_stops_during_its_check():
    server = FakeAudienceApi()
    server.add("42", 1, audience(1))
    async with open_poller(server) as poller, asyncio.timeout(60):

        def end_meanwhile(_):
            poller._fail_all_waits(ClientNotOpenError("closed"))

        with pytest.raises(ClientNotOpenError):
            await poller.wait_until(1, "42", end_meanwhile)


async def test_the_loop_serves_waits_that_start_later():
    server = FakeAudienceApi()
    async with open_poller(server) as poller:
        for number in range(5):
            server.add("42", number, active_from(now() + 7, number))
            await poller.wait_until(number, "42", active_or_none)
            await asyncio.sleep(100)
    assert len(server.log) == 3 * 5


async def test_closing_the_client_ends_the_waits():
    server = FakeAudienceApi()
    server.add("42", 1, audience(1))
    async with open_poller(server) as poller:
        wait = asyncio.create_task(poller.wait_until(1, "42", active_or_none))
        await asyncio.sleep(7)
    with pytest.raises(ClientNotOpenError):
        await wait
    assert server.in_flight == 0
    assert len(asyncio.all_tasks()) <= 2


async def test_a_bug_that_one_audience_triggers_ends_only_its_waits(caplog):
    server = FakeAudienceApi()
    secret = "https://a.example/?sig=1"

    def break_down(request):
        if request.audience_id == 1:
            raise ZeroDivisionError(secret)

    server.fault = break_down
    for number in (1, 2):
        server.add("42", number, active_from(now() + 30, number))
    async with open_poller(server) as poller:
        waits = [poller.wait_until(number, "42", active_or_none) for number in (1, 1, 2)]
        first, second, other = await asyncio.gather(*waits, return_exceptions=True)
        assert type(first) is IndigoError
        assert str(first).startswith("the wait for audience 1 ended because a status check raised an unexpected Zero")
        assert second is first
        assert other.status == "ACTIVE"
        assert "in _responding" in caplog.text
        assert secret not in caplog.text
        server.fault = lambda _: None
        assert (await poller.wait_until(1, "42", active_or_none)).status == "ACTIVE"


async def test_a_bug_that_a_list_triggers_ends_no_wait(caplog):
    server = FakeAudienceApi()

    def break_down(request):
        if request.kind == "list":
            raise ZeroDivisionError

    server.fault = break_down
    for number in range(50):
        server.add("42", number, active_from(now() + 30, number))
    async with open_poller(server) as poller:
        await asyncio.gather(*(poller.wait_until(number, "42", active_or_none) for number in range(50)))
    assert server.request_kinds["list"] == 1
    assert "a status check of a list raised an unexpected ZeroDivisionError" in caplog.text


async def test_a_bug_that_one_row_triggers_affects_only_its_audience(caplog, monkeypatch):
    server = FakeAudienceApi()
    note = UnknownStatusLog.log_unknown

    def note_or_break_down(statuses, record):
        if record.id == 3:
            raise ZeroDivisionError
        note(statuses, record)

    monkeypatch.setattr(UnknownStatusLog, "log_unknown", note_or_break_down)
    for number in range(50):
        server.add("42", number, active_from(now() + 30, number))
    async with open_poller(server) as poller:
        waits = [poller.wait_until(number, "42", active_or_none) for number in range(50)]
        results = await asyncio.gather(*waits, return_exceptions=True)
    assert [number for number, result in enumerate(results) if isinstance(result, BaseException)] == [3]
    assert "the wait for audience 3 ended" in str(results[3])
    assert len(caplog.records) == 1


async def test_a_bug_in_the_loop_ends_all_waits(caplog, monkeypatch):
    server = FakeAudienceApi()
    server.add("42", 1, audience(1, "ACTIVE"))

    def break_down(*_):
        raise ZeroDivisionError

    async with open_poller(server) as poller:
        with monkeypatch.context() as patch, caplog.at_level(logging.CRITICAL):
            patch.setattr(RoundPlanner, "start_requests", break_down)
            with pytest.raises(IndigoError, match="polling loop failed with ZeroDivisionError"):
                await poller.wait_until(1, "42", active_or_none)
        await poller.wait_until(1, "42", active_or_none)


async def test_polls_are_spread_after_the_machine_was_suspended():
    server = FakeAudienceApi(padding=10**12)  # no lists
    for number in range(300):
        server.add(f"customer {number}", number, audience(number))
    async with open_poller(server) as poller:
        waits = [
            asyncio.create_task(poller.wait_until(number, f"customer {number}", active_or_none))
            for number in range(300)
        ]
        await asyncio.sleep(12)
        asyncio.get_running_loop().now += 10_000
        woken = now()
        await asyncio.sleep(6)
        for wait in waits:
            wait.cancel()
    polls = [sent - woken for sent in server.request_times("single") if sent >= woken]
    assert len(polls) >= 300
    assert max(sum(1 for poll in polls if second <= poll < second + 1) for second in range(6)) < 120


async def test_waits_of_many_customers_do_not_fall_due_together():
    server = FakeAudienceApi(padding=10**12)  # no lists
    started = now()
    for number in range(400):
        server.add(f"customer {number}", number, active_from(started + 100, number))
    async with open_poller(server) as poller:
        await asyncio.gather(
            *(poller.wait_until(number, f"customer {number}", active_or_none) for number in range(400))
        )
    later = [sent for sent in server.request_times("single") if started + 60 <= sent < started + 65]
    busiest = max(sum(1 for sent in later if tenth <= (sent - started - 60) * 10 < tenth + 1) for tenth in range(50))
    assert busiest < len(later) / 4


async def test_unknown_statuses_keep_waits_going_and_are_logged_once(caplog):
    server = FakeAudienceApi()
    started = now()

    def record(time):
        step = int((time - started) / 10)
        return audience(1, ["PROCESSING", "SHUFFLING", "PROCESSING", "SHUFFLING", "ACTIVE"][min(step, 4)])

    server.add("42", 1, record)
    with caplog.at_level(logging.WARNING, "indigo_async"):
        async with open_poller(server) as poller:
            await poller.wait_until(1, "42", active_or_none)
    assert [message for message in caplog.messages if "SHUFFLING" in message] == caplog.messages
    assert len(caplog.messages) == 1


async def test_endless_unknown_statuses_do_not_fill_the_log(caplog):
    server = FakeAudienceApi()
    started = now()
    server.add("42", 1, lambda time: audience(1, "ACTIVE" if time > started + 3_600 else f"STEP {time}" * 50))
    with caplog.at_level(logging.WARNING, "indigo_async"):
        async with open_poller(server) as poller:
            await poller.wait_until(1, "42", active_or_none)
    assert 1 < len(caplog.messages) <= 100
    assert max(map(len, caplog.messages)) < 250


async def test_an_id_as_a_number_and_as_text_is_the_same_audience():
    server = FakeAudienceApi()
    server.add("42", "1", active_from(now() + 20, 1))
    async with open_poller(server) as poller:
        one, other = await asyncio.gather(
            poller.wait_until(1, "42", active_or_none), poller.wait_until("1", "42", active_or_none)
        )
    assert one is other
    assert server.request_kinds == {"single": 5}
