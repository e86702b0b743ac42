"""Whole numbers as options and manifests take them: in digits alone, so that none is another than was written."""

from __future__ import annotations

import re

__all__ = ["parse_whole_number"]

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_MAX_SHOWN = 40


def parse_whole_number(text: str) -> int:
    """The number that a text is.

    `50.00` may be dollars and `5,000` or `5_000` a slip, so they are refused, as is what would have to be rounded.

    Raises:
        ValueError: it is anything else than digits, or more of them than any number here has; the message says that.
    """
    if _WHOLE_NUMBER.fullmatch(text) is None:
        raise ValueError(f"must be a whole number in digits alone, such as 20000, not {text[:_MAX_SHOWN]!r}")
    return int(text)
