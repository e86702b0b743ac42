"""`PageWorkflow` runs about a hundred jobs of a batch, each as a child workflow, and combines their results."""

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
    from indigo_async.temporal.workflows.shared import is_current_task_cancelled

__all__ = ["PageWorkflow", "combine_summaries"]

_MAX_FAILURES = 1_000
_RECALL_TIMEOUT = timedelta(days=2)
_RECALL_HEARTBEAT = timedelta(minutes=2)


@workflow.defn(name="PageWorkflow")
class PageWorkflow:
    """Never continues as new: the page size bounds its history, at about nine events per job."""

    @workflow.run
    async def run(self, page: Page) -> BatchSummary:
        summaries = await asyncio.gather(*(self._run_job(job) for job in page.orders))
        return combine_summaries(summaries)

    async def _run_job(self, job: JobInput) -> BatchSummary:
        workflow_id = job_workflow_id(job.customer_id, job.audience_name)
        recalled = False
        try:
            end = await self._run_child(job, workflow_id, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
            if end is None:
                end, recalled = await self._recall_summary(job, workflow_id), True
            if end is None:  # it did a different job: other options or another CSV
                end, recalled = await self._run_child(job, workflow_id, WorkflowIDReusePolicy.ALLOW_DUPLICATE), False
        except FailureError as error:
            if is_current_task_cancelled():
                raise asyncio.CancelledError from error
            return _summarize_failure(build_failure(job, workflow_id, error))
        if end is None:
            return _summarize_failure(_already_running(job, workflow_id))
        cents = end.quote.cost_cents if end.quote is not None else None
        return BatchSummary(
            done=1, recalled=int(recalled), quoted_cents=cents or 0, spent_cents=0 if recalled else end.spent_cents
        )

    async def _run_child(self, job: JobInput, workflow_id: str, policy: WorkflowIDReusePolicy) -> JobSummary | None:
        """Run a job's workflow and return its result; None if the policy finds an earlier workflow with its ID."""
        try:
            child = await workflow.start_child_workflow(
                AudienceWorkflow.run,
                job,
                id=workflow_id,
                id_reuse_policy=policy,
                cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                memo={IDENTITY_MEMO_KEY: job.identity},
                search_attributes=build_search_attributes(job),
            )
        except WorkflowAlreadyStartedError:
            return None
        return await child

    async def _recall_summary(self, job: JobInput, workflow_id: str) -> JobSummary | None:
        """The result of the workflow that already has the ID; None if it did a different job."""
        summary: JobSummary | None = await workflow.execute_activity(
            "recall",
            args=[workflow_id, job.identity],
            result_type=cast("type[JobSummary]", JobSummary | None),
            schedule_to_close_timeout=_RECALL_TIMEOUT,
            heartbeat_timeout=_RECALL_HEARTBEAT,
            retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
        )
        return summary


def _summarize_failure(failure: Failure) -> BatchSummary:
    return BatchSummary(failed=1, failed_by_error={failure.error_type: 1}, failures=(failure,))


def _already_running(job: JobInput, workflow_id: str) -> Failure:
    message = "another workflow with this ID was started in the meantime; run the batch again when it has ended"
    return Failure(key=job.key, workflow_id=workflow_id, stage="", error_type="WorkflowError", message=message)


def combine_summaries(summaries: Iterable[BatchSummary]) -> BatchSummary:
    """Combine the results of jobs or pages."""
    total = BatchSummary()
    by_error: Counter[str] = Counter()
    failures: list[Failure] = []
    for summary in summaries:
        total = attrs.evolve(
            total,
            done=total.done + summary.done,
            failed=total.failed + summary.failed,
            recalled=total.recalled + summary.recalled,
            quoted_cents=total.quoted_cents + summary.quoted_cents,
            spent_cents=total.spent_cents + summary.spent_cents,
        )
        by_error.update(summary.failed_by_error)
        failures.extend(summary.failures)
    return attrs.evolve(total, failed_by_error=dict(by_error), failures=tuple(failures[:_MAX_FAILURES]))
