"""Rows of a YAML manifest, read as its events come, so that a long one never stands in memory whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import yaml
from yaml import events as on
from yaml.reader import ReaderError

from indigo_async._text import did_you_mean
from indigo_async.cli.manifest.errors import Location, ManifestErrors
from indigo_async.cli.manifest.fields import LocatedValue, UntypedText
from indigo_async.cli.manifest.rows import MAX_DEPTH, TOO_DEEP_MESSAGE, Row, flatten_row

__all__ = ["read_yaml_defaults", "read_yaml_rows"]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_parse = cast("Callable[..., Iterator[Any]]", yaml.parse)  # pyright: ignore[reportUnknownMemberType] - as its stubs say
_NULLS = {"", "~", "null", "Null", "NULL"}
_TOP_LEVEL_KEYS = ("defaults", "jobs")


def read_yaml_rows(path: Path, name: str, mistakes: ManifestErrors) -> Iterator[Row]:
    """The row of the defaults first (empty, where there are none), then those of the jobs.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            yield from _Document(file, name, mistakes).rows()
        except _InvalidDocumentError as error:
            mistakes.add(error.place, "", error.message)


def read_yaml_defaults(path: Path, name: str, mistakes: ManifestErrors) -> Row:
    """The defaults of a file that holds nothing else.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _Document(file, name, mistakes).row()
        except _InvalidDocumentError as error:
            mistakes.add(error.place, "", error.message)
            return Row(Location(name, 1))


class _InvalidDocumentError(Exception):
    def __init__(self, place: Location, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


class _Document:
    """The one document of a file. Mappings become dicts of `Node`, sequences lists, scalars `Text` or None."""

    def __init__(self, file: IO[bytes], name: str, mistakes: ManifestErrors) -> None:
        self._name = name
        self._events = self._read(file)
        self._mistakes = mistakes
        self._anchors: dict[str, object] = {}

    def rows(self) -> Iterator[Row]:
        start = self._begin()
        if not isinstance(start, on.MappingStartEvent):
            raise _InvalidDocumentError(self._place(start), "must be a mapping with 'defaults' and 'jobs'")
        seen: set[str] = set()
        for key in self._until(on.MappingEndEvent):
            part, place = self._key(key), self._place(key)
            if part in seen:
                self._mistakes.add(place, part, "is given twice")
                self._value(self._next())
                continue
            if part == "defaults" and "jobs" in seen:
                raise _InvalidDocumentError(place, "defaults must stand before the jobs")
            if part == "jobs" and "defaults" not in seen:
                yield Row(place)
            seen.add(part)
            if part == "defaults":
                yield self._row(self._next())
            elif part == "jobs":
                yield from self._jobs(self._next())
            else:
                self._mistakes.add(
                    place, part, f"is neither 'defaults' nor 'jobs'{did_you_mean(part, _TOP_LEVEL_KEYS)}"
                )
                self._value(self._next())
        if "jobs" not in seen:
            self._mistakes.add(self._place(start), "", "has no 'jobs'")
        self._end()

    def row(self) -> Row:
        row = self._row(self._begin())
        self._end()
        return row

    def _jobs(self, start: Any) -> Iterator[Row]:
        if not isinstance(start, on.SequenceStartEvent):
            raise _InvalidDocumentError(self._place(start), "jobs: must be a list, each job a mapping behind a dash")
        for event in self._until(on.SequenceEndEvent):
            yield self._row(event)

    def _row(self, event: Any) -> Row:
        place, content = self._place(event), self._value(event)
        if isinstance(content, dict):
            return flatten_row(place, cast("dict[str, object]", content), self._mistakes)
        if content is not None or isinstance(event, on.SequenceStartEvent):
            self._mistakes.add(place, "", "must be a mapping of fields")
        return Row(place)

    def _value(self, event: Any, depth: int = 0) -> object:
        if depth > MAX_DEPTH:
            raise _InvalidDocumentError(self._place(event), TOO_DEEP_MESSAGE)
        if isinstance(event, on.AliasEvent):
            if event.anchor not in self._anchors:
                raise _InvalidDocumentError(self._place(event), f"there is no anchor &{event.anchor} above")
            return self._anchors[event.anchor]
        if isinstance(event, on.ScalarEvent):
            plain = event.implicit[0]
            value: object = None if plain and event.value in _NULLS else UntypedText(event.value)
        elif isinstance(event, on.SequenceStartEvent):
            value = [self._value(item, depth + 1) for item in self._until(on.SequenceEndEvent)]
        else:
            value = self._mapping(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _mapping(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        for key in self._until(on.MappingEndEvent):
            name, place = self._key(key), self._place(key)
            value = self._value(self._next(), depth + 1)
            if name == "<<":
                self._mistakes.add(place, "<<", "is not read here; write common fields into the defaults")
            elif name in found:
                self._mistakes.add(place, name, "is given twice")
            else:
                found[name] = LocatedValue(place.line, value)
        return found

    def _key(self, event: Any) -> str:
        if not isinstance(event, on.ScalarEvent):
            raise _InvalidDocumentError(self._place(event), "the name of a field must be text")
        return str(event.value)

    def _begin(self) -> Any:
        for event in self._events:
            if not isinstance(event, (on.StreamStartEvent, on.DocumentStartEvent)):
                if isinstance(event, on.StreamEndEvent):
                    raise _InvalidDocumentError(Location(self._name, 1), "is empty")
                return event
        raise _InvalidDocumentError(Location(self._name, 1), "is empty")

    def _end(self) -> None:
        for event in self._events:
            if isinstance(event, on.DocumentStartEvent):
                raise _InvalidDocumentError(self._place(event), "must be one YAML document")

    def _until(self, end: type[Any]) -> Iterator[Any]:
        while not isinstance(event := self._next(), end):
            yield event

    def _next(self) -> Any:
        return next(self._events)

    def _read(self, file: IO[bytes]) -> Iterator[Any]:
        try:
            yield from _parse(file, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
            words = ", ".join(part for part in (error.context, error.problem) if part)
            raise _InvalidDocumentError(Location(self._name, line), f"is no YAML from here on: {words}") from None
        except ReaderError as error:
            file.seek(0)
            line = file.read(error.position).count(b"\n") + 1
            raise _InvalidDocumentError(Location(self._name, line), f"is no YAML: {error.reason}") from None

    def _place(self, event: Any) -> Location:
        return Location(self._name, event.start_mark.line + 1)
