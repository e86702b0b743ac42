"""The rows of a manifest, the same for every format, and the errors found in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import attrs

from indigo_async._text import did_you_mean
from indigo_async.cli.manifest.fields import FIELDS, SECTIONS, LocatedValue, UntypedText, convert_value
from indigo_async.errors import InvalidInputError, Problem

__all__ = [
    "Location",
    "ManifestErrors",
    "ManifestProblem",
    "Row",
    "exceeds_depth",
    "flatten_row",
    "merge_row",
    "set_field",
]

_LINES_SHOWN = 10


@attrs.frozen
class Location:
    """A line of a file."""

    file: str
    line: int


@attrs.frozen
class ManifestProblem(Problem):
    """A problem on some lines of a file. `field` is empty if it concerns a whole row or file."""

    file: str
    lines: tuple[int, ...]
    field: str


@attrs.define
class ManifestErrors:
    """Collects errors. An error that many rows share is reported once, with their lines."""

    _locations: dict[tuple[str, str], list[Location]] = attrs.Factory(dict[tuple[str, str], list[Location]])

    def __bool__(self) -> bool:
        return bool(self._locations)

    def add(self, location: Location, field: str, message: str) -> None:
        """Add an error; `field` is empty if it concerns a whole row or file."""
        locations = self._locations.setdefault((field, message), [])
        if not locations or locations[-1] != location:
            locations.append(location)

    def clear(self) -> None:
        """Forget all errors."""
        self._locations.clear()

    def raise_if_any(self) -> None:
        """Raise `InvalidInputError` if there are errors."""
        if self._locations:
            raise InvalidInputError(list(self._problems()))

    def _problems(self) -> Iterator[Problem]:
        errors = sorted(self._locations.items(), key=lambda item: (item[1][0].file, item[1][0].line))
        for (field, message), (first, *others) in errors:
            where = f"{first.file}:{first.line}"
            yield ManifestProblem(
                f"{where}: {field}" if field else where,
                message + _format_other_lines(others),
                file=first.file,
                lines=(first.line, *(location.line for location in others)),
                field=field,
            )


def _format_other_lines(locations: list[Location]) -> str:
    if not locations:
        return ""
    lines = ", ".join(str(location.line) for location in locations[:_LINES_SHOWN])
    more = f" and {len(locations) - _LINES_SHOWN:,} more" if len(locations) > _LINES_SHOWN else ""
    return f" (also in line{'s' if len(locations) > 1 else ''} {lines}{more})"


@attrs.define
class Row:
    """Values by dotted field, with their locations. A value of None removes the default.

    `invalid_fields` are the fields whose errors have been added already.
    """

    location: Location
    values: dict[str, object] = attrs.Factory(dict[str, object])
    locations: dict[str, Location] = attrs.Factory(dict[str, Location])
    invalid_fields: set[str] = attrs.Factory(set[str])

    def locate(self, field: str) -> Location | None:
        """The location of a field, else of the section it is in, else of the first field in it."""
        name = field
        while name:
            if name in self.values:
                return self.locations.get(name, self.location)
            name = name.rpartition(".")[0]
        inner = next((name for name in self.values if name.startswith(f"{field}.")), None)
        return None if inner is None else self.locations.get(inner, self.location)


def flatten_row(location: Location, content: Mapping[str, object], errors: ManifestErrors) -> Row:
    """Make a row from nested mappings, dotted names, or both."""
    row = Row(location)
    _flatten_into(row, "", content, location, errors)
    return row


def _flatten_into(
    row: Row, prefix: str, content: Mapping[str, object], location: Location, errors: ManifestErrors
) -> None:
    for key, value in content.items():
        here, field = location, f"{prefix}{key}"
        if isinstance(value, LocatedValue):
            if value.line != location.line:
                here = Location(location.file, value.line)
            value = value.value  # noqa: PLW2901
        if field in FIELDS or (field in SECTIONS and value is None):
            set_field(row, field, value, here, errors)
        elif field not in SECTIONS:
            known = sorted(name for name in (*FIELDS, *SECTIONS) if name.startswith(prefix))
            errors.add(here, field, f"unknown field{did_you_mean(field, known)}")
        elif isinstance(value, Mapping):
            _flatten_into(row, f"{field}.", cast("Mapping[str, object]", value), here, errors)
        elif isinstance(value, (UntypedText, str)) and f"{field}.column_name" in FIELDS:
            set_field(row, f"{field}.column_name", value, here, errors)
        else:
            inner = (name.removeprefix(f"{field}.") for name in FIELDS if name.startswith(f"{field}."))
            names = dict.fromkeys(name.partition(".")[0] for name in inner)
            errors.add(here, field, f"must be a mapping with the fields {', '.join(names)}")


def set_field(row: Row, field: str, value: object, location: Location, errors: ManifestErrors) -> None:
    """Set a field to a value, converted to the field's type."""
    if field in row.values:
        errors.add(location, field, "is given twice")
    try:
        row.values[field] = convert_value(FIELDS[field], value) if value is not None else None
    except ValueError as error:
        row.values[field] = value.text if isinstance(value, UntypedText) else {}  # JSON that is nested too deeply
        row.invalid_fields.add(field)
        errors.add(location, field, str(error))
    if location is not row.location:
        row.locations[field] = location


def exceeds_depth(value: object, max_depth: int) -> bool:
    """Whether a value has more than `max_depth` levels of lists and mappings."""
    if isinstance(value, Mapping):
        inner: Iterable[object] = cast("Mapping[object, object]", value).values()
    elif isinstance(value, list):
        inner = cast("list[object]", value)
    else:
        return False
    return max_depth == 0 or any(exceeds_depth(item, max_depth - 1) for item in inner)


def merge_row(defaults: Row, row: Row) -> dict[str, object]:
    """Merge a row's values over the defaults. None removes a default field or section."""
    values = defaults.values | row.values
    if None not in row.values.values():
        return values
    for field in [field for field, value in row.values.items() if value is None]:
        del values[field]
        if field in SECTIONS:
            for inner in SECTIONS[field].difference(row.values):
                values.pop(inner, None)
    return values
