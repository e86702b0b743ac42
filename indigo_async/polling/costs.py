"""What looks cost, learned from looks: single ones, and each list by itself.

A cost is in seconds of one request slot, bytes included at a set price, so that "cheaper" takes account of the server's
work, of the network and of the decoding here. It starts from no assumption but that a list is at least as long as what
is watched of it.
"""

from __future__ import annotations

import attrs

__all__ = ["EVERYTHING", "Cost", "Ledger", "Scope"]

Scope = str | None
"""Whose list: a customer's, or, as `EVERYTHING`, the whole organisation's."""

EVERYTHING: Scope = None

_BYTES_PER_SECOND = 2_500_000
# However fast it is answered, a request is work for a server, and asking less is a courtesy.
_LEAST_SECONDS = 0.02
# Distance and rate limits make single looks dear, but never so dear that a few would be worth a huge list.
_MOST_SECONDS_OF_SINGLE = 0.1
_WEIGHT_OF_LATEST = 0.3
_TYPICAL_BYTES = 1_000
# So many looks must be at stake before a list of unknown length is tried: a customer's, and that of everything.
_ENOUGH_FOR_LIST = 8
_ENOUGH_FOR_EVERYTHING = 16
# How much longer than what is watched of it an unknown list may turn out, before reading it is given up.
_FIRST_LIMIT_FACTOR = 4
_FIRST_LIMIT_BYTES = 1_000_000
_FIRST_PAUSE = 30.0
_LONGEST_PAUSE = 600.0
_LONGEST_DISTRUST = 3_600.0
_MOST_LISTS = 10_000


@attrs.frozen
class Cost:
    """What an answer took: seconds from its slot to its last decoded byte, and bytes."""

    seconds: float
    size: float


@attrs.define
class _Listing:
    """What is known of one list. `size` is None until something is; `is_good` once it was read whole."""

    seconds: float = 0.0
    size: float | None = None
    is_good: bool = False
    failures: int = 0
    distrusts: int = 0
    closed_until: float = float("-inf")


@attrs.define
class Ledger:
    """Averages of costs, the latest weighing most, and which lists are no use for now."""

    _single: Cost = attrs.field(default=Cost(_LEAST_SECONDS, _TYPICAL_BYTES), init=False)
    _listings: dict[Scope, _Listing] = attrs.field(factory=dict[Scope, _Listing], init=False)
    _longest: float = attrs.field(default=0.0, init=False)

    def single_answered(self, cost: Cost) -> None:
        """Learn from a single look."""
        self._single = Cost(_blend(self._single.seconds, cost.seconds), _blend(self._single.size, cost.size))

    def list_answered(self, scope: Scope, cost: Cost) -> None:
        """Learn from a list that was read whole."""
        listing = self._listing(scope)
        if listing.is_good and listing.size is not None:
            cost = Cost(_blend(listing.seconds, cost.seconds), _blend(listing.size, cost.size))
        listing.seconds, listing.size, listing.is_good = cost.seconds, cost.size, True
        listing.failures = 0
        self._longest = max(self._longest, cost.size)

    def list_too_long(self, scope: Scope, size: int, *, is_exact: bool) -> None:
        """Learn from a list that was given up: it has `size` bytes, or has more and is taken to be much longer."""
        listing = self._listing(scope)
        listing.size = size if is_exact else size * _FIRST_LIMIT_FACTOR
        listing.is_good = False
        self._longest = max(self._longest, size)

    def list_failed(self, scope: Scope, now: float) -> None:
        """Learn from a list that did not come: after a second time in a row, or a first time ever, it has a pause."""
        listing = self._listing(scope)
        listing.failures += 1
        if listing.failures > 1 or not listing.is_good:
            listing.closed_until = now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(listing.failures - 1, 16))

    def list_refused(self, scope: Scope, now: float) -> None:
        """Learn from a list that the server does not give."""
        self._listing(scope).closed_until = now + _LONGEST_PAUSE

    def list_distrusted(self, scope: Scope, now: float) -> float:
        """Learn from a list that does not show what single reads show. Returns its pause, longer each time."""
        listing = self._listing(scope)
        pause = min(_LONGEST_DISTRUST, _LONGEST_PAUSE * 2 ** min(listing.distrusts, 16))
        listing.distrusts += 1
        listing.closed_until = now + pause
        return pause

    def is_paused(self, scope: Scope, now: float) -> bool:
        """Whether a list is not to be read for now."""
        listing = self._listings.get(scope)
        return listing is not None and listing.closed_until > now

    def price_of_single(self, slot_seconds: float) -> float:
        """The price of one look. `slot_seconds` is what the pacing makes each request cost at least."""
        seconds = max(self._single.seconds, _least_seconds(slot_seconds))
        return min(seconds, _MOST_SECONDS_OF_SINGLE) + self._single.size / _BYTES_PER_SECOND

    def price_of_list(self, scope: Scope, watched: int, slot_seconds: float, now: float) -> float | None:
        """The price of a list with `watched` rows of use; None when it is not to be had, or not worth trying."""
        if self.is_paused(scope, now):
            return None
        listing = self._listings.get(scope)
        if listing is not None and listing.size is not None:
            return max(listing.seconds, _least_seconds(slot_seconds)) + listing.size / _BYTES_PER_SECOND
        if watched < (_ENOUGH_FOR_EVERYTHING if scope is EVERYTHING else _ENOUGH_FOR_LIST):
            return None
        return _least_seconds(slot_seconds) + self._least_size(scope, watched) / _BYTES_PER_SECOND

    def limit_of_list(self, scope: Scope, watched: int, worth: float) -> int:
        """The most bytes that a list may have which saves single looks of the price `worth`.

        A list whose length is known, or learned by trying, is read up to twice its worth, so that it is not given up
        shortly before its end; an unknown one only as far as it is not much longer than what is watched of it.
        """
        affordable = max(0.0, worth - _LEAST_SECONDS) * _BYTES_PER_SECOND
        listing = self._listings.get(scope)
        if listing is not None and listing.size is not None:
            return int(2 * affordable)
        return int(min(affordable, max(_FIRST_LIMIT_BYTES, _FIRST_LIMIT_FACTOR * self._least_size(scope, watched))))

    def _least_size(self, scope: Scope, watched: int) -> float:
        least = watched * self._single.size
        return max(least, self._longest) if scope is EVERYTHING else least

    def _listing(self, scope: Scope) -> _Listing:
        if scope not in self._listings and len(self._listings) >= _MOST_LISTS:
            del self._listings[next(iter(self._listings))]
        return self._listings.setdefault(scope, _Listing())


def _least_seconds(slot_seconds: float) -> float:
    return max(_LEAST_SECONDS, min(slot_seconds, _MOST_SECONDS_OF_SINGLE))


def _blend(average: float, latest: float) -> float:
    return average + _WEIGHT_OF_LATEST * (latest - average)
