"""The estimated costs of polls, starting without any knowledge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._polling.cost_model import ALL_CUSTOMERS, Cost, CostModel

ROW = 900


def cost_of_list(cost_model, watched, *, scope="42", slot_seconds=0.0, now=0.0):
    return cost_model.estimate_list(scope, watched, slot_seconds, now)


@pytest.fixture
def cost_model():
    cost_model = CostModel()
    for _ in range(20):
        cost_model.record_single(Cost(0.005, ROW))
    return cost_model


def test_an_unknown_list_is_not_tried_for_a_few_watches(cost_model):
    assert cost_of_list(cost_model, 5) is None
    assert cost_of_list(cost_model, 12, scope=ALL_CUSTOMERS) is None


def test_an_unknown_list_is_assumed_to_hold_at_least_the_watched_rows(cost_model):
    assert cost_of_list(cost_model, 1_000) == pytest.approx(0.02 + 1_000 * ROW / 2_500_000, rel=0.1)
    assert cost_of_list(cost_model, 1_000) < 1_000 * cost_model.estimate_single(0.0)


def test_the_list_of_everything_is_assumed_to_be_as_long_as_the_longest_known_list(cost_model):
    cost_model.record_list("42", Cost(1.0, 100_000_000))
    assert cost_of_list(cost_model, 50, scope=ALL_CUSTOMERS) > 40


def test_an_unknown_list_is_abandoned_at_a_size_that_depends_on_its_worth(cost_model):
    limit = cost_model.max_list_bytes("42", 100, saved_cost=100 * cost_model.estimate_single(0.0))
    assert 100 * ROW < limit < 10_000_000
    assert cost_model.max_list_bytes("42", 10_000, saved_cost=10_000 * 0.02) > 10_000 * ROW


@pytest.mark.parametrize(("size", "is_exact"), [(180_000_000, True), (6_000_000, False)])
def test_a_list_that_was_too_long_is_not_tried_again_for_as_few_watches(cost_model, size, is_exact):
    watched = 100
    cost_model.record_oversized_list("42", size, is_exact=is_exact)
    assert cost_of_list(cost_model, watched) > watched * cost_model.estimate_single(0.0)


def test_the_cost_of_a_list_follows_its_responses(cost_model):
    cost_model.record_list("42", Cost(0.1, 1_000_000))
    assert cost_of_list(cost_model, 5) == pytest.approx(0.5)
    for _ in range(30):
        cost_model.record_list("42", Cost(4.0, 1_000_000))
    assert cost_of_list(cost_model, 5) == pytest.approx(4.4, rel=0.01)
    assert cost_of_list(cost_model, 5, scope="43") is None


def test_a_rate_limit_makes_requests_expensive_but_never_worth_a_huge_list_for_a_few(cost_model):
    cost_model.record_list("42", Cost(1.0, 180_000_000))
    dear = cost_model.estimate_single(slot_seconds=64.0)
    assert dear > cost_model.estimate_single(slot_seconds=0.0)
    assert cost_of_list(cost_model, 200, slot_seconds=64.0) > 200 * dear


def test_a_list_that_never_worked_is_paused_at_once_and_a_good_one_after_two_failures(cost_model):
    cost_model.record_list_failure("new", now=0.0)
    assert cost_of_list(cost_model, 100, scope="new", now=1.0) is None
    cost_model.record_list("42", Cost(0.1, 1_000))
    cost_model.record_list_failure("42", now=0.0)
    assert cost_of_list(cost_model, 100, now=1.0) is not None
    cost_model.record_list_failure("42", now=5.0)
    assert cost_of_list(cost_model, 100, now=6.0) is None
    assert cost_of_list(cost_model, 100, now=600.0) is not None


def test_pauses_grow_up_to_a_limit(cost_model):
    pauses = []
    now = 0.0
    for _ in range(10):
        cost_model.record_list_failure("42", now=now)
        end = now
        while cost_of_list(cost_model, 100, now=end) is None:
            end += 1.0
        pauses.append(end - now)
        now = end
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(600, abs=1)


def test_a_refused_list_is_paused_for_long(cost_model):
    cost_model.record_list_refusal("42", now=0.0)
    assert cost_of_list(cost_model, 1_000, now=500.0) is None
    assert cost_of_list(cost_model, 1_000, now=601.0) is not None


def test_the_number_of_remembered_lists_is_bounded():
    cost_model = CostModel()
    for number in range(10_100):
        cost_model.record_list(str(number), Cost(1.0, 1_000))
    assert len(cost_model._lists) == 10_000
    assert cost_of_list(cost_model, 5, scope="0") is None
    assert cost_of_list(cost_model, 5, scope="10099") is not None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e9)), max_size=30), st.floats(0, 100))
def test_costs_are_positive_and_finite_whatever_was_measured(costs, slot_seconds):
    cost_model = CostModel()
    for seconds, size in costs:
        cost_model.record_single(Cost(seconds, size))
        cost_model.record_list("42", Cost(seconds, size))
    assert 0 < cost_model.estimate_single(slot_seconds) < 1_000
    assert 0 < (cost_of_list(cost_model, 100, slot_seconds=slot_seconds) or 1) < 1_000
    assert cost_model.max_list_bytes("42", 100, saved_cost=0.0) == 0


def test_a_short_list_that_was_slow_is_still_cheaper_than_ten_single_reads():
    model = CostModel()
    model.record_list("42", Cost(seconds=3.0, size_bytes=5_000))
    cost = model.estimate_list("42", 10, 0.0, now=0.0)
    assert cost is not None
    assert cost < 10 * model.estimate_single(0.0)


def test_a_long_list_costs_the_time_that_it_took():
    model = CostModel()
    model.record_list("42", Cost(seconds=3.0, size_bytes=5_000_000))
    assert model.estimate_list("42", 10, 0.0, now=0.0) == 5.0
