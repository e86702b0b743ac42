"""One attempt at a shard: claim its jobs, drive them as a batch, and retry those that fail for a while."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import attrs
from temporalio.client import Client

from indigo_async._transport.cancellation import shorten_timeouts
from indigo_async._transport.errors import rejects_token
from indigo_async.client import IndigoClient
from indigo_async.errors import ExportExistsError, PurchaseInDoubtError, WaitTimeoutError, WorkflowError
from indigo_async.events import Event, Stage, StageStarted
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.temporal.budget_client import BudgetClient
from indigo_async.temporal.failures import create_handover, describe_timeout, to_application_error
from indigo_async.temporal.job_inputs import build_job
from indigo_async.temporal.payloads import (
    BeginRequest,
    Booking,
    BookingKind,
    DeliveredExport,
    Grant,
    Hold,
    JobInput,
    JobSummary,
    Quote,
    Turn,
)
from indigo_async.temporal.shards.claims import Clock, claim_shard, wait_for_holders
from indigo_async.temporal.shards.job_log import Book, ShardJobLog
from indigo_async.temporal.shards.payloads import JobEnd, ShardResult, ShardTask, ref_of, stop_job, unpack_jobs
from indigo_async.temporal.workers.export_stores import FolderExportStore, ObjectExportStore
from indigo_async.temporal.workers.guard import WorkerGuard
from indigo_async.workflows.batches.batch import Batch, BatchOptions, batch_running
from indigo_async.workflows.batches.conflicts import Conflicts
from indigo_async.workflows.batches.jobs import AudienceJob, JobResult
from indigo_async.workflows.batches.report import BatchCounters
from indigo_async.workflows.recipes.budget import Budget
from indigo_async.workflows.recipes.context import JobLog, RecipeContext
from indigo_async.workflows.recipes.download import ExportReceipt, download_csv, emit_downloaded
from indigo_async.workflows.recipes.existing_exports import ExportState, export_state
from indigo_async.workflows.sharding.split import job_ref

__all__ = ["ShardAttempt", "WorkerParts"]

_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 60.0
_MAX_TRIES = 5
"""For failures that only the next moment can explain: a stray 401, or a purchase that the server doesn't show yet."""
_MAX_IN_FLIGHT = 10_000
_MAX_BOOKING_SECONDS = 300.0
_MAX_BOOKING_SECONDS_AT_END = 10.0
"""Once the attempt is canceled: its worker may be the last one, and the ledger needs a worker to reply."""
_SUPERSEDED_DELAY = timedelta(seconds=1)


@attrs.frozen(kw_only=True)
class WorkerParts:
    """What all attempts of one worker share."""

    client: IndigoClient
    exports: FolderExportStore | ObjectExportStore
    publisher: Publisher | None
    guard: WorkerGuard
    budget_client: BudgetClient = attrs.Factory(BudgetClient)


class ShardAttempt:
    """One attempt at the jobs of a shard. `progress` is what the next attempt needs to know, at any time.

    Args:
        worker: what all attempts of the worker share.
        temporal: the worker's client.
        task: the jobs, and how far earlier activities of the shard got.
        known: how far earlier attempts at this activity got.
        turn: the turn of this attempt.
        holder: who claims the jobs: the run of the shard's workflow.
        task_queue: the worker's task queue.
        clock: the clock of Temporal's server.
    """

    def __init__(
        self,
        worker: WorkerParts,
        temporal: Client,
        task: ShardTask,
        known: dict[str, JobEnd],
        *,
        turn: Turn,
        holder: str,
        task_queue: str,
        clock: Clock,
    ) -> None:
        self._worker = worker
        self._temporal = temporal
        self._turn = turn
        self._holder = holder
        self._task_queue = task_queue
        self._clock = clock
        self._deadline = time.monotonic() + task.deadline_ms / 1_000 - clock().timestamp()
        self._known = task.known | known
        self._jobs = {ref: job for ref, job in unpack_jobs(task.jobs) if not self._has_ended(ref)}
        self._logs: dict[str, ShardJobLog] = {}
        self._delivered: dict[str, DeliveredExport] = {}
        self._tries: Counter[str] = Counter()
        self._max_booking_seconds = _MAX_BOOKING_SECONDS
        self._booking_limits: set[asyncio.Timeout] = set()
        self._is_superseded = False
        self._stop_reason: str | None = None
        """Why the server must not be sent more, such as a charge above the limit."""

    @property
    def progress(self) -> ShardResult:
        """How each job ended, or how far it got."""
        running = {ref: log.describe() for ref, log in self._logs.items() if not self._has_ended(ref)}
        return ShardResult(ends=self._known | running)

    @property
    def jobs_in_progress(self) -> int:
        """How many jobs it runs now."""
        return sum(not self._has_ended(ref) for ref in self._logs)

    async def run(self) -> None:
        """Run all jobs that no other run holds.

        Raises:
            ApplicationError: another worker must continue.
        """
        if not self._jobs:
            return
        await self._worker.guard.wait_until_ready()
        try:
            async with asyncio.timeout(self._seconds_left):
                refs = await self._claim()
        except TimeoutError:
            for ref in filter(lambda ref: not self._has_ended(ref), self._jobs):
                late = describe_timeout(self._jobs[ref].timeout_seconds)
                self._known[ref] = stop_job(self._known.get(ref), WaitTimeoutError.__name__, late)
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._run_jobs(group, refs, pause=_FIRST_PAUSE))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def hurry(self) -> None:
        """Let no booking take long, because the attempt is about to be canceled.

        A reservation without a reply may be on the ledger. It stays there, and the next attempt learns of it.
        """
        self._max_booking_seconds = _MAX_BOOKING_SECONDS_AT_END
        shorten_timeouts(self._booking_limits, asyncio.get_running_loop().time() + self._max_booking_seconds)

    @property
    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _has_ended(self, ref: str) -> bool:
        return ref in self._known and self._known[ref].has_ended

    async def _claim(self) -> list[str]:
        """Claim the jobs. Returns the jobs to run.

        Raises:
            ApplicationError: others have all of them, or run this shard now. Another attempt must continue.
        """
        claimed = await claim_shard(self._temporal, self._task_queue, self._holder, self._jobs, self._clock)
        held = {ref for refs in claimed.held.values() for ref in refs}
        if held == self._jobs.keys():
            raise await wait_for_holders(self._temporal, claimed.held)
        self._known |= claimed.ends
        refs = [ref for ref in self._jobs if ref not in held and not self._has_ended(ref)]
        holds = await self._begin(refs)
        for ref in refs:
            known, job = self._known.get(ref), self._jobs[ref]
            if known is None or not known.is_worth_reading:
                known = claimed.known.get(ref, JobEnd())
            self._logs[ref] = ShardJobLog(known, holds.get(ref), job.export, self._book_for(ref, job))
        return refs

    async def _begin(self, refs: Sequence[str]) -> Mapping[str, Hold]:
        """Supersede all earlier attempts. Returns the exports that they may have purchased, by job."""
        budget = next(iter(self._jobs.values())).budget
        if budget is None or not refs:
            return {}
        request = BeginRequest(turn=self._turn, jobs=tuple(refs))
        reply = await self._worker.budget_client.begin(self._temporal, budget, request)
        self._is_superseded = reply.is_superseded
        self._raise_if_superseded()
        return reply.holds

    def _raise_if_superseded(self) -> None:
        if self._is_superseded:
            raise create_handover("another worker runs this shard now", delay=_SUPERSEDED_DELAY)

    def _book_for(self, ref: str, job: JobInput) -> Book:
        async def book(kind: BookingKind, export_id: str, cents: int) -> Grant:
            destination = None if job.export is None else job.export.destination
            if kind is BookingKind.RESERVE and destination is not None:
                await self._worker.exports.check(destination)
            if job.budget is None:
                return Grant(granted=True, left_cents=None)
            booking = Booking(kind=kind, export_id=export_id, cents=cents, job=ref, turn=self._turn)
            async with asyncio.timeout(self._max_booking_seconds) as limit:
                self._booking_limits.add(limit)
                try:
                    grant = await self._worker.budget_client.book(self._temporal, job.budget, booking)
                finally:
                    self._booking_limits.discard(limit)
            self._is_superseded |= grant.is_superseded
            return grant

        return book

    async def _run_jobs(self, group: asyncio.TaskGroup, refs: Sequence[str], *, pause: float) -> None:
        """Run jobs. Those that may succeed later run again after a pause, while the others continue."""
        if self._stop_reason is not None:
            for ref in refs:
                self._fail(ref, self._not_started())
            return
        again: list[str] = []

        async def run_again() -> None:
            await asyncio.sleep(pause)
            retried = again.copy()
            again.clear()
            await self._run_jobs(group, retried, pause=min(2 * pause, _LONGEST_PAUSE))

        async with aclosing(self._drive(refs)) as failures:
            async for ref, error in failures:
                if not self._may_retry(ref, error, pause):
                    self._fail(ref, error)
                    continue
                if not again:
                    group.create_task(run_again())
                again.append(ref)

    async def _drive(self, refs: Sequence[str]) -> AsyncGenerator[tuple[str, Exception]]:
        """Run jobs as a batch, record what it finishes, and yield what fails.

        Raises:
            ApplicationError: another worker must continue.
        """
        guard, waiting = self._worker.guard, set(refs)
        rejections = guard.rejections
        after_stop: list[tuple[str, Exception]] = []
        stray_rejection: Exception | None = None
        batch = self._create_batch()
        async with batch_running(batch, [build_job(self._jobs[ref]) for ref in refs]):
            async for outcome in batch:
                ref = ref_of(outcome.job)
                waiting.remove(ref)
                log = self._logs[ref]
                log.stage = outcome.stage.value
                if outcome.result is not None:
                    summary = _summarize(outcome.result, log, self._delivered.get(ref))
                    self._known[ref] = log.describe(summary)
                elif outcome.error is not None:
                    await guard.check_failure(rejections)
                    self._raise_if_superseded()
                    if rejects_token(outcome.error):
                        stray_rejection = outcome.error
                    if batch.report().stopped is None:
                        yield ref, outcome.error
                    else:
                        after_stop.append((ref, outcome.error))
            stopped = batch.report().stopped
        if stray_rejection is None:
            self._stop_reason = self._stop_reason or stopped
        for ref, error in [*after_stop, *((ref, self._not_started()) for ref in sorted(waiting))]:
            yield ref, stray_rejection or error

    def _not_started(self) -> WorkflowError:
        return WorkflowError(f"not started, because the shard stopped: {self._stop_reason}", stage=Stage.UPLOAD)

    def _create_batch(self) -> Batch:
        async def open_log(job: AudienceJob) -> JobLog:
            return self._logs[ref_of(job)]

        options = BatchOptions(
            publisher=self._worker.publisher,
            purchase=next(iter(self._jobs.values())).purchase,
            timeout=max(self._seconds_left, 0.001),
            max_in_flight=_MAX_IN_FLIGHT,
            stop_after_failures=None,
            on_event=self._note_stage,
            finish=self._deliver,
        )
        return Batch(
            self._worker.client,
            options,
            conflicts=Conflicts(),
            budget=Budget(),
            counters=BatchCounters({}),
            open_log=open_log,
        )

    def _note_stage(self, event: Event) -> None:
        if isinstance(event, StageStarted) and event.customer_id is not None:
            log = self._logs.get(job_ref(event.customer_id, event.audience_name))
            if log is not None:
                log.stage = event.stage.value

    async def _deliver(self, context: RecipeContext, job: AudienceJob, result: JobResult) -> None:
        """Download a purchased export to the workers' folder or store."""
        ref, purchased = ref_of(job), result.purchased
        export = self._jobs[ref].export
        if purchased is None or export is None or export.destination is None:
            return
        audience_id = (result.lookalike or result.matched).id

        async def fetch(path: Path) -> ExportReceipt:
            receipt = await download_csv(context, audience_id, purchased.export, path)
            emit_downloaded(context, receipt)
            return receipt

        self._delivered[ref] = await self._worker.exports.deliver(export.destination, fetch)

    def _may_retry(self, ref: str, error: Exception, pause: float) -> bool:
        """Whether a failed job may succeed after a pause."""
        if self._seconds_left <= pause:
            return False
        if isinstance(error, (ExportExistsError, PurchaseInDoubtError)) or rejects_token(error):
            self._tries[ref] += 1
            return self._tries[ref] < _MAX_TRIES
        return not to_application_error(error).non_retryable

    def _fail(self, ref: str, error: Exception) -> None:
        failure = to_application_error(error)
        self._known[ref] = self._logs[ref].describe(error_type=failure.type or "", message=failure.message)


def _summarize(result: JobResult, log: ShardJobLog, delivered: DeliveredExport | None) -> JobSummary:
    target, export = result.lookalike or result.matched, result.quote
    quote = None
    if export is not None:
        purchase = log.result(Stage.PURCHASE)
        recorded_cents = None if purchase is None else purchase["cost_cents"]
        quote = Quote(
            audience_id=target.id,
            export_id=export.id,
            cost_cents=recorded_cents if export.cost_cents is None else export.cost_cents,
            downloadable=export_state(export) is ExportState.DOWNLOADABLE,
        )
    return JobSummary(
        matched_id=result.matched.id,
        lookalike_id=None if result.lookalike is None else result.lookalike.id,
        quote=quote,
        spent_cents=log.spent_cents,
        delivered=delivered,
    )
