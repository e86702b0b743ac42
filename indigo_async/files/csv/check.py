"""Check that a local CSV can be matched, and find its exact column names, before anything is sent."""

from __future__ import annotations

import hashlib
import time
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
_MAX_REMEMBERED = 100_000
_UNSETTLED_NANOSECONDS = 2_000_000_000
"""File systems record times in steps of up to two seconds."""


@attrs.frozen
class CsvInspection:
    """A CSV that can be matched: the selections with exact column names, and `warnings` about what to check."""

    selections: Mapping[str, ColumnSelection]
    warnings: tuple[str, ...]


def find_csv_problems(path: Path, selections: Mapping[str, ColumnSelection]) -> list[Problem]:
    """Find everything that keeps a local CSV from being matched by these selections. Blocking."""
    try:
        inspect_csv(path, selections)
    except InvalidInputError as error:
        return list(error.problems)
    return []


def inspect_csv(path: Path, selections: Mapping[str, ColumnSelection]) -> CsvInspection:
    """Find the exact column names to send for a local CSV, and what to warn about. Blocking.

    A CSV that can be matched is not read again until it changes.

    Raises:
        InvalidInputError: lists everything that keeps the CSV from being matched.
    """
    version = _identify_version(path, selections)
    remembered = None if version is None else _remembered.get(version)
    if remembered is None:
        remembered = _read_remarks(path, selections)
        if version is not None:
            if len(_remembered) >= _MAX_REMEMBERED:
                _remembered.clear()
            _remembered[version] = remembered
    return CsvInspection({**selections, **remembered.renamed}, remembered.warnings)


@attrs.frozen
class _Remarks:
    """What is not as it was selected in a CSV that can be matched: selections by exact names, and warnings."""

    renamed: Mapping[str, ColumnSelection]
    warnings: tuple[str, ...]


_NO_REMARKS = _Remarks({}, ())
_remembered: dict[bytes, _Remarks] = {}
"""The remarks by version of a file: small, because 100,000 lists may wait for their turn."""


def _identify_version(path: Path, selections: Mapping[str, ColumnSelection]) -> bytes | None:
    """Identify a file's content and what is selected from it.

    None if the file can't be read, or has changed so recently that it may change again without a new time.
    """
    try:
        state = path.stat()
    except (OSError, ValueError):  # reading it explains why
        return None
    if time.time_ns() - state.st_mtime_ns < _UNSETTLED_NANOSECONDS:
        return None
    file = (str(path), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    version = (*file, *sorted(selections.items()))
    return hashlib.blake2b(repr(version).encode(), digest_size=16).digest()


def _read_remarks(path: Path, selections: Mapping[str, ColumnSelection]) -> _Remarks:
    head = read_head(path)
    found = find_columns(head, selections)
    problems = (*find_table_problems(head), *found.problems, *_find_empty_columns(head, found.selections))
    if problems:
        raise InvalidInputError(problems)
    names = {field: selection.column_name for field, selection in found.selections.items()}
    remarks = _Remarks(
        renamed={field: selection for field, selection in found.selections.items() if selection != selections[field]},
        warnings=(*found.notes, *find_file_warnings(head), *find_column_warnings(head, names)),
    )
    return _NO_REMARKS if remarks == _NO_REMARKS else remarks


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
    long = [row for row in head.rows if len(row[1]) > width and any(map(str.strip, row[1][width:]))]
    for number, cells in islice(long, _MAX_ROWS_SHOWN):
        yield (
            f"has {len(cells)} values in row {number} but {width} columns: does a value contain the delimiter "
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
