"""The schedule, compared with a plain dictionary under any sequence of calls, and fixed delays."""

from __future__ import annotations

import math

import attrs
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._polling.schedule import Schedule, first_delay, retry_delay

TICK_SECONDS = 0.1
_INTERVALS = st.floats(0.001, 600)
_JITTERS = st.floats(0, 1, exclude_max=True)


@attrs.define(eq=False)
class Item:
    number: int
    tick: int | None = None


_CALLS = st.lists(
    st.tuples(st.just("put"), st.integers(0, 9), st.floats(0, 20))
    | st.tuples(st.just("remove"), st.integers(0, 9), st.just(0.0))
    | st.tuples(st.just("pop"), st.just(0), st.floats(0, 5)),
    max_size=60,
)


@given(_CALLS)
def test_it_returns_what_is_due_and_keeps_the_rest(calls):
    things = [Item(number) for number in range(10)]
    schedule = Schedule(TICK_SECONDS, lambda _: None)
    due_of = {}
    now = 0.0
    for call, number, value in calls:
        thing = things[number]
        if call == "put":
            schedule.put(thing, now + value)
            due_of[thing] = math.ceil((now + value) / TICK_SECONDS) * TICK_SECONDS
        elif call == "remove":
            schedule.remove(thing)
            due_of.pop(thing, None)
        else:
            now += value
            taken = schedule.pop_due(now)
            assert set(taken) == {thing for thing, due in due_of.items() if due <= now}
            assert [due_of[thing] for thing in taken] == sorted(due_of[thing] for thing in taken)
            for thing in taken:
                del due_of[thing]
        assert schedule.next_due() == min(due_of.values(), default=None)
        assert all((thing.tick is not None) is (thing in due_of) for thing in things)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_nothing_falls_due_early_or_more_than_a_tick_late(dues):
    schedule = Schedule(TICK_SECONDS, lambda _: None)
    for number, due in enumerate(dues):
        schedule.put(Item(number), due)
    while (due := schedule.next_due()) is not None:
        for thing in schedule.pop_due(due):
            assert dues[thing.number] - 1e-6 <= due <= dues[thing.number] + TICK_SECONDS + 1e-6


def test_it_reports_new_due_times():
    due_times = []
    schedule = Schedule(TICK_SECONDS, due_times.append)
    for number in range(1_000):
        schedule.put(Item(number), 3.01)
    schedule.put(Item(0), 1.0)
    assert [round(due, 6) for due in due_times] == [3.1, 1.0]


def test_removed_items_are_freed():
    schedule = Schedule(TICK_SECONDS, lambda _: None)
    things = [Item(number) for number in range(1_000)]
    for thing in things:
        schedule.put(thing, 3_600.0)
    for thing in things:
        schedule.remove(thing)
    assert schedule.next_due() is None
    assert not schedule._by_tick


@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_any_number_is_accepted_as_a_due_time(dues):
    schedule = Schedule(TICK_SECONDS, lambda _: None)
    things = [Item(number) for number in range(len(dues))]
    for thing, due in zip(things, dues, strict=True):
        schedule.put(thing, due)
    taken = []
    while (due := schedule.next_due()) is not None:
        taken += schedule.pop_due(due)
    assert set(taken) == set(things)


@given(_INTERVALS, _JITTERS)
def test_the_first_poll_comes_soon(interval, jitter):
    assert 0 < first_delay(interval, jitter) <= min(0.625, 0.3125 * interval)


@given(_INTERVALS, st.integers(1, 100), _JITTERS)
def test_failed_polls_are_retried_after_growing_delays(interval, failures, jitter):
    delay = retry_delay(interval, failures, jitter)
    assert interval <= delay <= max(30.0, 1.1 * interval)
    assert retry_delay(interval, failures + 1, jitter) >= delay
