"""The schedule against a plain dictionary, under any sequence of calls."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._polling.schedule import Schedule, first_delay, next_delay, retry_delay

GRAIN = 0.1
_INTERVALS = st.floats(0.001, 600)
_JITTERS = st.floats(0, 1, exclude_max=True)


@attrs.define(eq=False)
class Thing:
    number: int
    tick: int | None = None


_CALLS = st.lists(
    st.tuples(st.just("put"), st.integers(0, 9), st.floats(0, 20))
    | st.tuples(st.just("drop"), st.integers(0, 9), st.just(0.0))
    | st.tuples(st.just("take"), st.just(0), st.floats(0, 5)),
    max_size=60,
)


@given(_CALLS)
def test_it_gives_what_is_due_and_keeps_the_rest(calls):
    things = [Thing(number) for number in range(10)]
    schedule = Schedule(GRAIN, lambda _: None)
    due_of = {}
    now = 0.0
    for call, number, value in calls:
        thing = things[number]
        if call == "put":
            schedule.put(thing, now + value)
            due_of[thing] = math.ceil((now + value) / GRAIN) * GRAIN
        elif call == "drop":
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
def test_nothing_falls_due_early_nor_later_than_its_grain(dues):
    schedule = Schedule(GRAIN, lambda _: None)
    for number, due in enumerate(dues):
        schedule.put(Thing(number), due)
    while (due := schedule.next_due()) is not None:
        for thing in schedule.pop_due(due):
            assert dues[thing.number] - 1e-6 <= due <= dues[thing.number] + GRAIN + 1e-6


def test_it_says_when_something_new_falls_due():
    news = []
    schedule = Schedule(GRAIN, news.append)
    for number in range(1_000):
        schedule.put(Thing(number), 3.01)
    schedule.put(Thing(0), 1.0)
    assert [round(due, 6) for due in news] == [3.1, 1.0]


def test_what_is_dropped_is_let_go():
    schedule = Schedule(GRAIN, lambda _: None)
    things = [Thing(number) for number in range(1_000)]
    for thing in things:
        schedule.put(thing, 3_600.0)
    for thing in things:
        schedule.remove(thing)
    assert schedule.next_due() is None
    assert not schedule._by_tick


@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_any_number_is_a_time_to_fall_due(dues):
    schedule = Schedule(GRAIN, lambda _: None)
    things = [Thing(number) for number in range(len(dues))]
    for thing, due in zip(things, dues, strict=True):
        schedule.put(thing, due)
    taken = []
    while (due := schedule.next_due()) is not None:
        taken += schedule.pop_due(due)
    assert set(taken) == set(things)


@given(_INTERVALS, _JITTERS)
def test_the_first_look_comes_soon(interval, chance):
    assert 0 < first_delay(interval, chance) <= min(0.625, 0.3125 * interval)


@given(_INTERVALS, st.floats(0, 1e6), _JITTERS)
def test_later_looks_keep_the_interval_and_stay_below_half_a_minute(interval, age, chance):
    delay = next_delay(interval, age, chance)
    assert interval <= delay <= max(30.0, 1.1 * interval)


@given(_INTERVALS, _JITTERS)
def test_the_interval_does_not_stretch_for_the_first_twenty_intervals(interval, chance):
    assert next_delay(interval, 20 * interval, chance) == next_delay(interval, 0.0, chance)


def test_the_interval_stretches_for_old_waits():
    assert next_delay(5.0, 600.0, 0.0) == pytest.approx(10.0)
    assert next_delay(5.0, 86_400.0, 0.5) == 30.0


@given(_INTERVALS, st.integers(1, 100), _JITTERS)
def test_failed_looks_are_repeated_ever_more_patiently(interval, failures, chance):
    delay = retry_delay(interval, failures, chance)
    assert interval <= delay <= max(30.0, 1.1 * interval)
    assert retry_delay(interval, failures + 1, chance) >= delay
