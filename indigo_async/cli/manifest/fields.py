"""The fields of a manifest, by their dotted names, and how each takes its value."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any, cast

import attrs

from indigo_async.cli.whole_numbers import whole_number
from indigo_async.inputs import CANONICAL_FIELDS, LookalikeFilters
from indigo_async.workflows.jobs import AudienceJob, ExportStep, LookalikeStep

__all__ = ["FIELDS", "REQUIRED", "SECTIONS", "Kind", "Node", "Text", "closest", "typed"]


@attrs.frozen
class Text:
    """A value without a type of its own, as cells and YAML's plain scalars are: its field gives it one.

    So `customer_id: 007` stays what was written, where YAML alone would make a 7 of it.
    """

    text: str


@attrs.frozen
class Node:
    """A value and the line that it stands on."""

    line: int
    content: object


class Kind(Enum):
    TEXT = auto()
    INTEGER = auto()
    FLAG = auto()
    TEXTS = auto()
    RAW = auto()


FIELDS: dict[str, Kind] = {
    "customer_id": Kind.TEXT,
    "audience_name": Kind.TEXT,
    "csv": Kind.TEXT,
    "key": Kind.TEXT,
    **{f"column_selections.{field}.column_name": Kind.TEXT for field in CANONICAL_FIELDS},
    **{f"column_selections.{field}.is_required": Kind.FLAG for field in CANONICAL_FIELDS},
    "lookalike.audience_name": Kind.TEXT,
    "lookalike.size": Kind.INTEGER,
    "lookalike.include_original_audience": Kind.FLAG,
    **{
        f"lookalike.filters.{field.name}": Kind.RAW if field.name == "extra" else Kind.TEXTS
        for field in attrs.fields(LookalikeFilters)
    },
    "export.destination": Kind.TEXT,
    "export.optional_field_types": Kind.TEXTS,
    "export.max_cost_cents": Kind.INTEGER,
    "export.reuse_purchased": Kind.FLAG,
    "export.allow_empty": Kind.FLAG,
}

SECTIONS: frozenset[str] = frozenset(field[: dot.start()] for field in FIELDS for dot in re.finditer(r"\.", field))
"""The names that hold further fields."""

REQUIRED: Mapping[str, tuple[str, ...]] = {
    section: tuple(
        f"{section}.{field.name}".lstrip(".") for field in attrs.fields(step) if field.default is attrs.NOTHING
    )
    for section, step in (("", AudienceJob), ("lookalike", LookalikeStep), ("export", ExportStep))
}
"""The fields that a job, or a section that it has, cannot do without."""

_FLAGS = {"true": True, "yes": True, "false": False, "no": False}


def typed(kind: Kind, value: object) -> object:
    """A value as its field takes it. One of a wrong type stays as it is, and is refused by the rules of the API.

    Raises:
        ValueError: text that its field cannot take; the message says why.
    """
    if kind is Kind.RAW:
        return _plain(value)
    if isinstance(value, Text):
        return _from_text(kind, value.text)
    if isinstance(value, list):
        return [item.text if isinstance(item, Text) else item for item in map(_content, cast("list[object]", value))]
    return value


def _from_text(kind: Kind, text: str) -> object:
    if kind is Kind.INTEGER:
        return whole_number(text)
    if kind is Kind.FLAG:
        if text.lower() not in _FLAGS:
            raise ValueError(f"must be true or false, not {text[:40]!r}")
        return _FLAGS[text.lower()]
    return text


def _content(value: object) -> object:
    return value.content if isinstance(value, Node) else value


def _plain(value: object) -> object:
    """A value as JSON knows it, text in it read as a number or a flag where it is one."""
    value = _content(value)
    if isinstance(value, Text):
        try:
            read: Any = json.loads(value.text)
        except ValueError:
            return value.text
        return read if isinstance(read, (int, float)) else value.text
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[object]", value)]
    return value


def closest(name: str, options: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known one that was probably meant."""
    near = difflib.get_close_matches(name, list(options), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
