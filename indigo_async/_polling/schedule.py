"""What falls due when: a heap of instants, each with all that falls due then."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs

__all__ = ["Schedule", "Scheduled", "first_delay", "next_delay", "retry_after_delay", "retry_delay"]


class Scheduled(Protocol):
    """What stands in a schedule remembers its `tick`; None while it stands in none."""

    tick: int | None


T = TypeVar("T", bound=Scheduled)

_MAX_FIRST_DELAY = 0.5
_MAX_DELAY = 30.0
_MAX_JITTER = 0.1
# A wait that has lasted for 60 intervals is looked at a little less often: news is then late by 1/60 of the wait.
_AGE_DIVISOR = 60
_MAX_RETRY_AFTER = 86_400.0
# In seconds: beyond the life of any process, and exact in a float.
_FAR_FUTURE = 1e12


@attrs.define
class Schedule(Generic[T]):
    """Things by the time at which they fall due, rounded up to the next multiple of `tick_seconds` seconds.

    Rounding lets what falls due at almost the same time be dealt with together, and makes a heap of few instants
    instead of one of 10,000 things. What is dropped is gone at once, with all that it refers to. `on_new_tick` is
    called with a time at which nothing was to fall due before.
    """

    tick_seconds: float
    on_new_tick: Callable[[float], None]
    _by_tick: dict[int, dict[T, None]] = attrs.field(factory=dict[int, dict[T, None]], init=False)
    _ticks: list[int] = attrs.field(factory=list[int], init=False)

    def put(self, thing: T, due: float) -> None:
        """Let a thing fall due at a time, whenever it was to before. A time that is not finite becomes one that is."""
        self.remove(thing)
        # A NaN compares as false, so that it falls due at once.
        due = min(due, _FAR_FUTURE) if due > 0 else 0.0
        instant = math.ceil(due / self.tick_seconds)
        together = self._by_tick.get(instant)
        if together is None:
            together = self._by_tick[instant] = {}
            heapq.heappush(self._ticks, instant)
            self.on_new_tick(instant * self.tick_seconds)
        together[thing] = None
        thing.tick = instant

    def remove(self, thing: T) -> None:
        """Let a thing not fall due at all."""
        if thing.tick is not None:
            del self._by_tick[thing.tick][thing]
            thing.tick = None

    def next_due(self) -> float | None:
        """When something falls due next."""
        while self._ticks:
            instant = self._ticks[0]
            if self._by_tick[instant]:
                return instant * self.tick_seconds
            self._pop_first()
        return None

    def pop_due(self, now: float) -> list[T]:
        """Take out all that is due, in the order in which it fell due."""
        taken: list[T] = []
        while self._ticks and self._ticks[0] * self.tick_seconds <= now:
            taken.extend(self._pop_first())
        for thing in taken:
            thing.tick = None
        return taken

    def _pop_first(self) -> dict[T, None]:
        return self._by_tick.pop(heapq.heappop(self._ticks))


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
