"""What is wrong with a manifest, each mistake told once with all the lines that have it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from indigo_async.errors import InvalidInputError, Problem

__all__ = ["Location", "ManifestErrors"]

_ERRORS_SHOWN = 200
_LINES_SHOWN = 10


@attrs.frozen
class Location:
    """A line of a file."""

    file: str
    line: int


@attrs.define
class ManifestErrors:
    """Collects mistakes. A hundred thousand rows with the same one give one line of words."""

    _locations: dict[tuple[str, str], list[Location]] = attrs.Factory(dict[tuple[str, str], list[Location]])

    def __bool__(self) -> bool:
        return bool(self._locations)

    def add(self, place: Location, field: str, message: str) -> None:
        """Note a mistake; `field` is empty where a whole row, or the file, is meant."""
        places = self._locations.setdefault((field, message), [])
        if not places or places[-1] != place:
            places.append(place)

    def raise_if_any(self) -> None:
        """Raise `InvalidInputError` if there are mistakes."""
        if self._locations:
            raise InvalidInputError(list(self._problems()))

    def _problems(self) -> Iterator[Problem]:
        told = sorted(self._locations.items(), key=lambda item: (item[1][0].file, item[1][0].line))
        for (field, message), places in told[:_ERRORS_SHOWN]:
            first = f"{places[0].file}:{places[0].line}"
            yield Problem(f"{first}: {field}" if field else first, message + _format_other_lines(places[1:]))
        if len(told) > _ERRORS_SHOWN:
            yield Problem(told[0][1][0].file, f"{len(told) - _ERRORS_SHOWN:,} further mistakes are not shown")


def _format_other_lines(places: list[Location]) -> str:
    if not places:
        return ""
    lines = ", ".join(str(place.line) for place in places[:_LINES_SHOWN])
    more = f" and {len(places) - _LINES_SHOWN:,} more" if len(places) > _LINES_SHOWN else ""
    return f" (also in line{'s' if len(places) > 1 else ''} {lines}{more})"
