"""What is polled when: a heap of times, and the delays between polls.

Delays are pure functions in seconds. `jitter`, random in [0, 1), spreads polls that would otherwise coincide.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import attrs

from indigo_async._polling.watchlist import Watch, WatchedCustomer

__all__ = ["MAX_JITTER", "Schedule", "first_delay", "limit_delay", "retry_after_delay", "retry_delay"]

MAX_JITTER = 0.1
"""The most that jitter adds to a delay, as a share of it or of the interval."""

_MAX_FIRST_DELAY = 0.5
_MAX_DELAY = 30.0
_MAX_RETRY_AFTER = 86_400.0
# In seconds: longer than any process lives, and exact as a float.
_FAR_FUTURE = 1e12


def first_delay(interval: float, jitter: float) -> float:
    """From the start of a wait to its first poll: short, since some work is done at once."""
    return min(_MAX_FIRST_DELAY, interval / 4) * (0.75 + jitter / 2)


def retry_delay(interval: float, failures: int, jitter: float) -> float:
    """From the latest of `failures` failed polls in a row (at least 1) to the next poll: doubles up to 30 s."""
    return limit_delay(interval * 2 ** min(failures - 1, 16) * (1 + MAX_JITTER * jitter), interval)


def retry_after_delay(retry_after: float | None) -> float:
    """The delay that a `Retry-After` asks for; 0 if it is missing, negative, NaN or longer than a day."""
    return retry_after if retry_after is not None and 0 <= retry_after <= _MAX_RETRY_AFTER else 0.0


def limit_delay(delay: float, interval: float) -> float:
    """Limit a delay between two polls to 30 s, or to the interval and its jitter if that is longer."""
    return min(delay, max(_MAX_DELAY, interval * (1 + MAX_JITTER)))


@attrs.define
class Schedule:
    """Watches and customers by due time, rounded up to the next multiple of `tick_seconds`.

    Rounding groups items that fall due at almost the same time, and keeps the heap at a few ticks instead of 10,000
    items. Removed items are freed at once. `on_new_tick` is called with every due time that was not in use before.
    """

    tick_seconds: float
    on_new_tick: Callable[[float], None]
    _by_tick: dict[int, dict[Watch | WatchedCustomer, None]] = attrs.field(
        factory=dict[int, dict[Watch | WatchedCustomer, None]], init=False
    )
    _ticks: list[int] = attrs.field(factory=list[int], init=False)

    def put(self, item: Watch | WatchedCustomer, due: float) -> None:
        """Add an item, or move it to another time. A time that is not finite becomes finite."""
        self.remove(item)
        due = min(due, _FAR_FUTURE) if due > 0 else 0.0  # NaN compares as false, so it is due at once
        tick = math.ceil(due / self.tick_seconds)
        items = self._by_tick.get(tick)
        if items is None:
            items = self._by_tick[tick] = {}
            heapq.heappush(self._ticks, tick)
            self.on_new_tick(tick * self.tick_seconds)
        items[item] = None
        item.tick = tick

    def remove(self, item: Watch | WatchedCustomer) -> None:
        """Remove an item, if it is in the schedule."""
        if item.tick is not None:
            del self._by_tick[item.tick][item]
            item.tick = None

    def next_due(self) -> float | None:
        """When the next item is due; None if there are no items."""
        while self._ticks:
            tick = self._ticks[0]
            if self._by_tick[tick]:
                return tick * self.tick_seconds
            self._pop_first()
        return None

    def pop_due(self, now: float) -> list[Watch | WatchedCustomer]:
        """Remove and return all items that are due, in the order of their due times."""
        due: list[Watch | WatchedCustomer] = []
        while self._ticks and self._ticks[0] * self.tick_seconds <= now:
            due.extend(self._pop_first())
        for item in due:
            item.tick = None
        return due

    def _pop_first(self) -> dict[Watch | WatchedCustomer, None]:
        return self._by_tick.pop(heapq.heappop(self._ticks))
