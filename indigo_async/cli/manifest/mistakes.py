"""What is wrong with a manifest, each mistake told once with all the lines that have it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from indigo_async.errors import InvalidInputError, Problem

__all__ = ["Mistakes", "Place"]

_TOLD = 200
_LINES_TOLD = 10


@attrs.frozen
class Place:
    """A line of a file."""

    file: str
    line: int


@attrs.define
class Mistakes:
    """Collects mistakes. A hundred thousand rows with the same one give one line of words."""

    _places: dict[tuple[str, str], list[Place]] = attrs.Factory(dict[tuple[str, str], list[Place]])

    def __bool__(self) -> bool:
        return bool(self._places)

    def add(self, place: Place, field: str, message: str) -> None:
        """Note a mistake; `field` is empty where a whole row, or the file, is meant."""
        places = self._places.setdefault((field, message), [])
        if not places or places[-1] != place:
            places.append(place)

    def done(self) -> None:
        """Raise `InvalidInputError` if there are mistakes."""
        if self._places:
            raise InvalidInputError(list(self._problems()))

    def _problems(self) -> Iterator[Problem]:
        told = sorted(self._places.items(), key=lambda item: (item[1][0].file, item[1][0].line))
        for (field, message), places in told[:_TOLD]:
            first = f"{places[0].file}:{places[0].line}"
            yield Problem(f"{first}: {field}" if field else first, message + _further(places[1:]))
        if len(told) > _TOLD:
            yield Problem(told[0][1][0].file, f"{len(told) - _TOLD:,} further mistakes are not shown")


def _further(places: list[Place]) -> str:
    if not places:
        return ""
    lines = ", ".join(str(place.line) for place in places[:_LINES_TOLD])
    more = f" and {len(places) - _LINES_TOLD:,} more" if len(places) > _LINES_TOLD else ""
    return f" (also in line{'s' if len(places) > 1 else ''} {lines}{more})"
