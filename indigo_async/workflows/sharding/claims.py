"""Which worker runs which job, so that two batches never run the same job at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

__all__ = ["ClaimReply", "Claims"]

_MAX_FINISHED = 10_000


@attrs.frozen(kw_only=True)
class ClaimReply:
    """The claimed jobs that others hold, or have finished, by holder. The claimant holds the rest, and the finished."""

    held: Mapping[str, Sequence[str]]
    finished: Mapping[str, Sequence[str]]


@attrs.define(kw_only=True)
class Claims:
    """The claims on jobs of one bucket, by holder. Jobs are named by their references.

    `finished` remembers who finished a job, so that a later run finds its result: the last 10,000 jobs.
    """

    held: dict[str, list[str]] = attrs.Factory(dict[str, list[str]])
    finished: dict[str, list[str]] = attrs.Factory(dict[str, list[str]])

    def claim(self, holder: str, jobs: Iterable[str], *, gone: Iterable[str] = ()) -> ClaimReply:
        """Claim the jobs that nobody else holds. Claiming twice changes nothing.

        `gone` names holders that ended without releasing their jobs.
        """
        for other in gone:
            if other != holder:
                self.held.pop(other, None)
        owners = {job: other for other, theirs in self.held.items() for job in theirs}
        finishers = {job: other for other, theirs in self.finished.items() for job in theirs}
        held: dict[str, list[str]] = {}
        finished: dict[str, list[str]] = {}
        for job in jobs:
            owner = owners.get(job, holder)
            if owner != holder:
                held.setdefault(owner, []).append(job)
                continue
            if job not in owners:
                self.held.setdefault(holder, []).append(job)
            if job in finishers:
                finished.setdefault(finishers[job], []).append(job)
        return ClaimReply(held=held, finished=finished)

    def release(self, holder: str, finished: Sequence[str]) -> None:
        """Release all jobs of a holder, and remember those whose results it has."""
        self.held.pop(holder, None)
        if not finished:
            return
        done = set(finished)
        for other, theirs in list(self.finished.items()):
            theirs[:] = [job for job in theirs if job not in done]
            if not theirs:
                del self.finished[other]
        self.finished[holder] = [*finished]
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        count = sum(map(len, self.finished.values()))
        while count > _MAX_FINISHED:
            count -= len(self.finished.pop(next(iter(self.finished))))
