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

from indigo_async.client import IndigoClient
from indigo_async.errors import (
    AuthenticationError,
    InvalidInputError,
    JournalDamagedError,
    JournalWriteError,
    Problem,
    WorkflowError,
)
from indigo_async.files.publish import Publisher
from indigo_async.inputs import InputCheck
from indigo_async.polling import poller_of
from indigo_async.transport.events import Listener
from indigo_async.transport.shield import in_thread
from indigo_async.transport.time_limit import TimeLimit
from indigo_async.workflows.budget import Budget
from indigo_async.workflows.claims import Claims
from indigo_async.workflows.directory import Directory
from indigo_async.workflows.jobs import AudienceJob, CheckedJob, JobResult, check_job, identity_of, run_stages
from indigo_async.workflows.journal import JobMemory, Journal
from indigo_async.workflows.match import is_url
from indigo_async.workflows.report import BatchReport, JobOutcome, Tally
from indigo_async.workflows.run import Brake, Run, running
from indigo_async.workflows.telling import Teller

__all__ = ["Batch", "BatchTerms", "Jobs"]

Jobs: TypeAlias = Iterable[AudienceJob] | AsyncIterable[AudienceJob]

_OUTCOMES_WAITING = 1_000
_JOBS_BEFORE_FIRST_SUCCESS = 4

_logger = logging.getLogger("indigo_async")


@attrs.frozen(kw_only=True)
class BatchTerms:
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
        terms: BatchTerms,
        *,
        claims: Claims,
        budget: Budget,
        journal: Journal | None,
        own: JobMemory | None,
    ) -> None:
        self._client = client
        self._terms = terms
        self._budget = budget
        self._journal = journal
        self._teller = None if own is None else Teller(own, self.report)
        self._directory = Directory(client)
        self._tally = Tally()
        self._claims = claims
        self._brake = Brake()
        self._limit = TimeLimit(terms.timeout)
        self._admission: asyncio.Task[None] | None = None
        self._unreadable: Exception | None = None
        self._warned = False
        self._requests_before = Counter(client.transport.requests)
        self._setbacks_before = Counter(client.transport.setbacks)
        self._poller = poller_of(client)
        self._saved_before = self._poller.stats.saved
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._ended: float | None = None
        # A wrong token fails a handful of jobs rather than thousands.
        self._room = asyncio.Semaphore(min(terms.max_in_flight, _JOBS_BEFORE_FIRST_SUCCESS))
        # Bounded, so that a slow reader of outcomes slows the batch down instead of filling memory.
        self._outbox, self._outcomes = anyio.create_memory_object_stream[JobOutcome](_OUTCOMES_WAITING)

    def __aiter__(self) -> AsyncIterator[JobOutcome]:
        return self._outcomes

    def report(self) -> BatchReport:
        """The numbers so far; final once the iteration has ended."""
        tally, budget = self._tally, self._budget
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
            unsettled_cents=budget.reserved_cents,
            budget_cents=budget.limit_cents,
            requests=dict(self._client.transport.requests - self._requests_before),
            setbacks=dict(self._client.transport.setbacks - self._setbacks_before),
            reads_saved=self._poller.stats.saved - self._saved_before,
            stages=tally.stages(),
            lost_uploads=tally.lost_uploads,
            seconds=(self._ended or self._clock()) - self._started,
        )

    async def drive(self, jobs: Jobs) -> None:
        """Admit jobs while there is room and no reason to stop, to the last one's end; `start_batch` does this."""
        if self._teller is not None:
            self._teller.begin()
        with self._outbox:
            async with asyncio.TaskGroup() as outer:
                widening = outer.create_task(self._widen_after_success())
                async with asyncio.TaskGroup() as group:
                    self._admission = group.create_task(self._admit(jobs, group))
                widening.cancel()
        if self._unreadable is not None:
            raise self._unreadable

    async def _widen_after_success(self) -> None:
        """Make room for the rest of `max_in_flight` once the server has answered a request well."""
        await self._client.transport.has_succeeded.wait()
        for _ in range(self._terms.max_in_flight - _JOBS_BEFORE_FIRST_SUCCESS):
            self._room.release()

    async def _admit(self, jobs: Jobs, group: asyncio.TaskGroup) -> None:
        """Start a job whenever there is room. Cancelled when the batch is to stop."""
        try:
            async with aclosing(_each(jobs)) as waiting:
                while await self._room.acquire():
                    numbered = await anext(waiting, None)
                    if numbered is None:
                        return
                    group.create_task(self._run_and_report(*numbered), name="indigo-job")
                    await asyncio.sleep(0)  # lets the jobs begin, and a reason to stop come up
        except Exception as error:  # noqa: BLE001 - the jobs under way are ended first
            self._unreadable = error
            self._tally.stopped = f"the jobs could not be read: {type(error).__name__}"

    async def _run_and_report(self, job: AudienceJob, number: int) -> None:
        """Run a job to its end, whichever that is. Its stages are awaited from here: each frame between is held."""
        terms = self._terms
        run = Run(
            self._client,
            job.customer_id,
            job.audience_name,
            self._directory,
            budget=self._budget,
            brake=self._brake,
            publisher=terms.publisher,
        )
        began = self._clock()
        end: JobResult | Exception | None = None
        try:
            try:
                with running(run, "job", self._limit, on_event=terms.on_event):
                    end = await run_stages(run, await self._begin(job, number, run), purchase=terms.purchase)
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                end = WorkflowError("something that the job waited for was cancelled", stage=run.stage)
            except Exception as error:  # noqa: BLE001 - one job that fails never stops the others
                end = error
            await self._hand_out(self._count(job, run, end, seconds=self._clock() - began))
        finally:
            self._room.release()
            del end  # an error refers to the frames that it passed, this one too: only a collection would free them

    async def _hand_out(self, outcome: JobOutcome) -> None:
        self._consider_stopping(outcome)
        await self._outbox.send(outcome)

    def close(self) -> None:
        """Hand out no more outcomes; `start_batch` does this at the block's end."""
        self._outbox.close()
        self._outcomes.close()
        self._ended = self._clock()
        if self._teller is not None:
            self._teller.end()

    def _consider_stopping(self, outcome: JobOutcome) -> None:
        limit = self._terms.stop_after_failures
        if self._tally.stopped is not None:
            return
        if _is_fatal(outcome.error):
            self._brake.reason = str(outcome.error)
        if self._brake.reason is not None:
            self._tally.stopped = self._brake.reason
        elif limit is not None and self._tally.failed >= limit:
            self._tally.stopped = f"{self._tally.failed} jobs failed"
        if self._tally.stopped is not None and self._admission is not None:
            self._admission.cancel()

    async def _begin(self, job: AudienceJob, number: int, run: Run) -> CheckedJob:
        """Check a job and what it claims, and recall what is known of it."""
        checked = await _checked(job, self._terms.publisher)
        problems = self._claims.add(job, number)
        if problems:
            raise InvalidInputError(problems)
        self._warn_without_journal(job)
        if self._journal is not None:
            identity = await identity_of(checked, base_url=self._client.settings.base_url)
            run.memory = await self._journal.memory_of(
                job.customer_id, job.audience_name, identity.fingerprint, identity.inputs
            )
        return checked

    def _count(self, job: AudienceJob, run: Run, end: JobResult | Exception, *, seconds: float) -> JobOutcome:
        """A job's outcome, counted and told to the journal."""
        audience = run.audience or (end.audience if isinstance(end, WorkflowError) else None)
        outcome = JobOutcome(
            job=job,
            result=end if isinstance(end, JobResult) else None,
            error=end if isinstance(end, Exception) else None,
            stage=run.stage,
            audience_id=audience.id if audience is not None else None,
            timings=run.timings,
            warnings=run.warnings,
        )
        self._tally.add(outcome, quote=run.quote, lost_uploads=run.lost_uploads)
        if self._teller is not None:
            self._teller.tell(outcome, run, seconds)
        return outcome

    def _warn_without_journal(self, job: AudienceJob) -> None:
        may_buy = self._terms.purchase and job.export is not None and job.export.max_cost_cents > 0
        if may_buy and self._journal is None and not self._warned:
            self._warned = True
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


async def _checked(job: AudienceJob, publisher: Publisher | None) -> CheckedJob:
    check = InputCheck()
    work = partial(check_job, check, job, publisher)
    names_files = job.export is not None or not is_url(job.csv)
    checked = await in_thread(work) if names_files else work()  # a path may be on a slow disk
    check.done()
    return checked


async def _each(jobs: Jobs) -> AsyncGenerator[tuple[AudienceJob, int]]:
    """The jobs with their numbers, from 0."""
    numbers = count()
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield _numbered(job, next(numbers))
        return
    for job in jobs:
        yield _numbered(job, next(numbers))


def _numbered(job: object, number: int) -> tuple[AudienceJob, int]:
    if not isinstance(job, AudienceJob):
        raise InvalidInputError([Problem(f"jobs[{number}]", f"must be an AudienceJob, not {type(job).__name__}")])
    return job, number
