"""What keeps tokens, signed URLs and passwords out of sight.

Values that must be used but not shown hide their repr, which is what tracebacks with variables, debuggers and loggers
print. Texts and records that others wrote lose the parts where secrets stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, SupportsIndex, TypeVar, cast, overload
from unicodedata import category

import attrs

__all__ = ["HiddenBytes", "HiddenText", "hidden", "hide_secrets", "safe_text", "without_signatures"]

T = TypeVar("T")


class HiddenText(str):
    """A token, or a URL that may be signed. It is `str` in all but its repr, and so are its slices.

    Libraries that print tracebacks with variables slice long texts before they print them. What else is made of it is
    plain text again.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'<hidden>'"

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> HiddenText:
        return HiddenText(str.__getitem__(self, key))


class HiddenBytes(bytes):
    """Bytes that hold such a text, and their slices."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'<hidden>'"

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...

    @overload
    def __getitem__(self, key: slice[Any, Any, Any]) -> HiddenBytes: ...

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> int | HiddenBytes:
        if isinstance(key, slice):
            return HiddenBytes(bytes.__getitem__(self, key))
        return bytes.__getitem__(self, key)


def hidden(value: T) -> T | HiddenText:
    """A text, hidden; anything else as it is, to be refused where it is checked."""
    return HiddenText(value) if isinstance(value, str) and not isinstance(value, HiddenText) else value


# Each takes time in proportion to the text, however hostile: no part of a match is looked for twice.
_BEARER = re.compile(r"(?i)\b(bearer)\s+\S+")
_URL = re.compile(
    r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)(?:[^\s/?#\"'<>]*@)?([^\s?#\"'<>]*)(?:([?#])(?:<hidden>)?[^\s\"'<>]*)?"
)
_QUERY = re.compile(r"([?#])[^\s?#=\"'<>]*=[^\s\"'<>]*")


def hide_secrets(text: str, token: str = "") -> str:
    """A text without the token, bearer tokens, the user names of URLs, and their queries, where signatures stand."""
    if token:
        text = text.replace(token, "<hidden>")
    text = _BEARER.sub(r"\1 <hidden>", text)
    text = _URL.sub(lambda url: f"{url[1]}{url[2]}{f'{url[3]}<hidden>' if url[3] else ''}", text)
    return _QUERY.sub(r"\1<hidden>", text)


_LONGEST_TEXT = 500
_UNPRINTABLE = ("C", "Zl", "Zp")
"""Unicode's categories of controls, formats (bidi marks, zero widths), surrogates, and separators of lines."""


def safe_text(text: str, token: str = "", *, longest: int = _LONGEST_TEXT) -> str:
    """Text that a server wrote, for a message: redacted, on one line, without control characters, bounded.

    So it can neither forge a line of a log nor change the colors of a terminal.
    """
    shown = "".join(" " if category(character).startswith(_UNPRINTABLE) else character for character in text)
    return " ".join(hide_secrets(shown, token).split())[:longest]


def without_signatures(value: T) -> T:
    """A record, or plain JSON, whose URLs have lost their user names and queries."""
    return cast("T", _without_signatures(value))


def _without_signatures(value: Any) -> Any:
    if isinstance(value, str):
        return hide_secrets(value) if "://" in value else value
    if isinstance(value, Mapping):
        return {key: _without_signatures(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_without_signatures(item) for item in cast("list[Any]", value)]
    if isinstance(value, tuple):
        return tuple(_without_signatures(item) for item in cast("tuple[Any, ...]", value))
    kind = cast("type[Any]", type(value))
    if attrs.has(kind):
        fields = (field.name for field in attrs.fields(kind))
        return attrs.evolve(value, **{name: _without_signatures(getattr(value, name)) for name in fields})
    return value
