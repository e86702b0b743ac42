"""Formats counts, durations, percentages and times for people."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["format_count", "format_duration", "format_percent", "format_time"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_ROUNDING_LIMIT = 0.0005


def format_duration(seconds: float) -> str:
    """Format a duration such as `0.4 s`, `52 s`, `1 min 12 s`, `2 h 5 min` or `3 d 4 h`."""
    if seconds < 10:  # noqa: PLR2004 - short durations get two digits
        return f"{seconds:.2g} s" if seconds >= 0.01 else "0 s"  # noqa: PLR2004
    rounded = round(seconds)
    for long, short, long_name, short_name in ((_DAY, _HOUR, "d", "h"), (_HOUR, _MINUTE, "h", "min")):
        if rounded >= long:
            rest = rounded % long // short
            return f"{rounded // long:,} {long_name}" + (f" {rest} {short_name}" if rest else "")
    if rounded >= _MINUTE:
        return f"{rounded // _MINUTE} min" + (f" {rounded % _MINUTE} s" if rounded % _MINUTE else "")
    return f"{rounded} s"


def format_percent(fraction: float) -> str:
    """Format a fraction such as `45%` or `99.9%`. Only exactly 0 and 1 become `0%` and `100%`."""
    if fraction in {0.0, 1.0}:
        return f"{fraction:.0%}"
    if fraction < _ROUNDING_LIMIT or fraction > 1 - _ROUNDING_LIMIT:
        return "under 0.1%" if fraction < _ROUNDING_LIMIT else "over 99.9%"
    return f"{fraction:.1%}" if fraction < 0.1 or fraction > 0.9 else f"{fraction:.0%}"  # noqa: PLR2004 - near the ends


def format_count(count: int, singular: str, plural: str | None = None) -> str:
    """Format a count such as `1 job` or `10,000 jobs`."""
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def format_time(at: float) -> str:
    """Format seconds since 1970 as a date and time in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b %Y, %H:%M UTC")
