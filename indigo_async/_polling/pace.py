"""How soon to poll again: by the age of a wait, and by how long finished waits of the same kind lasted.

1. A wait is polled once an interval. After ten intervals, it is polled whenever it has become a tenth older.
2. While nearly all waits of its kind lasted longer, it is polled only every 30 seconds.
3. By the time at which nearly all waits of its kind had ended, it is polled again.

So a young wait is noticed half an interval late on average, an old one at most a tenth of its age, and any wait at most
30 seconds. Rules 2 and 3 need a hundred finished waits that lasted at least as long as this one.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Hashable, Iterable
from itertools import accumulate

import attrs

from indigo_async._polling.schedule import MAX_JITTER, limit_delay
from indigo_async._polling.watchlist import Cohort

__all__ = ["Pace", "WaitLengths"]

_AGE_DIVISOR = 10
_COHORTS_PER_INTERVAL = 10
_MIN_COMPARABLE = 100
# Hardly any and nearly all: these shares of the waits that lasted as long.
_FEW = 0.002
_MOST = 0.9
_MAX_INTERVALS = 1_000
_MAX_RECORDED = 100_000


class WaitLengths:
    """How long finished waits of one kind lasted, in whole intervals. Very old ones count less and less."""

    def __init__(self) -> None:
        self._counts = [0] * _MAX_INTERVALS
        self._shorter: list[int] = []
        """By length: how many were shorter. Empty until it is needed."""

    def record(self, length: float) -> None:
        """Record a wait that lasted `length` intervals."""
        self._counts[min(int(length), _MAX_INTERVALS - 1)] += 1
        self._shorter = []

    def expect_end(self, age: float) -> tuple[int, int] | None:
        """When waits that are `age` intervals old end: the age at which the first do, and by which nearly all have.

        None if too few waits lasted so long.
        """
        if not self._shorter:
            self._shorter = self._sum_up()
        shorter, total = self._shorter, self._shorter[-1]
        ended = shorter[min(int(age), _MAX_INTERVALS)]
        comparable = total - ended
        if comparable < _MIN_COMPARABLE:
            return None
        first = bisect_right(shorter, ended + comparable * _FEW) - 1
        return first, bisect_left(shorter, ended + comparable * _MOST)

    def _sum_up(self) -> list[int]:
        shorter = list(accumulate(self._counts, initial=0))
        if shorter[-1] > _MAX_RECORDED:
            self._counts = [count // 2 for count in self._counts]
            return self._sum_up()
        return shorter


@attrs.define
class Pace:
    """When to poll waits again, learned from those that have ended. All times are in seconds of the event loop."""

    interval: float
    _lengths: dict[Hashable, WaitLengths] = attrs.field(factory=dict[Hashable, WaitLengths], init=False)

    def find_cohort(self, kind: Hashable, started_at: float, deadline: float | None) -> Cohort:
        """The cohort of a new wait, which is also polled in time before its deadline."""
        last_poll_at = float("inf") if deadline is None else self._round_down(deadline - 1.5 * self.interval)
        return Cohort(kind, self._round_down(started_at), last_poll_at)

    def _round_down(self, time: float) -> float:
        return math.floor(time / self.interval * _COHORTS_PER_INTERVAL) * self.interval / _COHORTS_PER_INTERVAL

    def record_end(self, cohort: Cohort, unfinished_at: float | None) -> None:
        """Record that a wait has ended, and when it was last seen unfinished; None if it was over when it started.

        It may have ended right after it was last seen, so that is its length. With the time at which its end was
        noticed, late polls would seem to be early enough.
        """
        if cohort.kind is not None and unfinished_at is not None:
            lengths = self._lengths.setdefault(cohort.kind, WaitLengths())
            lengths.record((unfinished_at - cohort.started_at) / self.interval)

    def next_due(self, cohorts: Collection[Cohort], now: float, jitter: float) -> float:
        """When to poll again what was polled at `now`: soon enough for each of these waits."""
        delay = min((self.delay(cohort, now) for cohort in cohorts), default=1.0) * self.interval
        due = now + limit_delay(delay + MAX_JITTER * jitter * self.interval, self.interval)
        return min(due, self.next_deadline(cohorts, now))

    def next_deadline(self, cohorts: Iterable[Cohort], now: float) -> float:
        """When the last poll before the next deadline is due; infinity if there is none.

        Not before one interval has passed, or waits with one deadline after another would be polled all the time.
        """
        polls = (cohort.last_poll_at for cohort in cohorts)
        return max(min((due for due in polls if due > now), default=float("inf")), now + self.interval)

    def delay(self, cohort: Cohort, now: float) -> float:
        """How many intervals may pass until the next poll, at least 1."""
        age = (now - cohort.started_at) / self.interval
        delay = max(1.0, age / _AGE_DIVISOR)
        lengths = self._lengths.get(cohort.kind)
        expected = lengths.expect_end(age) if lengths is not None else None
        if expected is not None:
            first, last = expected
            delay = max(1.0, first - age, min(delay, last - age))
        return delay
