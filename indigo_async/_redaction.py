"""Keep tokens, signed URLs and passwords out of logs, messages and tracebacks.

Secrets that the SDK uses have a hidden repr, which is what tracebacks with variables, debuggers and loggers print. Text
and records that others wrote are redacted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, SupportsIndex, TypeAlias, TypeVar, cast, overload
from unicodedata import category

import attrs

__all__ = [
    "SecretBytes",
    "SecretText",
    "Secrets",
    "hide_texts",
    "redact",
    "redact_urls",
    "reduce_redacted",
    "sanitize_response_text",
    "sanitize_text",
    "secret",
]

T = TypeVar("T")

Secrets: TypeAlias = str | tuple[str, ...]
"""One secret or several, such as the token and the values of headers."""


class SecretText(str):
    """A token, or a URL that may be signed: a `str` with a hidden repr.

    Slices are secret, too, since libraries that print tracebacks with variables cut long text before they print it. All
    other operations return plain text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'<hidden>'"

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> SecretText:
        return SecretText(str.__getitem__(self, key))


class SecretBytes(bytes):
    """Bytes that hold a secret. They and their slices have a hidden repr."""

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
    """Make text secret. Any other value is returned unchanged, for input checks to report."""
    return SecretText(value) if isinstance(value, str) and not isinstance(value, SecretText) else value


def hide_texts(value: Any) -> Any:
    """Make all texts in plain data secret, but not the keys."""
    if isinstance(value, dict):
        return {key: hide_texts(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [hide_texts(item) for item in cast("list[Any]", value)]
    return secret(value)


# Each takes linear time, also on hostile text: no part of a match is scanned twice.
_BEARER = re.compile(r"(?i)\b(bearer)\s+\S+")
_URL = re.compile(
    r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)(?:[^\s/?#\"'<>]*@)?([^\s?#\"'<>]*)(?:([?#])(?:<hidden>)?[^\s\"'<>]*)?"
)
_QUERY = re.compile(r"([?#])[^\s?#=\"'<>]*=[^\s\"'<>]*")


def redact(text: str, secrets: Secrets = "") -> str:
    """Remove secrets, bearer tokens, and the user names, queries and fragments of URLs from a text."""
    for known in _longest_first(secrets):
        text = text.replace(known, "<hidden>")
    text = _BEARER.sub(r"\1 <hidden>", text)
    if "://" in text:
        text = _URL.sub(lambda url: f"{url[1]}{url[2]}{f'{url[3]}<hidden>' if url[3] else ''}", text)
    return _QUERY.sub(r"\1<hidden>", text) if "=" in text else text


def _longest_first(secrets: Secrets) -> list[str]:
    """Return each secret before those that are part of it: otherwise, the rest of it would remain."""
    known = (secrets,) if isinstance(secrets, str) else secrets
    return sorted(filter(None, known), key=len, reverse=True)


_MAX_TEXT_LENGTH = 500
_UNPRINTABLE_CATEGORIES = ("C", "Zl", "Zp")
"""Unicode categories of control and format characters (bidi marks, zero widths), surrogates and line separators."""


def sanitize_text(text: str, secrets: Secrets = "", *, max_length: int = _MAX_TEXT_LENGTH) -> str:
    """Prepare a server's text for a message: redacted, cut, on one line and without control characters.

    So it can't forge log lines or change a terminal's colors.
    """
    shown = text
    if not (text.isascii() and text.isprintable()):
        shown = "".join(" " if category(each).startswith(_UNPRINTABLE_CATEGORIES) else each for each in text)
    return " ".join(redact(shown, secrets).split())[:max_length]


_ENCODED_QUERY = re.compile(r"(?:\?|%(?:25)*3[fF])[^\s\"'<>]+")
"""The rest of a URL from its query on, also where it is percent-encoded or escaped as in JSON."""


@lru_cache(maxsize=32)
def _encodings(known: str) -> re.Pattern[str]:
    """Return the pattern of a secret with any of its special characters percent-encoded, any number of times."""
    return re.compile("".join(map(_encodings_of_character, known)))


def _encodings_of_character(character: str) -> str:
    plain = re.escape(character)
    encoded = "".join(f"%(?:25)*(?i:{byte:02x})" for byte in character.encode(errors="replace"))
    return plain if character.isalnum() else f"(?:{plain}|{encoded})"


_EMAIL = re.compile(r"(?<![^\s@\"'<>()\[\],;:])[^\s@\"'<>()\[\],;:]+@[^\s@\"'<>()\[\],;:]+")
"""A match begins where a word begins: from each character of a long word, the search would take quadratic time."""

_PHONE = re.compile(
    r"(?<![\w-])(?:\+?1[\s.-]?)?(?:\(\d{3}\)\s?|\d{3}[\s.-])\d{3}[\s.-]\d{4}(?![\w-])|\+\d{10,15}(?!\w)"
)
"""As people write it: a run of digits may be an ID."""


def sanitize_response_text(text: str, secrets: Secrets = "", *, max_length: int = _MAX_TEXT_LENGTH) -> str:
    """Prepare a text of a response, which may echo the request in any encoding, and name people."""
    text = text.replace("\\/", "/")
    if "%" in text:
        for known in _longest_first(secrets):
            text = _encodings(known).sub("<hidden>", text)
    text = sanitize_text(text, secrets, max_length=len(text))
    text = _ENCODED_QUERY.sub("?<hidden>", text)
    if "@" in text:
        text = _EMAIL.sub("<hidden>", text)
    return _PHONE.sub("<hidden>", text)[:max_length]


def redact_urls(value: T) -> T:
    """Redact all URLs in a record or in plain JSON."""
    return cast("T", _redact_urls(value))


def reduce_redacted(record: attrs.AttrsInstance) -> tuple[Callable[[], object], tuple[()]]:
    """What a record's `__reduce__` returns, so that its pickled copies have no signed URLs."""
    return partial(type(record), **attrs.asdict(redact_urls(record), recurse=False)), ()


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
