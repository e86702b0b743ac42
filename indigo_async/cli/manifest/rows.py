"""A row of a manifest: its values by dotted field, whichever format it came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import attrs

from indigo_async.cli.manifest.fields import FIELDS, SECTIONS, Node, Text, closest, typed
from indigo_async.cli.manifest.mistakes import Mistakes, Place

__all__ = ["DEEPEST", "TOO_DEEP", "Row", "flattened", "is_deeper", "merged"]

DEEPEST = 50
"""Levels of lists and mappings within a job: no job needs so many, and what reads and writes them bears some more."""
TOO_DEEP = f"is nested too deeply: {DEEPEST} levels are read"


@attrs.define
class Row:
    """Values by dotted field, and where they stand. None takes away what the defaults say.

    `refused` are the fields whose mistakes are told already.
    """

    place: Place
    values: dict[str, object] = attrs.Factory(dict[str, object])
    places: dict[str, Place] = attrs.Factory(dict[str, Place])
    refused: set[str] = attrs.Factory(set[str])

    def find(self, field: str) -> Place | None:
        """Where a field stands: itself, else what it is part of, else a part of it."""
        part = field
        while part:
            if part in self.values:
                return self.places.get(part, self.place)
            part = part.rpartition(".")[0]
        inner = next((name for name in self.values if name.startswith(f"{field}.")), None)
        return None if inner is None else self.places.get(inner, self.place)


def flattened(place: Place, content: Mapping[str, object], mistakes: Mistakes) -> Row:
    """A row of nested mappings, of dotted names, or of both."""
    row = Row(place)
    _flatten("", content, place, row, mistakes)
    return row


def _flatten(path: str, content: Mapping[str, object], place: Place, row: Row, mistakes: Mistakes) -> None:
    for key, item in content.items():
        here, value, field = place, item, f"{path}{key}"
        if isinstance(item, Node):
            value = item.content
            if item.line != place.line:
                here = Place(place.file, item.line)
        if field in FIELDS:
            _take(field, value, here, row, mistakes)
        elif field not in SECTIONS:
            known = sorted(name for name in (*FIELDS, *SECTIONS) if name.startswith(path))
            mistakes.add(here, field, f"is not a field of a job{closest(field, known)}")
        elif value is None:
            _take(field, None, here, row, mistakes)
        elif isinstance(value, Mapping):
            _flatten(f"{field}.", cast("Mapping[str, object]", value), here, row, mistakes)
        elif isinstance(value, (Text, str)) and f"{field}.column_name" in FIELDS:
            _take(f"{field}.column_name", value, here, row, mistakes)
        else:
            inner = (name.removeprefix(f"{field}.") for name in FIELDS if name.startswith(f"{field}."))
            parts = dict.fromkeys(name.partition(".")[0] for name in inner)
            mistakes.add(here, field, f"must be a mapping, of {', '.join(parts)}")


def _take(field: str, value: object, place: Place, row: Row, mistakes: Mistakes) -> None:
    if field in row.values:
        mistakes.add(place, field, "is given twice")
    try:
        row.values[field] = typed(FIELDS[field], value) if value is not None else None
    except ValueError as error:
        row.values[field] = value.text if isinstance(value, Text) else value
        row.refused.add(field)
        mistakes.add(place, field, str(error))
    if place is not row.place:
        row.places[field] = place


def is_deeper(value: object, levels: int) -> bool:
    """Whether there are more levels of lists and mappings than so many."""
    if isinstance(value, Mapping):
        inner: Iterable[object] = cast("Mapping[object, object]", value).values()
    elif isinstance(value, list):
        inner = cast("list[object]", value)
    else:
        return False
    return levels == 0 or any(is_deeper(item, levels - 1) for item in inner)


def merged(defaults: Row, row: Row) -> dict[str, object]:
    """The values of a row over the defaults; a None takes away its field, or all of its section."""
    values = defaults.values | row.values
    for field in [field for field, value in row.values.items() if value is None]:
        del values[field]
        if field in SECTIONS:
            for inner in [inner for inner in defaults.values if inner.startswith(f"{field}.")]:
                if inner not in row.values:
                    values.pop(inner, None)
    return values
