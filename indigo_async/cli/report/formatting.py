"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["KILLED_RUN_MESSAGE", "format_count", "format_duration", "format_percent", "format_time"]

KILLED_RUN_MESSAGE = (
    "The last run was cut off: it never told of its end, and its process is gone. Run the same batch again with this "
    "journal; it goes on where it was."
)

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_ROUNDING_LIMIT = 0.0005


def format_duration(seconds: float) -> str:
    """A time such as `0.4 s`, `52 s`, `1 min 12 s`, `2 h 5 min` or `3 d 4 h`."""
    if seconds < 10:  # noqa: PLR2004 - below, tenths tell something
        return f"{seconds:.2g} s" if seconds >= 0.01 else "0 s"  # noqa: PLR2004 - as above
    whole = round(seconds)
    for long, short, long_name, short_name in ((_DAY, _HOUR, "d", "h"), (_HOUR, _MINUTE, "h", "min")):
        if whole >= long:
            rest = whole % long // short
            return f"{whole // long:,} {long_name}" + (f" {rest} {short_name}" if rest else "")
    if whole >= _MINUTE:
        return f"{whole // _MINUTE} min" + (f" {whole % _MINUTE} s" if whole % _MINUTE else "")
    return f"{whole} s"


def format_percent(part: float) -> str:
    """A part of 1, such as `45 %` or `99.9 %`; never 0 % or 100 % of what is not quite that."""
    if part in {0.0, 1.0}:
        return f"{part:.0%}".replace("%", " %")
    if part < _ROUNDING_LIMIT or part > 1 - _ROUNDING_LIMIT:
        return "under 0.1 %" if part < _ROUNDING_LIMIT else "over 99.9 %"
    tenths = part < 0.1 or part > 0.9  # noqa: PLR2004 - near the ends, tenths tell something
    return f"{part:.1%}".replace("%", " %") if tenths else f"{part:.0%}".replace("%", " %")


def format_count(count: int, one: str, many: str | None = None) -> str:
    """A number of things, such as `1 job` or `10,000 jobs`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def format_time(at: float) -> str:
    """A time since 1970, as date and time in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b %Y, %H:%M UTC")
