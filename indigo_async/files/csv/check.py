"""Check before anything is sent that a local CSV can be matched."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.files.csv.head import CsvHead, csv_problem, read_head
from indigo_async.files.csv.header_names import recognize_field
from indigo_async.inputs import ColumnSelection, ColumnSelectionsInput

__all__ = ["NO_HEADER_MESSAGE", "check_columns", "find_csv_problems", "find_table_problems", "seems_to_lack_header"]

NO_HEADER_MESSAGE = "seems to have no header: its first row holds values. Add a row with the column names above it"

_MAX_ROWS_SHOWN = 5
_MAX_COLUMNS_SHOWN = 20
_VALUE_PATTERN = re.compile(r"[\d\s()+./:-]*\d[\d\s()+./:-]*|\S+@\S+\.\S+")
"""A number, date, phone number or email address: common in rows, rare in headers."""


async def check_columns(path: Path | str, column_selections: ColumnSelectionsInput) -> None:
    """Check a local CSV against column selections, as the recipes do before they send anything.

    Only the head is read: at most 64 KiB and 500 rows. UTF-8 (with or without a byte order mark), UTF-16 with its mark
    and code pages are accepted, as are commas, semicolons, tabs and bars. A file is rejected if no server could read
    it or nobody could match: if it is not text, has no header, no rows, an unclosed quote, rows longer than the
    header, two columns with the same name, no such column as selected, or no values in a required column.

    Raises:
        InvalidInputError: lists all problems.
    """
    check = InputCheck()
    selections = check.column_selections(column_selections)
    check.problems += await run_in_thread(partial(find_csv_problems, Path(path), selections))
    check.raise_if_invalid()


def find_csv_problems(path: Path, selections: Mapping[str, ColumnSelection]) -> list[Problem]:
    """Find everything that keeps a local CSV from being matched by these selections. Blocking."""
    try:
        head = read_head(path)
    except InvalidInputError as error:
        return list(error.problems)
    return [
        *find_table_problems(head),
        *_find_missing_columns(head, selections),
        *_find_empty_columns(head, selections),
    ]


def find_table_problems(head: CsvHead) -> list[Problem]:
    """Find the problems that a CSV has whichever columns are selected."""
    numbers_by_name: dict[str, list[int]] = {}
    for number, name in enumerate(head.columns, start=1):
        numbers_by_name.setdefault(name, []).append(number)
    duplicates = (
        f"has {len(numbers)} columns {_describe_name(name)} (columns {_join_numbers(numbers)}): rename all but one"
        for name, numbers in numbers_by_name.items()
        if name and len(numbers) > 1
    )
    return [csv_problem(head.path, message) for message in (*duplicates, *_find_long_rows(head))]


def _describe_name(name: str) -> str:
    """Show only known column names: if the header is missing, any other name may be a person's."""
    return f"named {name!r}" if recognize_field(name) else "with the same name"


def _join_numbers(numbers: list[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _find_long_rows(head: CsvHead) -> Iterator[str]:
    width = len(head.columns)
    long = [row for row in head.rows if any(row.cells[width:])]
    for row in islice(long, _MAX_ROWS_SHOWN):
        yield (
            f"has {len(row.cells)} values in row {row.number} but {width} columns: does a value contain the delimiter "
            f"{head.delimiter!r} without being quoted?"
        )
    if len(long) > _MAX_ROWS_SHOWN:
        yield f"has {len(long) - _MAX_ROWS_SHOWN} more such rows in its first {len(head.rows)}"


def seems_to_lack_header(head: CsvHead) -> bool:
    """Whether the first row holds values. A first row of names alone cannot be told from a header."""
    return any(_VALUE_PATTERN.fullmatch(name) for name in head.columns)


def _find_missing_columns(head: CsvHead, selections: Mapping[str, ColumnSelection]) -> list[Problem]:
    names = {field: selection.column_name for field, selection in selections.items()}
    missing = {
        field: name
        for field, name in names.items()
        if isinstance(name, str) and name not in head.columns  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
    }
    if not missing:
        return []
    problems = [
        Problem(
            f"column_selections.{field}.column_name",
            f"{str(head.path)!r} has no column {name!r}{_suggest_column(head, field, name)}",
        )
        for field, name in missing.items()
    ]
    if seems_to_lack_header(head):
        problems.append(csv_problem(head.path, NO_HEADER_MESSAGE))
    elif len(missing) < len(names) or any(recognize_field(name) for name in head.columns):
        # The first row is certainly a header and not a person, so its names may be shown.
        shown = ", ".join(map(repr, filter(None, head.columns[:_MAX_COLUMNS_SHOWN])))
        more = ", ..." if len(head.columns) > _MAX_COLUMNS_SHOWN else ""
        problems.append(csv_problem(head.path, f"has the columns {shown}{more}"))
    return problems


def _suggest_column(head: CsvHead, field: str, name: str) -> str:
    """Suggest the column with the closest name, or else one that is named after the same field."""
    by_folded_name = {column.casefold(): column for column in head.columns if column}
    close = difflib.get_close_matches(name.casefold(), by_folded_name, n=1)
    same_field = [column for column in head.columns if (known := recognize_field(column)) and known.field == field]
    suggestion = by_folded_name[close[0]] if close else next(iter(same_field), None)
    return f"; did you mean {suggestion!r}?" if suggestion is not None else ""


def _find_empty_columns(head: CsvHead, selections: Mapping[str, ColumnSelection]) -> Iterator[Problem]:
    """Find required columns without any value, so that no row can match. `id` is not used for matching."""
    if not head.is_complete:
        return
    for field, selection in selections.items():
        name = selection.column_name
        must_match = field != "id" and selection.required is True and name in head.columns
        if must_match and not any(head.column_cells(head.columns.index(name))):
            yield Problem(
                f"column_selections.{field}",
                f"{str(head.path)!r} has no values in the required column {name!r}, so nobody could match: make it "
                "optional or leave it out",
            )
