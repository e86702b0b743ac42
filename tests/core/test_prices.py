"""Prices are whole cents in any spelling, never possible dollars, and never one of several amounts that differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport import codec
from indigo_async._transport.prices import COST_KEYS, contradicts_breakdown, find_price_amounts, parse_cents, read_price


@pytest.mark.parametrize("value", [1200, 1200.0, "1200"])
def test_whole_cents_may_be_any_kind_of_number(value: object):
    assert parse_cents(value) == 1200


@pytest.mark.parametrize("value", [0, 0.0, "0"])
def test_zero_cents_are_a_price(value: object):
    assert parse_cents(value) == 0
    assert read_price({"cost": value}) == 0


@pytest.mark.parametrize(
    "value",
    ["12.00", "1200.0", "$12", "1,200", "", " 1200", "١٢", "9" * 5_000, 12.5, -5, -5.0, True, None, {}, [], 1e400],
)
def test_possible_dollars_and_other_values_are_not_read(value: object):
    assert parse_cents(value) is None


@pytest.mark.parametrize("key", COST_KEYS)
@pytest.mark.parametrize("value", [1200, 1200.0, "1200"])
def test_a_price_is_read_from_any_of_its_keys(key: str, value: object):
    assert read_price({key: value}) == 1200


@pytest.mark.parametrize(
    "document",
    [
        {"cost": 0, "price": 50_000},
        {"price": 50_000, "cost": 0},
        {"cost": 125, "costInCents": 12_500},
        {"cost": 0, "costBreakdown": {"total": 50_000}},
        {"cost": 100, "costBreakdown": {"total": 0}},
        {"cost": 100, "costBreakdown": {"total": 100, "totalCents": 200}},
        {"cost": 0, "costBreakdown": [{"cents": 20_000}, {"cents": 30_000}]},
        {"cost": 0, "costBreakdown": [{"cost": 50_000, "people": 5}]},
    ],
)
def test_amounts_that_differ_are_no_price(document: dict[str, Any]):
    assert read_price(document) is None
    export = codec.decode_export({"id": 7, **document}, "GET /audience")
    assert export.cost_cents is None
    assert len(set(find_price_amounts(export).values())) > 1 or "costBreakdown" in document
    kept = {key: value for key, value in document.items() if key != "costBreakdown"}
    assert export.extra == kept


@pytest.mark.parametrize(
    "document",
    [
        {"cost": 500, "price": 500},
        {"cost": "500", "price": 500.0},
        {"cost": "5.00", "costInCents": 500},
        {"cost": None, "price": 500},
        {"cost": 500, "costBreakdown": {"total": 500, "people": 100, "price": 5}},
        {"cost": 500, "costBreakdown": {"total": "5.00"}},
        {"cost": 500, "costBreakdown": [{"cents": 200}, {"cents": 300}]},
        {"cost": 500, "costBreakdown": [{"price": 5, "people": 100}]},
        {"cost": 500, "costBreakdown": [{"cents": 900}, {"discount": 400}]},
        {"cost": 500, "costBreakdown": "100 people at 5 cents"},
        {"cost": 500, "costBreakdown": []},
    ],
)
def test_equal_and_unreadable_amounts_keep_the_price(document: dict[str, Any]):
    assert read_price(document) == 500
    assert codec.decode_export({"id": 7, **document}, "GET /audience").cost_cents == 500


@given(st.dictionaries(st.sampled_from(COST_KEYS), st.integers(0, 3) | st.sampled_from(["1", 2.0, "x", None, 0.5])))
def test_a_price_is_the_value_of_all_readable_amounts(document: dict[str, Any]):
    amounts = {parse_cents(value) for value in document.values()} - {None}
    assert read_price(document) == (amounts.pop() if len(amounts) == 1 else None)


def test_the_amounts_of_an_unclear_price_are_named_by_their_keys():
    def amounts(document: dict[str, Any]) -> dict[str, int]:
        return find_price_amounts(codec.decode_export({"id": 7, **document}, "GET /audience"))

    assert amounts({"cost": 0, "price": "12.00", "costBreakdown": {"total": 50_000, "people": 5}}) == {
        "cost": 0,
        "costBreakdown.total": 50_000,
    }
    assert amounts({"cost": 0, "costBreakdown": [{"cents": 20_000}, {"cents": 30_000}]}) == {
        "cost": 0,
        "the sum of costBreakdown": 50_000,
    }


@pytest.mark.parametrize(
    ("price", "breakdown", "contradicts"),
    [
        (None, {"total": 1}, False),
        (100, None, False),
        (100, {"total": 100}, False),
        (100, {"total": 99}, True),
        (100, {"total": 101}, True),
        (100, [{"cents": 60}, {"cents": 40}], False),
        (100, [{"cents": 60}, {"cents": 41}], True),
        (100, [{"cents": 60}, {"cents": 39}], False),
        (100, [{"cents": 101}, {"people": 5}], False),
        (100, [{"cents": 101}, "a fee"], False),
        (100, [{"total": "1.01", "cost": 101}], True),
        (100, [{"cents": 0, "total": 101}], False),
    ],
)
def test_a_breakdown_contradicts_by_another_total_or_by_items_that_add_up_to_more(
    price: int | None, breakdown: object, *, contradicts: bool
):
    assert contradicts_breakdown(price, breakdown) is contradicts


@pytest.mark.parametrize("digits", [15, 16])
def test_an_amount_of_at_most_fifteen_digits_is_read(digits: int):
    assert parse_cents("9" * digits) == (10**15 - 1 if digits == 15 else None)
