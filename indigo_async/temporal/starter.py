"""Start the workflow of one job, and wait for its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.errors import WorkflowError
from indigo_async.events import Stage
from indigo_async.temporal.connection import ensure_search_attributes, plain_errors
from indigo_async.temporal.failures import build_failure, find_last_stage
from indigo_async.temporal.ids import (
    IDENTITY_MEMO_KEY,
    TASK_QUEUE,
    job_workflow_id,
)
from indigo_async.temporal.job_inputs import build_job_input, check_destination
from indigo_async.temporal.payloads import JobSummary
from indigo_async.temporal.updates import send_through_outages
from indigo_async.temporal.workflows.job import AudienceWorkflow, build_search_attributes
from indigo_async.workflows.batches.jobs import AudienceJob, check_job

__all__ = ["read_identity", "run_job"]

_Start: TypeAlias = Callable[..., Awaitable[WorkflowHandle[AudienceWorkflow, JobSummary]]]


async def run_job(
    temporal: Client,
    job: AudienceJob,
    *,
    task_queue: str = TASK_QUEUE,
    purchase: bool = True,
    heartbeat_seconds: float = 30.0,
    timeout: float = 14_400.0,  # noqa: ASYNC109 - the job's own deadline
) -> JobSummary:
    """Run one job as a workflow and return its result. A repeated call returns the result of the same workflow.

    Outages of Temporal are waited out.

    Args:
        temporal: the client that `connect` returned.
        job: the job. Its destination is relative to the workers' exports folder or store.
        task_queue: the task queue of the workers.
        purchase: False stops at the priced preview.
        heartbeat_seconds: a stage is given to another worker after this long without a heartbeat.
        timeout: the limit in seconds for the whole job.

    Raises:
        InvalidInputError: lists all problems. Nothing was started.
        WorkflowError: the job failed, or is in progress with other options. The message says which.
        ConnectionFailedError: Temporal refused a request.
    """
    check = InputCheck()
    checked = await run_in_thread(partial(check_job, check, job, can_publish=True))  # workers do
    check_destination(check, "export.destination", job)
    purchase = check.boolean("purchase", purchase)
    heartbeat_seconds = check.seconds("heartbeat_seconds", heartbeat_seconds)
    timeout = check.seconds("timeout", timeout)
    check.raise_if_invalid()
    job_input = await build_job_input(
        checked,
        purchase=purchase,
        heartbeat_seconds=heartbeat_seconds,
        timeout_seconds=timeout,
        shows_stage=await ensure_search_attributes(temporal),
    )
    workflow_id = job_workflow_id(job_input.customer_id, job_input.audience_name)
    start = partial(
        temporal.start_workflow,
        AudienceWorkflow.run,
        job_input,
        id=workflow_id,
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        memo={IDENTITY_MEMO_KEY: job_input.identity},
        search_attributes=build_search_attributes(job_input),
    )
    with plain_errors(temporal):
        handle = await _join(temporal, start, workflow_id, job_input.identity)
        try:
            summary: JobSummary = await send_through_outages(handle.result)
        except WorkflowFailureError as error:
            failure = build_failure(job_input, workflow_id, error)
        else:
            return summary
        stage = failure.stage or await find_last_stage(handle)  # a canceled workflow doesn't report it
    raise WorkflowError(f"{failure.error_type}: {failure.message}", stage=stage)


async def _join(
    temporal: Client, start: _Start, workflow_id: str, identity: str
) -> WorkflowHandle[AudienceWorkflow, JobSummary]:
    """Start a job's workflow unless it is running, or has succeeded with the same inputs and options.

    Raises:
        WorkflowError: it is running with others.
    """
    try:
        handle = await send_through_outages(
            partial(start, id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
        )
    except WorkflowAlreadyStartedError:
        handle = temporal.get_workflow_handle_for(AudienceWorkflow.run, workflow_id)
        if await read_identity(handle) != identity:
            handle = await send_through_outages(start)
    if await read_identity(handle) != identity:
        raise WorkflowError(
            f"{workflow_id} is in progress with other inputs or options; wait until it has ended or cancel it",
            stage=Stage.MATCH,
        )
    return handle


async def read_identity(handle: WorkflowHandle[Any, Any]) -> str:
    """Read the hash of what a workflow makes from its memo."""
    described = await send_through_outages(handle.describe)
    return await described.memo_value(IDENTITY_MEMO_KEY, "", type_hint=str)
