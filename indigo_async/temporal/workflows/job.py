"""`AudienceWorkflow`: one job as one workflow. It holds decisions only; the stages are activities."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

import attrs
from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from indigo_async.events import Stage
    from indigo_async.models import RecordId
    from indigo_async.temporal.payloads import (
        DeliveredExport,
        ExportTask,
        JobInput,
        JobProgress,
        JobSummary,
        LookalikeTask,
        Quote,
    )

__all__ = [
    "BATCH_KEY",
    "CUSTOMER_KEY",
    "SEARCH_ATTRIBUTE_KEYS",
    "STAGE_KEY",
    "AudienceWorkflow",
    "build_search_attributes",
]

T = TypeVar("T")

CUSTOMER_KEY: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("IndigoCustomer")
BATCH_KEY: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("IndigoBatch")
STAGE_KEY: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("IndigoStage")
SEARCH_ATTRIBUTE_KEYS: tuple[SearchAttributeKey[str], ...] = (CUSTOMER_KEY, BATCH_KEY, STAGE_KEY)
"""The search attributes of a job, which a namespace must know before it is given them."""

_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=60))
"""Without end, but for the job's own deadline; the kinds of errors that stay are not tried again at all."""

_DONE = "done"
_STAGE_LABELS = {Stage.LOOKALIKE.value: "lookalike", Stage.PREVIEW.value: "export"}
"""What the search attribute says from a stage on. Each change is an event, and paid for, so there are few."""


def build_search_attributes(order: JobInput) -> TypedSearchAttributes:
    """What a job's workflow is found by, from its start on; nothing where the namespace does not know them."""
    if not order.shows_stage:
        return TypedSearchAttributes.empty
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(CUSTOMER_KEY, order.customer_id),
        SearchAttributePair(STAGE_KEY, Stage.MATCH.value),
    ]
    if order.batch is not None:
        pairs.append(SearchAttributePair(BATCH_KEY, order.batch))
    return TypedSearchAttributes(pairs)


@workflow.defn(name="AudienceWorkflow")
class AudienceWorkflow:
    """Match, grow, price, buy, deliver: each done already or done now."""

    @workflow.init
    def __init__(self, order: JobInput) -> None:
        self._input = order
        self._progress = JobProgress(stage=Stage.MATCH.value)

    @workflow.run
    async def run(self, order: JobInput) -> JobSummary:
        matched_id: RecordId = await self._run_stage(Stage.MATCH, order, RecordId)
        self._update_progress(matched_id=matched_id)
        end = JobSummary(matched_id=matched_id)
        if order.lookalike is not None:
            task = LookalikeTask(
                customer_id=order.customer_id,
                audience_name=order.audience_name,
                base_id=matched_id,
                lookalike=order.lookalike,
            )
            lookalike_id: RecordId = await self._run_stage(Stage.LOOKALIKE, task, RecordId)
            self._update_progress(lookalike_id=lookalike_id)
            end = attrs.evolve(end, lookalike_id=lookalike_id)
        if order.export is not None:
            end = await self._export(end)
        self._set_stage(_DONE)
        return end

    async def _export(self, end: JobSummary) -> JobSummary:
        order = self._input
        if order.export is None:
            return end
        task = ExportTask(
            customer_id=order.customer_id,
            audience_name=order.audience_name,
            audience_id=end.matched_id if end.lookalike_id is None else end.lookalike_id,
            export=order.export,
            budget=order.budget,
        )
        quote = await self._run_stage(Stage.PREVIEW, task, Quote)
        self._update_progress(quote=quote)
        end = attrs.evolve(end, quote=quote)
        if not order.purchase:
            return end
        if not quote.downloadable:
            bought = await self._run_stage(Stage.PURCHASE, attrs.evolve(task, quote=quote), Quote)
            quote = attrs.evolve(
                bought, cost_cents=quote.cost_cents if bought.cost_cents is None else bought.cost_cents
            )
            end = attrs.evolve(end, quote=quote, spent_cents=quote.cost_cents or 0)
        delivered = await self._run_stage(Stage.DOWNLOAD, attrs.evolve(task, quote=quote), DeliveredExport)
        return attrs.evolve(end, delivered=delivered)

    async def _run_stage(self, stage: Stage, task: object, result_type: Any) -> Any:
        """Schedule a stage and wait for its result."""
        self._set_stage(stage.value)
        # A purchase that is cancelled is settled first, and its workflow ends when that is known.
        settles = stage is Stage.PURCHASE
        return await workflow.execute_activity(
            stage.value,
            task,
            result_type=result_type,
            schedule_to_close_timeout=self._time_left(),
            heartbeat_timeout=timedelta(seconds=self._input.heartbeat_seconds),
            retry_policy=_RETRY,
            cancellation_type=(
                ActivityCancellationType.WAIT_CANCELLATION_COMPLETED if settles else ActivityCancellationType.TRY_CANCEL
            ),
        )

    def _time_left(self) -> timedelta:
        deadline = workflow.info().start_time + timedelta(seconds=self._input.timeout_seconds)
        return max(deadline - workflow.now(), timedelta(milliseconds=1))

    def _set_stage(self, stage: str) -> None:
        if self._input.shows_stage and stage in _STAGE_LABELS:
            workflow.upsert_search_attributes([STAGE_KEY.value_set(_STAGE_LABELS[stage])])  # pyright: ignore[reportUnknownMemberType] - Temporal leaves the values' type open
        self._update_progress(stage=stage)

    def _update_progress(self, **facts: Any) -> None:
        self._progress = attrs.evolve(self._progress, **facts)

    @workflow.query
    def progress(self) -> JobProgress:
        """The stage that the job is at, and what it has so far."""
        return self._progress
