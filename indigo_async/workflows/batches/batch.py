"""A batch: jobs are started as slots become free, and their outcomes are handed out as they come."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Sequence,
)
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeAlias

import anyio
import attrs

from indigo_async._exact import to_plain
from indigo_async._listeners import combine_listeners, listen
from indigo_async._transport.cancellation import run_in_thread, wait_shielded
from indigo_async._transport.errors import rejects_token
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient, get_poller
from indigo_async.errors import (
    ConnectionFailedError,
    FenceError,
    FenceInUseError,
    IndigoError,
    InvalidInputError,
    JournalDamagedError,
    JournalWriteError,
    Problem,
    ResponseDecodeError,
    WorkflowError,
)
from indigo_async.events import Listener, RecipeFinished, RecipeStarted
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.files.publishing.stores import SigningStore
from indigo_async.workflows.batches.conflicts import Conflicts, check_jobs, journal_files
from indigo_async.workflows.batches.jobs import AudienceJob, JobResult, compute_identity, reuse_result, run_stages
from indigo_async.workflows.batches.journal_reporter import JournalReporter
from indigo_async.workflows.batches.preparation import NumberedJob, OpenJobLog, Preparation, PreparedJob
from indigo_async.workflows.batches.report import BatchCounters, BatchReport, CustomerTotals, JobOutcome
from indigo_async.workflows.fence.fence import Fence
from indigo_async.workflows.fence.stores import check_fence
from indigo_async.workflows.journal import Journal, JournalJobLog
from indigo_async.workflows.recipes.budget import Budget
from indigo_async.workflows.recipes.context import (
    DEFAULT_TIMEOUT,
    JobLog,
    RecipeContext,
    StopFlag,
    check_client,
    recipe_scope,
)
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.sharding.split import Shard, check_shard, job_ref

__all__ = ["Batch", "BatchOptions", "Jobs", "OpenJobLog", "batch_running", "run_batch", "start_batch"]

Jobs: TypeAlias = Iterable[AudienceJob] | AsyncIterable[AudienceJob]
"""The jobs of a batch: a list, which is checked at once, or any iterator, which is read lazily."""

_OUTCOME_BUFFER_SIZE = 1_000
_JOBS_BEFORE_FIRST_SUCCESS = 4
_JOBS_PREPARED_TOGETHER = 100
_OUTAGE_CHECK_SECONDS = 30.0
_CLAIM_SECONDS = 120.0

_logger = logging.getLogger("indigo_async")


@asynccontextmanager
async def start_batch(
    client: IndigoClient,
    jobs: Jobs,
    *,
    max_in_flight: int = 10_000,
    journal: Path | str | None = None,
    fence: Path | str | SigningStore | None = None,
    shard: str | None = None,
    budget_cents: int | None = None,
    purchase: bool = True,
    publisher: Publisher | None = None,
    job_timeout: float = DEFAULT_TIMEOUT,
    stop_after_failures: int | None = None,
    on_event: Listener | None = None,
) -> AsyncGenerator[Batch]:
    """Start a batch of jobs. Iterate over the batch to get their outcomes as they arrive.

    Jobs in a list are all checked before anything is sent. Jobs from an iterator are read lazily and checked one by
    one, and an invalid job doesn't affect the others. One failed job never stops the others. If you run the same batch
    again, it continues where it stopped: what exists is reused, and nothing is purchased twice.

    Args:
        client: an open client.
        jobs: any iterable or async iterable.
        max_in_flight: the most jobs in flight at once.
        journal: a file that records what was done, for this run and later ones. Without it and without a fence, only
            the server's records are used, and two processes that run the same jobs could purchase twice.
        fence: a place that runs on several machines share, so that no two of them run the same job at once, nothing is
            purchased twice, and all obey one budget: a folder that exists, a URL such as `s3://bucket/prefix` (or
            `gs://`, `az://`; extra `publish`), or an obstore store.
        shard: run only this part of the jobs, such as `3/10` for the third of ten. All jobs of a customer are in one
            shard. Each shard gets all jobs. Shards that purchase need a fence.
        budget_cents: the most that all runs with this fence, and all runs with this journal, may spend together (with
            neither: that this run may spend). None leaves only each job's `max_cost_cents`.
        purchase: False stops each job at its priced preview. A later run without it purchases those previews.
        publisher: makes local CSVs available at URLs until they are matched.
        job_timeout: seconds for each job.
        stop_after_failures: the number of failed jobs after which no more jobs start. None: failures never stop it.
        on_event: called with each event; see `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        JournalError: the journal cannot be used.
        FenceError: the fence cannot be used.
        ClientNotOpenError: the client is not open.
        Exception: whatever an iterator of jobs raises, after the jobs in flight have ended.
    """
    check = InputCheck()
    check_client(check, client, on_event)
    max_in_flight = check.positive_integer("max_in_flight", max_in_flight)
    if budget_cents is not None:
        budget_cents = check.cents("budget_cents", budget_cents)
    purchase = check.boolean("purchase", purchase)
    if stop_after_failures is not None:
        stop_after_failures = check.positive_integer("stop_after_failures", stop_after_failures)
    job_timeout = check.seconds("job_timeout", job_timeout)
    if not isinstance(jobs, (Iterable, AsyncIterable)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        check.add("jobs", f"must be an iterable of AudienceJobs, not {type(jobs).__name__}")
    journal_path = None if journal is None else check.path("journal", journal)
    if fence is not None:
        check_fence(check, fence)
    own_shard = None
    if shard is not None:
        own_shard = check_shard(check, shard, may_purchase=purchase, has_fence=fence is not None)
    check.raise_if_invalid()
    reserved_files = await run_in_thread(partial(journal_files, journal_path))
    if isinstance(jobs, Sequence):
        await run_in_thread(partial(check_jobs, jobs, can_publish=publisher is not None, reserved_files=reserved_files))
    options = BatchOptions(
        publisher=publisher,
        purchase=purchase,
        timeout=job_timeout,
        max_in_flight=max_in_flight,
        stop_after_failures=stop_after_failures,
        on_event=on_event,
        shard=own_shard,
    )
    async with AsyncExitStack() as stack:
        open_log, batch_log, spent_before = None, None, dict[str, int]()
        if journal_path is not None:
            opened = await stack.enter_async_context(Journal.open(journal_path))
            open_log = partial(_open_journal_log, opened, client.settings.base_url)
            spent_before = await opened.spent_by_customer()
            batch_log = await opened.batch_log()
        opened_fence = None
        if fence is not None:
            opened_fence = await stack.enter_async_context(
                Fence.open(
                    fence,
                    base_url=client.settings.base_url,
                    limit_cents=budget_cents,
                    proxies=client.transport.http.proxies,
                )
            )
            if isinstance(jobs, Collection):
                await opened_fence.claim(_job_refs(jobs, own_shard), seconds=_CLAIM_SECONDS)
        batch = Batch(
            client,
            options,
            conflicts=Conflicts(reserved_files=reserved_files),
            budget=Budget(budget_cents, sum(spent_before.values())),
            counters=BatchCounters(
                {
                    customer_id: CustomerTotals(spent_cents=cents, quoted_cents=cents)
                    for customer_id, cents in spent_before.items()
                }
            ),
            open_log=open_log,
            batch_log=batch_log,
            fence=opened_fence,
        )
        async with batch_running(batch, jobs):
            yield batch


@asynccontextmanager
async def batch_running(batch: Batch, jobs: Jobs) -> AsyncGenerator[None]:
    """Run jobs in a batch while the block runs, and cancel unfinished ones at its end."""
    async with batch._running(jobs):  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - users only iterate
        yield


async def _open_journal_log(journal: Journal, base_url: str, job: AudienceJob) -> JobLog:
    identity = await compute_identity(job, base_url=base_url)
    return await journal.job_log(job.customer_id, job.audience_name, identity.fingerprint, identity.input_hashes)


def _job_refs(jobs: Iterable[AudienceJob], shard: Shard | None) -> Iterable[str]:
    """The references of the jobs in a shard, which may not be checked yet."""
    return [
        job_ref(str(to_plain(job.customer_id)), str(to_plain(job.audience_name)))
        for job in jobs
        if shard is None or shard.has_customer(job.customer_id)
    ]


async def run_batch(
    client: IndigoClient,
    jobs: Jobs,
    *,
    max_in_flight: int = 10_000,
    journal: Path | str | None = None,
    fence: Path | str | SigningStore | None = None,
    shard: str | None = None,
    budget_cents: int | None = None,
    purchase: bool = True,
    publisher: Publisher | None = None,
    job_timeout: float = DEFAULT_TIMEOUT,
    stop_after_failures: int | None = None,
    on_event: Listener | None = None,
) -> BatchReport:
    """Run a batch of jobs to the end and return its report.

    It takes the same arguments as `start_batch`, which also yields each outcome. A failed job raises no error: it is in
    the report. To get all rows of a large batch, read its journal with `read_journal`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        JournalError: the journal cannot be used.
        FenceError: the fence cannot be used.
        ClientNotOpenError: the client is not open.
        Exception: whatever an iterator of jobs raises, after the jobs in flight have ended.
    """
    async with start_batch(
        client,
        jobs,
        max_in_flight=max_in_flight,
        journal=journal,
        fence=fence,
        shard=shard,
        budget_cents=budget_cents,
        purchase=purchase,
        publisher=publisher,
        job_timeout=job_timeout,
        stop_after_failures=stop_after_failures,
        on_event=on_event,
    ) as batch:
        async for _ in batch:
            pass
        return batch.report()


@attrs.frozen(kw_only=True)
class BatchOptions:
    """The options that apply to all jobs of a batch; see `start_batch`.

    `finish` runs after the last stage of a job, as part of it.
    """

    publisher: Publisher | None
    purchase: bool
    timeout: float
    max_in_flight: int
    stop_after_failures: int | None
    on_event: Listener | None
    finish: Callable[[RecipeContext, AudienceJob, JobResult], Awaitable[None]] | None = None
    shard: Shard | None = None


class Batch:
    """A batch in progress. Iterate over it for the outcomes as they come; `report()` returns the numbers so far.

    Leaving the `async with` block early cancels unfinished jobs. The outcome of a purchase in flight is checked first.
    """

    def __init__(
        self,
        client: IndigoClient,
        options: BatchOptions,
        *,
        conflicts: Conflicts,
        budget: Budget,
        counters: BatchCounters,
        open_log: OpenJobLog | None,
        batch_log: JournalJobLog | None = None,
        fence: Fence | None = None,
    ) -> None:
        self._client = client
        self._options = options
        self._budget = budget
        self._preparation = Preparation(
            conflicts, options.publisher is not None, open_log, finds_results=options.purchase
        )
        self._fence = fence
        self._reporter = None if batch_log is None else JournalReporter(batch_log, self.report)
        self._name_index = NameIndex(client)
        self._counters = counters
        self._stop_flag = StopFlag()
        self._job_timeout = SharedTimeout(options.timeout)
        self._admission: asyncio.Task[None] | None = None
        self._in_flight = 0
        self._jobs_error: Exception | None = None
        self._has_warned = False
        self._has_records = open_log is not None or fence is not None
        self._requests_before = Counter(client.transport.requests)
        self._failed_requests_before = Counter(client.transport.failed_requests)
        self._poller = get_poller(client)
        self._reads_saved_before = self._poller.stats.requests_saved
        self._clock = asyncio.get_running_loop().time
        self._started_at = self._clock()
        self._ended_at: float | None = None
        # For the jobs that are read, and for those that start. A wrong token fails a handful rather than thousands.
        self._room = asyncio.Semaphore(options.max_in_flight)
        self._slots = asyncio.Semaphore(min(options.max_in_flight, _JOBS_BEFORE_FIRST_SUCCESS))
        # Bounded, so that a slow reader of outcomes slows the batch down instead of filling memory.
        self._outbox, self._outcomes = anyio.create_memory_object_stream[JobOutcome](_OUTCOME_BUFFER_SIZE)

    def __aiter__(self) -> AsyncIterator[JobOutcome]:
        self._client.transport.http.require_own_loop()
        if self._ended_at is not None:
            raise IndigoError("the batch has ended: iterate over it inside the `async with start_batch(...)` block")
        return self

    async def __anext__(self) -> JobOutcome:
        try:
            return await self._outcomes.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
        except asyncio.CancelledError as error:
            raise error.with_traceback(None) from None  # keep inner frames out of the traceback

    def report(self) -> BatchReport:
        """The numbers so far; final once the iteration has ended."""
        counters, budget, transport = self._counters, self._budget, self._client.transport
        return BatchReport(
            done=counters.done,
            recalled=counters.recalled,
            failed=counters.failed,
            failed_by_stage=dict(counters.failed_by_stage),
            failed_by_error=dict(counters.failed_by_error),
            failures=tuple(counters.failures),
            canceled=counters.canceled,
            warned=counters.warned,
            warnings=tuple(counters.warnings),
            stopped=counters.stopped,
            quoted_cents=counters.quoted_cents,
            spent_cents=budget.spent_cents,
            spent_this_run_cents=budget.spent_cents - counters.spent_before_cents,
            unresolved_cents=budget.reserved_cents,
            budget_cents=budget.limit_cents,
            fence_spent_cents=None if self._fence is None else self._fence.spent_cents,
            requests=dict(transport.requests - self._requests_before),
            failed_requests=dict(transport.failed_requests - self._failed_requests_before),
            reads_saved=max(0, self._poller.stats.requests_saved - self._reads_saved_before),
            stages=counters.stage_times(),
            by_customer=dict(counters.by_customer),
            lost_uploads=counters.lost_uploads,
            seconds=(self._ended_at or self._clock()) - self._started_at,
        )

    @asynccontextmanager
    async def _running(self, jobs: Jobs) -> AsyncGenerator[None]:
        """Run jobs while the block runs, and cancel unfinished ones at its end."""
        running = asyncio.create_task(self._run(jobs))
        try:
            yield
        finally:
            if self._fence is not None:
                self._fence.hurry()
            running.cancel()
            await wait_shielded(running)
            if running.cancelled() and self._counters.stopped is None:
                self._counters.stopped = "interrupted before all jobs had ended"
            self._outbox.close()
            self._outcomes.close()
            self._ended_at = self._clock()
            if self._reporter is not None:
                self._reporter.stop()
        if not running.cancelled():
            running.result()

    async def _run(self, jobs: Jobs) -> None:
        """Start jobs while there are slots and no reason to stop, and wait until the last one ends."""
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
        """Open the other slots of `max_in_flight` after the first successful request."""
        await self._client.transport.first_success.wait()
        for _ in range(self._options.max_in_flight - _JOBS_BEFORE_FIRST_SUCCESS):
            self._slots.release()

    async def _admit(self, jobs: Jobs, group: asyncio.TaskGroup) -> None:
        """Prepare jobs, report those that earlier runs finished, and start the others. Canceled to stop the batch."""
        async with aclosing(_enumerate_jobs(jobs, self._options.shard)) as waiting:
            # An iterator may be slow, change what it has yielded, or take jobs from a queue. So it is read one by one,
            # and only once a job can start.
            reads_ahead = isinstance(jobs, Collection)
            while numbered := await self._read_jobs(waiting, reads_ahead=reads_ahead):
                try:
                    prepared = await self._preparation.prepare(numbered)
                except asyncio.CancelledError:
                    if not reads_ahead:  # the iterator won't yield them again
                        for taken, _ in numbered:
                            self._counters.add_canceled(self._create_context(PreparedJob(taken, taken)))
                    raise
                self._warn_without_journal(prepared)
                finished = [(job, job.result) for job in prepared if job.result is not None]
                if finished:
                    await asyncio.wait([group.create_task(self._report_finished(finished), name="indigo-finished")])
                for job in prepared:
                    if job.result is None:
                        if reads_ahead:
                            await self._take_slot()
                        self._in_flight += 1
                        group.create_task(self._run_and_report(job), name="indigo-job")
                        await asyncio.sleep(0)  # lets jobs start, and a reason to stop emerge
                    elif not reads_ahead:
                        self._slots.release()

    async def _read_jobs(self, waiting: AsyncIterator[NumberedJob], *, reads_ahead: bool) -> Sequence[NumberedJob]:
        """Read the next jobs: at least one, unless there are no more, and not more than there is room for."""
        if not reads_ahead:
            await self._take_slot()
        read: list[NumberedJob] = []
        most = _JOBS_PREPARED_TOGETHER if reads_ahead else 1
        while len(read) < most and not (read and self._room.locked()):
            await self._room.acquire()
            try:
                numbered = await anext(waiting, None)
            except Exception as error:  # noqa: BLE001 - the jobs that were read are finished first
                self._jobs_error = error
                self._counters.stopped = f"the jobs could not be read: {type(error).__name__}"
                break
            if numbered is None:
                break
            read.append(numbered)
        return read

    async def _take_slot(self) -> None:
        """Wait until a job may start: not during an outage, unless no job in progress can probe the server."""
        await self._slots.acquire()
        breaker = self._client.transport.breaker
        while breaker.outage is not None and self._in_flight:
            await breaker.wait_until_over(seconds=_OUTAGE_CHECK_SECONDS)

    async def _report_finished(self, jobs: Iterable[tuple[PreparedJob, JobResult]]) -> None:
        """Send the outcomes of jobs that earlier runs finished."""
        with listen(combine_listeners(self._client.transport.on_event, self._options.on_event)):
            for job, result in jobs:
                context = self._create_context(job)
                context.emit(RecipeStarted, recipe="job")
                reuse_result(context, job.checked, result)
                context.emit(RecipeFinished, recipe="job", seconds=0.0)
                outcome = self._record_outcome(job.given, context, result, seconds=0.0, recalled=True)
                await self._outbox.send(outcome)
                self._room.release()

    def _create_context(self, job: PreparedJob) -> RecipeContext:
        return RecipeContext(
            self._client,
            str(job.checked.customer_id),  # not checked if the job is invalid
            str(job.checked.audience_name),
            self._name_index,
            job_log=job.log,
            budget=self._budget,
            stop_flag=self._stop_flag,
            publisher=self._options.publisher,
        )

    async def _run_and_report(self, job: PreparedJob) -> None:
        """Run a job to its end and send its outcome. It awaits the stages itself, because each frame costs memory."""
        options, context, started_at = self._options, self._create_context(job), self._clock()
        end: JobResult | Exception | None = None
        outcome: JobOutcome | None = None
        try:
            try:
                with recipe_scope(context, "job", self._job_timeout, on_event=options.on_event):
                    await self._claim(job, context)
                    end = await run_stages(context, job.checked, purchase=options.purchase)
                    if options.finish is not None:
                        await options.finish(context, job.checked, end)
            except asyncio.CancelledError:
                if _is_being_canceled():
                    self._counters.add_canceled(context)
                    raise
                end = WorkflowError("something that the job waited for was canceled", stage=context.current_stage)
            except Exception as error:  # noqa: BLE001 - one failed job never stops the others
                end = error
            outcome = self._record_outcome(job.given, context, end, seconds=self._clock() - started_at)
            self._stop_if_needed(outcome)
            await self._outbox.send(outcome)
        finally:
            self._in_flight -= 1
            self._slots.release()
            self._room.release()
            del job  # break the exception-frame reference cycle
            outcome = end = None  # as above

    async def _claim(self, job: PreparedJob, context: RecipeContext) -> None:
        """Make sure that a job can start, and that no other run with the same fence runs it.

        Raises:
            Exception: why it can't start.
        """
        try:
            if job.error is not None:
                raise job.error
        finally:
            del job  # break the exception-frame reference cycle
        if self._fence is not None:
            context.job_log = await self._fence.job_log(
                context.required_customer_id, context.audience_name, context.job_log, seconds=self._options.timeout
            )

    def _record_outcome(
        self,
        job: AudienceJob,
        context: RecipeContext,
        end: JobResult | Exception,
        *,
        seconds: float,
        recalled: bool = False,
    ) -> JobOutcome:
        """Make a job's outcome, count it and record it in the journal."""
        audience = context.audience or (end.audience if isinstance(end, WorkflowError) else None)
        outcome = JobOutcome(
            job=job,
            result=end if isinstance(end, JobResult) else None,
            error=end if isinstance(end, Exception) else None,
            stage=context.current_stage,
            audience_id=audience.id if audience is not None else None,
            timings=context.timings,
            warnings=context.warnings,
            recalled=recalled,
        )
        self._counters.add(outcome, context)
        if self._reporter is not None:
            self._reporter.report_outcome(outcome, context, seconds)
        return outcome

    def _stop_if_needed(self, outcome: JobOutcome) -> None:
        """Stop the batch if every other job would fail the same way, or if too many have failed."""
        limit = self._options.stop_after_failures
        if self._counters.stopped is not None:
            return
        if _is_fatal(outcome.error) or self._cannot_reach_server(outcome.error):
            self._stop_flag.reason = str(outcome.error)
        if self._stop_flag.reason is not None:
            self._counters.stopped = self._stop_flag.reason
        elif limit is not None and self._counters.failed >= limit:
            self._counters.stopped = f"{self._counters.failed} jobs failed"
        if self._counters.stopped is not None and self._admission is not None:
            self._admission.cancel()

    def _cannot_reach_server(self, error: Exception | None) -> bool:
        """Whether the address or the certificate is probably wrong: the API has never given a good response."""
        is_unreachable = isinstance(error, (ConnectionFailedError, ResponseDecodeError))
        return is_unreachable and not self._client.transport.breaker.has_ever_worked

    def _warn_without_journal(self, jobs: Sequence[PreparedJob]) -> None:
        if self._has_warned or self._has_records or not self._options.purchase:
            return
        exports = [job.checked.export for job in jobs if job.error is None]
        if any(export is not None and export.max_cost_cents > 0 for export in exports):
            self._has_warned = True
            _logger.warning(
                "this batch may purchase exports and has no journal, so two processes that run the same jobs at once "
                "could purchase twice; pass journal=Path(...)"
            )


def _is_fatal(error: Exception | None) -> bool:
    """Whether every other job would fail the same way."""
    if isinstance(error, FenceError):
        return not isinstance(error, FenceInUseError)
    return rejects_token(error) or isinstance(error, (JournalDamagedError, JournalWriteError))


def _is_being_canceled() -> bool:
    """Whether this task itself is being canceled, rather than something that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _enumerate_jobs(jobs: Jobs, shard: Shard | None) -> AsyncGenerator[NumberedJob]:
    """The jobs of a shard, or all of them, with their numbers among all jobs, from 0."""
    numbers = count()
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            numbered = _check_job_type(job, next(numbers))
            if shard is None or shard.has_customer(job.customer_id):
                yield numbered
        return
    for job in jobs:
        numbered = _check_job_type(job, next(numbers))
        if shard is None or shard.has_customer(job.customer_id):
            yield numbered


def _check_job_type(job: object, number: int) -> NumberedJob:
    if not isinstance(job, AudienceJob):
        raise InvalidInputError([Problem(f"jobs[{number}]", f"must be an AudienceJob, not {type(job).__name__}")])
    return job, number
