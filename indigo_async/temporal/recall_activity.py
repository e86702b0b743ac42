"""The end of a job that another workflow does, or has done."""

from __future__ import annotations

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus

from indigo_async.temporal.heartbeat import run_with_heartbeat
from indigo_async.temporal.ids import IDENTITY_MEMO_KEY
from indigo_async.temporal.payloads import JobSummary
from indigo_async.temporal.workflows.job import AudienceWorkflow

__all__ = ["recall"]


@activity.defn(name="recall")
async def recall(workflow_id: str, identity: str) -> JobSummary | None:
    """Wait for the workflow that has the ID, and return its end; None where it ended badly, or did another job."""

    async def work() -> JobSummary | None:
        handle = activity.client().get_workflow_handle_for(AudienceWorkflow.run, workflow_id)
        seen = await handle.describe()
        if await seen.memo_value(IDENTITY_MEMO_KEY, "", type_hint=str) != identity:
            return None
        if seen.status not in {WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED}:
            return None
        return await handle.result()

    return await run_with_heartbeat(work(), dict, hand_over_on_shutdown=True)
