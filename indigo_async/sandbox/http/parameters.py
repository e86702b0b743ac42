"""Read and check a request's parameters. Errors name the parameter.

The rules are written from the API reference, independently of the SDK's own input checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import attrs

from indigo_async.inputs import CANONICAL_FIELDS, ColumnSelection, LookalikeFilters, OptionalFieldType
from indigo_async.models import RecordId
from indigo_async.sandbox.errors import ErrorType, HttpError

__all__ = ["FILTER_KEYS", "HTTP_URL_PATTERN", "NOT_BLANK_PATTERN", "Parameters", "check_column_selections"]

NOT_BLANK_PATTERN = r"[^ \t\r\n]"
"""What text must contain, in syntax that every regular expression engine understands."""

HTTP_URL_PATTERN = r"^https?://[A-Za-z0-9.:-]+([/?#][!-~]*)?$"
"""What a CSV's URL looks like: absolute, ASCII, with a host name or IPv4 address."""

FILTER_KEYS: Mapping[str, str] = {
    "states": "states",
    "counties": "counties",
    "congressionalDistricts": "congressional_districts",
    "upperStateLegislativeDistricts": "upper_state_legislative_districts",
    "lowerStateLegislativeDistricts": "lower_state_legislative_districts",
}
"""The lookalike filters by their names in JSON (inferred)."""


_SELECTION_KEYS = ("column_name", "is_required")


def _invalid(name: str, message: str) -> HttpError:
    return HttpError(400, ErrorType.INVALID_PARAMETER, f"{name}: {message}")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _invalid(name, "must be a string")
    if re.search(NOT_BLANK_PATTERN, value) is None:
        raise _invalid(name, "must not be empty")
    return value


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _invalid(name, "must be true or false")
    return value


def _integer(value: object) -> int | None:
    """Return a JSON number as an integer (2.0 is 2), or None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text_list(name: str, value: object) -> list[str]:
    if not isinstance(value, list):
        raise _invalid(name, "must be a list of strings")
    return [_text(f"{name}[{index}]", item) for index, item in enumerate(cast("list[object]", value))]


def _mapping(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _invalid(name, "must be a JSON dictionary")
    return cast("dict[str, object]", value)


@attrs.frozen
class Parameters:
    """The raw parameters of a query or a JSON body. Optional ones may be null."""

    values: Mapping[str, Any]

    def _get(self, name: str) -> object:
        value = self.values.get(name)
        if value is None:
            raise HttpError(400, ErrorType.MISSING_PARAMETER, f"{name}: is missing")
        return value

    def text(self, name: str) -> str:
        return _text(name, self._get(name))

    def optional_text(self, name: str) -> str | None:
        value = self.values.get(name)
        return None if value is None else _text(name, value)

    def record_id(self, name: str, *, alias: str | None = None) -> RecordId:
        """Read an ID. `alias` is another spelling, used if `name` is absent."""
        if alias is not None and self.values.get(name) is None and self.values.get(alias) is not None:
            name = alias
        value = self._get(name)
        number = _integer(value)
        return _text(name, value) if number is None else number

    def size(self, name: str) -> int:
        value = _integer(self._get(name))
        if value is None:
            raise _invalid(name, "must be an integer")
        if value < 1:
            raise _invalid(name, "must be at least 1")
        return value

    def optional_boolean(self, name: str) -> bool:
        value = self.values.get(name)
        return False if value is None else _boolean(name, value)

    def url(self, name: str) -> str:
        """Read an absolute http(s) URL."""
        value = self.text(name)
        if re.fullmatch(HTTP_URL_PATTERN, value) is None:
            raise _invalid(name, "must be an absolute http or https URL")
        return value

    def optional_field_types(self, name: str) -> tuple[OptionalFieldType, ...]:
        """Read a list of paid field types, which may be empty. Duplicates count once."""
        known = {option.value: option for option in OptionalFieldType}
        chosen: dict[OptionalFieldType, None] = {}
        for index, item in enumerate(_text_list(name, self._get(name))):
            if item not in known:
                raise _invalid(f"{name}[{index}]", f"must be one of {', '.join(known)}")
            chosen[known[item]] = None
        return tuple(chosen)

    def filters(self, name: str) -> LookalikeFilters | None:
        """Read lookalike filters: known keys with lists of strings."""
        value = self.values.get(name)
        if value is None:
            return None
        given = {key: item for key, item in _mapping(name, value).items() if item is not None}
        unknown = next((key for key in given if key not in FILTER_KEYS), None)
        if unknown is not None:
            raise _invalid(f"{name}.{unknown}", f"is not a filter; the filters are {', '.join(FILTER_KEYS)}")
        values = {FILTER_KEYS[key]: _text_list(f"{name}.{key}", item) for key, item in given.items()}
        return LookalikeFilters(**cast("dict[str, Any]", values))

    def column_selections(self, name: str) -> dict[str, ColumnSelection]:
        """Read column selections: known fields with exactly `column_name` and `is_required`."""
        selections: dict[str, ColumnSelection] = {}
        for field, value in _mapping(name, self._get(name)).items():
            place = f"{name}.{field}"
            if field not in CANONICAL_FIELDS:
                raise _invalid(place, f"is not a field; the fields are {', '.join(CANONICAL_FIELDS)}")
            entry = _mapping(place, value)
            unknown = next((key for key in entry if key not in _SELECTION_KEYS), None)
            if unknown is not None:
                raise _invalid(f"{place}.{unknown}", f"is not a key; the keys are {', '.join(_SELECTION_KEYS)}")
            missing = next((key for key in _SELECTION_KEYS if key not in entry), None)
            if missing is not None:
                raise HttpError(400, ErrorType.MISSING_PARAMETER, f"{place}.{missing}: is missing")
            selections[field] = ColumnSelection(
                _text(f"{place}.column_name", entry["column_name"]),
                required=_boolean(f"{place}.is_required", entry["is_required"]),
            )
        return selections


def check_column_selections(selections: Mapping[str, ColumnSelection], columns: tuple[str, ...] | None) -> None:
    """Reject selections that break a rule. `columns` are the CSV's columns, or None if unknown.

    API reference: "More details about column selections".
    """
    required = {field for field, selection in selections.items() if selection.required}
    names = [selection.column_name for selection in selections.values()]
    problems = {
        "at least one matching field must be required; id matches nothing": not required - {"id"},
        "full_name excludes first_name and last_name": "full_name" in selections
        and ("first_name" in selections or "last_name" in selections),
        "address must be optional": "address" in required,
        "id must be required": "id" in selections and "id" not in required,
        "no column may serve two fields": len(set(names)) < len(names),
    }
    if columns is not None:
        problems |= {f"the CSV has no column {name!r}": True for name in names if name not in columns}
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        raise HttpError(400, ErrorType.INVALID_COLUMN_SELECTIONS, f"columnSelections: {'; '.join(found)}")
