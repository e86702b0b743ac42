"""Find selected columns in a CSV.

API reference: a column name is sent "as it appears in your source CSV". So it is sent exactly, including stray
spaces.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence

import attrs

from indigo_async.errors import Problem
from indigo_async.files.csv.head import CsvHead, csv_problem
from indigo_async.files.csv.header_names import is_value, recognize_field
from indigo_async.inputs import ColumnSelection

__all__ = [
    "NO_HEADER_MESSAGE",
    "FoundColumns",
    "find_columns",
    "seems_to_lack_header",
    "show_exactly",
    "visible_name",
]

NO_HEADER_MESSAGE = "seems to have no header: its first row contains values. Add a row with the column names above it"

_MAX_COLUMNS_SHOWN = 20
_ZERO_WIDTH = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))


@attrs.frozen
class FoundColumns:
    """The selections with the names exactly as the CSV has them.

    `notes` say which names differ from the selected ones. `problems` say which columns are missing or ambiguous.
    """

    selections: Mapping[str, ColumnSelection]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def visible_name(name: str) -> str:
    """A name as people see it: trimmed, without invisible characters, and with one space for any whitespace inside."""
    return " ".join(unicodedata.normalize("NFC", name).translate(_ZERO_WIDTH).split())


def show_exactly(name: str) -> str:
    """Quote a name so that its spaces and invisible characters are visible."""
    return repr(name) if unicodedata.is_normalized("NFC", name) else ascii(name)


def find_columns(head: CsvHead, selections: Mapping[str, ColumnSelection]) -> FoundColumns:
    """Find selected columns by their exact names, or else by their visible names."""
    found: dict[str, ColumnSelection] = dict(selections)
    notes: list[str] = []
    problems: list[Problem] = []
    missing: list[str] = []
    fields_by_column: dict[str, str] = {}
    for field, selection in selections.items():
        name = selection.column_name
        if not name:
            continue  # already reported
        matches = _find_matches(head.columns, name)
        where = f"column_selections.{field}.column_name"
        if not matches:
            missing.append(field)
            problems.append(
                Problem(where, f"{str(head.path)!r} has no column {name!r}{_suggest_column(head, field, name)}")
            )
        elif len(matches) > 1:
            shown = ", ".join(map(show_exactly, matches))
            problems.append(
                Problem(
                    where,
                    f"{str(head.path)!r} has several columns like {name!r}: use one of these exact names: {shown}",
                )
            )
        else:
            (column,) = matches
            other = fields_by_column.setdefault(column, field)
            if selections[other].column_name != name:
                problems.append(Problem(where, f"the column {show_exactly(column)} is already used for {other}"))
            elif column != name:
                found[field] = attrs.evolve(selection, column_name=column)
                notes.append(
                    f"{field}: the CSV's column is named {show_exactly(column)}, not {name!r}; that exact name is sent"
                )
    if missing:
        problems += _describe_columns(head, some_found=len(missing) < len(selections))
    return FoundColumns(found, tuple(notes), tuple(problems))


def _find_matches(columns: Sequence[str], name: str) -> list[str]:
    """The column with this name, or else all columns with the same visible name."""
    if name in columns:
        return [name]
    wanted = visible_name(name)
    return list(dict.fromkeys(column for column in columns if column and visible_name(column) == wanted))


def _describe_columns(head: CsvHead, *, some_found: bool) -> list[Problem]:
    """Show the columns, if the first row is certainly a header and not a person."""
    if seems_to_lack_header(head):
        return [csv_problem(head.path, NO_HEADER_MESSAGE)]
    if not some_found and not any(map(recognize_field, head.columns)):
        return []
    shown = ", ".join(map(repr, filter(None, head.columns[:_MAX_COLUMNS_SHOWN])))
    more = ", ..." if len(head.columns) > _MAX_COLUMNS_SHOWN else ""
    return [csv_problem(head.path, f"has the columns {shown}{more}")]


def seems_to_lack_header(head: CsvHead) -> bool:
    """Whether the first row contains values. A first row of people's names alone looks like a header."""
    return any(map(is_value, head.columns))


def _suggest_column(head: CsvHead, field: str, name: str) -> str:
    """Suggest the column with the closest name, or else one that is named after the same field."""
    by_folded_name = {visible_name(column).casefold(): column for column in head.columns if column.strip()}
    close = difflib.get_close_matches(visible_name(name).casefold(), by_folded_name, n=1)
    same_field = [column for column in head.columns if (known := recognize_field(column)) and known.field == field]
    suggestion = by_folded_name[close[0]] if close else next(iter(same_field), None)
    return f"; did you mean {suggestion!r}?" if suggestion is not None else ""
