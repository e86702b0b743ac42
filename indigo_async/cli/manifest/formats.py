"""Read the rows of a manifest one by one, each with its line."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import yaml
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from indigo_async._text import did_you_mean
from indigo_async.cli.manifest.fields import FIELDS, MAX_DEPTH, SECTIONS, TOO_DEEP, FieldType, LocatedValue, UntypedText
from indigo_async.cli.manifest.rows import (
    Location,
    ManifestErrors,
    Row,
    exceeds_depth,
    flatten_row,
    set_field,
)

__all__ = ["read_csv_rows", "read_jsonl_rows", "read_yaml_defaults", "read_yaml_manifest"]

_BOM = b"\xef\xbb\xbf"
_NONE_CELL = "none"
_OPTIONAL_SECTIONS = {"lookalike", "export"}
_COLUMNS: Mapping[str, str] = {
    **{field: field for field, kind in FIELDS.items() if kind is not FieldType.JSON},
    **{section: section for section in _OPTIONAL_SECTIONS},
    **{name: f"{name}.column_name" for name in SECTIONS if f"{name}.column_name" in FIELDS},
}
"""The columns that a CSV manifest may have, with their fields."""

_NO_FIELDS = (
    "no column is a field of a manifest, such as customer_id; if this is a list of people, make a manifest for it with "
    "`indigo-async manifest`"
)

_YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YAML_NULL_TAG = "tag:yaml.org,2002:null"
_YAML_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_UNFINISHED = object()
"""The value of an anchor inside itself."""


def read_csv_rows(content: bytes, file: str, errors: ManifestErrors) -> Iterator[Row]:
    """Yield the rows below a header of field names.

    An empty cell sets nothing, and semicolons separate the items of a list. `none` in a `lookalike` or `export` column
    removes that section of the defaults.
    """
    with io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        location, no_header = Location(file, 1), list[str]()
        try:
            header = [cell.strip() for cell in next(reader, no_header)]
            if any(header) and not any(column in _COLUMNS for column in header):
                errors.add(location, "", _NO_FIELDS)
                return
            fields = _read_header(header, location, errors)
            location = Location(file, reader.line_num + 1)
            for cells in reader:
                if any(cells):
                    if len(cells) != len(header):
                        count = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
                        errors.add(location, "", f"has {count}, but the header has {len(header)}")
                    yield _read_cells(cells, fields, location, errors)
                location = Location(file, reader.line_num + 1)
        except csv.Error as error:
            errors.add(location, "", f"is not valid CSV: {error}")
        except UnicodeDecodeError:
            errors.add(Location(file, _find_undecodable_line(content)), "", "is not UTF-8; save the file as CSV UTF-8")


def _read_header(header: list[str], location: Location, errors: ManifestErrors) -> list[str]:
    """Return the field of each column, or an empty string for a column that has none."""
    for column, count in sorted(Counter(header).items()):
        if column not in _COLUMNS:
            errors.add(
                location, column, f"unknown field{did_you_mean(column, _COLUMNS)}" if column else "a column has no name"
            )
        if count > 1:
            errors.add(location, column, "appears more than once in the header")
    return [_COLUMNS.get(column, "") for column in header]


def _read_cells(cells: list[str], fields: list[str], location: Location, errors: ManifestErrors) -> Row:
    row = Row(location)
    for field, cell in zip(fields, cells, strict=False):  # a wrong number of cells is an error already
        if not field or not cell:
            continue
        kind = FIELDS.get(field)
        if kind is FieldType.TEXT_LIST:
            set_field(row, field, [item.strip() for item in cell.split(";")], location, errors)
        elif kind is not None:
            set_field(row, field, cell if kind is FieldType.TEXT else UntypedText(cell), location, errors)
        elif cell == _NONE_CELL:
            row.values[field] = None
        else:
            errors.add(location, field, f"must be {_NONE_CELL!r} or empty; put its fields in their own columns")
    return row


def _find_undecodable_line(content: bytes) -> int:
    for number, line in enumerate(io.BytesIO(content), 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return number
    return 1


def read_jsonl_rows(content: bytes, file: str, errors: ManifestErrors) -> Iterator[Row]:
    """Yield the rows, one JSON object per line, with nested or dotted fields."""
    decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder()
    find_duplicate_keys = _DuplicateKeys()
    for number, line in enumerate(io.BytesIO(content), 1):
        text = line.removeprefix(_BOM).strip()
        if not text:
            continue
        location = Location(file, number)
        try:
            row = decoder.decode(text)
            for name in find_duplicate_keys(text):
                errors.add(location, name, "is given twice")
        except RecursionError:
            errors.add(location, "", TOO_DEEP)
            continue
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            errors.add(location, "", f"is not valid JSON: {error}")
            continue
        if exceeds_depth(row, MAX_DEPTH):
            errors.add(location, "", TOO_DEEP)
        elif isinstance(row, dict):
            yield flatten_row(location, cast("dict[str, object]", row), errors)
        else:
            errors.add(location, "", f"must be a JSON object, not {type(row).__name__}")


class _DuplicateKeys:
    """Finds keys that are given twice, at any depth: the decoder would silently use the last one."""

    def __init__(self) -> None:
        # int() would refuse very long numbers
        self._decoder = json.JSONDecoder(object_pairs_hook=self._check_object, parse_int=str)
        self._found: list[str] = []

    def __call__(self, text: bytes) -> list[str]:
        self._found = []
        self._decoder.decode(text.decode())
        return self._found

    def _check_object(self, pairs: list[tuple[str, object]]) -> None:
        if len(dict(pairs)) < len(pairs):
            self._found += [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]


def read_yaml_manifest(content: bytes, file: str, errors: ManifestErrors) -> tuple[Row, Iterator[Row]]:
    """Return the defaults (an empty row if there are none) and an iterator that reads the jobs one by one."""
    rows = _YamlReader(content, file, errors).read_manifest()
    return next(rows), rows


def read_yaml_defaults(content: bytes, file: str, errors: ManifestErrors) -> Row:
    """Read a file that holds only defaults."""
    return _YamlReader(content, file, errors).read_defaults() or Row(Location(file, 1))


class _YamlReader:
    """Makes rows from the events of a YAML file, which have the text of scalars, duplicate keys and line numbers."""

    def __init__(self, content: bytes, file: str, errors: ManifestErrors) -> None:
        self._content = content
        self._file = file
        self._errors = errors
        self._next: Callable[[], Any] = _YAML_LOADER(io.BytesIO(content)).get_event
        self._anchors: dict[str, object] = {}
        """The values that aliases refer to."""
        self._is_too_deep = False
        """Whether the current row is."""

    def read_defaults(self) -> Row | None:
        """Read the only document as one row. None after adding an error."""
        row = None
        with self._explaining_invalid_yaml():
            if (root := self._start()) is not None:
                row = self._read_row(root)
                self._end()
        return row

    def read_manifest(self) -> Iterator[Row]:
        """Yield the defaults, which may be empty, and then the jobs."""
        found_jobs = False
        with self._explaining_invalid_yaml():
            if (root := self._start()) is not None:
                for row in self._read_document(root):
                    found_jobs = True
                    yield row
                self._end()
        if not found_jobs:
            yield Row(Location(self._file, 1))

    @contextmanager
    def _explaining_invalid_yaml(self) -> Generator[None]:
        try:
            yield
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
            message = ", ".join(part for part in (error.context, error.problem) if part)
            self._errors.add(Location(self._file, line), "", f"is not valid YAML: {message}")
        except ReaderError as error:
            line = self._content.count(b"\n", 0, error.position) + 1
            self._errors.add(Location(self._file, line), "", f"is not valid YAML: {error.reason}")

    def _start(self) -> Any:
        """Return the first event of the document, or None after adding an error."""
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            self._errors.add(Location(self._file, 1), "", "is empty")
            return None
        return self._next()

    def _end(self) -> None:
        self._next()
        if not isinstance(event := self._next(), yaml.StreamEndEvent):
            expected = "expected a single document in the stream"
            raise ComposerError(expected, None, "but found another document", event.start_mark)

    def _read_document(self, root: Any) -> Iterator[Row]:
        """Yield the defaults and the jobs, or nothing if the document has no jobs, after adding an error."""
        if not isinstance(root, yaml.MappingStartEvent):
            self._skip(root)
            self._errors.add(self._locate(root), "", "must be a mapping with 'defaults' and 'jobs'")
            return
        defaults, found_jobs = Row(Location(self._file, 1)), False
        for name, line, value in self._keys():
            if name == "defaults":
                if found_jobs:
                    self._errors.clear()  # without their defaults, the jobs may have had any errors
                    self._errors.add(Location(self._file, line), name, "must come before 'jobs'")
                defaults = self._read_row(value) or defaults
            elif name == "jobs":
                found_jobs = True
                yield defaults
                yield from self._read_rows(value)
            else:
                self._skip(value)
                if name is not None:
                    hint = did_you_mean(name, ["defaults", "jobs"])
                    self._errors.add(Location(self._file, line), name, f"is neither 'defaults' nor 'jobs'{hint}")
        if not found_jobs:
            self._errors.add(self._locate(root), "jobs", "is missing")

    def _locate(self, event: Any) -> Location:
        return Location(self._file, event.start_mark.line + 1)

    def _keys(self) -> Iterator[tuple[str | None, int, Any]]:
        """Yield the name and line of each key of a mapping, and the event with which its value starts.

        The value must be read or skipped. The name is None if the key can't be used, after adding an error.
        """
        seen: set[str] = set()
        while not isinstance(key := self._next(), yaml.MappingEndEvent):
            value = self._read_value(key, depth=0)
            name = value.text if isinstance(value, UntypedText) else None
            problem = None
            if name is None:
                problem = "a field name must be text"
            elif name == "<<":
                problem = "merge keys are not supported; put shared fields in 'defaults'"
            elif name in seen:
                problem = "is given twice"
            if problem is not None:
                self._errors.add(self._locate(key), name or "", problem)
            else:
                seen.add(name or "")
            yield None if problem is not None else name, key.start_mark.line + 1, self._next()

    def _read_rows(self, jobs: Any) -> Iterator[Row]:
        if not isinstance(jobs, yaml.SequenceStartEvent):
            self._skip(jobs)
            self._errors.add(self._locate(jobs), "jobs", "must be a list of jobs, each a mapping of fields")
            return
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            if (row := self._read_row(event)) is not None:
                yield row

    def _read_row(self, event: Any) -> Row | None:
        """Return a row, or None after adding an error."""
        location, self._is_too_deep = self._locate(event), False
        content = self._read_value(event, depth=0)
        if self._is_too_deep:
            return None
        if content is None:
            return Row(location)
        if isinstance(content, dict):
            return flatten_row(location, cast("dict[str, object]", content), self._errors)
        self._errors.add(location, "", "must be a mapping of fields")
        return None

    def _read_value(self, event: Any, depth: int) -> object:
        value: object
        if isinstance(event, yaml.ScalarEvent):
            value = None if _is_null(event) else UntypedText(event.value)
        elif isinstance(event, yaml.AliasEvent):
            return self._find_anchor(event)
        elif depth == MAX_DEPTH:
            self._skip(event)
            self._reject_depth(event)
            return None
        else:
            self._anchors[event.anchor] = _UNFINISHED
            value = self._read_list(depth) if isinstance(event, yaml.SequenceStartEvent) else self._read_mapping(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _read_list(self, depth: int) -> list[object]:
        items: list[object] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._read_value(event, depth + 1))
        return items

    def _read_mapping(self, depth: int) -> dict[str, LocatedValue]:
        values: dict[str, LocatedValue] = {}
        for name, line, event in self._keys():
            value = self._read_value(event, depth + 1)
            if name is not None:
                values[name] = LocatedValue(line, value)
        return values

    def _find_anchor(self, alias: Any) -> object:
        if alias.anchor not in self._anchors:
            raise ComposerError(None, None, "found undefined alias", alias.start_mark)
        value = self._anchors[alias.anchor]
        if value is _UNFINISHED:
            self._reject_depth(alias)
        return value

    def _reject_depth(self, event: Any) -> None:
        if not self._is_too_deep:
            self._errors.add(self._locate(event), "", TOO_DEEP)
        self._is_too_deep = True

    def _skip(self, event: Any) -> None:
        """Skip the value that starts with an event."""
        depth = int(isinstance(event, yaml.CollectionStartEvent))
        while depth:
            event = self._next()
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)


def _is_null(event: Any) -> bool:
    """Whether a scalar is a plain null, as PyYAML's resolver has it, or has the tag of one."""
    return event.tag == _YAML_NULL_TAG or (
        event.implicit[0] and event.value in _YAML_NULLS and event.tag in {None, "!"}
    )
