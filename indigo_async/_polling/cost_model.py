"""What polls cost, learned from earlier polls: single reads, and each list separately.

Costs are in seconds of one request slot. Bytes are converted at a fixed rate, so that costs include the server's work,
the network and decoding. The only initial assumption is that a list holds at least the rows we watch.
"""

from __future__ import annotations

import attrs

__all__ = ["ALL_CUSTOMERS", "Cost", "CostModel", "ListScope"]

ListScope = str | None
"""The ID of the customer whose list it is, or `ALL_CUSTOMERS` for the list of the whole organization."""

ALL_CUSTOMERS: ListScope = None

_BYTES_PER_SECOND = 2_500_000
# Even a fast response is work for the server, so fewer requests are better.
_MIN_SECONDS = 0.02
# Distance and rate limits make single reads expensive, but never so much that a huge list is worth saving a few.
_MAX_SINGLE_SECONDS = 0.1
# A list that takes longer than its size explains met a busy client or server, which would delay single reads as well.
_MIN_BYTES_PER_SECOND = 250_000
_EWMA_WEIGHT = 0.3
_TYPICAL_BYTES = 1_000
# Watched audiences that make a list of unknown length worth trying.
_MIN_WATCHED_FOR_LIST = 8
_MIN_WATCHED_FOR_ALL_CUSTOMERS = 16
# A list of unknown length is abandoned when it turns out this much longer than the rows we watch.
_UNKNOWN_LIST_SIZE_FACTOR = 4
_MIN_UNKNOWN_LIST_BYTES = 1_000_000
_INITIAL_PAUSE = 30.0
_MAX_PAUSE = 600.0
_MAX_STALE_PAUSE = 3_600.0
_MAX_LISTS = 10_000


@attrs.frozen
class Cost:
    """The cost of a response: seconds from acquiring the slot to the last decoded byte, and its size."""

    seconds: float
    size_bytes: float


@attrs.define
class _ListStats:
    """What is known of one list. `size_bytes` is None while unknown, and an estimate until it was `read_in_full`."""

    seconds: float = 0.0
    size_bytes: float | None = None
    read_in_full: bool = False
    failures: int = 0
    times_stale: int = 0
    paused_until: float = float("-inf")


@attrs.define
class CostModel:
    """Moving averages of costs, and which lists are paused."""

    _single_cost: Cost = attrs.field(default=Cost(_MIN_SECONDS, _TYPICAL_BYTES), init=False)
    _lists: dict[ListScope, _ListStats] = attrs.field(factory=dict[ListScope, _ListStats], init=False)
    _largest_list_bytes: float = attrs.field(default=0.0, init=False)

    def record_single(self, cost: Cost) -> None:
        """Record a single read."""
        self._single_cost = Cost(
            _ewma(self._single_cost.seconds, cost.seconds), _ewma(self._single_cost.size_bytes, cost.size_bytes)
        )

    def record_list(self, scope: ListScope, cost: Cost) -> None:
        """Record a list that was read in full."""
        stats = self._stats_for(scope)
        if stats.read_in_full and stats.size_bytes is not None:
            cost = Cost(_ewma(stats.seconds, cost.seconds), _ewma(stats.size_bytes, cost.size_bytes))
        stats.seconds, stats.size_bytes, stats.read_in_full = cost.seconds, cost.size_bytes, True
        stats.failures = 0
        self._largest_list_bytes = max(self._largest_list_bytes, cost.size_bytes)

    def record_oversized_list(self, scope: ListScope, size: int, *, is_exact: bool) -> None:
        """Record a list that was abandoned. If its size is not exact, it is assumed to be much longer."""
        stats = self._stats_for(scope)
        stats.size_bytes = size if is_exact else size * _UNKNOWN_LIST_SIZE_FACTOR
        stats.read_in_full = False
        self._largest_list_bytes = max(self._largest_list_bytes, size)

    def record_list_failure(self, scope: ListScope, now: float) -> None:
        """Record a list that failed. It is paused if it failed before, or was never read in full."""
        stats = self._stats_for(scope)
        stats.failures += 1
        if stats.failures > 1 or not stats.read_in_full:
            stats.paused_until = now + min(_MAX_PAUSE, _INITIAL_PAUSE * 2 ** min(stats.failures - 1, 16))

    def record_list_refusal(self, scope: ListScope, now: float) -> None:
        """Record a list that the server refused."""
        self._stats_for(scope).paused_until = now + _MAX_PAUSE

    def record_stale_list(self, scope: ListScope, now: float) -> float:
        """Record a list that is out of date. Returns the seconds for which it is paused: longer each time."""
        stats = self._stats_for(scope)
        pause = min(_MAX_STALE_PAUSE, _MAX_PAUSE * 2.0 ** min(stats.times_stale, 16))
        stats.times_stale += 1
        stats.paused_until = now + pause
        return pause

    def is_paused(self, scope: ListScope, now: float) -> bool:
        """Whether a list must not be read for now."""
        stats = self._lists.get(scope)
        return stats is not None and stats.paused_until > now

    def estimate_single(self, slot_seconds: float) -> float:
        """The cost of a single read. `slot_seconds` is the least time for which pacing lets a request occupy a slot."""
        seconds = max(self._single_cost.seconds, _min_seconds(slot_seconds))
        return min(seconds, _MAX_SINGLE_SECONDS) + self._single_cost.size_bytes / _BYTES_PER_SECOND

    def estimate_list(self, scope: ListScope, watched: int, slot_seconds: float, now: float) -> float | None:
        """The cost of a list of which we watch `watched` rows; None if it is paused, or not worth trying."""
        if self.is_paused(scope, now):
            return None
        stats = self._lists.get(scope)
        if stats is not None and stats.size_bytes is not None:
            seconds = min(stats.seconds, _MAX_SINGLE_SECONDS + stats.size_bytes / _MIN_BYTES_PER_SECOND)
            return max(seconds, _min_seconds(slot_seconds)) + stats.size_bytes / _BYTES_PER_SECOND
        if watched < (_MIN_WATCHED_FOR_ALL_CUSTOMERS if scope is ALL_CUSTOMERS else _MIN_WATCHED_FOR_LIST):
            return None
        return _min_seconds(slot_seconds) + self._min_list_bytes(scope, watched) / _BYTES_PER_SECOND

    def max_list_bytes(self, scope: ListScope, watched: int, saved_cost: float) -> int:
        """The size at which to abandon a list that saves single reads of the cost `saved_cost`.

        A list of known size may be twice as large as it is worth, so that it is not abandoned just before its end. A
        list of unknown size must also not be much longer than the rows we watch.
        """
        affordable = max(0.0, saved_cost - _MIN_SECONDS) * _BYTES_PER_SECOND
        stats = self._lists.get(scope)
        if stats is not None and stats.size_bytes is not None:
            return int(2 * affordable)
        return int(
            min(
                affordable,
                max(_MIN_UNKNOWN_LIST_BYTES, _UNKNOWN_LIST_SIZE_FACTOR * self._min_list_bytes(scope, watched)),
            )
        )

    def _min_list_bytes(self, scope: ListScope, watched: int) -> float:
        least = watched * self._single_cost.size_bytes
        return max(least, self._largest_list_bytes) if scope is ALL_CUSTOMERS else least

    def _stats_for(self, scope: ListScope) -> _ListStats:
        if scope not in self._lists and len(self._lists) >= _MAX_LISTS:
            del self._lists[next(iter(self._lists))]
        return self._lists.setdefault(scope, _ListStats())


def _min_seconds(slot_seconds: float) -> float:
    return max(_MIN_SECONDS, min(slot_seconds, _MAX_SINGLE_SECONDS))


def _ewma(average: float, latest: float) -> float:
    return average + _EWMA_WEIGHT * (latest - average)
