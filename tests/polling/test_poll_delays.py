"""Delays between looks: never below the interval, never past 30 seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._polling.timing import first_delay, next_delay, retry_delay

_INTERVALS = st.floats(0.001, 600)
_JITTERS = st.floats(0, 1, exclude_max=True)


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
