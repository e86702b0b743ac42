"""Text and bytes that are not shown by mistake: tracebacks with variables, debuggers and loggers print the repr."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["HiddenBytes", "HiddenText", "hidden"]

T = TypeVar("T")


class HiddenText(str):
    """A token, or a URL that may be signed. It is `str` in all but its repr; what is made of it is plain text again."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'<hidden>'"


class HiddenBytes(bytes):
    """Bytes that hold such a text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'<hidden>'"


def hidden(value: T) -> T | HiddenText:
    """A text, hidden; anything else as it is, to be refused where it is checked."""
    return HiddenText(value) if isinstance(value, str) else value
