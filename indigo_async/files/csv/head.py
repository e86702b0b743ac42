"""Read the head of a local CSV, never the whole file: its encoding, delimiter, columns and first rows.

The API reference names no encodings or delimiters. Inferred: whatever spreadsheets write is accepted, that is UTF-8,
UTF-16 with a byte order mark, or a code page; and commas, semicolons, tabs or bars.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import attrs

from indigo_async.errors import InvalidInputError, Problem

__all__ = ["CsvHead", "NumberedRow", "csv_problem", "read_head"]

_HEAD_BYTES = 64 * 1024
_MAX_ROWS = 500
_MAX_CUT_OFF_CELL = _HEAD_BYTES // 2
_DELIMITER_SAMPLE_ROWS = 50

_DELIMITERS = ",;\t|"
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0e-\x1f]")
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_MAGIC_BYTES = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet file",
}
_OTHER_TEXT_FORMATS = {"<": "HTML or XML", "{": "JSON", "[": "JSON"}


@attrs.frozen
class NumberedRow:
    """A row with its number as spreadsheets count: the header is row 1 unless blank lines precede it."""

    number: int
    cells: tuple[str, ...] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class CsvHead:
    """The header and first rows of a CSV, cells trimmed. `is_complete` is true if there are no more rows."""

    path: Path
    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    rows: tuple[NumberedRow, ...] = attrs.field(repr=False)
    is_complete: bool

    def column_cells(self, index: int) -> list[str]:
        """The cells of a column, one for each row; empty if a row is too short."""
        return [row.cells[index] if index < len(row.cells) else "" for row in self.rows]


def csv_problem(path: Path, message: str) -> Problem:
    """A problem with a local file."""
    return Problem("csv", f"{str(path)!r} {message}")


def read_head(path: Path, detect_encoding: Callable[[bytes], str] = lambda _: "cp1252") -> CsvHead:
    """Read the head of a CSV; blocking.

    `detect_encoding` names the encoding of bytes that are not Unicode. The default is the one of US spreadsheets.

    Raises:
        InvalidInputError: the file cannot be read, is empty, is not CSV, or has no rows.
    """
    data, is_all = _read_first_bytes(path)
    try:
        text, encoding = _decode(data, detect_encoding, is_all=is_all)
        return _parse(path, text, encoding, is_all=is_all)
    except (_NotCsvError, csv.Error) as error:
        reason = f"cannot be read as CSV: {error}" if isinstance(error, csv.Error) else str(error)
        raise InvalidInputError([csv_problem(path, reason)]) from None


class _NotCsvError(Exception):
    """A file is not CSV; the message says why."""


def _read_first_bytes(path: Path) -> tuple[bytes, bool]:
    """The first bytes of a file, and whether that is all of it."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for its writer
            raise InvalidInputError([csv_problem(path, "is not a file")])
        with path.open("rb") as file:
            data = file.read(_HEAD_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidInputError([csv_problem(path, f"cannot be read: {reason}")]) from None
    return data[:_HEAD_BYTES], len(data) <= _HEAD_BYTES


def _decode(data: bytes, detect_encoding: Callable[[bytes], str], *, is_all: bool) -> tuple[str, str]:
    """Return the text and its encoding."""
    for magic, kind in _MAGIC_BYTES.items():
        if data.startswith(magic):
            raise _NotCsvError(f"is {kind}, not CSV: save it as CSV (UTF-8) first")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=is_all)  # the cut may split a character
    except UnicodeDecodeError:
        encoding = detect_encoding(data)
        text = data.decode(encoding, errors="replace")
    control = _CONTROL_CHARACTER.search(text)
    if control is not None:
        raise _NotCsvError(_explain_binary(data, text, control))
    start = text.lstrip()[:1]
    if not start:
        raise _NotCsvError("is empty")
    if start in _OTHER_TEXT_FORMATS:
        raise _NotCsvError(f"is {_OTHER_TEXT_FORMATS[start]}, not CSV")
    return text, encoding


def _explain_binary(data: bytes, text: str, control: re.Match[str]) -> str:
    if data.count(0) * 3 > len(data):
        return "seems to be UTF-16 or UTF-32 without a byte order mark: save it as UTF-8"
    line = text.count("\n", 0, control.start()) + 1
    return f"contains the byte 0x{ord(control[0]):02x} in line {line}: it is binary or damaged, not CSV"


def _parse_rows(text: str, delimiter: str) -> Iterator[NumberedRow]:
    """All rows except blank lines, cells trimmed."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for number, cells in enumerate(reader, start=1):
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield NumberedRow(number, tuple(map(str.strip, cells)))


def _detect_delimiter(text: str) -> str:
    """Find the delimiter that splits the header into several columns and most rows into as many.

    This beats `csv.Sniffer`, which fails on a single column; clevercsv is no better here and far slower.
    """

    def fit(delimiter: str) -> tuple[float, int]:
        if delimiter not in text:
            return 0.0, 1
        widths = [len(row.cells) for row in islice(_parse_rows(text, delimiter), _DELIMITER_SAMPLE_ROWS)]
        if not widths:
            return 0.0, 1
        share = widths.count(widths[0]) / len(widths)
        return (share if widths[0] > 1 else 0.0, widths[0])

    return max(_DELIMITERS, key=fit)


def _parse(path: Path, text: str, encoding: str, *, is_all: bool) -> CsvHead:
    delimiter = _detect_delimiter(text)
    rows = list(islice(_parse_rows(text, delimiter), _MAX_ROWS + 2))  # the header, and one to see if there are more
    if not rows:
        raise _NotCsvError("is empty")
    has_more_rows = len(rows) == _MAX_ROWS + 2
    is_complete = is_all and not has_more_rows
    if is_all:
        _reject_unclosed_quote(text, delimiter)
    elif not has_more_rows:
        _drop_cut_off_row(rows)
    if is_complete and not any(any(row.cells) for row in rows[1:]):
        raise _NotCsvError("has a header but no rows")
    return CsvHead(
        path=path,
        encoding=encoding,
        delimiter=delimiter,
        columns=rows[0].cells,
        rows=tuple(rows[1 : _MAX_ROWS + 1]),
        is_complete=is_complete,
    )


def _drop_cut_off_row(rows: list[NumberedRow]) -> None:
    """Drop the last row, which may continue after the head."""
    cut = rows.pop()
    if not rows or len(cut.cells[-1]) > _MAX_CUT_OFF_CELL:
        raise _NotCsvError(
            f"has no end of row {cut.number} in its first {_HEAD_BYTES // 1024} KiB: is a quote never closed?"
        )


def _reject_unclosed_quote(text: str, delimiter: str) -> None:
    """Reject a quote that is never closed: it swallows all rows after it into one cell."""
    if text.count('"') % 2 == 0:
        return
    number = 0
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            number += 1
    except csv.Error as error:
        if "unexpected end of data" in str(error):  # other errors are tolerated
            raise _NotCsvError(f"opens a quote in row {number + 1} that is never closed: close or remove it") from None
