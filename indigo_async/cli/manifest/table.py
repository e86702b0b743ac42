"""Rows of a CSV or of JSON lines, one by one, each with the line that it begins on."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec

from indigo_async.cli.manifest.fields import FIELDS, SECTIONS, Kind, Text, closest
from indigo_async.cli.manifest.mistakes import Mistakes, Place
from indigo_async.cli.manifest.rows import DEEPEST, TOO_DEEP, Row, flattened, is_deeper

__all__ = ["csv_rows", "jsonl_rows"]

_BOM = b"\xef\xbb\xbf"
_WITHOUT = "none"
_OPTIONAL_SECTIONS = {"lookalike", "export"}


def csv_rows(path: Path, name: str, mistakes: Mistakes) -> Iterator[Row]:
    """The rows under a header of field names. An empty cell gives nothing; a list is separated by semicolons.

    A column `lookalike` or `export` may hold `none`, which takes away what the defaults say.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        place, nothing = Place(name, 1), list[str]()
        try:
            header = [cell.strip() for cell in next(reader, nothing)]
            fields = _fields_of(header, place, mistakes)
            place = Place(name, reader.line_num + 1)
            for cells in reader:
                if any(cells):
                    _check_length(cells, header, place, mistakes)
                    yield flattened(place, _content_of(cells, fields, place, mistakes), mistakes)
                place = Place(name, reader.line_num + 1)
        except csv.Error as error:
            mistakes.add(place, "", f"is no CSV from here on: {error}")
        except UnicodeDecodeError:
            mistakes.add(Place(name, _first_line_not_text(path)), "", "is not UTF-8; save the file as CSV UTF-8")


def _fields_of(header: list[str], place: Place, mistakes: Mistakes) -> list[str]:
    """The field of each column; an empty text where it has none."""
    known = [field for field, kind in FIELDS.items() if kind is not Kind.RAW]
    columns = {*known, *_OPTIONAL_SECTIONS, *(name for name in SECTIONS if f"{name}.column_name" in FIELDS)}
    for column in sorted(set(header) - columns):
        message = f"is not a field of a job{closest(column, columns)}" if column else "a column has no name"
        mistakes.add(place, column, message)
    for column in sorted({column for column in header if header.count(column) > 1}):
        mistakes.add(place, column, "names more than one column")
    return [column if column in columns else "" for column in header]


def _check_length(cells: list[str], header: list[str], place: Place, mistakes: Mistakes) -> None:
    if len(cells) != len(header):
        mistakes.add(place, "", f"has {len(cells)} cells, the header has {len(header)}")


def _content_of(cells: list[str], fields: list[str], place: Place, mistakes: Mistakes) -> dict[str, object]:
    content: dict[str, object] = {}
    for field, cell in zip(fields, cells, strict=False):  # a row of another length is told by itself
        if not field or not cell:
            continue
        if FIELDS.get(field) is Kind.TEXTS:
            content[field] = [Text(item.strip()) for item in cell.split(";")]
        elif field in _OPTIONAL_SECTIONS:
            if cell == _WITHOUT:
                content[field] = None
            else:
                mistakes.add(place, field, f"must be {_WITHOUT!r} or empty; its fields have columns of their own")
        else:
            content[field] = Text(cell)
    return content


def _first_line_not_text(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def jsonl_rows(path: Path, name: str, mistakes: Mistakes) -> Iterator[Row]:
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
            place = Place(name, number)
            try:
                content = decoder.decode(text)
                _check_for_twins(text, place, mistakes)
            except RecursionError:
                mistakes.add(place, "", TOO_DEEP)
                continue
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                mistakes.add(place, "", f"is no JSON: {error}")
                continue
            if is_deeper(content, DEEPEST):
                mistakes.add(place, "", TOO_DEEP)
            elif isinstance(content, dict):
                yield flattened(place, cast("dict[str, object]", content), mistakes)
            else:
                mistakes.add(place, "", f"must be a JSON object, not {type(content).__name__}")


def _check_for_twins(text: bytes, place: Place, mistakes: Mistakes) -> None:
    """Note the names that an object at any depth gives more than once: the decoder takes the last of them."""

    def check(pairs: list[tuple[str, object]]) -> None:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                mistakes.add(place, name, "is given twice")

    json.loads(text, object_pairs_hook=check, parse_int=str)  # an int has a limit to its digits
