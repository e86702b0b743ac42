"""The fields of a manifest by their dotted names, and how their values are converted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, cast

import attrs

from indigo_async.cli.options.common import parse_whole_number
from indigo_async.inputs import CANONICAL_FIELDS, LookalikeFilters
from indigo_async.workflows.batches.jobs import AudienceJob, ExportStep, LookalikeStep

__all__ = [
    "FIELDS",
    "MAX_DEPTH",
    "REQUIRED",
    "SECTIONS",
    "TOO_DEEP",
    "FieldType",
    "LocatedValue",
    "UntypedText",
    "convert_value",
]


@attrs.frozen
class UntypedText:
    """Text from a CSV cell or a YAML scalar. Its field determines its type, so `customer_id: 007` keeps its zeros."""

    text: str


@attrs.frozen
class LocatedValue:
    """A value and its line."""

    line: int
    value: object


class FieldType(Enum):
    TEXT = auto()
    INTEGER = auto()
    BOOLEAN = auto()
    TEXT_LIST = auto()
    JSON = auto()


FIELDS: dict[str, FieldType] = {
    "customer_id": FieldType.TEXT,
    "audience_name": FieldType.TEXT,
    "csv": FieldType.TEXT,
    "key": FieldType.TEXT,
    **{f"column_selections.{field}.column_name": FieldType.TEXT for field in CANONICAL_FIELDS},
    **{f"column_selections.{field}.is_required": FieldType.BOOLEAN for field in CANONICAL_FIELDS},
    "lookalike.audience_name": FieldType.TEXT,
    "lookalike.size": FieldType.INTEGER,
    "lookalike.include_original_audience": FieldType.BOOLEAN,
    **{
        f"lookalike.filters.{field.name}": FieldType.JSON if field.name == "extra" else FieldType.TEXT_LIST
        for field in attrs.fields(LookalikeFilters)
    },
    "export.destination": FieldType.TEXT,
    "export.download": FieldType.BOOLEAN,
    "export.optional_field_types": FieldType.TEXT_LIST,
    "export.max_cost_cents": FieldType.INTEGER,
    "export.reuse_purchased": FieldType.BOOLEAN,
    "export.allow_empty": FieldType.BOOLEAN,
}

SECTIONS: Mapping[str, frozenset[str]] = {
    section: frozenset(field for field in FIELDS if field.startswith(f"{section}."))
    for section in {field[: dot.start()] for field in FIELDS for dot in re.finditer(r"\.", field)}
}
"""The names that contain other fields, such as `lookalike` and `lookalike.filters`, each with these fields."""

REQUIRED: Mapping[str, tuple[str, ...]] = {
    section: tuple(
        f"{section}.{field.name}".lstrip(".") for field in attrs.fields(step) if field.default is attrs.NOTHING
    )
    for section, step in (("", AudienceJob), ("lookalike", LookalikeStep), ("export", ExportStep))
}
"""The fields that a job (the section "") must have, and those of each section if the job has that section."""

MAX_DEPTH = 50
"""The most levels of lists and mappings in a job; every parser can handle more."""
TOO_DEEP = f"is nested too deeply (limit: {MAX_DEPTH} levels)"

_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


def convert_value(field_type: FieldType, value: object) -> object:
    """Convert a value to its field's type. A value of a wrong type is returned as is; `check_job` rejects it.

    Raises:
        ValueError: the text cannot be converted; the message says why.
    """
    if isinstance(value, str):
        return value
    if field_type is FieldType.JSON:
        return _to_json_value(value)
    if isinstance(value, UntypedText):
        return _convert_text(field_type, value.text)
    if isinstance(value, list):
        items = [item.text if isinstance(item, UntypedText) else item for item in cast("list[object]", value)]
        return tuple(items) if field_type is FieldType.TEXT_LIST else items
    return value


def _convert_text(field_type: FieldType, text: str) -> object:
    if field_type is FieldType.INTEGER:
        return parse_whole_number(text)
    if field_type is FieldType.BOOLEAN:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"must be true or false, not {text[:40]!r}")
        return _BOOLEANS[text.lower()]
    return text


def _to_json_value(value: object, depth: int = 0) -> object:
    """Convert to plain JSON values. Text that is a JSON number or boolean becomes one."""
    if depth > MAX_DEPTH:  # YAML's aliases may nest what isn't nested in the file
        raise ValueError(TOO_DEEP)
    if isinstance(value, LocatedValue):
        value = value.value
    if isinstance(value, UntypedText):
        try:
            parsed: Any = json.loads(value.text)
        except ValueError:
            return value.text
        return parsed if isinstance(parsed, (int, float)) else value.text
    if isinstance(value, dict):
        return {key: _to_json_value(item, depth + 1) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_to_json_value(item, depth + 1) for item in cast("list[object]", value)]
    return value
