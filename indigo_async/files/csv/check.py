"""Check that a local CSV can be matched, and find its exact column names, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import attrs

from indigo_async.errors import InvalidInputError, Problem
from indigo_async.files.csv.column_names import find_columns
from indigo_async.files.csv.head import CsvHead, csv_problem, read_head
from indigo_async.files.csv.header_names import recognize_field
from indigo_async.files.csv.warnings import find_column_warnings, find_file_warnings
from indigo_async.inputs import ColumnSelection

__all__ = ["CsvInspection", "find_csv_problems", "find_table_problems", "inspect_csv"]

_MAX_ROWS_SHOWN = 5


@attrs.frozen
class CsvInspection:
    """A CSV that can be matched: the selections with exact column names, and `warnings` about what to check."""

    selections: Mapping[str, ColumnSelection]
    warnings: tuple[str, ...]


def find_csv_problems(path: Path, selections: Mapping[str, ColumnSelection]) -> list[Problem]:
    """Find everything that keeps a local CSV from being matched by these selections. Blocking."""
    try:
        head = read_head(path)
    except InvalidInputError as error:
        return list(error.problems)
    found = find_columns(head, selections)
    return [*find_table_problems(head), *found.problems, *_find_empty_columns(head, found.selections)]


def inspect_csv(path: Path, selections: Mapping[str, ColumnSelection]) -> CsvInspection:
    """Find the exact column names to send for a local CSV, and what to warn about. Blocking.

    Raises:
        InvalidInputError: the CSV cannot be read, or a selected column is missing or ambiguous.
    """
    head = read_head(path)
    found = find_columns(head, selections)
    if found.problems:
        raise InvalidInputError(found.problems)
    names = {field: selection.column_name for field, selection in found.selections.items()}
    return CsvInspection(
        found.selections, (*found.notes, *find_file_warnings(head), *find_column_warnings(head, names))
    )


def find_table_problems(head: CsvHead) -> list[Problem]:
    """Find the problems that a CSV has whichever columns are selected."""
    numbers_by_name: dict[str, list[int]] = {}
    for number, name in enumerate(head.columns, start=1):
        numbers_by_name.setdefault(name, []).append(number)
    duplicates = (
        f"has {len(numbers)} columns {_describe_name(name)} (columns {_join_numbers(numbers)}): rename all but one"
        for name, numbers in numbers_by_name.items()
        if name.strip() and len(numbers) > 1
    )
    return [csv_problem(head.path, message) for message in (*duplicates, *_find_long_rows(head))]


def _describe_name(name: str) -> str:
    """Show only known column names: if the header is missing, any other name may be a person's."""
    return f"named {name!r}" if recognize_field(name) else "with the same name"


def _join_numbers(numbers: list[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _find_long_rows(head: CsvHead) -> Iterator[str]:
    width = len(head.columns)
    long = [row for row in head.rows if any(map(str.strip, row.cells[width:]))]
    for row in islice(long, _MAX_ROWS_SHOWN):
        yield (
            f"has {len(row.cells)} values in row {row.number} but {width} columns: does a value contain the delimiter "
            f"{head.delimiter!r} without being quoted?"
        )
    if len(long) > _MAX_ROWS_SHOWN:
        yield f"has {len(long) - _MAX_ROWS_SHOWN} more such rows in its first {len(head.rows)}"


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
