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

__all__ = ["SecretBytes", "SecretText", "redact", "redact_urls", "sanitize_text", "secret"]

T = TypeVar("T")


class SecretText(str):
    """A token, or a URL that may be signed. It is `str` in all but its repr, and so are its slices.

    Libraries that print tracebacks with variables slice long texts before they print them. What else is made of it is
    plain text again.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'<hidden>'"

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> SecretText:
        return SecretText(str.__getitem__(self, key))


class SecretBytes(bytes):
    """Bytes that hold such a text, and their slices."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'<hidden>'"

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...

    @overload
    def __getitem__(self, key: slice[Any, Any, Any]) -> SecretBytes: ...

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> int | SecretBytes:
        if isinstance(key, slice):
            return SecretBytes(bytes.__getitem__(self, key))
        return bytes.__getitem__(self, key)


def secret(value: T) -> T | SecretText:
    """A text, hidden; anything else as it is, to be refused where it is checked."""
    return SecretText(value) if isinstance(value, str) and not isinstance(value, SecretText) else value


# Each takes time in proportion to the text, however hostile: no part of a match is looked for twice.
_BEARER = re.compile(r"(?i)\b(bearer)\s+\S+")
_URL = re.compile(
    r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)(?:[^\s/?#\"'<>]*@)?([^\s?#\"'<>]*)(?:([?#])(?:<hidden>)?[^\s\"'<>]*)?"
)
_QUERY = re.compile(r"([?#])[^\s?#=\"'<>]*=[^\s\"'<>]*")


def redact(text: str, token: str = "") -> str:
    """A text without the token, bearer tokens, the user names of URLs, and their queries, where signatures stand."""
    if token:
        text = text.replace(token, "<hidden>")
    text = _BEARER.sub(r"\1 <hidden>", text)
    text = _URL.sub(lambda url: f"{url[1]}{url[2]}{f'{url[3]}<hidden>' if url[3] else ''}", text)
    return _QUERY.sub(r"\1<hidden>", text)


_MAX_TEXT_LENGTH = 500
_UNPRINTABLE_CATEGORIES = ("C", "Zl", "Zp")
"""Unicode's categories of controls, formats (bidi marks, zero widths), surrogates, and separators of lines."""


def sanitize_text(text: str, token: str = "", *, max_length: int = _MAX_TEXT_LENGTH) -> str:
    """Text that a server wrote, for a message: redacted, on one line, without control characters, bounded.

    So it can neither forge a line of a log nor change the colors of a terminal.
    """
    shown = "".join(" " if category(character).startswith(_UNPRINTABLE_CATEGORIES) else character for character in text)
    return " ".join(redact(shown, token).split())[:max_length]


def redact_urls(value: T) -> T:
    """A record, or plain JSON, whose URLs have lost their user names and queries."""
    return cast("T", _redact_urls(value))


def _redact_urls(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value) if "://" in value else value
    if isinstance(value, Mapping):
        return {key: _redact_urls(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_redact_urls(item) for item in cast("list[Any]", value)]
    if isinstance(value, tuple):
        return tuple(_redact_urls(item) for item in cast("tuple[Any, ...]", value))
    kind = cast("type[Any]", type(value))
    if attrs.has(kind):
        fields = (field.name for field in attrs.fields(kind))
        return attrs.evolve(value, **{name: _redact_urls(getattr(value, name)) for name in fields})
    return value
