"""What each job of a batch claims for itself: the names of its audiences, and the file that it writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import attrs

from indigo_async.errors import InvalidInputError, Problem
from indigo_async.files.publish import Publisher
from indigo_async.inputs import InputCheck
from indigo_async.workflows.jobs import AudienceJob, check_job

__all__ = ["Claims", "check_jobs"]


@attrs.define
class Claims:
    """The claims so far, each with the number of the job that made it; `owner` says how people call that job."""

    owner: Callable[[int], str] = "jobs[{}]".format
    _owners: dict[tuple[str, ...], int] = attrs.Factory(dict[tuple[str, ...], int])

    def add(self, job: AudienceJob, number: int) -> list[Problem]:
        """Claim what a job needs, all or nothing; returns what others claimed before."""
        claims = list(_claims_of(job))
        problems = [
            Problem(where, f"{what} ({self.owner(self._owners[claim])})")
            for where, what, claim in claims
            if claim in self._owners
        ]
        if not problems:
            self._owners.update((claim, number) for _, _, claim in claims)
        return problems


def _claims_of(job: AudienceJob) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Where in the job, what is wrong when it is claimed twice, and the claim."""
    names = [("audience_name", job.audience_name)]
    if job.lookalike is not None:
        names.append(("lookalike.audience_name", job.lookalike.audience_name))
    for where, name in names:
        what = f"another job makes an audience named {name!r} for customer {job.customer_id!r}; names are unique"
        yield where, what, (str(job.customer_id), str(name))
    if job.export is not None:
        path = os.path.abspath(job.export.destination)  # noqa: PTH100 - resolving links would ask the disk
        yield "export.destination", f"another job writes {path!r}", (path,)


def check_jobs(jobs: Sequence[object], publisher: Publisher | None) -> None:
    """Check jobs that stand in memory all at once, before anything is sent.

    Raises:
        InvalidInputError: with every problem of every job, and what two jobs claim.
    """
    problems: list[Problem] = []
    claims = Claims()
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
