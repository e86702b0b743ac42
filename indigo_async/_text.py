"""Small pieces of messages: dollars, shortened values, suggestions, URLs without their queries."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "format_dollars", "is_encodable", "short_repr", "without_query"]

_MAX_REPR_LENGTH = 60


def did_you_mean(word: object, options: Iterable[str]) -> str:
    """Return `; did you mean 'phone'?` for the closest option, or empty text when none is close."""
    import difflib  # noqa: PLC0415 - slow to import, and only errors need it

    near = difflib.get_close_matches(word, list(options), n=1) if isinstance(word, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def format_dollars(cents: int | None) -> str:
    """Format cents as dollars: `$1,234.56`, `-$5.00`, or `unknown` for None."""
    if cents is None:
        return "unknown"
    return f"-${-cents / 100:,.2f}" if cents < 0 else f"${cents / 100:,.2f}"


def is_encodable(text: str) -> bool:
    """Whether text can be encoded as UTF-8. It cannot if it holds half a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def short_repr(value: object) -> str:
    """Return a value's repr, cut off after 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_REPR_LENGTH else f"{text[:_MAX_REPR_LENGTH]}..."


def without_query(url: str) -> str:
    """Return a URL without its query and fragment, where signatures stand. Any text is accepted."""
    return url.partition("?")[0].partition("#")[0]
