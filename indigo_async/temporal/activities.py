"""The stages of a job as activities. Each one calls the stage of the recipes, which makes all the decisions.

There is one activity for each fact that a later attempt must not lose: the matched audience, the lookalike, the price,
the purchase and the file. More activities would only make histories longer, because the steps in between (such as an
upload) are free and can be found again. Fewer would lose more work with a worker. The purchase must stand alone: its
scheduling records the intent and its result is the receipt.

Every attempt reads the server before it acts and never trusts the history alone: an operator may reset a workflow to a
point before its purchase, and then only the server knows about it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.errors import rejects_token
from indigo_async._transport.outage import wait_out_outages
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import ExportExistsError, PurchaseInDoubtError
from indigo_async.events import Stage
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.inputs import ColumnSelections
from indigo_async.models import CsvExport, RecordId
from indigo_async.temporal.attempt_log import AttemptLog, run_with_heartbeat
from indigo_async.temporal.budget_client import BudgetClient
from indigo_async.temporal.failures import to_application_error
from indigo_async.temporal.ids import IDENTITY_MEMO_KEY, claim_holder
from indigo_async.temporal.payloads import (
    Booking,
    BookingKind,
    ClaimedJob,
    DeliveredExport,
    ExportInput,
    ExportTask,
    Grant,
    JobInput,
    JobSummary,
    LookalikeTask,
    Quote,
)
from indigo_async.temporal.shards.claims import claim_shard, start_server_clock, wait_for_holders
from indigo_async.temporal.shards.job_log import explain_refusal
from indigo_async.temporal.shards.payloads import JobEnd, ref_of
from indigo_async.temporal.workers.export_stores import FolderExportStore, ObjectExportStore
from indigo_async.temporal.workers.guard import WorkerGuard
from indigo_async.temporal.workflows.job import AudienceWorkflow
from indigo_async.workflows.recipes.budget import Budget
from indigo_async.workflows.recipes.context import RecipeContext
from indigo_async.workflows.recipes.download import ExportReceipt, download_csv
from indigo_async.workflows.recipes.existing_exports import ExportState, export_state
from indigo_async.workflows.recipes.export import ensure_purchased, is_purchased
from indigo_async.workflows.recipes.export_options import ExportOptions
from indigo_async.workflows.recipes.lookalike import ensure_lookalike
from indigo_async.workflows.recipes.match import check_csv, ensure_matched
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.recipes.preview import ExportRead, ensure_preview
from indigo_async.workflows.recipes.purchase import check_price, export_lock
from indigo_async.workflows.recipes.waits import wait_export

__all__ = ["AudienceActivities"]

T = TypeVar("T")

_NAME_INDEX_MAX_AGE = 300.0
_MAX_READ_BACKS = 5
_MAX_ATTEMPTS_AFTER_401 = 5


class AudienceActivities:
    """The activities of one worker. They share one client with its pacing, connections and polling."""

    def __init__(
        self,
        client: IndigoClient,
        exports: FolderExportStore | ObjectExportStore,
        publisher: Publisher | None,
        guard: WorkerGuard,
    ) -> None:
        self._client = client
        self._guard = guard
        self._exports = exports
        self._publisher = publisher
        self._name_index = NameIndex(client)
        self._name_index_created_at = -math.inf
        self._budget_client = BudgetClient()

    @property
    def activities(self) -> list[Callable[..., Any]]:
        return [self.claim, self.match, self.lookalike, self.preview, self.purchase, self.download, self.recall]

    @activity.defn(name="claim")
    async def claim(self, job: JobInput) -> ClaimedJob:
        """Claim a job for its workflow, once no other workflow runs it."""
        info, temporal = activity.info(), activity.client()
        holder = claim_holder(info.workflow_id or "", info.workflow_run_id or "")
        ref, clock = ref_of(job), start_server_clock()

        async def work() -> ClaimedJob:
            claimed = await claim_shard(temporal, info.task_queue, holder, {ref: job}, clock)
            if claimed.held:
                raise await wait_for_holders(temporal, claimed.held)
            summary = claimed.ends[ref].summary if ref in claimed.ends else None
            if summary is not None:
                return ClaimedJob(summary=attrs.evolve(summary, spent_cents=0))
            known = claimed.known.get(ref, JobEnd())
            return ClaimedJob(facts=known.facts, intents=known.intents)

        return await run_with_heartbeat(work(), dict, hand_over_on_shutdown=True)

    @activity.defn(name=Stage.MATCH)
    async def match(self, job: JobInput) -> RecordId:
        """Return the ID of the matched audience once it is active."""

        async def work(context: RecipeContext, _: AttemptLog) -> RecordId:
            check, selections = InputCheck(), ColumnSelections(**job.selections)
            await run_in_thread(partial(check_csv, check, job.csv, selections, can_publish=self._publisher is not None))
            check.raise_if_invalid()
            return (await ensure_matched(context, job.csv, selections)).id

        return await self._run(job, work, hand_over_on_shutdown=True)

    @activity.defn(name=Stage.LOOKALIKE)
    async def lookalike(self, task: LookalikeTask) -> RecordId:
        """Return the ID of the lookalike once it is active."""

        async def work(context: RecipeContext, _: AttemptLog) -> RecordId:
            with context.stage(Stage.LOOKALIKE):
                lookalike = await ensure_lookalike(
                    context,
                    task.base_id,
                    name=task.lookalike.audience_name,
                    size=task.lookalike.size,
                    include_original_audience=task.lookalike.include_original_audience,
                    filters=task.lookalike.filters,
                )
                return lookalike.id

        return await self._run(task, work, hand_over_on_shutdown=True)

    @activity.defn(name=Stage.PREVIEW)
    async def preview(self, task: ExportTask) -> Quote:
        """Return the export for the job, either purchased already or with its price."""

        async def work(context: RecipeContext, attempt_log: AttemptLog) -> Quote:
            attempt_log.load_known(task.facts, task.intents)
            if task.export.destination is not None:
                await self._exports.check(task.export.destination)
            async with export_lock(self._client, task.audience_id):
                read = await ensure_preview(context, task.audience_id, _build_export_options(task.export))
            return _build_quote(task.audience_id, read)

        return await self._run(task, work, hand_over_on_shutdown=True)

    @activity.defn(name=Stage.PURCHASE)
    async def purchase(self, task: ExportTask) -> Quote:
        """Purchase the priced export unless it has been purchased already, and return it as purchased."""
        quote = task.quote
        if quote is None:
            raise ApplicationError("a purchase needs a priced export", type="ValueError", non_retryable=True)

        async def work(context: RecipeContext, attempt_log: AttemptLog) -> Quote:
            options = _build_export_options(task.export)
            attempt_log.load_known(task.facts, task.intents)
            attempt_log.load_result(Stage.PREVIEW, options.journal_facts | {"export_id": quote.export_id})
            if quote.cost_cents is not None:
                intent = {"export_id": quote.export_id, "cost_cents": quote.cost_cents}
                attempt_log.load_intent(Stage.PURCHASE, options.journal_facts | intent)
            try:
                async with export_lock(self._client, task.audience_id):
                    export = await self._purchase(task, context, attempt_log, options)
            except (ExportExistsError, PurchaseInDoubtError) as error:
                # The server may show the outcome a moment later, and the next attempt reads it before it purchases.
                raise to_application_error(error, retryable=activity.info().attempt < _MAX_READ_BACKS) from None
            return _build_quote(task.audience_id, ExportRead(export=export))

        return await self._run(task, work, hand_over_on_shutdown=False)

    async def _purchase(
        self, task: ExportTask, context: RecipeContext, attempt_log: AttemptLog, options: ExportOptions
    ) -> CsvExport:
        read = await ensure_preview(context, task.audience_id, options)
        if not is_purchased(read):
            if task.export.destination is not None:
                await self._exports.check(task.export.destination)
            cost = check_price(context, read.export, options.max_cost_cents)
            await self._reserve(task, context, read.export, cost)
            context.budget = Budget(limit_cents=cost)
        try:
            return await ensure_purchased(context, task.audience_id, read, options)
        except BaseException:
            if attempt_log.intent_cancelled and activity.info().attempt == 1:
                await self._book(task, BookingKind.RELEASE, read.export.id)
            raise

    async def _book(self, task: ExportTask, kind: BookingKind, export_id: RecordId, cents: int = 0) -> Grant:
        """Book in the batch's ledger, if there is one."""
        if task.budget is None:
            return Grant(granted=True, left_cents=None)
        booking = Booking(kind=kind, export_id=str(export_id), cents=cents)
        return await self._budget_client.book(activity.client(), task.budget, booking)

    async def _reserve(self, task: ExportTask, context: RecipeContext, export: CsvExport, cost: int) -> None:
        """Reserve the price in the batch's budget.

        Raises:
            BudgetExceededError: the budget has less left. Nothing was purchased.
        """
        if cost == 0:
            return
        grant = await self._book(task, BookingKind.RESERVE, export.id, cost)
        if not grant.granted:
            raise explain_refusal(export, grant, context.audience)

    @activity.defn(name=Stage.DOWNLOAD)
    async def download(self, task: ExportTask) -> DeliveredExport | None:
        """Deliver the purchased export, if it has a destination.

        First its cost is settled, because the history shows that it was purchased.
        """
        quote, destination = task.quote, task.export.destination
        if quote is None:
            raise ApplicationError("a download needs a purchased export", type="ValueError", non_retryable=True)

        async def work(context: RecipeContext, _: AttemptLog) -> DeliveredExport | None:
            async def fetch(path: Path) -> ExportReceipt:
                # Anyone with the download URL can get the file, so histories don't hold it: read it from the server.
                export = await wait_export(context, task.audience_id, quote.export_id, purchased=True)
                return await download_csv(context, task.audience_id, export, path)

            if quote.cost_cents:
                await self._book(task, BookingKind.SETTLE, quote.export_id, quote.cost_cents)
            return None if destination is None else await self._exports.deliver(destination, fetch)

        return await self._run(task, work, hand_over_on_shutdown=False)

    @activity.defn(name="recall")
    async def recall(self, workflow_id: str, identity: str) -> JobSummary | None:
        """Wait for the workflow with this ID and return its result; None if it failed or did a different job."""

        async def work() -> JobSummary | None:
            handle = activity.client().get_workflow_handle_for(AudienceWorkflow.run, workflow_id)
            described = await handle.describe()
            if await described.memo_value(IDENTITY_MEMO_KEY, "", type_hint=str) != identity:
                return None
            if described.status not in {WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED}:
                return None
            return await handle.result()

        return await run_with_heartbeat(work(), dict, hand_over_on_shutdown=True)

    async def _run(
        self,
        task: JobInput | LookalikeTask | ExportTask,
        work: Callable[[RecipeContext, AttemptLog], Coroutine[Any, Any, T]],
        *,
        hand_over_on_shutdown: bool,
    ) -> T:
        """Run a stage. An error becomes an application error without its cause, which may hold secrets."""
        details = activity.info().heartbeat_details
        attempt_log = AttemptLog(details[0] if details else None, activity.heartbeat)
        context = RecipeContext(
            self._client,
            task.customer_id,
            task.audience_name,
            self._current_name_index(),
            job_log=attempt_log,
            publisher=self._publisher,
        )
        with wait_out_outages():
            return await run_with_heartbeat(
                self._work_guarded(work(context, attempt_log)),
                lambda: attempt_log.heartbeat_details,
                hand_over_on_shutdown=hand_over_on_shutdown,
            )

    async def _work_guarded(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work of a stage once the worker is ready. If it fails because of the worker, hand it over.

        Raises:
            ApplicationError: the stage failed, or it is handed over.
        """
        with closing(work):
            await self._guard.wait_until_ready()
            rejections = self._guard.rejections
            try:
                return await work
            except Exception as error:  # noqa: BLE001 - the workflow receives every kind of error
                # Another attempt may be accepted, because the token itself is not rejected.
                is_stray_401 = rejects_token(error) and activity.info().attempt < _MAX_ATTEMPTS_AFTER_401
                failure = (
                    error
                    if isinstance(error, ApplicationError)
                    else to_application_error(error, retryable=is_stray_401)
                )
            await self._guard.check_failure(rejections)
            raise failure

    def _current_name_index(self) -> NameIndex:
        """The index of existing audiences, whose lists were read after an earlier workflow or attempt could make any.

        A match reads its own: a list from before, say, a canceled workflow of the same job lacks its audience, and the
        server would accept a second upload. It refuses a second lookalike of the same name.
        """
        info, now = activity.info(), asyncio.get_running_loop().time()
        max_age = _NAME_INDEX_MAX_AGE
        if info.activity_type == Stage.MATCH or info.attempt > 1:
            # The difference of two times of the server, because this machine's clock may be wrong.
            waited = info.started_time - info.current_attempt_scheduled_time
            max_age = min(max_age, waited.total_seconds())
        if self._name_index_created_at < now - max_age:
            self._name_index, self._name_index_created_at = NameIndex(self._client), now
        return self._name_index


def _build_export_options(export: ExportInput) -> ExportOptions:
    return ExportOptions(
        optional_field_types=export.optional_field_types,
        max_cost_cents=export.max_cost_cents,
        destination=None if export.destination is None else Path(export.destination),
        reuse_purchased=export.reuse_purchased,
        allow_empty=export.allow_empty,
    )


def _build_quote(audience_id: RecordId, read: ExportRead) -> Quote:
    return Quote(
        audience_id=audience_id,
        export_id=read.export.id,
        cost_cents=read.export.cost_cents,
        downloadable=export_state(read.export) is ExportState.DOWNLOADABLE,
    )
