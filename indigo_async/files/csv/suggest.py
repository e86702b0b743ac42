"""Suggest which columns of a local CSV to match by, with the reason for every choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import attrs

from indigo_async._extras import require_extra
from indigo_async.errors import InvalidInputError
from indigo_async.files.csv.candidates import Candidate, ColumnCandidates, find_candidates
from indigo_async.files.csv.check import find_table_problems
from indigo_async.files.csv.column_names import NO_HEADER_MESSAGE, seems_to_lack_header, show_exactly, visible_name
from indigo_async.files.csv.head import CsvHead, csv_problem, read_head
from indigo_async.files.csv.header_names import is_excluded_header
from indigo_async.files.csv.warnings import find_column_warnings, find_file_warnings
from indigo_async.inputs import CANONICAL_FIELDS, ColumnSelection, ColumnSelections

__all__ = ["ColumnSuggestion", "quote_yaml", "read_suggestion", "to_python", "to_yaml"]

_CODE_PAGES = ("cp1252", "mac_roman", "cp437")  # with more of them, a few Spanish names would be taken for Polish
_CLOSE_SCORE_RATIO = 0.9
_LOW_FILL_RATE = 0.5
_SURE_PLAUSIBILITY = 0.8
_MAX_COLUMNS_SHOWN = 20
_NAME_FIELDS = ("first_name", "last_name", "full_name")
_IDENTIFYING_FIELDS = ("last_name", "first_name", "full_name", "phone", "dob", "zip", "city", "state")
"""The fields that can be required, in the order of how well they identify a person."""


@attrs.frozen(kw_only=True)
class ColumnSuggestion:
    """Column selections suggested by a CSV's header and first rows. They follow the API's rules.

    `reasons` explains each choice by field, `left_out` each column that was not chosen, by column name. `warnings`
    lists what to check before using the selections. `encoding` is Python's name of the encoding; `utf-8-sig` is UTF-8
    with a byte order mark. `rows_sampled` counts the rows that were checked, without the header.
    """

    path: Path
    selections: ColumnSelections
    reasons: Mapping[str, str]
    left_out: Mapping[str, str]
    warnings: tuple[str, ...]
    encoding: str
    delimiter: str
    rows_sampled: int


def read_suggestion(path: Path) -> ColumnSuggestion:
    """Suggest column selections for a local CSV; see `suggest_columns`. Blocking."""
    head = read_head(path, partial(_detect_encoding, path))
    problems = find_table_problems(head)
    if problems:
        raise InvalidInputError(problems)
    found = find_candidates(head)
    chosen = _choose_columns(found)
    required = _choose_required_fields(chosen)
    left_out = found.left_out | _explain_passed_over(found, chosen)
    if not required:
        raise InvalidInputError([csv_problem(path, _explain_nothing_required(head, chosen, left_out))])
    return ColumnSuggestion(
        path=path,
        selections=ColumnSelections(
            **{field: ColumnSelection(one.column, required=field in required) for field, one in chosen.items()}
        ),
        reasons={field: one.reason + _explain_required(field, required) for field, one in chosen.items()},
        left_out=left_out,
        warnings=(
            *find_file_warnings(head),
            *_name_warnings(chosen),
            *find_column_warnings(head, {field: one.column for field, one in chosen.items()}),
            *_choice_warnings(found, chosen, required),
        ),
        encoding=head.encoding,
        delimiter=head.delimiter,
        rows_sampled=len(head.rows),
    )


def _detect_encoding(path: Path, data: bytes) -> str:
    """Detect the most likely encoding of bytes that are not Unicode."""
    require_extra("columns", f"{str(path)!r} is not UTF-8: save it as UTF-8. Detecting another encoding")
    from charset_normalizer import from_bytes  # noqa: PLC0415 - an extra, and seldom needed

    best = from_bytes(data, cp_isolation=list(_CODE_PAGES)).best()
    return best.encoding if best is not None else _CODE_PAGES[0]


def _choose_columns(found: ColumnCandidates) -> dict[str, Candidate]:
    """Choose the best column for each field, in the API's order; `full_name` and its parts exclude each other."""
    best = {field: ranked[0] for field in CANONICAL_FIELDS if (ranked := found.ranked(field))}
    whole, parts = {"full_name"} & best.keys(), {"first_name", "last_name"} & best.keys()
    dropped = whole if len(parts) > 1 else parts if whole else ()
    return {field: one for field, one in best.items() if field not in dropped}


def _choose_required_fields(chosen: Mapping[str, Candidate]) -> set[str]:
    """Choose the fields to require, including `id`; empty if no field can be required."""
    names = {field for field in _NAME_FIELDS if field in chosen}
    best = next((field for field in _IDENTIFYING_FIELDS if field in chosen), None)
    if best is None:
        return set()
    return (names or {best}) | ({"id"} & chosen.keys())


def _explain_required(field: str, required: set[str]) -> str:
    if field == "id":
        return "; must be required, and is not used for matching"
    if field == "address":
        return "; must be optional"
    if field in required and field not in _NAME_FIELDS:
        return "; required, because no other column identifies people better"
    return ""


def _explain_passed_over(found: ColumnCandidates, chosen: Mapping[str, Candidate]) -> dict[str, str]:
    """Explain, by column, why candidates were not chosen."""
    reasons: dict[str, str] = {}
    for one in found.candidates:
        winner = chosen.get(one.field)
        if winner is None:
            instead = "first_name and last_name" if one.field == "full_name" else "full_name"
            reasons[one.column] = f"could be {one.field}, but {instead} excludes it and fits better"
        elif winner.column != one.column:
            reasons[one.column] = f"could also be {one.field}, but {winner.column!r} {_explain_preference(winner, one)}"
    return reasons


def _explain_preference(winner: Candidate, other: Candidate) -> str:
    if winner.has_matching_header and not other.has_matching_header:
        return f"is named like {winner.field}"
    if other.is_fallback and not winner.is_fallback:
        return "has a plainer name"
    if winner.score > other.score:
        return f"fits better: {winner.fill_rate:.0%} of the rows have a value there, {other.fill_rate:.0%} here"
    return "fits equally well and comes first"


def _explain_nothing_required(head: CsvHead, chosen: Mapping[str, Candidate], left_out: Mapping[str, str]) -> str:
    if seems_to_lack_header(head):
        return NO_HEADER_MESSAGE
    message = f"has no column that can be required; the API needs at least one of {', '.join(_IDENTIFYING_FIELDS)}"
    known = {one.column: f"fits {field}, which cannot be the only required field" for field, one in chosen.items()}
    if not known and not any(map(is_excluded_header, left_out)):
        return message  # the first row may be a person instead of a header, so it is not shown
    shown = [f"{name!r} {reason}" for name, reason in (known | dict(left_out)).items()][:_MAX_COLUMNS_SHOWN]
    return f"{message}. {'; '.join(shown)}"


def _name_warnings(chosen: Mapping[str, Candidate]) -> Iterator[str]:
    for field, one in chosen.items():
        if one.column != visible_name(one.column):
            yield (
                f"{field}: the column name {show_exactly(one.column)} has stray spaces or invisible characters: copy "
                "it exactly, or rename the column"
            )


def _choice_warnings(found: ColumnCandidates, chosen: Mapping[str, Candidate], required: set[str]) -> Iterator[str]:
    for field, one in chosen.items():
        rivals = [
            f"{other.column!r}" for other in found.ranked(field)[1:] if other.score >= one.score * _CLOSE_SCORE_RATIO
        ]
        if rivals and field != "id":  # not used for matching
            yield f"{field}: {one.column!r} and {', '.join(rivals)} fit about equally well; check which one is right"
        if not one.has_matching_header or one.plausibility < _SURE_PLAUSIBILITY:
            yield f"{field}: {one.column!r} is {one.reason}; check that it is the right column"
        if field in required and one.fill_rate < _LOW_FILL_RATE:
            yield f"{field}: only {one.fill_rate:.0%} of the rows have it; no other row matches while it is required"
    if not chosen.keys() & {"phone", "dob", "zip", "address", "city"}:
        yield "only names or states, which many people share: add a ZIP code, a birth date or a phone number"
    elif not chosen.keys() & {*_NAME_FIELDS, "phone"}:
        yield "no names and no phone numbers: the other columns seldom identify a person"


def to_python(selections: ColumnSelections) -> str:
    """Write selections as Python code that assigns them to `columns`, with its import."""
    lines = [
        f"    {field}=ColumnSelection({_quote_python(one.column_name)}{', required=True' if one.required else ''}),\n"
        for field, one in selections.by_field().items()
    ]
    start = "from indigo_async import ColumnSelection, ColumnSelections\n\ncolumns = ColumnSelections(\n"
    return f"{start}{''.join(lines)})\n"


def to_yaml(selections: ColumnSelections) -> str:
    """Write selections as YAML under the key `column_selections`, as job manifests have it."""
    lines = [
        f"  {field}: {{column_name: {quote_yaml(one.column_name)}, is_required: {str(one.required).lower()}}}\n"
        for field, one in selections.by_field().items()
    ]
    return f"column_selections:\n{''.join(lines)}"


def _quote_python(text: str) -> str:
    literal = repr(text)
    return f'"{text}"' if literal == f"'{text}'" and '"' not in text else literal


def quote_yaml(text: str) -> str:
    """Write a double-quoted scalar, which is never read as a number, date or boolean."""
    escaped = (
        f"\\{character}" if character in '"\\' else character if character.isprintable() else ascii(character)[1:-1]
        for character in text
    )
    return f'"{"".join(escaped)}"'
