"""What each job of a batch claims for itself: the names of its audiences, and the file that it writes.

No export is written over a list of people, nor over a file of the batch's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from indigo_async.errors import InvalidInputError, Problem
from indigo_async.files.publish import Publisher
from indigo_async.inputs import InputCheck
from indigo_async.workflows.jobs import AudienceJob, check_job
from indigo_async.workflows.match import is_url

__all__ = ["Claims", "check_jobs", "files_of_journal"]

_JOURNAL_ENDS = ("", ".lock", "-wal", "-shm")


@attrs.define
class Claims:
    """The claims so far, each with the number of the job that made it; `owner` says how people call that job.

    `kept` are files that no job may write.
    """

    owner: Callable[[int], str] = "jobs[{}]".format
    kept: frozenset[str] = frozenset()
    _owners: dict[tuple[str, ...], int] = attrs.Factory(dict[tuple[str, ...], int])
    _lists: dict[str, int] = attrs.Factory(dict[str, int])

    def add(self, job: AudienceJob, number: int) -> list[Problem]:
        """Claim what a job needs, all or nothing; returns what others claimed before."""
        claims = list(_claims_of(job))
        problems = [
            Problem(where, f"{what} ({self.owner(self._owners[claim])})")
            for where, what, claim in claims
            if claim in self._owners
        ]
        source = _absolute(job.csv) if isinstance(job.csv, (str, Path)) and not is_url(job.csv) else None  # pyright: ignore[reportUnnecessaryIsInstance] - not checked yet
        target = None if job.export is None else _absolute(job.export.destination)
        problems += self._overwritten(source, target, number)
        if not problems:
            self._owners.update((claim, number) for _, _, claim in claims)
            if source is not None:
                self._lists.setdefault(source, number)
        return problems

    def _overwritten(self, source: str | None, target: str | None, number: int) -> Iterator[Problem]:
        if target in self.kept:
            yield Problem("export.destination", f"{target!r} is a file of the batch's own")
        if target is not None and target in self._lists | {source: number}:
            reader = self.owner(self._lists.get(target, number))
            yield Problem("export.destination", f"{target!r} is a list of people ({reader}); name another file")
        if source is not None and (source,) in self._owners:
            yield Problem("csv", f"{source!r} is written by another job ({self.owner(self._owners[source,])})")


def _claims_of(job: AudienceJob) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Where in the job, what is wrong when it is claimed twice, and the claim."""
    names = [("audience_name", job.audience_name)]
    if job.lookalike is not None:
        names.append(("lookalike.audience_name", job.lookalike.audience_name))
    for where, name in names:
        what = f"another job makes an audience named {name!r} for customer {job.customer_id!r}; names are unique"
        yield where, what, (str(job.customer_id), str(name))
    if job.export is not None:
        path = _absolute(job.export.destination)
        yield "export.destination", f"another job writes {path!r}", (path,)


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - resolving links would ask the disk


def files_of_journal(journal: Path | str | None) -> frozenset[str]:
    """The files that a journal consists of."""
    return frozenset() if journal is None else frozenset(_absolute(f"{journal}{end}") for end in _JOURNAL_ENDS)


def check_jobs(jobs: Sequence[object], publisher: Publisher | None, kept: frozenset[str] = frozenset()) -> None:
    """Check jobs that stand in memory all at once, before anything is sent; `kept` are files that none may write.

    Raises:
        InvalidInputError: with every problem of every job, and what two jobs claim.
    """
    problems: list[Problem] = []
    claims = Claims(kept=kept)
    for number, job in enumerate(jobs):
        if not isinstance(job, AudienceJob):
            problems.append(Problem(f"jobs[{number}]", f"must be an AudienceJob, not {type(job).__name__}"))
            continue
        check = InputCheck()
        check_job(check, job, publisher)
        found = check.problems or claims.add(job, number)
        problems += [Problem(f"jobs[{number}].{problem.where}", problem.message) for problem in found]
    if problems:
        raise InvalidInputError(problems)
