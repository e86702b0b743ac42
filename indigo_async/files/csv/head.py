"""Read the head of a local CSV, never the whole file: its encoding, delimiter, columns and first rows.

The API reference names no encodings or delimiters. Inferred: whatever spreadsheets write is accepted, that is UTF-8,
UTF-16 with a byte order mark, or a code page; and commas, semicolons, tabs or bars.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import attrs

from indigo_async._redaction import redact
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.files.csv.formats import CTRL_Z, ENDS_WITH_CTRL_Z, explain_binary, explain_bytes, explain_text
from indigo_async.files.csv.header_names import is_value, recognize_field

__all__ = ["CsvHead", "NumberedRow", "csv_problem", "read_head"]

_HEAD_BYTES = 64 * 1024
_TAIL_BYTES = 2048
_MAX_ROWS = 500
_MAX_TITLE_ROWS = 10
_MAX_CUT_OFF_CELL = _HEAD_BYTES // 2
_DELIMITER_SAMPLE_ROWS = 50

_DELIMITERS = ",;\t|"
_WEB_ADDRESS = re.compile(r"https?:/|www\.|[\w-]+(?:\.[\w-]+)*\.(?:com|gov|io|ms|net|org|us)/", re.IGNORECASE)
_CONTROL_BYTES = bytes([*range(0x09), *range(0x0E, 0x20)])
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0e-\x1f]")
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


NumberedRow: TypeAlias = tuple[int, list[str]]
"""A row's number as spreadsheets count, and its cells: the header is row 1 unless blank lines precede it."""


@attrs.frozen(kw_only=True)
class CsvHead:
    """The header and first rows of a CSV, exactly as the file has them.

    `header_row` is the header's row number. `is_complete` is true if there are no more rows. `last_cells` are the cells
    of the file's last line.
    """

    path: Path
    encoding: str
    delimiter: str
    header_row: int
    columns: tuple[str, ...]
    rows: tuple[NumberedRow, ...] = attrs.field(repr=False)
    is_complete: bool
    last_cells: tuple[str, ...] = attrs.field(repr=False)

    def column_cells(self, index: int) -> list[str]:
        """The trimmed cells of a column, one for each row; empty if a row is too short."""
        return [cells[index].strip() if index < len(cells) else "" for _, cells in self.rows]


def csv_problem(path: Path, message: str) -> Problem:
    """A problem with a local file."""
    return Problem("csv", f"{str(path)!r} {message}")


def read_head(path: Path, detect_encoding: Callable[[bytes], str] = lambda _: "cp1252") -> CsvHead:
    """Read the head of a CSV; blocking.

    `detect_encoding` names the encoding of bytes that are not Unicode. The default is the one of US spreadsheets.

    Raises:
        InvalidInputError: the file cannot be read, is empty, is not CSV, or has no rows.
    """
    data, tail = _read_ends(path)
    try:
        text, encoding = _decode(data, detect_encoding, is_all=tail is None)
        return _parse(path, text, encoding, tail)
    except (_NotCsvError, csv.Error) as error:
        reason = f"cannot be read as CSV: {error}" if isinstance(error, csv.Error) else str(error)
        raise InvalidInputError([csv_problem(path, reason)]) from None


class _NotCsvError(Exception):
    """A file is not CSV; the message says why."""


def _read_ends(path: Path) -> tuple[bytes, bytes | None]:
    """The first and the last bytes of a file. The last are None if the first are the whole file."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for its writer
            raise InvalidInputError([csv_problem(path, "is a folder" if path.is_dir() else "is not a file")])
        with path.open("rb") as file:
            data = file.read(_HEAD_BYTES + 1)
            if len(data) <= _HEAD_BYTES:
                return data, None
            file.seek((file.seek(0, io.SEEK_END) - _TAIL_BYTES) & ~1)  # UTF-16 has two bytes per unit
            mark = data[:2] if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else b""
            return data[:_HEAD_BYTES], mark + file.read(_TAIL_BYTES + 1)
    except FileNotFoundError:
        raise InvalidInputError([Problem("csv", _explain_missing(path))]) from None
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidInputError([csv_problem(path, f"cannot be read: {reason}")]) from None


def _explain_missing(path: Path) -> str:
    message = f"there is no file {redact(str(path))!r}"
    if _WEB_ADDRESS.match(path.as_posix()):
        return f"{message}: start a URL with https://, or download the CSV if a local file is required"
    with suppress(OSError):  # the longer name may be too long
        if path.with_name(f".{path.name}.icloud").exists():
            return f"{message} on this machine yet; it is in iCloud: open it once to download it"
    return message


def _decode(data: bytes, detect_encoding: Callable[[bytes], str], *, is_all: bool) -> tuple[str, str]:
    """Return the text and its encoding."""
    _reject(explain_bytes(data))
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=is_all)  # the cut may split a character
    except UnicodeDecodeError:
        encoding = detect_encoding(data)
        text = data.decode(encoding, errors="replace")
    if len(data.translate(None, _CONTROL_BYTES)) < len(data):  # much faster than a search of the text
        control = _CONTROL_CHARACTER.search(text)
        if control is not None:
            raise _NotCsvError(explain_binary(data, text, control))
    if not text.strip():
        raise _NotCsvError("is empty")
    _reject(explain_text(text))
    return text, encoding


def _reject(reason: str | None) -> None:
    if reason is not None:
        raise _NotCsvError(reason)


def _parse_rows(text: str, delimiter: str, most: int) -> list[NumberedRow]:
    """The first rows, without blank lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = (row for row in enumerate(reader, start=1) if len(row[1]) > 1 or (row[1] and row[1][0].strip()))
    return list(islice(rows, most))


def _detect_delimiter(text: str) -> str:
    """Find the delimiter that splits the header into several columns and most rows into as many.

    This beats `csv.Sniffer`, which fails on a single column; clevercsv is no better here and far slower.
    """

    def fit(delimiter: str) -> tuple[float, int, int]:
        rows = _parse_rows(text, delimiter, _DELIMITER_SAMPLE_ROWS) if delimiter in text else ()
        widths = [len(cells) for _, cells in rows]
        if not widths or widths[0] == 1:
            return 0.0, 1, 0
        return widths.count(widths[0]) / len(widths), widths[0], len(widths)

    return max(_DELIMITERS, key=fit)


def _parse(path: Path, text: str, encoding: str, tail: bytes | None) -> CsvHead:
    delimiter = _detect_delimiter(text)
    rows = _parse_rows(text, delimiter, _MAX_ROWS + 2)  # the header, and one to see if there are more
    if not rows:
        raise _NotCsvError("is empty")
    _reject(_explain_header(text, delimiter, rows))
    header_row, columns = rows[0]
    has_more_rows = len(rows) == _MAX_ROWS + 2
    if tail is None:
        _reject_unclosed_quote(text, delimiter)
    elif not has_more_rows:
        _drop_cut_off_row(rows, text)
    is_complete = tail is None and not has_more_rows
    if is_complete and not any(_count_filled(cells) for _, cells in rows[1:]):
        raise _NotCsvError("has a header but no rows")
    return CsvHead(
        path=path,
        encoding=encoding,
        delimiter=delimiter,
        header_row=header_row,
        columns=tuple(columns),
        rows=tuple(rows[1 : _MAX_ROWS + 1]),
        is_complete=is_complete,
        last_cells=_parse_last_line(text if tail is None else tail.decode(encoding, errors="replace"), delimiter),
    )


def _parse_last_line(text: str, delimiter: str) -> tuple[str, ...]:
    line = re.split("[\r\n]", text[-_TAIL_BYTES:].rstrip())[-1]
    if line.endswith(CTRL_Z):
        raise _NotCsvError(ENDS_WITH_CTRL_Z)
    return tuple(map(str.strip, next(csv.reader([line], delimiter=delimiter), ())))


def _explain_header(text: str, delimiter: str, rows: list[NumberedRow]) -> str | None:
    """Explain why the first row cannot be used as the header; None if it can."""
    header_below = _find_header_below(text, rows)
    if header_below is not None:
        return (
            f"has its header in row {header_below}, but servers use the first row as the header: delete the rows "
            "above it"
        )
    if not _count_filled(rows[0][1]):
        return "has no column names in its first row: delete the empty rows above the header, or add the names"
    if '"' in text and _has_text_outside_quotes(text, delimiter, rows[0]):
        return (
            'has a header with spaces outside its quotes, as in "A", "B", and CSV readers disagree about what that '
            "means: remove those spaces"
        )
    return None


def _find_header_below(text: str, rows: list[NumberedRow]) -> int | None:
    """The number of the row that seems to be the header, if titles or empty cells are above it."""
    tables = [rows]
    if len(rows[0][1]) == 1:  # a title says nothing about the delimiter
        tables = [_parse_rows(text, one, _MAX_TITLE_ROWS + 1) for one in _DELIMITERS if one in text]
    for (_, first), *others in tables:
        filled, fields = _count_filled(first), _count_fields(first)
        for number, cells in others[:_MAX_TITLE_ROWS]:
            may_be_header = _count_filled(cells) > filled and not any(map(is_value, cells))
            if may_be_header and _count_fields(cells) > max(1, fields):
                return number
    return None


def _count_filled(cells: Sequence[str]) -> int:
    return sum(map(bool, map(str.strip, cells)))


def _count_fields(names: Sequence[str]) -> int:
    """How many API fields the names stand for."""
    return len({known.field for name in names if (known := recognize_field(name)) is not None})


def _has_text_outside_quotes(text: str, delimiter: str, header: NumberedRow) -> bool:
    """Whether spaces precede an opening quote or follow a closing one in the header."""
    try:
        strict = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        next(islice(strict, header[0] - 1, None))
    except csv.Error as error:
        if "expected after" in str(error):
            return True
    quoted = [name for name in header[1] if name[:1].isspace() and name.lstrip().startswith('"')]
    return any(f"{before}{name}" in f"\n{text}" for name in quoted for before in (delimiter, "\n", "\r"))


def _drop_cut_off_row(rows: list[NumberedRow], text: str) -> None:
    """Drop the last row, which may continue after the head."""
    number, cut = rows.pop()
    if not rows or len(cut[-1]) > _MAX_CUT_OFF_CELL:
        question = "is a quote never closed?" if '"' in text else "does the file have no line ends?"
        raise _NotCsvError(f"has no end of row {number} in its first {_HEAD_BYTES // 1024} KiB: {question}")


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
