"""Rows of a CSV or of JSON lines, one by one, each with the line that it begins on."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec

from indigo_async._text import did_you_mean
from indigo_async.cli.manifest.errors import Location, ManifestErrors
from indigo_async.cli.manifest.fields import FIELDS, SECTIONS, FieldType, UntypedText
from indigo_async.cli.manifest.rows import MAX_DEPTH, TOO_DEEP_MESSAGE, Row, exceeds_depth, flatten_row

__all__ = ["read_csv_rows", "read_jsonl_rows"]

_BOM = b"\xef\xbb\xbf"
_NONE_CELL = "none"
_OPTIONAL_SECTIONS = {"lookalike", "export"}


def read_csv_rows(path: Path, name: str, mistakes: ManifestErrors) -> Iterator[Row]:
    """The rows under a header of field names. An empty cell gives nothing; a list is separated by semicolons.

    A column `lookalike` or `export` may hold `none`, which takes away what the defaults say.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        place, nothing = Location(name, 1), list[str]()
        try:
            header = [cell.strip() for cell in next(reader, nothing)]
            fields = _map_header(header, place, mistakes)
            place = Location(name, reader.line_num + 1)
            for cells in reader:
                if any(cells):
                    _check_length(cells, header, place, mistakes)
                    yield flatten_row(place, _cells_to_values(cells, fields, place, mistakes), mistakes)
                place = Location(name, reader.line_num + 1)
        except csv.Error as error:
            mistakes.add(place, "", f"is no CSV from here on: {error}")
        except UnicodeDecodeError:
            mistakes.add(Location(name, _find_undecodable_line(path)), "", "is not UTF-8; save the file as CSV UTF-8")


def _map_header(header: list[str], place: Location, mistakes: ManifestErrors) -> list[str]:
    """The field of each column; an empty text where it has none."""
    known = [field for field, kind in FIELDS.items() if kind is not FieldType.JSON]
    columns = {*known, *_OPTIONAL_SECTIONS, *(name for name in SECTIONS if f"{name}.column_name" in FIELDS)}
    for column in sorted(set(header) - columns):
        message = f"is not a field of a job{did_you_mean(column, columns)}" if column else "a column has no name"
        mistakes.add(place, column, message)
    for column in sorted({column for column in header if header.count(column) > 1}):
        mistakes.add(place, column, "names more than one column")
    return [column if column in columns else "" for column in header]


def _check_length(cells: list[str], header: list[str], place: Location, mistakes: ManifestErrors) -> None:
    if len(cells) != len(header):
        mistakes.add(place, "", f"has {len(cells)} cells, the header has {len(header)}")


def _cells_to_values(
    cells: list[str], fields: list[str], place: Location, mistakes: ManifestErrors
) -> dict[str, object]:
    content: dict[str, object] = {}
    for field, cell in zip(fields, cells, strict=False):  # a row of another length is told by itself
        if not field or not cell:
            continue
        if FIELDS.get(field) is FieldType.TEXT_LIST:
            content[field] = [UntypedText(item.strip()) for item in cell.split(";")]
        elif field in _OPTIONAL_SECTIONS:
            if cell == _NONE_CELL:
                content[field] = None
            else:
                mistakes.add(place, field, f"must be {_NONE_CELL!r} or empty; its fields have columns of their own")
        else:
            content[field] = UntypedText(cell)
    return content


def _find_undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def read_jsonl_rows(path: Path, name: str, mistakes: ManifestErrors) -> Iterator[Row]:
    """The rows, one JSON object a line, with nested or dotted fields.

    Raises:
        OSError: the file cannot be read.
    """
    decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(_BOM).strip()
            if not text:
                continue
            place = Location(name, number)
            try:
                content = decoder.decode(text)
                _check_duplicate_keys(text, place, mistakes)
            except RecursionError:
                mistakes.add(place, "", TOO_DEEP_MESSAGE)
                continue
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                mistakes.add(place, "", f"is no JSON: {error}")
                continue
            if exceeds_depth(content, MAX_DEPTH):
                mistakes.add(place, "", TOO_DEEP_MESSAGE)
            elif isinstance(content, dict):
                yield flatten_row(place, cast("dict[str, object]", content), mistakes)
            else:
                mistakes.add(place, "", f"must be a JSON object, not {type(content).__name__}")


def _check_duplicate_keys(text: bytes, place: Location, mistakes: ManifestErrors) -> None:
    """Note the names that an object at any depth gives more than once: the decoder takes the last of them."""

    def check(pairs: list[tuple[str, object]]) -> None:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                mistakes.add(place, name, "is given twice")

    json.loads(text, object_pairs_hook=check, parse_int=str)  # an int has a limit to its digits
