"""What an export costs. The prices are made up: whole cents per person and field type.

API reference: "POST /create_preview_csv_export".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import attrs

from indigo_async.inputs import OptionalFieldType

__all__ = ["CENTS_PER_PERSON", "Price", "PriceItem", "calculate_price"]

CENTS_PER_PERSON: Mapping[OptionalFieldType, int] = MappingProxyType(
    {
        OptionalFieldType.PHONE: 4,
        OptionalFieldType.ADDRESS: 2,
        OptionalFieldType.VOTE_HISTORY: 1,
        OptionalFieldType.ISSUE_SCORES: 3,
        OptionalFieldType.MEDIA_SCORES: 3,
        OptionalFieldType.SUPPORT_SCORES: 2,
        OptionalFieldType.TURNOUT_SCORES: 2,
        OptionalFieldType.LOOKALIKE_SCORES: 1,
    }
)
"""The price of each paid field type. Standard fields are free."""


@attrs.frozen
class PriceItem:
    """The cost of one field type for all people of an export."""

    field_type: OptionalFieldType
    people: int
    cents_per_person: int

    @property
    def cents(self) -> int:
        return self.people * self.cents_per_person


@attrs.frozen
class Price:
    """The price of an export in whole US cents, itemized."""

    items: tuple[PriceItem, ...]

    @property
    def cents(self) -> int:
        return sum(item.cents for item in self.items)


def calculate_price(people: int, field_types: Collection[OptionalFieldType]) -> Price:
    """Price an export. Each field type counts once. Items are in the order of `CENTS_PER_PERSON`."""
    chosen = (kind for kind in CENTS_PER_PERSON if kind in field_types)
    return Price(tuple(PriceItem(kind, people, CENTS_PER_PERSON[kind]) for kind in chosen))
