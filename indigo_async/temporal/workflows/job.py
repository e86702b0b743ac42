"""`AudienceWorkflow` runs one job. The workflow only makes decisions; its stages are activities."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, TypeVar

import attrs
from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import FailureError
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from indigo_async.events import Stage
    from indigo_async.models import RecordId
    from indigo_async.temporal.ids import claim_holder, claims_workflow_id
    from indigo_async.temporal.payloads import (
        ClaimedJob,
        DeliveredExport,
        ExportTask,
        JobInput,
        JobProgress,
        JobSummary,
        LookalikeTask,
        Quote,
        ReleaseRequest,
    )
    from indigo_async.temporal.shards.payloads import ref_of
    from indigo_async.temporal.workflows.shared import RETRY, is_current_task_cancelled, send_signal
    from indigo_async.workflows.sharding.split import bucket_of

__all__ = [
    "BATCH_KEY",
    "CUSTOMER_KEY",
    "SEARCH_ATTRIBUTE_KEYS",
    "STAGE_KEY",
    "AudienceWorkflow",
    "build_batch_attributes",
    "build_search_attributes",
]

T = TypeVar("T")

CUSTOMER_KEY: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("IndigoCustomer")
BATCH_KEY: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("IndigoBatch")
STAGE_KEY: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("IndigoStage")
SEARCH_ATTRIBUTE_KEYS: tuple[SearchAttributeKey[str], ...] = (CUSTOMER_KEY, BATCH_KEY, STAGE_KEY)
"""The search attributes of a job, which must be registered in the namespace."""

_CLAIM = "claim"
_DONE = "done"
_STAGE_LABELS = {Stage.LOOKALIKE.value: "lookalike", Stage.PREVIEW.value: "export"}
"""Values of the search attribute, by the stage that starts them. Few, because each change is a billed event."""


def build_search_attributes(job: JobInput) -> TypedSearchAttributes:
    """The initial search attributes of a job's workflow; empty if the namespace does not have them registered."""
    if not job.shows_stage:
        return TypedSearchAttributes.empty
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(CUSTOMER_KEY, job.customer_id),
        SearchAttributePair(STAGE_KEY, Stage.MATCH.value),
    ]
    if job.batch is not None:
        pairs.append(SearchAttributePair(BATCH_KEY, job.batch))
    return TypedSearchAttributes(pairs)


def build_batch_attributes(name: str, customer_id: str | None = None) -> TypedSearchAttributes:
    """The search attributes of a batch, or of one of its shards."""
    pairs: list[SearchAttributePair[Any]] = [SearchAttributePair(BATCH_KEY, name)]
    if customer_id is not None:
        pairs.append(SearchAttributePair(CUSTOMER_KEY, customer_id))
    return TypedSearchAttributes(pairs)


@workflow.defn(name="AudienceWorkflow")
class AudienceWorkflow:
    """Match, create the lookalike, price, purchase, deliver. Each stage reuses what exists."""

    @workflow.init
    def __init__(self, job: JobInput) -> None:
        self._input = job
        self._progress = JobProgress(stage=Stage.MATCH.value)
        self._has_claims = False
        self._claimed = ClaimedJob()

    @workflow.run
    async def run(self, job: JobInput) -> JobSummary:
        self._has_claims = workflow.patched("claims")
        if not self._has_claims:
            return await self._run_stages(job)
        try:
            self._claimed = await self._run_stage(_CLAIM, job, ClaimedJob)
            summary = self._claimed.summary or await self._run_stages(job)
        except (FailureError, asyncio.CancelledError):
            await self._release(job, has_result=False)
            raise
        await self._release(job, has_result=self._claimed.summary is None)
        return summary

    async def _release(self, job: JobInput, *, has_result: bool) -> None:
        """Release the job, so that others may run it."""
        info, ref = workflow.info(), ref_of(job)
        holder = claim_holder(info.workflow_id, info.run_id)
        request = ReleaseRequest(holder=holder, finished=(ref,) if has_result else ())
        await send_signal(claims_workflow_id(info.task_queue, bucket_of(ref)), "release", request)

    async def _run_stages(self, job: JobInput) -> JobSummary:
        matched_id: RecordId = await self._run_stage(Stage.MATCH, job, RecordId)
        self._update_progress(matched_id=matched_id)
        summary = JobSummary(matched_id=matched_id)
        if job.lookalike is not None:
            task = LookalikeTask(
                customer_id=job.customer_id,
                audience_name=job.audience_name,
                base_id=matched_id,
                lookalike=job.lookalike,
            )
            lookalike_id: RecordId = await self._run_stage(Stage.LOOKALIKE, task, RecordId)
            self._update_progress(lookalike_id=lookalike_id)
            summary = attrs.evolve(summary, lookalike_id=lookalike_id)
        if job.export is not None:
            summary = await self._export(summary)
        self._set_stage(_DONE)
        return summary

    async def _export(self, summary: JobSummary) -> JobSummary:
        job = self._input
        if job.export is None:
            return summary
        task = ExportTask(
            customer_id=job.customer_id,
            audience_name=job.audience_name,
            audience_id=summary.matched_id if summary.lookalike_id is None else summary.lookalike_id,
            export=job.export,
            budget=job.budget,
            facts=self._claimed.facts,
            intents=self._claimed.intents,
        )
        quote = await self._run_stage(Stage.PREVIEW, task, Quote)
        self._update_progress(quote=quote)
        summary = attrs.evolve(summary, quote=quote)
        if not job.purchase:
            return summary
        if not quote.downloadable:
            purchased = await self._run_stage(Stage.PURCHASE, attrs.evolve(task, quote=quote), Quote)
            quote = attrs.evolve(
                purchased, cost_cents=quote.cost_cents if purchased.cost_cents is None else purchased.cost_cents
            )
            self._update_progress(quote=quote)
            summary = attrs.evolve(summary, quote=quote, spent_cents=quote.cost_cents or 0)
        delivered = await self._run_stage(Stage.DOWNLOAD, attrs.evolve(task, quote=quote), DeliveredExport | None)
        if delivered is not None:
            quote = attrs.evolve(quote, downloadable=True)
            self._update_progress(quote=quote)
        return attrs.evolve(summary, quote=quote, delivered=delivered)

    async def _run_stage(self, stage: str, task: object, result_type: Any) -> Any:
        """Schedule a stage and return its result."""
        self._set_stage(stage)
        # A canceled purchase first finds out its outcome. Any stage must have ended before the job is released.
        cancellation_type = (
            ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
            if stage == Stage.PURCHASE or self._has_claims
            else ActivityCancellationType.TRY_CANCEL
        )
        result = await workflow.execute_activity(
            stage,
            task,
            result_type=result_type,
            schedule_to_close_timeout=self._time_left(),
            heartbeat_timeout=timedelta(seconds=self._input.heartbeat_seconds),
            retry_policy=RETRY,
            cancellation_type=cancellation_type,
        )
        # The stage may end well before it learns of a cancellation. What was purchased is delivered nevertheless.
        is_paid = stage in {Stage.PURCHASE, Stage.DOWNLOAD}
        if self._has_claims and not is_paid and is_current_task_cancelled():
            raise asyncio.CancelledError
        return result

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
        """The current stage of the job and its results so far."""
        return self._progress
