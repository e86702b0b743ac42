"""What a batch may spend, has spent and may be about to spend, across workers and runs."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

__all__ = ["Grant", "Hold", "Ledger", "Turn"]


@attrs.frozen(kw_only=True)
class Turn:
    """An attempt at a shard, in one run of its batch. A later run or attempt supersedes an earlier one.

    `run` is when the run started, in milliseconds since 1970. `attempt` grows with each attempt at the shard.
    """

    shard: str
    run: int
    attempt: int


@attrs.frozen(kw_only=True)
class Hold:
    """An export that was purchased for a job, or may have been, and its price in cents."""

    export_id: str
    cents: int


@attrs.frozen(kw_only=True)
class Grant:
    """Whether cents were reserved, and how many are left; None means no limit.

    If not, and the budget is not the reason: the job holds the export `held`, or the worker `is_superseded` by another.
    """

    granted: bool
    left_cents: int | None
    held: str = ""
    is_superseded: bool = False


@attrs.define(kw_only=True)
class Ledger:
    """The ledger of a batch. A `limit_cents` of None means no limit beyond that of each job.

    A purchase is identified by its export's ID, so reserving twice for one export reserves once. A reservation that is
    neither settled nor released stays: a purchase with an unknown outcome counts as made.

    A job holds one export at a time in `holders`, so that two workers that both run it cannot purchase two. A worker
    that was wrongly considered dead is superseded and gets no reservation: `run` is the latest run of the batch, and
    `attempts` has the latest attempt at each of its shards.

    `identity` is a hash of the batch's jobs, so that another batch of the same name does not share its budget.
    """

    limit_cents: int | None = None
    spent_cents: int = 0
    reserved: dict[str, int] = attrs.Factory(dict[str, int])
    holders: dict[str, str] = attrs.Factory(dict[str, str])
    run: int = 0
    attempts: dict[str, int] = attrs.Factory(dict[str, int])
    identity: str = ""
    _reserved_cents: int = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._reserved_cents = sum(self.reserved.values())

    @property
    def reserved_cents(self) -> int:
        return self._reserved_cents

    @property
    def left_cents(self) -> int | None:
        if self.limit_cents is None:
            return None
        return max(0, self.limit_cents - self.spent_cents - self.reserved_cents)

    def open(self, identity: str, limit_cents: int | None, *, continue_changed: bool = False) -> bool:
        """Open the ledger for a run of its batch, with this limit. Returns False if the batch had other jobs.

        `continue_changed` accepts other jobs.
        """
        if self.identity not in {"", identity} and not continue_changed:
            return False
        self.identity = identity
        self.limit_cents = limit_cents
        return True

    def begin(self, turn: Turn, jobs: Iterable[str]) -> dict[str, Hold] | None:
        """Begin an attempt at a shard, which supersedes all earlier ones.

        Returns what its jobs hold, by their references: exports that an earlier attempt may have purchased. None if the
        attempt itself is superseded.
        """
        if self._is_superseded(turn):
            return None
        if turn.run > self.run:
            self.run = turn.run
            self.attempts.clear()
        self.attempts[turn.shard] = turn.attempt
        return self.find_holds(jobs)

    def find_holds(self, jobs: Iterable[str]) -> dict[str, Hold]:
        """What jobs hold, by their references."""
        held = {job: self.holders[job] for job in jobs if job in self.holders}
        return {
            job: Hold(export_id=export_id, cents=self.reserved.get(export_id, 0)) for job, export_id in held.items()
        }

    def reserve(self, export_id: str, cents: int, *, job: str, turn: Turn | None = None) -> Grant:
        """Reserve cents for an export of a job, if that many are left and the job holds no other export.

        The job is empty if a workflow that runs a single job reserves them.
        """
        left = self.left_cents
        if turn is not None and self._is_superseded(turn):
            return Grant(granted=False, left_cents=left, is_superseded=True)
        held = self.holders.get(job, export_id)
        if held != export_id:
            return Grant(granted=False, left_cents=left, held=held)
        more = max(0, cents - self.reserved.get(export_id, 0))
        if left is not None and more > left:
            return Grant(granted=False, left_cents=left)
        self.reserved[export_id] = self.reserved.get(export_id, 0) + more
        self._reserved_cents += more
        if job:
            self.holders[job] = export_id
        return Grant(granted=True, left_cents=self.left_cents)

    def settle(self, export_id: str, charged_cents: int | None, *, job: str) -> None:
        """Count the charged cents of a purchase as spent, once for each reservation. The job holds it no longer.

        None means as much as is reserved.
        """
        if export_id in self.reserved:
            self.spent_cents += self.reserved[export_id] if charged_cents is None else charged_cents
        self._let_go(export_id, job)

    def release(self, export_id: str, *, job: str, turn: Turn | None = None) -> Grant:
        """Cancel the reservation of an export that certainly was not purchased. The job holds it no longer.

        A superseded worker cancels nothing, because the worker that took over may be purchasing the export.
        """
        is_superseded = turn is not None and self._is_superseded(turn)
        if not is_superseded:
            self._let_go(export_id, job)
        return Grant(granted=not is_superseded, left_cents=self.left_cents, is_superseded=is_superseded)

    def _let_go(self, export_id: str, job: str) -> None:
        self._reserved_cents -= self.reserved.pop(export_id, 0)
        if self.holders.get(job) == export_id:
            del self.holders[job]

    def _is_superseded(self, turn: Turn) -> bool:
        return (turn.run, turn.attempt) < (self.run, self.attempts.get(turn.shard, 0))
