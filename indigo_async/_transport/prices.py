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
    if price is None or breakdown is None:
        return False
    amounts = _breakdown_amounts(breakdown)
    return any(cents > price if key == _ITEM_SUM_LABEL else cents != price for key, cents in amounts.items())


_ITEM_SUM_LABEL = f"the sum of {_BREAKDOWN_KEY}"


def _breakdown_amounts(breakdown: object) -> dict[str, int]:
    """Return a breakdown's totals by key, or the sum of its items."""
    if isinstance(breakdown, dict):
        fields = cast("dict[str, Any]", breakdown)
        totals = {key: parse_cents(fields.get(key)) for key in _TOTAL_KEYS}
        return {f"{_BREAKDOWN_KEY}.{key}": cents for key, cents in totals.items() if cents is not None}
    if isinstance(breakdown, list):
        items = [_item_amount(item) for item in cast("list[object]", breakdown)]
        readable = [cents for cents in items if cents is not None]
        return {_ITEM_SUM_LABEL: sum(readable)} if readable and len(readable) == len(items) else {}
    return {}


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
    return amounts | _breakdown_amounts(export.cost_breakdown)
