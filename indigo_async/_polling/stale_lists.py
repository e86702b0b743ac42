"""Whether lists can be trusted: which parts of a record they show, and whether they are up to date.

A list saves requests, but is never the only evidence. Now and then, an audience that its list has not changed for long
is read singly. If that read shows newer data, the list gets some time to catch up. A list that repeatedly fails to is
not used for a while.
"""

from __future__ import annotations

from collections import Counter

import attrs

from indigo_async._polling.cost_model import ListScope
from indigo_async._polling.watchlist import (
    UNCHANGED_LISTS_BEFORE_VERIFYING,
    ListPoll,
    RecordPart,
    Wait,
    Watch,
    extract_view,
)
from indigo_async._transport.audience_list import Row

__all__ = ["ListCoverage", "StaleListDetector"]

# This many rows without a part, and none with it, prove that lists do not include it.
_MIN_ROWS_WITHOUT_PART = 3
# Lists between two verifications; more after each one that the list passes.
_MIN_GAP, _MAX_GAP = 2, 8
_MIN_CONFIRMED_MISMATCHES = 3
_MAX_MISMATCHES = 100
_MAX_LISTS = 10_000


class ListCoverage:
    """Which parts of a record this server's lists include."""

    def __init__(self) -> None:
        self._shown: set[RecordPart] = set()
        self._rows_without: Counter[RecordPart] = Counter()
        self._not_included: set[RecordPart] = set()

    def record_shown(self, part: RecordPart) -> None:
        self._shown.add(part)

    def record_missing(self, part: RecordPart) -> None:
        self._rows_without[part] += 1

    def update(self) -> None:
        """Draw the conclusions, after a whole list was read."""
        missing = {part for part, rows in self._rows_without.items() if rows >= _MIN_ROWS_WITHOUT_PART}
        self._not_included = missing - self._shown

    def covers(self, watch: Watch) -> bool:
        """Whether lists include everything that the audience's waits depend on, as far as is known."""
        return not self._not_included or all(wait.part not in self._not_included for wait in watch.waits)


@attrs.define
class _ListRecord:
    """One list's record. `polls_left` counts down to the next verification, `gap` is the number between two."""

    polls_left: int = 0
    gap: int = _MIN_GAP
    confirmed_mismatches: int = 0


@attrs.frozen
class _Mismatch:
    """What a list showed of an audience (`view`) when a single read, sent at `sent_at`, showed something else."""

    scope: ListScope
    sent_at: float
    part: RecordPart
    view: object


@attrs.define
class StaleListDetector:
    """Picks audiences to verify, and decides which lists are stale. Adds at most one read per list, usually none."""

    mismatches: dict[str, _Mismatch] = attrs.field(factory=dict[str, _Mismatch], init=False)
    _records: dict[ListScope, _ListRecord] = attrs.field(factory=dict[ListScope, _ListRecord], init=False)

    def pick_to_verify(self, poll: ListPoll) -> Watch | None:
        """The audience to read singly after a list was read in full; usually None."""
        record = self._record(poll.scope)
        record.polls_left = max(0, record.polls_left - 1)
        watch = poll.longest_unchanged
        if watch is None or record.polls_left:
            return None
        record.polls_left = record.gap
        record.gap = min(2 * record.gap, _MAX_GAP)
        watch.unchanged_lists = 0
        return watch

    def record_mismatch(self, scope: ListScope, wait: Wait, sent_at: float) -> None:
        """Record that a single read, sent at `sent_at`, shows newer data than the list has shown to `wait`."""
        record = self._record(scope)
        record.gap = 1
        record.polls_left = min(record.polls_left, 1)
        while len(self.mismatches) >= _MAX_MISMATCHES:
            del self.mismatches[next(iter(self.mismatches))]
        self.mismatches[wait.watch.key] = _Mismatch(scope, sent_at, wait.part, wait.last_view)

    def confirm_stale(self, poll: ListPoll, key: str, row: Row, interval: float) -> bool:
        """Compare the row of a mismatch with what the list showed then. Returns whether the list is certainly stale.

        A list that changes the row within a few intervals is only slightly late, which is normal.
        """
        mismatch = self.mismatches[key]
        if mismatch.scope != poll.scope:
            return False
        record = self._record(poll.scope)
        if extract_view(row, mismatch.part) != mismatch.view:
            record.confirmed_mismatches, record.gap, record.polls_left = 0, _MAX_GAP, _MAX_GAP
        elif poll.sent_at >= mismatch.sent_at + UNCHANGED_LISTS_BEFORE_VERIFYING * interval:
            record.confirmed_mismatches += 1
        else:
            return False
        del self.mismatches[key]
        if record.confirmed_mismatches < _MIN_CONFIRMED_MISMATCHES:
            return False
        record.confirmed_mismatches -= 1  # after the list's pause, a single further mismatch is enough
        for other in [key for key, found in self.mismatches.items() if found.scope == poll.scope]:
            del self.mismatches[other]
        return True

    def _record(self, scope: ListScope) -> _ListRecord:
        if scope not in self._records and len(self._records) >= _MAX_LISTS:
            del self._records[next(iter(self._records))]
        return self._records.setdefault(scope, _ListRecord())
