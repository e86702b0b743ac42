"""Convert what callers pass (numbers, text and lists from any library) to plain JSON values, without loss.

Values from numpy, pandas and similar libraries are recognized by their attributes, so none of these libraries is
imported.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from enum import Enum
from numbers import Number
from typing import Any, cast

from indigo_async._text import is_encodable

__all__ = ["INTEGER_LIMIT", "describe_kind", "to_integer", "to_json", "to_list", "to_plain", "to_real"]

_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})
_PLAIN_DTYPES = frozenset("biufU")
"""Kinds of numpy scalars that have a plain value: Booleans, integers, floats and text. A date would become a number."""

_MAX_DEPTH = 32
INTEGER_LIMIT = 2**63
"""Larger integers are rejected, because JSON readers would round them."""


def to_plain(value: object) -> object:
    """Return the plain value of a numpy or Arrow scalar, an enum member, or an instance of a `str` or number subclass.

    Anything else is returned unchanged.
    """
    plain: Any = value
    if type(value) in _PLAIN_TYPES:
        pass
    elif isinstance(value, Enum):
        plain = to_plain(value.value)
    elif isinstance(value, str):
        plain = str.__str__(value)  # `str(value)` may be anything
    elif isinstance(value, float):
        plain = float(value)
    elif getattr(getattr(plain, "dtype", None), "kind", "") in _PLAIN_DTYPES and getattr(plain, "ndim", None) == 0:
        plain = plain.item()
    elif hasattr(type(value), "as_py"):  # Arrow
        plain = plain.as_py()
    elif hasattr(type(value), "__index__"):
        with suppress(TypeError):  # an array
            plain = operator.index(plain)
    return plain


def to_integer(value: object) -> int | None:
    """Return a whole number as an integer, such as 50, 50.0 or Decimal("50"). None if the value is not one."""
    number = value if type(value) is int else _to_number(value)
    if number is None or isinstance(number, int):
        return number
    try:
        return int(number) if abs(number) < INTEGER_LIMIT and int(number) == number else None
    except (ArithmeticError, TypeError, ValueError):  # NaN as a Decimal, complex numbers
        return None


def to_real(value: object) -> float | None:
    """Return a real number unchanged or as a float, which may be infinite or NaN. None if the value is not a number."""
    number = _to_number(value)
    if number is None or isinstance(number, (int, float)):
        return number
    try:
        return float(number)
    except (ArithmeticError, TypeError, ValueError):
        return None


def _to_number(value: object) -> Any:
    """Return the plain form of a number of any kind. None if the value is not a number; Booleans are not."""
    plain = to_plain(value)
    return None if isinstance(plain, bool) or not isinstance(plain, Number) else plain


def to_list(value: object) -> list[object] | None:
    """Return the items of a list, set, generator, array or series. None if the value is not a list of values.

    Sets are sorted, so the same set always gives the same list.
    """
    if isinstance(value, (list, tuple)):
        return list(cast("Iterable[object]", value))
    if isinstance(value, (str, bytes, bytearray, memoryview, Mapping)) or not isinstance(value, Iterable):
        return None
    if hasattr(cast("object", value), "columns"):  # a table, whose items are its columns
        return None
    try:
        items = list(cast("Iterable[object]", value))
    except TypeError:  # a zero-dimensional array
        return None
    return sorted(items, key=repr) if isinstance(value, (set, frozenset)) else items


def to_json(value: object, where: str, report: Callable[[str, str], object], depth: int = 0) -> Any:
    """Return the plain JSON value that equals a value exactly. Calls `report` for each part that has none."""
    plain = to_plain(value)
    result: Any = plain
    problem = None
    if isinstance(plain, str):
        problem = None if is_encodable(plain) else "contains half of a surrogate pair, which can't be encoded"
    elif isinstance(plain, Decimal):
        result = _decimal_to_json(plain)
        problem = (
            None
            if result is not None
            else f"must be a number that JSON can represent exactly, not {describe_kind(plain)}"
        )
    elif depth == _MAX_DEPTH and isinstance(plain, Iterable):
        problem = "is nested too deeply"
    elif isinstance(plain, Mapping):
        result = _mapping_to_json(cast("Mapping[object, object]", plain), where, report, depth)
    elif (items := to_list(plain)) is not None:
        result = [to_json(item, f"{where}[{index}]", report, depth + 1) for index, item in enumerate(items)]
    elif isinstance(plain, int):
        problem = None if abs(plain) < INTEGER_LIMIT else "must be an integer of at most 63 bits"
    elif plain is not None and not (isinstance(plain, float) and math.isfinite(plain)):
        problem = f"must be text, a number, true, false, a list or a mapping, not {describe_kind(plain)}"
    if problem is None:
        return result
    report(where, problem)
    return None


def _decimal_to_json(value: Decimal) -> int | float | None:
    """Return a number whose JSON form equals a decimal, or None."""
    number = to_integer(value)
    if number is None and value.is_finite() and Decimal(repr(float(value))) == value:
        return float(value)
    return number


def _mapping_to_json(
    value: Mapping[object, object], where: str, report: Callable[[str, str], object], depth: int
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for given_key, item in value.items():
        key = to_plain(given_key)
        if isinstance(key, str) and is_encodable(key):
            found[key] = to_json(item, f"{where}.{key}", report, depth + 1)
        else:
            report(where, f"must have text keys, not {describe_kind(key)}")
    return found


def describe_kind(value: object) -> str:
    """Describe the kind of a value for messages. Never shows text."""
    kind = type(value).__name__
    if kind in {"NAType", "NaTType"}:
        return f"{kind.removesuffix('Type')} (a missing value)"
    if not isinstance(value, (float, Decimal)):
        return kind
    is_missing = value.is_nan() if isinstance(value, Decimal) else math.isnan(value)
    return "NaN (a missing value)" if is_missing else f"{kind} {value}"
