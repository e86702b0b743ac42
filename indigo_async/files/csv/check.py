"""Whether a local CSV can serve a match: looked at before anything is sent."""

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

_MAX_ROWS_SHOWN = 5
_MAX_COLUMNS_SHOWN = 20
_VALUE_PATTERN = re.compile(r"[\d\s()+./:-]*\d[\d\s()+./:-]*|\S+@\S+\.\S+")
"""What stands in a row and hardly ever in a header: a number, date or phone number, or an e-mail address."""


NO_HEADER_MESSAGE = (
    "seems to have no header, since its first row holds values: add a row with the columns' names above it"
)


async def check_columns(path: Path | str, column_selections: ColumnSelectionsInput) -> None:
    """Check a local CSV against column selections, as the recipes do before they send anything.

    Its head alone is read: 64 KiB and 500 rows at most. UTF-8 (with or without byte order mark), UTF-16 with its mark
    and code pages pass, as do commas, semicolons, tabs and bars. What no server could read, or what could match nobody,
    is refused: no text, no header, no rows, a quote that is never closed, rows longer than the header, two columns of
    one name, a selected column that is not there, a required one that is empty in every row.

    Raises:
        InvalidInputError: with all problems.
    """
    check = InputCheck()
    selections = check.column_selections(column_selections)
    check.problems += await run_in_thread(partial(find_csv_problems, Path(path), selections))
    check.raise_if_invalid()


def find_csv_problems(path: Path, selections: Mapping[str, ColumnSelection]) -> list[Problem]:
    """What keeps a local CSV from being matched by these selections; blocking."""
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
    """What is wrong with a CSV whichever of its columns are selected."""
    named: dict[str, list[int]] = {}
    for place, name in enumerate(head.columns, start=1):
        named.setdefault(name, []).append(place)
    twice = (
        f"has {len(places)} columns {_describe_name(name)} (columns {_join_numbers(places)}): rename all but one"
        for name, places in named.items()
        if name and len(places) > 1
    )
    return [csv_problem(head.path, what) for what in (*twice, *_find_long_rows(head))]


def _describe_name(name: str) -> str:
    """What a header says may be told; a name that stands for no field may be a person's, where there is no header."""
    return f"named {name!r}" if recognize_field(name) else "of one name"


def _join_numbers(numbers: list[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _find_long_rows(head: CsvHead) -> Iterator[str]:
    width = len(head.columns)
    long = [row for row in head.rows if any(row.cells[width:])]
    for row in islice(long, _MAX_ROWS_SHOWN):
        yield (
            f"has {len(row.cells)} values in row {row.number} but {width} columns: does a value that holds the "
            f"delimiter {head.delimiter!r} stand there without quotes?"
        )
    if len(long) > _MAX_ROWS_SHOWN:
        yield f"has {len(long) - _MAX_ROWS_SHOWN} further such rows in its first {len(head.rows)}"


def seems_to_lack_header(head: CsvHead) -> bool:
    """Whether the first row holds values; where it holds names alone, nobody can tell."""
    return any(_VALUE_PATTERN.fullmatch(name) for name in head.columns)


def _find_missing_columns(head: CsvHead, selections: Mapping[str, ColumnSelection]) -> list[Problem]:
    wanted = {field: selection.column_name for field, selection in selections.items()}
    missing = {
        field: name
        for field, name in wanted.items()
        if isinstance(name, str) and name not in head.columns  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
    }
    problems = [
        Problem(
            f"column_selections.{field}.column_name",
            f"{str(head.path)!r} has no column {name!r}{_suggest_column(head, field, name)}",
        )
        for field, name in missing.items()
    ]
    if not problems:
        return []
    if seems_to_lack_header(head):
        return [*problems, csv_problem(head.path, NO_HEADER_MESSAGE)]
    # Names of people must not be told, should the first row be a person after all.
    if len(missing) < len(wanted) or any(recognize_field(name) for name in head.columns):
        shown = ", ".join(map(repr, filter(None, head.columns[:_MAX_COLUMNS_SHOWN])))
        more = ", ..." if len(head.columns) > _MAX_COLUMNS_SHOWN else ""
        return [*problems, csv_problem(head.path, f"has the columns {shown}{more}")]
    return problems


def _suggest_column(head: CsvHead, field: str, name: str) -> str:
    """The column that was probably meant: nearly the same name, else one that is a name for the same field."""
    folded = {column.casefold(): column for column in head.columns if column}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    alike = [column for column in head.columns if (spelled := recognize_field(column)) and spelled.field == field]
    meant = folded[near[0]] if near else alike[0] if alike else None
    return f"; did you mean {meant!r}?" if meant is not None else ""


def _find_empty_columns(head: CsvHead, selections: Mapping[str, ColumnSelection]) -> Iterator[Problem]:
    """Required columns in which no row could ever agree with a voter; `id` is not matched."""
    if not head.is_complete:
        return
    for field, selection in selections.items():
        name = selection.column_name
        is_matched = field != "id" and selection.required is True and name in head.columns
        if is_matched and not any(head.column_cells(head.columns.index(name))):
            yield Problem(
                f"column_selections.{field}",
                f"{str(head.path)!r} has nothing in the required column {name!r}, so nobody could match: make it "
                "optional, or leave it out",
            )
