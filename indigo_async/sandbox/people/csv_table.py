"""Read an uploaded file as a table of text, or explain why it isn't a CSV.

Spreadsheets write CSVs with various encodings and delimiters. Both are detected from the file.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

import attrs

__all__ = ["CsvTable", "NotACsvError", "parse_csv"]

_DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 50
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0e-\x1f]")
_JSON_OR_RTF = re.compile(r'\s*(?:\{\s*["}]|\{\\rtf|\[\s*(?:["\d-]|\{\s*["}]|\[\s*["\d\[-]|\]\s*\Z))')
_VALUE_PATTERN = re.compile(r"[\d\s()+./:-]*\d[\d\s()+./:-]*|\S+@\S+\.\S+")
"""Values that never appear in a header: numbers, dates, phone numbers, email addresses."""

_MAGIC_BYTES = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet file",
}


class NotACsvError(Exception):
    """An uploaded file isn't a CSV of people. The message explains why to the person who uploaded it."""


@attrs.frozen
class CsvTable:
    """A CSV by column: `values[i]` holds the trimmed cells of `columns[i]`, one per row. Names are never trimmed."""

    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...] = attrs.field(repr=False)

    def __len__(self) -> int:
        """The number of rows, without the header."""
        return len(self.values[0])

    def column(self, name: str) -> tuple[str, ...]:
        """Return the cells of a column. Raises KeyError if there is no such column."""
        try:
            return self.values[self.columns.index(name)]
        except ValueError:
            raise KeyError(name) from None


def parse_csv(data: bytes) -> CsvTable:
    """Parse a CSV file.

    The encoding is UTF-8 (with or without BOM), UTF-16 with BOM, or else Windows-1252. The delimiter is a comma,
    semicolon, tab or bar. Blank lines are skipped, short rows are padded, and surplus empty cells are dropped.

    Raises:
        NotACsvError: the file is empty, binary, HTML, JSON or RTF, has no header or no rows, names a column twice, or
            has a row with more values than the header has columns.
    """
    text = _decode(data)
    start = text.lstrip()[:1]
    if not start:
        raise NotACsvError("The file is empty.")
    if start == "<":
        raise NotACsvError("The file is HTML or XML, not CSV. Does its URL need a login?")
    if _JSON_OR_RTF.match(text):
        raise NotACsvError("The file is JSON or RTF, not CSV.")
    try:
        rows = _parse_rows(text, _detect_delimiter(text))
        header = _check_header(next(rows))
        body = [_fit_row(row, len(header), number) for number, row in enumerate(rows, start=1)]
    except csv.Error as error:
        raise NotACsvError(f"The file can't be read as CSV: {error}.") from error
    if not any(any(row) for row in body):
        raise NotACsvError("The file has a header but no rows.")
    return CsvTable(header, tuple(zip(*body, strict=True)))


def _decode(data: bytes) -> str:
    for magic, kind in _MAGIC_BYTES.items():
        if data.startswith(magic):
            raise NotACsvError(f"The file is {kind}, not CSV. Save it as CSV first.")
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if _CONTROL_CHARACTERS.search(text):
        raise NotACsvError("The file is binary, not CSV.")
    return text


def _parse_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Return all rows except blank ones, with their cells exactly as they are in the file."""
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
        if len(row) > 1 or (row and row[0].strip()):
            yield row


def _detect_delimiter(text: str) -> str:
    """Return the delimiter that splits the header into several columns and most rows into as many."""

    def fit(delimiter: str) -> tuple[float, int, int]:
        rows = [row for row, _ in zip(_parse_rows(text, delimiter), range(_SAMPLE_ROWS), strict=False)]
        if not rows:
            raise NotACsvError("The file is empty.")
        width = len(rows[0])
        if width == 1:
            return 0.0, 1, 0
        return sum(len(row) == width for row in rows) / len(rows), width, len(rows)

    return max(_DELIMITERS, key=fit)


def _check_header(cells: list[str]) -> tuple[str, ...]:
    for cell in cells:
        if _VALUE_PATTERN.fullmatch(cell.strip()):
            raise NotACsvError(f"The first row isn't a header: {cell!r} is a value, not a column name.")
    named = [cell for cell in cells if cell.strip()]
    if not named:
        raise NotACsvError("The first row has no column names.")
    for name in named:
        if named.count(name) > 1:
            raise NotACsvError(f"Two columns are named {name!r}.")
    return tuple(cells)


def _fit_row(row: list[str], width: int, number: int) -> list[str]:
    cells = [cell.strip() for cell in row]
    if any(cells[width:]):
        raise NotACsvError(
            f"Row {number} has {len(cells)} values, but the header has {width} columns. "
            "Is there an unquoted value that contains the delimiter?"
        )
    return cells[:width] + [""] * (width - len(cells))
