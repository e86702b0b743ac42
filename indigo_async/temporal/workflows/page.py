"""`PageWorkflow`: some hundred jobs of a batch, each a workflow of its own, and how they ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import cast

import attrs
from temporalio import workflow
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from indigo_async.temporal.failures import build_failure
    from indigo_async.temporal.ids import IDENTITY_MEMO_KEY, job_workflow_id
    from indigo_async.temporal.payloads import BatchSummary, Failure, JobInput, JobSummary, Page
    from indigo_async.temporal.workflows.job import AudienceWorkflow, build_search_attributes

__all__ = ["PageWorkflow", "combine_summaries"]

_MAX_FAILURES = 1_000
_RECALL_TIMEOUT = timedelta(days=2)
_RECALL_HEARTBEAT = timedelta(minutes=2)


@workflow.defn(name="PageWorkflow")
class PageWorkflow:
    """A page is never continued as new: its size bounds its history, at some nine events a job."""

    @workflow.run
    async def run(self, page: Page) -> BatchSummary:
        ends = await asyncio.gather(*(self._run_job(order) for order in page.orders))
        return combine_summaries(ends)

    async def _run_job(self, order: JobInput) -> BatchSummary:
        workflow_id = job_workflow_id(order.customer_id, order.audience_name)
        recalled = False
        try:
            end = await self._run_child(order, workflow_id, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
            if end is None:
                end, recalled = await self._recall_summary(order, workflow_id), True
            if end is None:  # done, but as another job: other terms, or another CSV, which the server then judges
                end, recalled = await self._run_child(order, workflow_id, WorkflowIDReusePolicy.ALLOW_DUPLICATE), False
        except FailureError as error:
            if _is_cancelled():
                raise asyncio.CancelledError from error
            return _summarize_failure(build_failure(order, workflow_id, error))
        if end is None:
            return _summarize_failure(_already_running(order, workflow_id))
        cents = end.quote.cost_cents if end.quote is not None else None
        return BatchSummary(
            done=1, recalled=int(recalled), quoted_cents=cents or 0, spent_cents=0 if recalled else end.spent_cents
        )

    async def _run_child(self, order: JobInput, workflow_id: str, policy: WorkflowIDReusePolicy) -> JobSummary | None:
        """Run a job's workflow to its end; None where the policy finds that it was run, or is being run."""
        try:
            child = await workflow.start_child_workflow(
                AudienceWorkflow.run,
                order,
                id=workflow_id,
                id_reuse_policy=policy,
                cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                memo={IDENTITY_MEMO_KEY: order.identity},
                search_attributes=build_search_attributes(order),
            )
        except WorkflowAlreadyStartedError:
            return None
        return await child

    async def _recall_summary(self, order: JobInput, workflow_id: str) -> JobSummary | None:
        """The end of the workflow that has the ID already; None where it did another job."""
        return await workflow.execute_activity(
            "recall",
            args=[workflow_id, order.identity],
            result_type=cast("type[JobSummary]", JobSummary | None),
            schedule_to_close_timeout=_RECALL_TIMEOUT,
            heartbeat_timeout=_RECALL_HEARTBEAT,
            retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
        )


def _summarize_failure(failure: Failure) -> BatchSummary:
    return BatchSummary(failed=1, failed_by_error={failure.error_type: 1}, failures=(failure,))


def _already_running(order: JobInput, workflow_id: str) -> Failure:
    message = "another workflow of this ID began meanwhile; run the batch again when that has ended"
    return Failure(key=order.key, workflow_id=workflow_id, stage="", error_type="WorkflowError", message=message)


def _is_cancelled() -> bool:
    """Whether the page is cancelled, rather than a job of it alone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def combine_summaries(ends: Iterable[BatchSummary]) -> BatchSummary:
    """The ends of jobs or pages as one."""
    total = BatchSummary()
    by_error: Counter[str] = Counter()
    failures: list[Failure] = []
    for end in ends:
        total = attrs.evolve(
            total,
            done=total.done + end.done,
            failed=total.failed + end.failed,
            recalled=total.recalled + end.recalled,
            quoted_cents=total.quoted_cents + end.quoted_cents,
            spent_cents=total.spent_cents + end.spent_cents,
        )
        by_error.update(end.failed_by_error)
        failures.extend(end.failures)
    return attrs.evolve(total, failed_by_error=dict(by_error), failures=tuple(failures[:_MAX_FAILURES]))
