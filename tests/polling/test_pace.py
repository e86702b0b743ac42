"""When the next poll is due: by the age of a wait, by how long finished waits lasted, and by the deadline."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._polling.pace import Pace
from indigo_async.errors import ConnectionFailedError, RateLimitedError
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

_INTERVALS = st.floats(0.01, 600)
_AGES = st.floats(0, 2_000)
_JITTERS = st.floats(0, 1, exclude_max=True)
_LENGTHS = st.lists(st.floats(0, 1_500), max_size=300)


def pace_that_saw(lengths, interval=1.0):
    """A pace that has seen waits of these lengths, in intervals."""
    pace = Pace(interval)
    cohort = pace.find_cohort("stage", 0.0, None)
    for length in lengths:
        pace.record_end(cohort, length * interval)
    return pace


def poll_ages(pace, until, kind="stage", deadline=None):
    """The ages at which a wait is polled, in intervals, from half an interval on."""
    cohort = pace.find_cohort(kind, 0.0, None if deadline is None else deadline * pace.interval)
    age = 0.5
    while age <= until:
        yield age
        age = pace.next_due([cohort], age * pace.interval, 0.0) / pace.interval


@given(_INTERVALS, _AGES, _JITTERS, _LENGTHS)
def test_polls_are_an_interval_to_half_a_minute_apart_whatever_was_learned(interval, age, jitter, lengths):
    pace = pace_that_saw(lengths, interval)
    now = age * interval
    delay = pace.next_due([pace.find_cohort("stage", 0.0, None)], now, jitter) - now
    assert interval * (1 - 1e-9) <= delay + 1e-6
    assert delay <= max(30.0, 1.1 * interval) + 1e-6


@given(_AGES, _JITTERS, st.sampled_from([None, "stage"]))
def test_without_experience_the_age_decides(age, jitter, kind):
    pace = pace_that_saw([500.0] * 99)
    delay = pace.next_due([pace.find_cohort(kind, 0.0, None)], age, jitter) - age
    assert delay == pytest.approx(min(max(1.0, age / 10) + 0.1 * jitter, 30.0))


@given(st.lists(_AGES, min_size=1, max_size=10), _JITTERS, _LENGTHS)
def test_the_most_urgent_wait_decides(ages, jitter, lengths):
    pace = pace_that_saw(lengths)
    now = 10_000.0
    cohorts = [pace.find_cohort("stage", now - age, None) for age in ages]
    assert pace.next_due(cohorts, now, jitter) == min(pace.next_due([cohort], now, jitter) for cohort in cohorts)


@pytest.mark.parametrize(
    ("lengths", "ages"),
    [
        ([40.2] * 200, [40.15, 41.15, 45.27]),
        ([40.2] * 100 + [47.9] * 100, [40.15, 44.16, 48.0, 52.8]),
        ([40.2] * 50 + [45.0] * 150, [40.15, 44.16, 46.0, 50.6]),
    ],
    ids=["at once", "soon or later", "mostly later"],
)
def test_polls_are_rare_until_waits_end_and_one_comes_when_nearly_all_have(lengths, ages):
    earlier = [0.5, 6.5, 12.5, 18.5, 24.5, 30.5, 36.5]
    polls = list(poll_ages(pace_that_saw(lengths, interval=5.0), until=ages[-1] + 1))
    assert polls == pytest.approx([*earlier, *ages], abs=0.01)


def test_a_wait_that_is_older_than_all_that_ended_is_polled_by_its_age():
    *_, last, older = poll_ages(pace_that_saw([40.0] * 1_000), until=100)
    assert older == pytest.approx(1.1 * last)


def test_one_early_end_in_five_hundred_does_not_count():
    assert len(list(poll_ages(pace_that_saw([3.0] * 2 + [40.0] * 998), until=39))) == 2
    assert 3.0 in list(poll_ages(pace_that_saw([3.0] * 3 + [40.0] * 997), until=39))


def test_kinds_do_not_affect_each_other():
    pace = pace_that_saw([40.0] * 1_000)
    assert len(list(poll_ages(pace, until=9, kind="other"))) == 9
    assert len(list(poll_ages(pace, until=9))) == 1


def test_waits_that_were_over_when_they_started_teach_nothing():
    pace = Pace(1.0)
    cohort = pace.find_cohort("stage", 0.0, None)
    for _ in range(1_000):
        pace.record_end(cohort, None)
    assert len(list(poll_ages(pace, until=9))) == 9


def test_a_change_of_the_server_is_learned_after_a_million_waits():
    pace = pace_that_saw([40.0] * 1_000_000)
    assert 20.0 not in list(poll_ages(pace, until=39))
    cohort = pace.find_cohort("stage", 0.0, None)
    for _ in range(300):
        pace.record_end(cohort, 20.0)
    assert 20.0 in list(poll_ages(pace, until=39))


@pytest.mark.parametrize("lengths", [[], [400.0] * 1_000], ids=["by age", "by experience"])
def test_a_wait_is_polled_shortly_before_its_deadline(lengths):
    ages = list(poll_ages(pace_that_saw(lengths, interval=5.0), until=100, deadline=97.3))
    assert [age for age in ages if 95 <= age <= 97.3] == pytest.approx([95.8], abs=0.11)


@given(st.lists(st.floats(1, 2_000), min_size=1, max_size=50), _JITTERS, _LENGTHS)
def test_deadlines_cause_no_polls_less_than_an_interval_apart(deadlines, jitter, lengths):
    pace = pace_that_saw(lengths)
    cohorts = [pace.find_cohort("stage", 0.0, deadline) for deadline in deadlines]
    now = 0.5
    while now < max(deadlines):
        due = pace.next_due(cohorts, now, jitter)
        assert due >= now + 1 - 1e-9
        now = due


async def generation(poller, server, lasting, *, customers=20, kind="stage"):
    """Ten waits for each of some customers. Returns the requests per customer and interval, and the longest delay."""
    server.clear()
    before, late = len(server.log), []

    async def one(customer, number):
        finished = now() + lasting
        server.add(customer, number, active_from(finished, number))
        await poller.wait_until(number, customer, active_or_none, kind=kind)
        late.append((now() - finished) / INTERVAL)

    async with asyncio.TaskGroup() as group:
        for number in range(10 * customers):
            group.create_task(one(f"customer {number % customers}", number))
    return (len(server.log) - before) / customers / (lasting / INTERVAL), max(late)


@pytest.mark.parametrize(("intervals", "at_most"), [(20, 0.35), (60, 0.25)])
async def test_experience_saves_requests_and_delays_nothing(intervals, at_most):
    server = FakeAudienceApi()
    async with open_poller(server) as poller:
        unknown, _ = await generation(poller, server, intervals * INTERVAL, customers=1)
        for _ in range(3):
            await generation(poller, server, intervals * INTERVAL)
        known, late = await generation(poller, server, intervals * INTERVAL, customers=1)
        other, _ = await generation(poller, server, intervals * INTERVAL, customers=1, kind=None)
    assert known <= at_most < unknown
    assert late <= 1.2
    assert other == pytest.approx(unknown, abs=0.15)


async def test_a_server_that_became_faster_is_noticed_again():
    server = FakeAudienceApi()
    async with open_poller(server) as poller:
        for _ in range(3):
            await generation(poller, server, 40 * INTERVAL)
        delays = [(await generation(poller, server, 25 * INTERVAL))[1] for _ in range(6)]
    assert max(delays) <= 6.3
    assert delays[-1] <= 2.6  # a tenth, and the jitter


@pytest.mark.parametrize("count", [1, 20], ids=["singly", "in a list"])
async def test_an_old_wait_is_polled_once_more_before_its_deadline(count):
    server = FakeAudienceApi()
    deadline = now() + 1_000
    async with open_poller(server) as poller, asyncio.timeout_at(deadline):
        for number in range(count):
            server.add("42", number, active_from(deadline - 8, number))
        results = await asyncio.gather(
            *(poller.wait_until(number, "42", active_or_none, deadline=deadline) for number in range(count))
        )
    assert len(results) == count
    earlier, later = list(pairwise(request.sent for request in server.log))[-1]
    assert later - earlier < 30


async def test_a_server_that_asks_to_slow_down_is_not_asked_more_often_before_deadlines():
    server, started = FakeAudienceApi(), now()

    def fault(request):
        if request.sent > started + 300:
            raise RateLimitedError(429, "slow down", None, "GET /audiences")

    async def wait(poller, number):
        deadline = started + 600 + number
        server.add("42", number, audience(number))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await poller.wait_until(number, "42", active_or_none, deadline=deadline)

    server.fault = fault
    async with open_poller(server) as poller, asyncio.TaskGroup() as group:
        for number in range(120):
            group.create_task(wait(poller, number))
    late = [request.sent for request in server.log if request.sent > started + 590]
    assert len(late) <= 130 / 25


async def test_failed_polls_are_retried_before_the_deadline():
    server, started = FakeAudienceApi(), now()

    def fault(request):
        if request.sent < started + 990:
            raise ConnectionFailedError("refused", endpoint="GET /audience")

    server.fault = fault
    server.add("42", 1, active_from(started, 1))
    async with open_poller(server) as poller, asyncio.timeout(1_000):
        assert await poller.wait_until(1, "42", active_or_none, deadline=started + 1_000)
