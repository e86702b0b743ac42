"""Whether lists show what single reads show: a list saves requests, and is never the only witness.

Now and then, an audience that its list has not moved for long is read singly. Where that read shows more, the list is
given some time to show it, too. A list that fails to, for several audiences, is distrusted for a while.
"""

from __future__ import annotations

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

__all__ = ["StaleListDetector"]

# A list that was right is verified less often: at last once in so many polls.
_MIN_GAP, _MAX_GAP = 2, 8
_MIN_CONFIRMED_MISMATCHES = 3
_MAX_MISMATCHES = 100
_MAX_LISTS = 10_000


@attrs.define
class _ListRecord:
    """How one list did: polls until it is verified again, polls between two checks, and proofs that it is stale."""

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
    """Picks what to verify, and judges the lists. At most one read is added to a list, and to most lists none."""

    interval: float
    _records: dict[ListScope, _ListRecord] = attrs.field(factory=dict[ListScope, _ListRecord], init=False)
    mismatches: dict[str, _Mismatch] = attrs.field(factory=dict[str, _Mismatch], init=False)

    def pick_to_verify(self, look: ListPoll) -> Watch | None:
        """The audience to read singly after a list that was read whole."""
        record = self._record(look.scope)
        record.polls_left = max(0, record.polls_left - 1)
        watch = look.longest_unchanged
        if watch is None or record.polls_left:
            return None
        record.polls_left = record.gap
        record.gap = min(2 * record.gap, _MAX_GAP)
        watch.unchanged_lists = 0
        return watch

    def record_mismatch(self, scope: ListScope, wait: Wait, sent: float) -> None:
        """Note that a single read, sent at `sent_at`, showed more than the list, which `wait` has seen."""
        record = self._record(scope)
        record.gap = 1
        record.polls_left = min(record.polls_left, 1)
        while len(self.mismatches) >= _MAX_MISMATCHES:
            del self.mismatches[next(iter(self.mismatches))]
        self.mismatches[wait.watch.key] = _Mismatch(scope, sent, wait.part, wait.last_view)

    def confirm_stale(self, look: ListPoll, key: str, row: Row) -> bool:
        """Compare a suspected list's row with what it showed before. Returns whether the list is stale beyond doubt.

        A list that moves the row within some intervals is only a little late, which all lists may be.
        """
        suspicion = self.mismatches[key]
        if suspicion.scope != look.scope:
            return False
        record = self._record(look.scope)
        if extract_view(row, suspicion.part) != suspicion.view:
            record.confirmed_mismatches, record.gap, record.polls_left = 0, _MAX_GAP, _MAX_GAP
        elif look.sent_at >= suspicion.sent_at + UNCHANGED_LISTS_BEFORE_VERIFYING * self.interval:
            record.confirmed_mismatches += 1
        else:
            return False
        del self.mismatches[key]
        if record.confirmed_mismatches < _MIN_CONFIRMED_MISMATCHES:
            return False
        record.confirmed_mismatches -= 1  # after its pause, one more is enough
        for other in [key for key, found in self.mismatches.items() if found.scope == look.scope]:
            del self.mismatches[other]
        return True

    def _record(self, scope: ListScope) -> _ListRecord:
        if scope not in self._records and len(self._records) >= _MAX_LISTS:
            del self._records[next(iter(self._records))]
        return self._records.setdefault(scope, _ListRecord())
