"""A batch under way: jobs admitted as room allows, each on its own, outcomes as they come."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from functools import partial
from itertools import count
from typing import TypeAlias

import anyio
import attrs

from indigo_async._polling import get_poller
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import (
    AuthenticationError,
    InvalidInputError,
    JournalDamagedError,
    JournalWriteError,
    Problem,
    WorkflowError,
)
from indigo_async.events import Listener
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.workflows.batches.conflicts import Conflicts
from indigo_async.workflows.batches.jobs import (
    AudienceJob,
    CheckedJob,
    JobResult,
    check_job,
    compute_identity,
    run_stages,
)
from indigo_async.workflows.batches.journal_reporter import JournalReporter
from indigo_async.workflows.batches.report import BatchCounters, BatchReport, JobOutcome
from indigo_async.workflows.journal import Journal, JournalJobLog
from indigo_async.workflows.recipes.budget import Budget
from indigo_async.workflows.recipes.context import RecipeContext, StopFlag, recipe_scope
from indigo_async.workflows.recipes.match import is_url
from indigo_async.workflows.recipes.name_index import NameIndex

__all__ = ["Batch", "BatchOptions", "Jobs"]

Jobs: TypeAlias = Iterable[AudienceJob] | AsyncIterable[AudienceJob]

_OUTCOME_BUFFER_SIZE = 1_000
_JOBS_BEFORE_FIRST_SUCCESS = 4

_logger = logging.getLogger("indigo_async")


@attrs.frozen(kw_only=True)
class BatchOptions:
    """What holds for all jobs of a batch."""

    publisher: Publisher | None
    purchase: bool
    timeout: float
    max_in_flight: int
    stop_after_failures: int | None
    on_event: Listener | None


class Batch:
    """A batch under way: iterate over it for the outcomes, as they come; `report()` tells the numbers so far.

    Leaving the `async with` block early cancels what is not done; a purchase under way is settled first.
    """

    def __init__(
        self,
        client: IndigoClient,
        options: BatchOptions,
        *,
        conflicts: Conflicts,
        budget: Budget,
        journal: Journal | None,
        batch_log: JournalJobLog | None,
    ) -> None:
        self._client = client
        self._options = options
        self._budget = budget
        self._journal = journal
        self._reporter = None if batch_log is None else JournalReporter(batch_log, self.report)
        self._name_index = NameIndex(client)
        self._counters = BatchCounters()
        self._conflicts = conflicts
        self._stop_flag = StopFlag()
        self._job_timeout = SharedTimeout(options.timeout)
        self._admission: asyncio.Task[None] | None = None
        self._jobs_error: Exception | None = None
        self._has_warned = False
        self._requests_before = Counter(client.transport.requests)
        self._failed_requests_before = Counter(client.transport.failed_requests)
        self._poller = get_poller(client)
        self._reads_saved_before = self._poller.stats.requests_saved
        self._clock = asyncio.get_running_loop().time
        self._started_at = self._clock()
        self._ended_at: float | None = None
        # A wrong token fails a handful of jobs rather than thousands.
        self._slots = asyncio.Semaphore(min(options.max_in_flight, _JOBS_BEFORE_FIRST_SUCCESS))
        # Bounded, so that a slow reader of outcomes slows the batch down instead of filling memory.
        self._outbox, self._outcomes = anyio.create_memory_object_stream[JobOutcome](_OUTCOME_BUFFER_SIZE)

    def __aiter__(self) -> AsyncIterator[JobOutcome]:
        return self._outcomes

    def report(self) -> BatchReport:
        """The numbers so far; final once the iteration has ended."""
        tally, budget = self._counters, self._budget
        return BatchReport(
            done=tally.done,
            failed=tally.failed,
            failed_by_stage=dict(tally.failed_by_stage),
            failed_by_error=dict(tally.failed_by_error),
            failures=tuple(tally.failures),
            warned=tally.warned,
            warnings=tuple(tally.warnings),
            stopped=tally.stopped,
            quoted_cents=tally.quoted_cents,
            spent_cents=budget.spent_cents,
            unresolved_cents=budget.reserved_cents,
            budget_cents=budget.limit_cents,
            requests=dict(self._client.transport.requests - self._requests_before),
            failed_requests=dict(self._client.transport.failed_requests - self._failed_requests_before),
            reads_saved=self._poller.stats.requests_saved - self._reads_saved_before,
            stages=tally.stages(),
            lost_uploads=tally.lost_uploads,
            seconds=(self._ended_at or self._clock()) - self._started_at,
        )

    async def run(self, jobs: Jobs) -> None:
        """Admit jobs while there is room and no reason to stop, to the last one's end; `start_batch` does this."""
        if self._reporter is not None:
            self._reporter.start()
        with self._outbox:
            async with asyncio.TaskGroup() as outer:
                widening = outer.create_task(self._open_slots_after_success())
                async with asyncio.TaskGroup() as group:
                    self._admission = group.create_task(self._admit(jobs, group))
                widening.cancel()
        if self._jobs_error is not None:
            raise self._jobs_error

    async def _open_slots_after_success(self) -> None:
        """Make room for the rest of `max_in_flight` once the server has answered a request well."""
        await self._client.transport.first_success.wait()
        for _ in range(self._options.max_in_flight - _JOBS_BEFORE_FIRST_SUCCESS):
            self._slots.release()

    async def _admit(self, jobs: Jobs, group: asyncio.TaskGroup) -> None:
        """Start a job whenever there is room. Cancelled when the batch is to stop."""
        try:
            async with aclosing(_enumerate_jobs(jobs)) as waiting:
                while await self._slots.acquire():
                    numbered = await anext(waiting, None)
                    if numbered is None:
                        return
                    group.create_task(self._run_and_report(*numbered), name="indigo-job")
                    await asyncio.sleep(0)  # lets the jobs begin, and a reason to stop come up
        except Exception as error:  # noqa: BLE001 - the jobs under way are ended first
            self._jobs_error = error
            self._counters.stopped = f"the jobs could not be read: {type(error).__name__}"

    async def _run_and_report(self, job: AudienceJob, number: int) -> None:
        """Run a job to its end, whichever that is. Its stages are awaited from here: each frame between is held."""
        terms = self._options
        run = RecipeContext(
            self._client,
            job.customer_id,
            job.audience_name,
            self._name_index,
            budget=self._budget,
            stop_flag=self._stop_flag,
            publisher=terms.publisher,
        )
        began = self._clock()
        end: JobResult | Exception | None = None
        try:
            try:
                with recipe_scope(run, "job", self._job_timeout, on_event=terms.on_event):
                    end = await run_stages(run, await self._prepare(job, number, run), purchase=terms.purchase)
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                end = WorkflowError("something that the job waited for was cancelled", stage=run.current_stage)
            except Exception as error:  # noqa: BLE001 - one job that fails never stops the others
                end = error
            await self._send_outcome(self._record_outcome(job, run, end, seconds=self._clock() - began))
        finally:
            self._slots.release()
            del end  # an error refers to the frames that it passed, this one too: only a collection would free them

    async def _send_outcome(self, outcome: JobOutcome) -> None:
        self._stop_if_needed(outcome)
        await self._outbox.send(outcome)

    def close(self) -> None:
        """Hand out no more outcomes; `start_batch` does this at the block's end."""
        self._outbox.close()
        self._outcomes.close()
        self._ended_at = self._clock()
        if self._reporter is not None:
            self._reporter.stop()

    def _stop_if_needed(self, outcome: JobOutcome) -> None:
        limit = self._options.stop_after_failures
        if self._counters.stopped is not None:
            return
        if _is_fatal(outcome.error):
            self._stop_flag.reason = str(outcome.error)
        if self._stop_flag.reason is not None:
            self._counters.stopped = self._stop_flag.reason
        elif limit is not None and self._counters.failed >= limit:
            self._counters.stopped = f"{self._counters.failed} jobs failed"
        if self._counters.stopped is not None and self._admission is not None:
            self._admission.cancel()

    async def _prepare(self, job: AudienceJob, number: int, context: RecipeContext) -> CheckedJob:
        """Check a job and what it claims, and recall what is known of it."""
        checked = await _check_in_thread(job, self._options.publisher)
        problems = self._conflicts.register(job, number)
        if problems:
            raise InvalidInputError(problems)
        self._warn_without_journal(job)
        if self._journal is not None:
            identity = await compute_identity(checked, base_url=self._client.settings.base_url)
            context.job_log = await self._journal.job_log(
                job.customer_id, job.audience_name, identity.fingerprint, identity.input_hashes
            )
        return checked

    def _record_outcome(
        self, job: AudienceJob, context: RecipeContext, end: JobResult | Exception, *, seconds: float
    ) -> JobOutcome:
        """A job's outcome, counted and told to the journal."""
        audience = context.audience or (end.audience if isinstance(end, WorkflowError) else None)
        outcome = JobOutcome(
            job=job,
            result=end if isinstance(end, JobResult) else None,
            error=end if isinstance(end, Exception) else None,
            stage=context.current_stage,
            audience_id=audience.id if audience is not None else None,
            timings=context.timings,
            warnings=context.warnings,
        )
        self._counters.add(outcome, quote=context.quote, lost_uploads=context.lost_uploads)
        if self._reporter is not None:
            self._reporter.report_outcome(outcome, context, seconds)
        return outcome

    def _warn_without_journal(self, job: AudienceJob) -> None:
        may_buy = self._options.purchase and job.export is not None and job.export.max_cost_cents > 0
        if may_buy and self._journal is None and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "this batch may buy exports and keeps no journal: two processes that run the same jobs at once could "
                "buy twice; pass journal=Path(...)"
            )


def _is_fatal(error: Exception | None) -> bool:
    """Whether every other job would fail in the same way."""
    if isinstance(error, AuthenticationError):
        return error.status == 401  # noqa: PLR2004 - HTTP's own number; 403 may be about one customer
    return isinstance(error, (JournalDamagedError, JournalWriteError))


def _is_cancelled() -> bool:
    """Whether somebody cancels this task, rather than something that it awaits having been cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _check_in_thread(job: AudienceJob, publisher: Publisher | None) -> CheckedJob:
    check = InputCheck()
    work = partial(check_job, check, job, publisher)
    names_files = job.export is not None or not is_url(job.csv)
    checked = await run_in_thread(work) if names_files else work()  # a path may be on a slow disk
    check.raise_if_invalid()
    return checked


async def _enumerate_jobs(jobs: Jobs) -> AsyncGenerator[tuple[AudienceJob, int]]:
    """The jobs with their numbers, from 0."""
    numbers = count()
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield _check_job_type(job, next(numbers))
        return
    for job in jobs:
        yield _check_job_type(job, next(numbers))


def _check_job_type(job: object, number: int) -> tuple[AudienceJob, int]:
    if not isinstance(job, AudienceJob):
        raise InvalidInputError([Problem(f"jobs[{number}]", f"must be an AudienceJob, not {type(job).__name__}")])
    return job, number
