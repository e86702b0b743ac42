"""When to look: pure delays in seconds. `jitter`, random in [0, 1), spreads those that would fall together."""

from __future__ import annotations

__all__ = ["first_delay", "next_delay", "retry_after_delay", "retry_delay"]

_MAX_FIRST_DELAY = 0.5
_MAX_DELAY = 30.0
_MAX_JITTER = 0.1
# A wait that has lasted for 60 intervals is looked at a little less often: news is then late by 1/60 of the wait.
_AGE_DIVISOR = 60
_MAX_RETRY_AFTER = 86_400.0


def first_delay(interval: float, jitter: float) -> float:
    """From the action to the first look: soon, since some work is done at once."""
    return min(_MAX_FIRST_DELAY, interval / 4) * (0.75 + jitter / 2)


def next_delay(interval: float, age: float, jitter: float) -> float:
    """From one look to the next, of a wait that lasts for `age` seconds: the interval, for old waits up to 30 s."""
    return _add_jitter(max(interval, age / _AGE_DIVISOR), interval, jitter)


def retry_delay(interval: float, failures: int, jitter: float) -> float:
    """From a look that failed, as `failures` (at least 1) in a row did, to the next one: doubling, up to 30 s."""
    return _add_jitter(interval * 2 ** min(failures - 1, 16), interval, jitter)


def retry_after_delay(retry_after: float | None) -> float:
    """The seconds that a `Retry-After` asks to wait; 0 for one beyond a day, or no number at all: it is a mistake."""
    return retry_after if retry_after is not None and 0 <= retry_after <= _MAX_RETRY_AFTER else 0.0


def _add_jitter(delay: float, interval: float, jitter: float) -> float:
    longest = max(_MAX_DELAY, interval * (1 + _MAX_JITTER))
    return min(delay * (1 + _MAX_JITTER * jitter), longest)
