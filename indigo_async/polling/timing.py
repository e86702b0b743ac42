"""When to look: pure delays in seconds. `chance`, random in [0, 1), spreads those that would fall together."""

from __future__ import annotations

__all__ = ["first_delay", "next_delay", "requested_delay", "retry_delay"]

_SOON = 0.5
_LONGEST = 30.0
_JITTER = 0.1
# A wait that has lasted for 60 intervals is looked at a little less often: news is then late by 1/60 of the wait.
_STRETCH = 60
_LONGEST_REQUESTED = 86_400.0


def first_delay(interval: float, chance: float) -> float:
    """From the action to the first look: soon, since some work is done at once."""
    return min(_SOON, interval / 4) * (0.75 + chance / 2)


def next_delay(interval: float, age: float, chance: float) -> float:
    """From one look to the next, of a wait that lasts for `age` seconds: the interval, for old waits up to 30 s."""
    return _jittered(max(interval, age / _STRETCH), interval, chance)


def retry_delay(interval: float, failures: int, chance: float) -> float:
    """From a look that failed, as `failures` (at least 1) in a row did, to the next one: doubling, up to 30 s."""
    return _jittered(interval * 2 ** min(failures - 1, 16), interval, chance)


def requested_delay(retry_after: float | None) -> float:
    """The seconds that a `Retry-After` asks to wait; 0 for one beyond a day, or no number at all: it is a mistake."""
    return retry_after if retry_after is not None and 0 <= retry_after <= _LONGEST_REQUESTED else 0.0


def _jittered(delay: float, interval: float, chance: float) -> float:
    longest = max(_LONGEST, interval * (1 + _JITTER))
    return min(delay * (1 + _JITTER * chance), longest)
