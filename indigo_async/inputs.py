"""What callers send, and every rule of the API about it, checked before anything is sent.

The checks collect all problems of a call and raise them together as one `InvalidInputError`.
Source: reference, "More details about column selections" and "POST /create_lookalike_audience"; contract, "Documented".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

import attrs

__all__ = [
    "CANONICAL_FIELDS",
    "ColumnSelection",
    "ColumnSelections",
    "ColumnSelectionsInput",
    "LookalikeFilters",
    "LookalikeFiltersInput",
    "OptionalFieldType",
]


class OptionalFieldType(StrEnum):
    """The paid field types of an export. Source: reference, "POST /create_preview_csv_export"."""

    PHONE = "phone"
    ADDRESS = "address"
    VOTE_HISTORY = "vote_history"
    ISSUE_SCORES = "issue_scores"
    MEDIA_SCORES = "media_scores"
    SUPPORT_SCORES = "support_scores"
    TURNOUT_SCORES = "turnout_scores"
    LOOKALIKE_SCORES = "lookalike_scores"


@attrs.frozen
class ColumnSelection:
    """Which CSV column holds a field, and whether a match must agree on it."""

    column_name: str
    required: bool = False


@attrs.frozen(kw_only=True)
class ColumnSelections:
    """The CSV's columns by the field that they hold; None where the CSV has no such column.

    Rules: at least one matching field is required (`id` does not count); `full_name` excludes `first_name` and
    `last_name`; `address` must be optional; `id` must be required; no column serves two fields.
    """

    first_name: ColumnSelection | None = None
    last_name: ColumnSelection | None = None
    full_name: ColumnSelection | None = None
    city: ColumnSelection | None = None
    state: ColumnSelection | None = None
    zip: ColumnSelection | None = None
    phone: ColumnSelection | None = None
    dob: ColumnSelection | None = None
    address: ColumnSelection | None = None
    id: ColumnSelection | None = None

    def by_field(self) -> dict[str, ColumnSelection]:
        """The fields that are set, in canonical order."""
        pairs = ((field, getattr(self, field)) for field in CANONICAL_FIELDS)
        return {field: selection for field, selection in pairs if selection is not None}


CANONICAL_FIELDS: tuple[str, ...] = tuple(field.name for field in attrs.fields(ColumnSelections))

ColumnSelectionsInput: TypeAlias = ColumnSelections | Mapping[str, ColumnSelection | Mapping[str, Any]]
"""`ColumnSelections`, or a mapping of field to `ColumnSelection` or to `{"column_name": ..., "is_required": ...}`."""


def _empty_mapping() -> Mapping[str, Any]:
    return {}


@attrs.frozen(kw_only=True)
class LookalikeFilters:
    """Where the people of a lookalike live. All filters must hold at once (a conjunction).

    `extra` holds further filters by the server's own names; they are passed through as they are.
    """

    states: Sequence[str] | None = None
    counties: Sequence[str] | None = None
    congressional_districts: Sequence[str] | None = None
    upper_state_legislative_districts: Sequence[str] | None = None
    lower_state_legislative_districts: Sequence[str] | None = None
    extra: Mapping[str, Any] = attrs.field(factory=_empty_mapping)


LookalikeFiltersInput: TypeAlias = LookalikeFilters | Mapping[str, Any]
"""`LookalikeFilters`, or a mapping with its fields as keys; keys that it does not know are passed through."""
