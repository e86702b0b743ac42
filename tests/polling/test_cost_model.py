"""What looks are taken to cost, from nothing known on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._polling.cost_model import ALL_CUSTOMERS, Cost, CostModel

ROW = 900


def price_of_list(ledger, watched, *, scope="42", slot_seconds=0.0, now=0.0):
    return ledger.estimate_list(scope, watched, slot_seconds, now)


@pytest.fixture
def ledger():
    ledger = CostModel()
    for _ in range(20):
        ledger.record_single(Cost(0.005, ROW))
    return ledger


def test_an_unknown_list_is_not_tried_for_a_few(ledger):
    assert price_of_list(ledger, 5) is None
    assert price_of_list(ledger, 12, scope=ALL_CUSTOMERS) is None


def test_an_unknown_list_is_taken_to_be_as_long_as_what_is_watched_of_it(ledger):
    assert price_of_list(ledger, 1_000) == pytest.approx(0.02 + 1_000 * ROW / 2_500_000, rel=0.1)
    assert price_of_list(ledger, 1_000) < 1_000 * ledger.estimate_single(0.0)


def test_everything_is_at_least_as_long_as_the_longest_known_list(ledger):
    ledger.record_list("42", Cost(1.0, 100_000_000))
    assert price_of_list(ledger, 50, scope=ALL_CUSTOMERS) > 40


def test_an_unknown_list_is_read_no_further_than_it_may_be_worth(ledger):
    limit = ledger.max_list_bytes("42", 100, saved_cost=100 * ledger.estimate_single(0.0))
    assert 100 * ROW < limit < 10_000_000
    assert ledger.max_list_bytes("42", 10_000, saved_cost=10_000 * 0.02) > 10_000 * ROW


@pytest.mark.parametrize(("size", "is_exact"), [(180_000_000, True), (6_000_000, False)])
def test_a_list_that_was_too_long_is_not_tried_again_for_as_few(ledger, size, is_exact):
    watched = 100
    ledger.record_oversized_list("42", size, is_exact=is_exact)
    assert price_of_list(ledger, watched) > watched * ledger.estimate_single(0.0)


def test_the_price_of_a_list_follows_its_answers(ledger):
    ledger.record_list("42", Cost(0.1, 1_000_000))
    assert price_of_list(ledger, 5) == pytest.approx(0.5)
    for _ in range(30):
        ledger.record_list("42", Cost(4.0, 1_000_000))
    assert price_of_list(ledger, 5) == pytest.approx(4.4, rel=0.01)
    assert price_of_list(ledger, 5, scope="43") is None


def test_a_rate_limit_makes_requests_dear_but_not_so_that_few_would_be_worth_a_huge_list(ledger):
    ledger.record_list("42", Cost(1.0, 180_000_000))
    dear = ledger.estimate_single(slot_seconds=64.0)
    assert dear > ledger.estimate_single(slot_seconds=0.0)
    assert price_of_list(ledger, 200, slot_seconds=64.0) > 200 * dear


def test_a_list_that_never_came_has_a_pause_at_once_and_a_good_one_from_the_second_time(ledger):
    ledger.record_list_failure("new", now=0.0)
    assert price_of_list(ledger, 100, scope="new", now=1.0) is None
    ledger.record_list("42", Cost(0.1, 1_000))
    ledger.record_list_failure("42", now=0.0)
    assert price_of_list(ledger, 100, now=1.0) is not None
    ledger.record_list_failure("42", now=5.0)
    assert price_of_list(ledger, 100, now=6.0) is None
    assert price_of_list(ledger, 100, now=600.0) is not None


def test_pauses_get_longer_to_a_limit(ledger):
    pauses = []
    now = 0.0
    for _ in range(10):
        ledger.record_list_failure("42", now=now)
        end = now
        while price_of_list(ledger, 100, now=end) is None:
            end += 1.0
        pauses.append(end - now)
        now = end
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(600, abs=1)


def test_a_refused_list_has_a_long_pause(ledger):
    ledger.record_list_refusal("42", now=0.0)
    assert price_of_list(ledger, 1_000, now=500.0) is None
    assert price_of_list(ledger, 1_000, now=601.0) is not None


def test_what_is_known_of_lists_is_bounded():
    ledger = CostModel()
    for number in range(10_100):
        ledger.record_list(str(number), Cost(1.0, 1_000))
    assert len(ledger._lists) == 10_000
    assert price_of_list(ledger, 5, scope="0") is None
    assert price_of_list(ledger, 5, scope="10099") is not None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e9)), max_size=30), st.floats(0, 100))
def test_prices_are_positive_and_finite_whatever_was_measured(costs, slot_seconds):
    ledger = CostModel()
    for seconds, size in costs:
        ledger.record_single(Cost(seconds, size))
        ledger.record_list("42", Cost(seconds, size))
    assert 0 < ledger.estimate_single(slot_seconds) < 1_000
    assert 0 < (price_of_list(ledger, 100, slot_seconds=slot_seconds) or 1) < 1_000
    assert ledger.max_list_bytes("42", 100, saved_cost=0.0) == 0
