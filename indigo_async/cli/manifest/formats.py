"""Read the rows of a manifest, each with its line: CSV and JSON Lines row by row, YAML as a whole."""

from __future__ import annotations

import csv
import gc
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from yaml.reader import ReaderError

from indigo_async._text import did_you_mean
from indigo_async.cli.manifest.fields import FIELDS, SECTIONS, FieldType, LocatedValue, UntypedText
from indigo_async.cli.manifest.rows import (
    MAX_DEPTH,
    TOO_DEEP,
    Location,
    ManifestErrors,
    Row,
    exceeds_depth,
    flatten_row,
)

__all__ = ["read_csv_rows", "read_jsonl_rows", "read_yaml_defaults", "read_yaml_manifest"]

_BOM = b"\xef\xbb\xbf"
_NONE_CELL = "none"
_OPTIONAL_SECTIONS = {"lookalike", "export"}
_COLUMNS = frozenset(
    [
        *(field for field, kind in FIELDS.items() if kind is not FieldType.JSON),
        *_OPTIONAL_SECTIONS,
        *(name for name in SECTIONS if f"{name}.column_name" in FIELDS),
    ]
)
"""The columns that a CSV manifest may have."""

_NO_FIELDS = (
    "no column is a field of a manifest, such as customer_id; if this is a list of people, make a manifest for it with "
    "`indigo-async manifest`"
)

_YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_compose = cast("Callable[..., Any]", yaml.compose)  # pyright: ignore[reportUnknownMemberType] - its stubs are partial
_YAML_NULL = "tag:yaml.org,2002:null"


def read_csv_rows(path: Path, errors: ManifestErrors) -> Iterator[Row]:
    """Yield the rows below a header of field names.

    An empty cell sets nothing, and semicolons separate the items of a list. `none` in a `lookalike` or `export` column
    removes that section of the defaults.

    Raises:
        OSError: the file cannot be read.
    """
    file = str(path)
    with path.open(encoding="utf-8-sig", newline="") as stream:
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
                    yield flatten_row(location, _read_cells(cells, fields, location, errors), errors)
                location = Location(file, reader.line_num + 1)
        except csv.Error as error:
            errors.add(location, "", f"is not valid CSV: {error}")
        except UnicodeDecodeError:
            errors.add(Location(file, _find_undecodable_line(path)), "", "is not UTF-8; save the file as CSV UTF-8")


def _read_header(header: list[str], location: Location, errors: ManifestErrors) -> list[str]:
    """Return the field of each column, or an empty string for a column that has none."""
    for column, count in sorted(Counter(header).items()):
        if column not in _COLUMNS:
            errors.add(
                location, column, f"unknown field{did_you_mean(column, _COLUMNS)}" if column else "a column has no name"
            )
        if count > 1:
            errors.add(location, column, "appears more than once in the header")
    return [column if column in _COLUMNS else "" for column in header]


def _read_cells(cells: list[str], fields: list[str], location: Location, errors: ManifestErrors) -> dict[str, object]:
    values: dict[str, object] = {}
    for field, cell in zip(fields, cells, strict=False):  # a wrong number of cells is an error already
        if not field or not cell:
            continue
        if FIELDS.get(field) is FieldType.TEXT_LIST:
            values[field] = [UntypedText(item.strip()) for item in cell.split(";")]
        elif field not in _OPTIONAL_SECTIONS:
            values[field] = UntypedText(cell)
        elif cell == _NONE_CELL:
            values[field] = None
        else:
            errors.add(location, field, f"must be {_NONE_CELL!r} or empty; put its fields in their own columns")
    return values


def _find_undecodable_line(path: Path) -> int:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def read_jsonl_rows(path: Path, errors: ManifestErrors) -> Iterator[Row]:
    """Yield the rows, one JSON object per line, with nested or dotted fields.

    Raises:
        OSError: the file cannot be read.
    """
    decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder()
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            text = line.removeprefix(_BOM).strip()
            if not text:
                continue
            location = Location(str(path), number)
            try:
                content = decoder.decode(text)
                _check_duplicate_keys(text, location, errors)
            except RecursionError:
                errors.add(location, "", TOO_DEEP)
                continue
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                errors.add(location, "", f"is not valid JSON: {error}")
                continue
            if exceeds_depth(content, MAX_DEPTH):
                errors.add(location, "", TOO_DEEP)
            elif isinstance(content, dict):
                yield flatten_row(location, cast("dict[str, object]", content), errors)
            else:
                errors.add(location, "", f"must be a JSON object, not {type(content).__name__}")


def _check_duplicate_keys(text: bytes, location: Location, errors: ManifestErrors) -> None:
    """Add an error for each duplicate key, at any depth: the decoder would silently use the last one."""

    def check(pairs: list[tuple[str, object]]) -> None:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                errors.add(location, name, "is given twice")

    json.loads(text, object_pairs_hook=check, parse_int=str)  # int() would refuse very long numbers


def read_yaml_manifest(path: Path, errors: ManifestErrors) -> tuple[Row, Iterator[Row]]:
    """Return the defaults (an empty row if there are none) and an iterator over the jobs.

    Raises:
        OSError: the file cannot be read.
    """
    reader = _YamlReader(str(path), errors)
    defaults: Row | None = None
    jobs: list[Any] | None = None
    root = reader.compose(path)
    if isinstance(root, yaml.MappingNode):
        for name, location, node in reader.items(root):
            if name == "defaults":
                defaults = reader.read_row(node)
                if jobs is not None:
                    errors.add(location, name, "must come before 'jobs'")
            elif name == "jobs":
                jobs = node.value if isinstance(node, yaml.SequenceNode) else []
                if not isinstance(node, yaml.SequenceNode):
                    errors.add(reader.locate(node), name, "must be a list of jobs, each a mapping of fields")
            else:
                errors.add(
                    location, name, f"is neither 'defaults' nor 'jobs'{did_you_mean(name, ['defaults', 'jobs'])}"
                )
        if jobs is None:
            errors.add(reader.locate(root), "jobs", "is missing")
    elif root is not None:
        errors.add(reader.locate(root), "", "must be a mapping with 'defaults' and 'jobs'")
    return defaults or Row(Location(str(path), 1)), reader.read_rows(jobs or [])


def read_yaml_defaults(path: Path, errors: ManifestErrors) -> Row:
    """Read a file that holds only defaults.

    Raises:
        OSError: the file cannot be read.
    """
    reader = _YamlReader(str(path), errors)
    root = reader.compose(path)
    row = reader.read_row(root) if root is not None else None
    return row or Row(Location(str(path), 1))


@contextmanager
def _paused_garbage_collection() -> Generator[None]:
    """Pause garbage collection, which takes 10 of 12 s while 100,000 jobs are parsed and finds nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _TooDeepError(Exception):
    def __init__(self, location: Location) -> None:
        super().__init__(location)
        self.location = location


class _YamlReader:
    """Makes rows from YAML nodes. Nodes keep the text of scalars, duplicate keys and line numbers."""

    def __init__(self, file: str, errors: ManifestErrors) -> None:
        self._file = file
        self._errors = errors
        self._collections: dict[int, object] = {}
        """The lists and mappings of the current row by the `id` of their nodes: an alias reuses its anchor's."""

    def compose(self, path: Path) -> Any:
        """Return the root node of the only document, or None after adding an error."""
        with path.open("rb") as stream, _paused_garbage_collection():
            try:
                root = _compose(stream, Loader=_YAML_LOADER)
            except yaml.MarkedYAMLError as error:
                line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
                message = ", ".join(part for part in (error.context, error.problem) if part)
                self._errors.add(Location(self._file, line), "", f"is not valid YAML: {message}")
            except ReaderError as error:
                stream.seek(0)
                line = stream.read(error.position).count(b"\n") + 1
                self._errors.add(Location(self._file, line), "", f"is not valid YAML: {error.reason}")
            except RecursionError:  # only without libyaml, which has its own limit
                self._errors.add(Location(self._file, 1), "", TOO_DEEP)
            else:
                if root is None:
                    self._errors.add(Location(self._file, 1), "", "is empty")
                return root
        return None

    def locate(self, node: Any) -> Location:
        return Location(self._file, node.start_mark.line + 1)

    def items(self, mapping: yaml.MappingNode) -> Iterator[tuple[str, Location, Any]]:
        """Yield the name, location and value of each key. Keys that cannot be used are errors."""
        seen: set[str] = set()
        for key, value in mapping.value:
            location = self.locate(key)
            if not isinstance(key, yaml.ScalarNode):
                self._errors.add(location, "", "a field name must be text")
            elif key.value == "<<":
                self._errors.add(location, "<<", "merge keys are not supported; put shared fields in 'defaults'")
            elif key.value in seen:
                self._errors.add(location, key.value, "is given twice")
            else:
                seen.add(key.value)
                yield key.value, location, value

    def read_rows(self, nodes: list[Any]) -> Iterator[Row]:
        """Yield the rows and empty the list: nodes take more memory than jobs."""
        nodes.reverse()
        while nodes:
            if (row := self.read_row(nodes.pop())) is not None:
                yield row

    def read_row(self, node: Any) -> Row | None:
        """Return a row, or None after adding an error."""
        location = self.locate(node)
        self._collections.clear()
        try:
            content = self._read_value(node, depth=0)
        except _TooDeepError as error:
            self._errors.add(error.location, "", TOO_DEEP)
            return None
        if content is None:
            return Row(location)
        if isinstance(content, dict):
            return flatten_row(location, cast("dict[str, object]", content), self._errors)
        self._errors.add(location, "", "must be a mapping of fields")
        return None

    def _read_value(self, node: Any, depth: int) -> object:
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == _YAML_NULL else UntypedText(node.value)
        if id(node) in self._collections:
            return self._collections[id(node)]
        if depth == MAX_DEPTH:
            raise _TooDeepError(self.locate(node))
        value: object
        if isinstance(node, yaml.SequenceNode):
            value = [self._read_value(item, depth + 1) for item in node.value]
        else:
            value = {
                name: LocatedValue(location.line, self._read_value(item, depth + 1))
                for name, location, item in self.items(node)
            }
        self._collections[id(node)] = value
        return value
