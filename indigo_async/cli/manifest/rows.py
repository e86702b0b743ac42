"""A row of a manifest: its values by dotted field, whichever format it came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import attrs

from indigo_async._text import did_you_mean
from indigo_async.cli.manifest.errors import Location, ManifestErrors
from indigo_async.cli.manifest.fields import FIELDS, SECTIONS, LocatedValue, UntypedText, convert_value

__all__ = ["MAX_DEPTH", "TOO_DEEP_MESSAGE", "Row", "exceeds_depth", "flatten_row", "merge_row"]

MAX_DEPTH = 50
"""Levels of lists and mappings within a job: no job needs so many, and what reads and writes them bears some more."""
TOO_DEEP_MESSAGE = f"is nested too deeply: {MAX_DEPTH} levels are read"


@attrs.define
class Row:
    """Values by dotted field, and where they stand. None takes away what the defaults say.

    `invalid_fields` are the fields whose mistakes are told already.
    """

    location: Location
    values: dict[str, object] = attrs.Factory(dict[str, object])
    locations: dict[str, Location] = attrs.Factory(dict[str, Location])
    invalid_fields: set[str] = attrs.Factory(set[str])

    def locate(self, field: str) -> Location | None:
        """Where a field stands: itself, else what it is part of, else a part of it."""
        part = field
        while part:
            if part in self.values:
                return self.locations.get(part, self.location)
            part = part.rpartition(".")[0]
        inner = next((name for name in self.values if name.startswith(f"{field}.")), None)
        return None if inner is None else self.locations.get(inner, self.location)


def flatten_row(place: Location, content: Mapping[str, object], mistakes: ManifestErrors) -> Row:
    """A row of nested mappings, of dotted names, or of both."""
    row = Row(place)
    _flatten_into("", content, place, row, mistakes)
    return row


def _flatten_into(
    path: str, content: Mapping[str, object], place: Location, row: Row, mistakes: ManifestErrors
) -> None:
    for key, item in content.items():
        here, value, field = place, item, f"{path}{key}"
        if isinstance(item, LocatedValue):
            value = item.value
            if item.line != place.line:
                here = Location(place.file, item.line)
        if field in FIELDS:
            _set_field(field, value, here, row, mistakes)
        elif field not in SECTIONS:
            known = sorted(name for name in (*FIELDS, *SECTIONS) if name.startswith(path))
            mistakes.add(here, field, f"is not a field of a job{did_you_mean(field, known)}")
        elif value is None:
            _set_field(field, None, here, row, mistakes)
        elif isinstance(value, Mapping):
            _flatten_into(f"{field}.", cast("Mapping[str, object]", value), here, row, mistakes)
        elif isinstance(value, (UntypedText, str)) and f"{field}.column_name" in FIELDS:
            _set_field(f"{field}.column_name", value, here, row, mistakes)
        else:
            inner = (name.removeprefix(f"{field}.") for name in FIELDS if name.startswith(f"{field}."))
            parts = dict.fromkeys(name.partition(".")[0] for name in inner)
            mistakes.add(here, field, f"must be a mapping, of {', '.join(parts)}")


def _set_field(field: str, value: object, place: Location, row: Row, mistakes: ManifestErrors) -> None:
    if field in row.values:
        mistakes.add(place, field, "is given twice")
    try:
        row.values[field] = convert_value(FIELDS[field], value) if value is not None else None
    except ValueError as error:
        row.values[field] = value.text if isinstance(value, UntypedText) else value
        row.invalid_fields.add(field)
        mistakes.add(place, field, str(error))
    if place is not row.location:
        row.locations[field] = place


def exceeds_depth(value: object, max_depth: int) -> bool:
    """Whether there are more levels of lists and mappings than so many."""
    if isinstance(value, Mapping):
        inner: Iterable[object] = cast("Mapping[object, object]", value).values()
    elif isinstance(value, list):
        inner = cast("list[object]", value)
    else:
        return False
    return max_depth == 0 or any(exceeds_depth(item, max_depth - 1) for item in inner)


def merge_row(defaults: Row, row: Row) -> dict[str, object]:
    """The values of a row over the defaults; a None takes away its field, or all of its section."""
    values = defaults.values | row.values
    for field in [field for field, value in row.values.items() if value is None]:
        del values[field]
        if field in SECTIONS:
            for inner in [inner for inner in defaults.values if inner.startswith(f"{field}.")]:
                if inner not in row.values:
                    values.pop(inner, None)
    return values
