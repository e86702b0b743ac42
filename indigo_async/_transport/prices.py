"""Prices of exports: their keys, what counts as whole cents, and when amounts contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from indigo_async.models import CsvExport

__all__ = ["COST_KEYS", "contradicts_breakdown", "find_price_amounts", "parse_cents", "read_price"]

COST_KEYS: tuple[str, ...] = (
    "cost",
    "costInCents",
    "costCents",
    "price",
    "priceInCents",
    "priceCents",
    "purchasePrice",
    "totalCost",
    "totalCostInCents",
)
"""The keys that may carry an export's price (inferred)."""

_BREAKDOWN_KEY = "costBreakdown"
_TOTAL_KEYS = ("total", "totalCents", "totalInCents", "totalCost", "totalCostInCents", "totalPrice")
_ITEM_KEYS = ("cents", *_TOTAL_KEYS, *COST_KEYS)
_MAX_DIGITS = 15


def parse_cents(value: Any) -> int | None:
    """Read an amount as whole cents. Returns None if it isn't one, or could be dollars.

    1200, 1200.0 and "1200" are whole cents. "12.00", "1200.0", 12.5, -5 and true are not.
    """
    if value.__class__ is int:
        return value if value >= 0 else None
    if (isinstance(value, float) and value.is_integer() and value >= 0) or (
        isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS
    ):
        return int(value)
    return None


def read_price(document: Mapping[str, Any]) -> int | None:
    """Read the price of an export's JSON object, in cents. Returns None if there is none, or if amounts differ."""
    amounts = {cents for key in COST_KEYS if (cents := parse_cents(document.get(key))) is not None}
    if len(amounts) != 1:
        return None
    (price,) = amounts
    return None if contradicts_breakdown(price, document.get(_BREAKDOWN_KEY)) else price


def contradicts_breakdown(price: int | None, breakdown: object) -> bool:
    """Whether a breakdown states another total than the price, or items that add up to more."""
    if price is None:
        return False
    total = _sum_items(breakdown)
    if total is not None:
        return total > price
    return any(cents != price for cents in _find_totals(breakdown).values())


def _find_totals(breakdown: object) -> dict[str, int]:
    """Return the readable totals that a breakdown states, by key."""
    if not isinstance(breakdown, dict):
        return {}
    fields = cast("dict[str, Any]", breakdown)
    return {key: cents for key in _TOTAL_KEYS if (cents := parse_cents(fields.get(key))) is not None}


def _sum_items(breakdown: object) -> int | None:
    """Add up a breakdown's items. Returns None if there are none, or if one of them can't be read."""
    if not isinstance(breakdown, list) or not breakdown:
        return None
    total = 0
    for item in cast("list[object]", breakdown):
        cents = _item_amount(item)
        if cents is None:
            return None
        total += cents
    return total


def _item_amount(item: Any) -> int | None:
    if item.__class__ is not dict:
        return None
    for key in _ITEM_KEYS:
        if key in item and (cents := parse_cents(item[key])) is not None:
            return cents
    return None


def find_price_amounts(export: CsvExport) -> dict[str, int]:
    """Return the readable amounts, in cents by key, of an export whose `cost_cents` is None."""
    amounts = {key: cents for key in COST_KEYS if (cents := parse_cents(export.extra.get(key))) is not None}
    total = _sum_items(export.cost_breakdown)
    if total is not None:
        amounts[f"the sum of {_BREAKDOWN_KEY}"] = total
    totals = _find_totals(export.cost_breakdown)
    return amounts | {f"{_BREAKDOWN_KEY}.{key}": cents for key, cents in totals.items()}
