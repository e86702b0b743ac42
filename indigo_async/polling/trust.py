"""Whether lists show what single reads show: a list saves requests, and is never the only witness.

Now and then, an audience that its list has not moved for long is read singly. Where that read shows more, the list is
given some time to show it, too. A list that fails to, for several audiences, is distrusted for a while.
"""

from __future__ import annotations

import attrs

from indigo_async.polling.costs import Scope
from indigo_async.polling.waits import UNMOVED, ListLook, Needs, Wait, Watch, view_of
from indigo_async.transport.list_view import Row

__all__ = ["ListTrust"]

# A list that was right is verified less often: at last once in so many polls.
_FIRST_GAP, _LONGEST_GAP = 2, 8
_ENOUGH_PROOFS = 3
_MOST_SUSPICIONS = 100
_MOST_LISTS = 10_000


@attrs.define
class _Record:
    """How one list did: polls until it is verified again, polls between two checks, and proofs that it is stale."""

    polls_left: int = 0
    gap: int = _FIRST_GAP
    proofs: int = 0


@attrs.frozen
class _Suspicion:
    """What a list showed of an audience (`view`) when a single read, sent at `sent`, showed something else."""

    scope: Scope
    sent: float
    needs: Needs
    view: object


@attrs.define
class ListTrust:
    """Picks what to verify, and judges the lists. At most one read is added to a list, and to most lists none."""

    interval: float
    _records: dict[Scope, _Record] = attrs.field(factory=dict[Scope, _Record], init=False)
    suspicions: dict[str, _Suspicion] = attrs.field(factory=dict[str, _Suspicion], init=False)

    def to_verify(self, look: ListLook) -> Watch | None:
        """The audience to read singly after a list that was read whole."""
        record = self._record(look.scope)
        record.polls_left = max(0, record.polls_left - 1)
        watch = look.unmoved
        if watch is None or record.polls_left:
            return None
        record.polls_left = record.gap
        record.gap = min(2 * record.gap, _LONGEST_GAP)
        watch.unmoved = 0
        return watch

    def suspect(self, scope: Scope, wait: Wait, sent: float) -> None:
        """Note that a single read, sent at `sent`, showed more than the list, which `wait` has seen."""
        record = self._record(scope)
        record.gap = 1
        record.polls_left = min(record.polls_left, 1)
        while len(self.suspicions) >= _MOST_SUSPICIONS:
            del self.suspicions[next(iter(self.suspicions))]
        self.suspicions[wait.watch.key] = _Suspicion(scope, sent, wait.needs, wait.seen)

    def judge(self, look: ListLook, key: str, row: Row) -> bool:
        """Compare a suspected list's row with what it showed before. Returns whether the list is stale beyond doubt.

        A list that moves the row within some intervals is only a little late, which all lists may be.
        """
        suspicion = self.suspicions[key]
        if suspicion.scope != look.scope:
            return False
        record = self._record(look.scope)
        if view_of(row, suspicion.needs) != suspicion.view:
            record.proofs, record.gap, record.polls_left = 0, _LONGEST_GAP, _LONGEST_GAP
        elif look.sent >= suspicion.sent + UNMOVED * self.interval:
            record.proofs += 1
        else:
            return False
        del self.suspicions[key]
        if record.proofs < _ENOUGH_PROOFS:
            return False
        record.proofs -= 1  # after its pause, one more is enough
        for other in [key for key, found in self.suspicions.items() if found.scope == look.scope]:
            del self.suspicions[other]
        return True

    def _record(self, scope: Scope) -> _Record:
        if scope not in self._records and len(self._records) >= _MOST_LISTS:
            del self._records[next(iter(self._records))]
        return self._records.setdefault(scope, _Record())
