"""Jobs before they start: checked, with what earlier runs did for them. Many at a time, so that they share threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import attrs

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.workflows.batches.conflicts import Conflicts, JobFiles, find_files
from indigo_async.workflows.batches.jobs import (
    AudienceJob,
    JobResult,
    SharedChecks,
    check_job,
    find_recorded_result,
)
from indigo_async.workflows.recipes.context import NULL_JOB_LOG, JobLog

__all__ = ["NumberedJob", "OpenJobLog", "Preparation", "PreparedJob"]

T = TypeVar("T")
R = TypeVar("R")

NumberedJob: TypeAlias = tuple[AudienceJob, int]
"""A job as it was passed to the batch, and its number among all jobs, from 0."""

OpenJobLog: TypeAlias = Callable[[AudienceJob], Awaitable[JobLog]]
"""Opens the log of a checked job."""

_Check: TypeAlias = tuple[AudienceJob, JobFiles, Sequence[Problem]]
"""A job in its normal form, its files, and its problems. Without problems, the first two are meaningful."""

_JOBS_PER_THREAD_CALL = 10
"""Few enough that a slow disk is asked about several jobs at once."""


@attrs.define(eq=False)
class PreparedJob:
    """A job before it starts, as far as it is prepared.

    Attributes:
        given: the job as it was passed to the batch.
        checked: the job in its normal form, unless it is invalid.
        log: what earlier runs did for it.
        result: what an earlier run produced, if nothing is left to do.
        error: why it can't start.
    """

    given: AudienceJob
    checked: AudienceJob
    log: JobLog = NULL_JOB_LOG
    result: JobResult | None = None
    error: Exception | None = None


@attrs.frozen
class Preparation:
    """Prepares the jobs of a batch.

    `conflicts` has the names and files of the jobs so far. `can_publish`: whether CSVs may be local files. `open_log`
    is None if there is no journal. `finds_results`: whether a job is done if an earlier run has finished all of its
    stages.
    """

    conflicts: Conflicts
    can_publish: bool
    open_log: OpenJobLog | None
    finds_results: bool

    async def prepare(self, jobs: Sequence[NumberedJob]) -> Sequence[PreparedJob]:
        """Check jobs, also against the jobs so far, and load what earlier runs did. An invalid job affects no other."""
        checked = await _map_in_threads(partial(self._check, SharedChecks()), jobs)
        registered = [
            self._register(job, number, outcome) for (job, number), outcome in zip(jobs, checked, strict=True)
        ]
        if self.open_log is None:
            return registered
        await asyncio.gather(*(self._open(job, self.open_log) for job in registered))
        if self.finds_results:
            await _map_in_threads(_find_result, registered)
        return registered

    def _check(self, shared: SharedChecks, numbered: NumberedJob) -> _Check | Exception:
        job, _ = numbered
        check = InputCheck()
        try:
            checked = check_job(check, job, shared, can_publish=self.can_publish)
            files = JobFiles() if check.problems else find_files(checked, shared.resolve_folder)
        except Exception as error:  # noqa: BLE001 - one failed job never stops the others
            return error.with_traceback(None)  # its frames would lead back to this result
        return checked, files, check.problems

    def _register(self, given: AudienceJob, number: int, outcome: _Check | Exception) -> PreparedJob:
        if isinstance(outcome, Exception):
            return PreparedJob(given, given, error=outcome)
        checked, files, problems = outcome
        if problems:  # the error is made here, because a thread keeps its last result for a while
            return PreparedJob(given, given, error=InvalidInputError(problems))
        conflicts = self.conflicts.register(checked, files, number)
        return PreparedJob(given, checked, error=InvalidInputError(conflicts) if conflicts else None)

    async def _open(self, job: PreparedJob, open_log: OpenJobLog) -> None:
        if job.error is None:
            try:
                job.log = await open_log(job.checked)
            except Exception as error:  # noqa: BLE001 - as in `_check`
                job.error = error


def _find_result(job: PreparedJob) -> None:
    if job.error is None:
        job.result = find_recorded_result(job.log, job.checked)


async def _map_in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call a function with each item, for a few items per thread call."""

    def call(part: Sequence[T]) -> list[R]:
        return [function(item) for item in part]

    parts = (items[start : start + _JOBS_PER_THREAD_CALL] for start in range(0, len(items), _JOBS_PER_THREAD_CALL))
    done = await asyncio.gather(*(run_in_thread(partial(call, part)) for part in parts))
    return [result for part in done for result in part]
