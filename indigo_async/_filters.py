"""Check lookalike filters: where people live, by name or FIPS code."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs

from indigo_async._exact import describe_kind, to_json
from indigo_async._text import short_repr
from indigo_async._validation import InputCheck
from indigo_async.inputs import LookalikeFilters, LookalikeFiltersInput

__all__ = ["check_filters", "find_unusual_states"]

_NAMES = tuple(field.name for field in attrs.fields(LookalikeFilters) if field.name != "extra")
_NAMES_BY_KEY = {name: name for name in _NAMES} | {
    re.sub("_([a-z])", lambda match: match[1].upper(), name): name for name in _NAMES
}
"""The filters by their names and by the API's own keys, such as `congressionalDistricts`."""

_SIMILAR = 0.85
_STATE = re.compile("[A-Z]{2}|[0-9]{2}")


def check_filters(check: InputCheck, value: LookalikeFiltersInput | None) -> LookalikeFilters | None:
    """Check filters: each must be a non-empty list of non-empty strings. Extra ones may be any JSON."""
    if value is None:
        return None
    if isinstance(value, LookalikeFilters):
        given: Mapping[object, object] = {
            name: values for name in _NAMES if (values := getattr(value, name)) is not None
        }
        extra: object = value.extra
    elif isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]: callers without a type checker
        given = {key: item for key, item in value.items() if key != "extra"}
        extra = value.get("extra", {})
    else:
        check.add("filters", f"must be LookalikeFilters or a mapping, not {describe_kind(value)}")
        return None
    checked = _CheckedFilters(check)
    for key, item in given.items():
        checked.add("filters", key, item)
    if isinstance(extra, Mapping):
        for key, item in cast("Mapping[object, object]", extra).items():
            checked.add("filters.extra", key, item, is_extra=True)
    else:
        check.add("filters.extra", f"must be a mapping, not {describe_kind(extra)}")
    return LookalikeFilters(**checked.known, extra=checked.extra)


def find_unusual_states(filters: LookalikeFilters) -> Iterator[str]:
    """Find the states that are neither two capital letters nor a FIPS code, which the server may not know."""
    return (state for state in filters.states or () if _STATE.fullmatch(state) is None)


@attrs.frozen
class _CheckedFilters:
    """Filters in their plain form. `known` are those that `LookalikeFilters` names."""

    check: InputCheck
    known: dict[str, tuple[str, ...]] = attrs.Factory(dict[str, tuple[str, ...]])
    extra: dict[str, Any] = attrs.Factory(dict[str, Any])

    def add(self, where: str, key: object, value: object, *, is_extra: bool = False) -> None:
        """Check a filter and add it. `is_extra`: it was passed in `extra`, so an unknown name is not an error."""
        check = self.check
        text = check.text(f"{where} key", key)
        if not text:
            return
        name, where = _NAMES_BY_KEY.get(text), f"{where}.{short_repr(text)[1:-1]}"
        if name is None:
            near = None if is_extra else _closest_name(text)
            if near is not None:
                check.add(where, f"is not a filter; did you mean {near!r}? To send it unchanged, put it in `extra`")
            self.extra[text] = to_json(value, where, check.add)
        elif name in self.known:
            check.add(where, f"is given twice: it is the same filter as {name}")
        else:
            self.known[name] = check.strings(where, value, self._check_place)

    def _check_place(self, where: str, place: object) -> str:
        """Check the name or FIPS code of a place."""
        if isinstance(place, (int, float)) and not isinstance(place, bool) and not math.isnan(place):
            kind = type(place).__name__
            self.check.add(where, f"must be text, not {kind}: a number loses a FIPS code's leading zeros ('06037')")
            return ""
        return self.check.text(where, place)


def _closest_name(key: str) -> str | None:
    """The filter that a misspelled key probably means."""
    import difflib  # noqa: PLC0415 - slow to import, and only unknown filters need it

    folded = {_fold(name): name for name in _NAMES}
    near = difflib.get_close_matches(_fold(key), folded, n=1, cutoff=_SIMILAR)
    return folded[near[0]] if near else None


def _fold(name: str) -> str:
    """A name without case, punctuation and plural."""
    letters = "".join(character for character in name.casefold() if character.isalnum())
    return f"{letters[:-3]}y" if letters.endswith("ies") else letters.removesuffix("s")
