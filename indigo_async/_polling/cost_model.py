"""What looks cost, learned from looks: single ones, and each list by itself.

A cost is in seconds of one request slot, bytes included at a set price, so that "cheaper" takes account of the server's
work, of the network and of the decoding here. It starts from no assumption but that a list is at least as long as what
is watched of it.
"""

from __future__ import annotations

import attrs

__all__ = ["ALL_CUSTOMERS", "Cost", "CostModel", "ListScope"]

ListScope = str | None
"""Whose list: a customer's, or, as `ALL_CUSTOMERS`, the whole organisation's."""

ALL_CUSTOMERS: ListScope = None

_BYTES_PER_SECOND = 2_500_000
# However fast it is answered, a request is work for a server, and asking less is a courtesy.
_MIN_SECONDS = 0.02
# Distance and rate limits make single looks dear, but never so dear that a few would be worth a huge list.
_MAX_SINGLE_SECONDS = 0.1
_EWMA_WEIGHT = 0.3
_TYPICAL_BYTES = 1_000
# So many looks must be at stake before a list of unknown length is tried: a customer's, and that of everything.
_MIN_WATCHED_FOR_LIST = 8
_MIN_WATCHED_FOR_ALL_CUSTOMERS = 16
# How much longer than what is watched of it an unknown list may turn out, before reading it is given up.
_UNKNOWN_LIST_SIZE_FACTOR = 4
_MIN_UNKNOWN_LIST_BYTES = 1_000_000
_INITIAL_PAUSE = 30.0
_MAX_PAUSE = 600.0
_MAX_STALE_PAUSE = 3_600.0
_MAX_LISTS = 10_000


@attrs.frozen
class Cost:
    """What an answer took: seconds from its slot to its last decoded byte, and bytes."""

    seconds: float
    size_bytes: float


@attrs.define
class _ListStats:
    """What is known of one list. `size_bytes` is None until something is; `read_in_full` once it was read whole."""

    seconds: float = 0.0
    size_bytes: float | None = None
    read_in_full: bool = False
    failures: int = 0
    times_stale: int = 0
    paused_until: float = float("-inf")


@attrs.define
class CostModel:
    """Averages of costs, the latest weighing most, and which lists are no use for now."""

    _single_cost: Cost = attrs.field(default=Cost(_MIN_SECONDS, _TYPICAL_BYTES), init=False)
    _lists: dict[ListScope, _ListStats] = attrs.field(factory=dict[ListScope, _ListStats], init=False)
    _largest_list_bytes: float = attrs.field(default=0.0, init=False)

    def record_single(self, cost: Cost) -> None:
        """Learn from a single look."""
        self._single_cost = Cost(
            _ewma(self._single_cost.seconds, cost.seconds), _ewma(self._single_cost.size_bytes, cost.size_bytes)
        )

    def record_list(self, scope: ListScope, cost: Cost) -> None:
        """Learn from a list that was read whole."""
        listing = self._stats_for(scope)
        if listing.read_in_full and listing.size_bytes is not None:
            cost = Cost(_ewma(listing.seconds, cost.seconds), _ewma(listing.size_bytes, cost.size_bytes))
        listing.seconds, listing.size_bytes, listing.read_in_full = cost.seconds, cost.size_bytes, True
        listing.failures = 0
        self._largest_list_bytes = max(self._largest_list_bytes, cost.size_bytes)

    def record_oversized_list(self, scope: ListScope, size: int, *, is_exact: bool) -> None:
        """Learn from a list that was given up: it has `size_bytes` bytes, or has more and is taken to be much longer."""
        listing = self._stats_for(scope)
        listing.size_bytes = size if is_exact else size * _UNKNOWN_LIST_SIZE_FACTOR
        listing.read_in_full = False
        self._largest_list_bytes = max(self._largest_list_bytes, size)

    def record_list_failure(self, scope: ListScope, now: float) -> None:
        """Learn from a list that did not come: after a second time in a row, or a first time ever, it has a pause."""
        listing = self._stats_for(scope)
        listing.failures += 1
        if listing.failures > 1 or not listing.read_in_full:
            listing.paused_until = now + min(_MAX_PAUSE, _INITIAL_PAUSE * 2 ** min(listing.failures - 1, 16))

    def record_list_refusal(self, scope: ListScope, now: float) -> None:
        """Learn from a list that the server does not give."""
        self._stats_for(scope).paused_until = now + _MAX_PAUSE

    def record_stale_list(self, scope: ListScope, now: float) -> float:
        """Learn from a list that does not show what single reads show. Returns its pause, longer each time."""
        listing = self._stats_for(scope)
        pause = min(_MAX_STALE_PAUSE, _MAX_PAUSE * 2 ** min(listing.times_stale, 16))
        listing.times_stale += 1
        listing.paused_until = now + pause
        return pause

    def is_paused(self, scope: ListScope, now: float) -> bool:
        """Whether a list is not to be read for now."""
        listing = self._lists.get(scope)
        return listing is not None and listing.paused_until > now

    def estimate_single(self, slot_seconds: float) -> float:
        """The price of one look. `slot_seconds` is what the pacing makes each request cost at least."""
        seconds = max(self._single_cost.seconds, _min_seconds(slot_seconds))
        return min(seconds, _MAX_SINGLE_SECONDS) + self._single_cost.size_bytes / _BYTES_PER_SECOND

    def estimate_list(self, scope: ListScope, watched: int, slot_seconds: float, now: float) -> float | None:
        """The price of a list with `watched` rows of use; None when it is not to be had, or not worth trying."""
        if self.is_paused(scope, now):
            return None
        listing = self._lists.get(scope)
        if listing is not None and listing.size_bytes is not None:
            return max(listing.seconds, _min_seconds(slot_seconds)) + listing.size_bytes / _BYTES_PER_SECOND
        if watched < (_MIN_WATCHED_FOR_ALL_CUSTOMERS if scope is ALL_CUSTOMERS else _MIN_WATCHED_FOR_LIST):
            return None
        return _min_seconds(slot_seconds) + self._min_list_bytes(scope, watched) / _BYTES_PER_SECOND

    def max_list_bytes(self, scope: ListScope, watched: int, saved_cost: float) -> int:
        """The most bytes that a list may have which saves single looks of the price `saved_cost`.

        A list whose length is known, or learned by trying, is read up to twice its worth, so that it is not given up
        shortly before its end; an unknown one only as far as it is not much longer than what is watched of it.
        """
        affordable = max(0.0, saved_cost - _MIN_SECONDS) * _BYTES_PER_SECOND
        listing = self._lists.get(scope)
        if listing is not None and listing.size_bytes is not None:
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
