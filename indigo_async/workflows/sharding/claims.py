"""Which worker runs which job, so that two batches never run the same job at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

__all__ = ["ClaimReply", "Claims"]

_MAX_FINISHED = 10_000


@attrs.frozen(kw_only=True)
class ClaimReply:
    """The jobs that others hold (`held`), and those they have finished (`finished`), by holder.

    The caller now holds all jobs that are not `held`.
    """

    held: Mapping[str, Sequence[str]]
    finished: Mapping[str, Sequence[str]]


@attrs.define(kw_only=True)
class Claims:
    """The claims on jobs of one bucket, by holder. Jobs are named by their references.

    `finished` remembers who finished a job, so that a later run finds its result: about the last 10,000 jobs.
    """

    held: dict[str, list[str]] = attrs.Factory(dict[str, list[str]])
    finished: dict[str, list[str]] = attrs.Factory(dict[str, list[str]])
    _owners: dict[str, str] = attrs.field(init=False, eq=False, repr=False)
    _finishers: dict[str, str] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._owners = _holders_by_job(self.held)
        self._finishers = _holders_by_job(self.finished)

    def is_held_by(self, holder: str, job: str) -> bool:
        return self._owners.get(job) == holder

    def claim(self, holder: str, jobs: Iterable[str], *, gone: Iterable[str] = ()) -> ClaimReply:
        """Claim the jobs that nobody else holds. Claiming twice changes nothing.

        `gone` names holders that ended without releasing their jobs.
        """
        for other in gone:
            if other != holder:
                self._release(other)
        held: dict[str, list[str]] = {}
        finished: dict[str, list[str]] = {}
        for job in jobs:
            owner = self._owners.get(job)
            if owner is None:
                self._owners[job] = holder
                self.held.setdefault(holder, []).append(job)
            elif owner != holder:
                held.setdefault(owner, []).append(job)
                continue
            if job in self._finishers:
                finished.setdefault(self._finishers[job], []).append(job)
        return ClaimReply(held=held, finished=finished)

    def release(self, holder: str, finished: Iterable[str]) -> None:
        """Release all jobs of a holder, and remember those whose results it has."""
        self._release(holder)
        done = dict.fromkeys(finished)
        if not done:
            return
        for other in {self._finishers[job] for job in done if job in self._finishers}:
            self.finished[other] = [job for job in self.finished[other] if job not in done]
            if not self.finished[other]:
                del self.finished[other]
        # Moved to the end, because it is the latest.
        self.finished[holder] = [*self.finished.pop(holder, []), *done]
        self._finishers.update(dict.fromkeys(done, holder))
        self._forget_oldest()

    def _release(self, holder: str) -> None:
        for job in self.held.pop(holder, []):
            del self._owners[job]

    def _forget_oldest(self) -> None:
        while len(self._finishers) > _MAX_FINISHED:
            for job in self.finished.pop(next(iter(self.finished))):
                del self._finishers[job]


def _holders_by_job(jobs_by_holder: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {job: holder for holder, jobs in jobs_by_holder.items() for job in jobs}
