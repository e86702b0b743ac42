"""What callers pass to the API: column selections, lookalike filters and paid field types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    "QueryParameters",
]


class OptionalFieldType(StrEnum):
    """The paid field types of an export (API reference: POST /create_preview_csv_export)."""

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
    """The CSV column that holds a field. If it is `required`, matched voters must agree on it.

    The API finds a column by its exact name, including spaces. In a local CSV, recipes find it without them, too.
    """

    column_name: str
    required: bool = False


@attrs.frozen(kw_only=True)
class ColumnSelections:
    """The CSV column of each field; None if the CSV has none.

    Rules (API reference: POST /match_uploaded_csv): at least one field other than `id` must be required, `full_name`
    excludes `first_name` and `last_name`, `address` must be optional, `id` must be required, and no column may be used
    for two fields.
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
        """Return the selections that are set, in the order of `CANONICAL_FIELDS`."""
        pairs = ((field, getattr(self, field)) for field in CANONICAL_FIELDS)
        return {field: selection for field, selection in pairs if selection is not None}


CANONICAL_FIELDS: tuple[str, ...] = tuple(field.name for field in attrs.fields(ColumnSelections))
"""The fields that columns of a CSV can be matched to."""

ColumnSelectionsInput: TypeAlias = ColumnSelections | Mapping[str, ColumnSelection | Mapping[str, Any]]
"""`ColumnSelections`, or a mapping from fields to `ColumnSelection` or `{"column_name": ..., "is_required": ...}`."""


def _empty_mapping() -> Mapping[str, Any]:
    return {}


def _keep_items(values: Iterable[str] | None) -> Sequence[str] | None:
    """Store the items of an iterator, which can be read only once."""
    kept: Any = list(values) if isinstance(values, Iterator) else values
    sequence: Sequence[str] | None = kept
    return sequence


@attrs.frozen(kw_only=True)
class LookalikeFilters:
    """Where the people of a lookalike live. People must match all filters.

    Each filter is a list of names (`PA`) or FIPS codes (`42`), always as text, and is sent unchanged. The API reference
    doesn't say which form the server expects, so ask Indigo. `extra` contains other filters by the API's own names.
    They are sent unchanged; any JSON is allowed.
    """

    states: Sequence[str] | None = attrs.field(default=None, converter=_keep_items)
    counties: Sequence[str] | None = attrs.field(default=None, converter=_keep_items)
    congressional_districts: Sequence[str] | None = attrs.field(default=None, converter=_keep_items)
    upper_state_legislative_districts: Sequence[str] | None = attrs.field(default=None, converter=_keep_items)
    lower_state_legislative_districts: Sequence[str] | None = attrs.field(default=None, converter=_keep_items)
    extra: Mapping[str, Any] = attrs.field(factory=_empty_mapping)


LookalikeFiltersInput: TypeAlias = LookalikeFilters | Mapping[str, Any]
"""`LookalikeFilters`, or a mapping with its fields as keys. Unknown keys are sent unchanged, unless they look
misspelled.
"""

QueryParameters: TypeAlias = Mapping[str, str | int | float | Sequence[str | int | float] | None]
"""The query of a request: text, numbers, true or false. A list repeats its parameter. None leaves the parameter out."""
