"""The checks of CSVs for programs with an event loop: they read files in a thread."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.files.csv.check import find_csv_problems
from indigo_async.files.csv.suggest import ColumnSuggestion, read_suggestion
from indigo_async.inputs import ColumnSelectionsInput

__all__ = ["check_columns", "suggest_columns"]


async def check_columns(path: Path | str, column_selections: ColumnSelectionsInput) -> None:
    """Check a local CSV against column selections, as the recipes do before they send anything.

    Only the head is read: at most 64 KiB and 500 rows. UTF-8 (with or without a byte order mark), UTF-16 with its mark
    and code pages are accepted, as are commas, semicolons, tabs and bars. A file is rejected if no server could read
    it or nobody could match: if it is not text, has no header in its first row, no rows, an unclosed quote, rows longer
    than the header, two columns with the same name, a selected column missing, or no values in a required column.
    Spaces around a selected name may be left out if only one column fits.

    Raises:
        InvalidInputError: lists all problems.
    """
    check = InputCheck()
    selections = check.column_selections(column_selections)
    check.problems += await run_in_thread(partial(find_csv_problems, Path(path), selections))
    check.raise_if_invalid()


async def suggest_columns(path: Path | str) -> ColumnSuggestion:
    """Suggest column selections for a local CSV from its header and first rows (at most 500).

    A column is recognized by its name if its values fit, or else by unmistakable values. Name fields
    become required and all others optional. Without name fields, the field that best identifies people is required.

    Raises:
        InvalidInputError: the CSV could not be matched (see `check_columns`), or no column can be required.
        MissingPackageError: the file is not Unicode, and detecting its encoding needs the extra `columns`.
    """
    return await run_in_thread(partial(read_suggestion, Path(path)))
