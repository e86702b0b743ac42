"""Find selected columns in a CSV.

API reference: a column name is sent "as it appears in your source CSV". So it is sent exactly, including stray
spaces.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from itertools import chain

import attrs

from indigo_async.errors import Problem
from indigo_async.files.csv.head import CsvHead
from indigo_async.files.csv.header_names import RecognizedField, is_value, recognize_field
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
    fields_by_column: dict[str, str] = {}
    # A selection without a name was already reported.
    names = {field: selection.column_name for field, selection in selections.items() if selection.column_name}
    matches_by_field = {field: _find_matches(head.columns, name) for field, name in names.items()}
    taken = frozenset(chain.from_iterable(matches_by_field.values()))
    shows_header = False
    for field, name in names.items():
        matches = matches_by_field[field]
        where = f"column_selections.{field}.column_name"
        if not matches:
            message = f"{str(head.path)!r} has no column {name!r}{_suggest_column(head, field, name, taken)}"
            header = "" if shows_header else _describe_header(head, some_found=bool(taken))
            if header:
                message, shows_header = f"{message}{'' if message.endswith('?') else '.'} {header}", True
            problems.append(Problem(where, message))
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
                found[field] = attrs.evolve(selections[field], column_name=column)
                notes.append(
                    f"{field}: the CSV's column is named {show_exactly(column)}, not {name!r}; that exact name is sent"
                )
    return FoundColumns(found, tuple(notes), tuple(problems))


def _find_matches(columns: Sequence[str], name: str) -> list[str]:
    """The column with this name, or else all columns with the same visible name."""
    if name in columns:
        return [name]
    wanted = visible_name(name)
    return list(dict.fromkeys(column for column in columns if column and visible_name(column) == wanted))


def _describe_header(head: CsvHead, *, some_found: bool) -> str:
    """The columns, if the first row is certainly a header and not a person."""
    if seems_to_lack_header(head):
        return f"The CSV {NO_HEADER_MESSAGE}"
    if not some_found and not any(map(recognize_field, head.columns)):
        return ""
    shown = ", ".join(map(repr, filter(None, head.columns[:_MAX_COLUMNS_SHOWN])))
    more = ", ..." if len(head.columns) > _MAX_COLUMNS_SHOWN else ""
    return f"The CSV's columns: {shown}{more}"


def seems_to_lack_header(head: CsvHead) -> bool:
    """Whether the first row contains values. A first row of people's names alone looks like a header."""
    return any(map(is_value, head.columns))


def _suggest_column(head: CsvHead, field: str, name: str, taken: Collection[str]) -> str:
    """Suggest a column that is named after the field, or else one with a close name that is named after no field.

    `taken` are the columns of other fields.
    """
    free = {column: recognize_field(column) for column in head.columns if column.strip() and column not in taken}
    same_field = [
        *(column for column, known in free.items() if known == RecognizedField(field)),
        *(column for column, known in free.items() if known == RecognizedField(field, is_fallback=True)),
    ]
    options = same_field or [column for column, known in free.items() if known is None]
    by_folded_name = {visible_name(column).casefold(): column for column in options}
    close = difflib.get_close_matches(visible_name(name).casefold(), by_folded_name, n=1)
    suggestion = by_folded_name[close[0]] if close else next(iter(same_field), None)
    return f"; did you mean {suggestion!r}?" if suggestion is not None else ""
