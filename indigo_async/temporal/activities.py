"""The stages of a job as activities. Each calls the recipes' own stage; no decision of theirs is made again here.

Five activities, one for each fact that a later attempt must not lose: the matched audience, the lookalike, the price,
the purchase, the file. More of them would only make histories longer, since what happens in between (an upload, a stub)
is free and found again. Fewer would lose more with a worker, and the purchase must stand alone: its schedule is the
intent, its result the receipt.

Every attempt reads the server before it acts. Nothing is taken for new because this history made it: an operator may
reset a workflow to a point before its purchase, and then only the server knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from indigo_async.client import IndigoClient
from indigo_async.errors import BudgetExceededError, ExportExistsError, PurchaseInDoubtError
from indigo_async.files.publish import Publisher
from indigo_async.inputs import InputCheck
from indigo_async.models import CsvExport, RecordId
from indigo_async.temporal.beating import beating
from indigo_async.temporal.exports import FolderExports, StoreExports
from indigo_async.temporal.failures import as_failure
from indigo_async.temporal.memory import AttemptMemory
from indigo_async.temporal.purse import Purse
from indigo_async.temporal.records import (
    Booking,
    BookingKind,
    Delivered,
    ExportOrder,
    ExportTask,
    Grant,
    LookalikeTask,
    Order,
    Quote,
)
from indigo_async.transport.shield import in_thread
from indigo_async.workflows.budget import Budget
from indigo_async.workflows.directory import Directory
from indigo_async.workflows.events import Stage
from indigo_async.workflows.export import ensure_purchased, is_purchased
from indigo_async.workflows.export_rules import ExportState, export_state
from indigo_async.workflows.fetching import fetched_export
from indigo_async.workflows.lookalike import begin_lookalike, warn_of_size
from indigo_async.workflows.match import check_csv, matched_audience
from indigo_async.workflows.preview import ExportRead, ensure_preview
from indigo_async.workflows.purchase import check_price
from indigo_async.workflows.receipt import ExportReceipt
from indigo_async.workflows.run import Run
from indigo_async.workflows.terms import ExportTerms
from indigo_async.workflows.turns import export_turn
from indigo_async.workflows.waits import export_settled

__all__ = ["Stages"]

T = TypeVar("T")

_DIRECTORY_SECONDS = 300.0
_READS = 5


class Stages:
    """The activities of one worker, all on one client: its pacing, its connections and its polling are theirs."""

    def __init__(
        self, client: IndigoClient, exports: FolderExports | StoreExports, publisher: Publisher | None = None
    ) -> None:
        self._client = client
        self._exports = exports
        self._publisher = publisher
        self._directory = Directory(client)
        self._directory_since = datetime.now(UTC)
        self._purse = Purse()

    @property
    def activities(self) -> list[Callable[..., Any]]:
        return [self.match, self.lookalike, self.preview, self.purchase, self.download]

    async def _book(self, task: ExportTask, kind: BookingKind, export_id: RecordId, cents: int = 0) -> Grant:
        """Book in the batch's ledger, where there is one."""
        if task.budget is None:
            return Grant(granted=True, left_cents=None)
        booking = Booking(kind=kind, export_id=str(export_id), cents=cents)
        return await self._purse.book(activity.client(), task.budget, booking)

    async def _reserve(self, task: ExportTask, run: Run, export: CsvExport, cost: int) -> None:
        """Set the price aside in the batch's budget.

        Raises:
            BudgetExceededError: not that much is left; nothing was bought.
        """
        if cost == 0:
            return
        grant = await self._book(task, BookingKind.RESERVE, export.id, cost)
        if not grant.granted:
            raise BudgetExceededError(
                f"export {export.id} costs {cost} cents and the batch has {grant.left_cents} left of its budget; "
                "nothing was bought. Raise the budget to buy this preview",
                stage=Stage.PURCHASE,
                audience=run.audience,
                export=export,
                limit_cents=grant.left_cents or 0,
            )

    @activity.defn(name=Stage.MATCH)
    async def match(self, order: Order) -> RecordId:
        """The matched audience's ID, once it is active."""
        memory = _memory()
        run = self._run(order.customer_id, order.audience_name, memory)

        async def work() -> RecordId:
            check = InputCheck()
            await in_thread(partial(check_csv, check, order.csv, self._publisher, order.selections))
            check.done()
            return (await matched_audience(run, order.csv, order.selections)).id

        return await _told(work(), memory, yields=True)

    @activity.defn(name=Stage.LOOKALIKE)
    async def lookalike(self, task: LookalikeTask) -> RecordId:
        """The lookalike's ID, once it is active."""
        memory = _memory()
        run = self._run(task.customer_id, task.audience_name, memory)
        wanted = task.lookalike

        async def work() -> RecordId:
            with run.at(Stage.LOOKALIKE):
                end = await begin_lookalike(
                    run,
                    task.base_id,
                    name=wanted.audience_name,
                    size=wanted.size,
                    include_original_audience=wanted.include_original_audience,
                    filters=wanted.filters,
                )
                lookalike = await end
                warn_of_size(run, lookalike, wanted.size)
                return lookalike.id

        return await _told(work(), memory, yields=True)

    @activity.defn(name=Stage.PREVIEW)
    async def preview(self, task: ExportTask) -> Quote:
        """The export that serves the job, bought already or with a price."""
        memory = _memory()
        run = self._run(task.customer_id, task.audience_name, memory)

        async def work() -> Quote:
            await self._exports.check(task.export.destination)
            terms = _terms_of(task.export)
            async with export_turn(self._client, task.audience_id):
                read = await ensure_preview(run, task.audience_id, terms)
            return _quote_of(task.audience_id, read)

        return await _told(work(), memory, yields=True)

    @activity.defn(name=Stage.PURCHASE)
    async def purchase(self, task: ExportTask) -> Quote:
        """Buy the export that was priced, after a look whether that was done, and return it as it was bought."""
        memory = _memory()
        run = self._run(task.customer_id, task.audience_name, memory)
        terms = _terms_of(task.export)
        quote = task.quote
        if quote is None:
            raise ApplicationError("a purchase needs a priced export", type="ValueError", non_retryable=True)
        memory.know(Stage.PREVIEW, terms.facts | {"export_id": quote.export_id})
        if quote.cost_cents is not None:
            intent = {"export_id": quote.export_id, "cost_cents": quote.cost_cents}
            memory.doubt(Stage.PURCHASE, terms.facts | intent)

        async def work() -> Quote:
            try:
                async with export_turn(self._client, task.audience_id):
                    export = await self._buy(task, run, memory, terms)
            except (ExportExistsError, PurchaseInDoubtError) as error:
                # The server's record may settle it a moment later. The next attempt reads it before it buys anything.
                raise as_failure(error, passes=activity.info().attempt < _READS) from None
            return _quote_of(task.audience_id, ExportRead(export=export))

        return await _told(work(), memory, yields=False)

    async def _buy(self, task: ExportTask, run: Run, memory: AttemptMemory, terms: ExportTerms) -> CsvExport:
        read = await ensure_preview(run, task.audience_id, terms)
        if not is_purchased(read):
            cost = check_price(run, read.export, terms.max_cost_cents)
            await self._reserve(task, run, read.export, cost)
            run.budget = Budget(limit_cents=cost)
        try:
            return await ensure_purchased(run, task.audience_id, read, terms)
        except BaseException:
            if memory.withdrawn and activity.info().attempt == 1:
                await self._book(task, BookingKind.RELEASE, read.export.id)
            raise

    @activity.defn(name=Stage.DOWNLOAD)
    async def download(self, task: ExportTask) -> Delivered:
        """Deliver the export that was bought. Its money is settled first: that it was bought is in the history."""
        memory = _memory()
        run = self._run(task.customer_id, task.audience_name, memory)
        quote = task.quote
        if quote is None:
            raise ApplicationError("a download needs a bought export", type="ValueError", non_retryable=True)

        async def fetch(destination: Path) -> ExportReceipt:
            # Its URL grants the file to whoever has it, so no history holds one: it is asked for.
            export = await export_settled(run, task.audience_id, quote.export_id, purchased=True)
            return await fetched_export(run, task.audience_id, export, destination)

        async def work() -> Delivered:
            if quote.cost_cents:
                await self._book(task, BookingKind.SETTLE, quote.export_id, quote.cost_cents)
            return await self._exports.deliver(task.export.destination, fetch)

        return await _told(work(), memory, yields=False)

    def _run(self, customer_id: str, audience_name: str, memory: AttemptMemory) -> Run:
        return Run(
            self._client,
            customer_id,
            audience_name,
            self._current_directory(),
            memory=memory,
            publisher=self._publisher,
        )

    def _current_directory(self) -> Directory:
        """What audiences there are: read again now and then, and for an attempt that follows another."""
        info = activity.info()
        now = datetime.now(UTC)
        is_old = (now - self._directory_since).total_seconds() > _DIRECTORY_SECONDS
        if is_old or (info.attempt > 1 and self._directory_since < info.current_attempt_scheduled_time):
            self._directory, self._directory_since = Directory(self._client), now
        return self._directory


def _memory() -> AttemptMemory:
    told = activity.info().heartbeat_details
    return AttemptMemory(told[0] if told else None, activity.heartbeat)


async def _told(work: Coroutine[Any, Any, T], memory: AttemptMemory, *, yields: bool) -> T:
    """A stage's result. What it raises is told as a failure, without what caused it."""
    try:
        return await beating(work, lambda: memory.facts, yields=yields)
    except ApplicationError:
        raise
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - the workflow hears of every kind
        failure = as_failure(error)
    raise failure


def _terms_of(order: ExportOrder) -> ExportTerms:
    return ExportTerms(
        optional_field_types=order.optional_field_types,
        max_cost_cents=order.max_cost_cents,
        destination=Path(order.destination),
        reuse_purchased=order.reuse_purchased,
        allow_empty=order.allow_empty,
    )


def _quote_of(audience_id: RecordId, read: ExportRead) -> Quote:
    return Quote(
        audience_id=audience_id,
        export_id=read.export.id,
        cost_cents=read.export.cost_cents,
        downloadable=export_state(read.export) is ExportState.DOWNLOADABLE,
    )
