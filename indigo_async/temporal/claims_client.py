"""Claim jobs in the workflows that hold the claims of a task queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from indigo_async.temporal.ids import claims_workflow_id
from indigo_async.temporal.payloads import ClaimReply, ClaimRequest
from indigo_async.temporal.updates import start_and_update
from indigo_async.temporal.workflows.claims import ClaimsWorkflow
from indigo_async.workflows.sharding.claims import Claims
from indigo_async.workflows.sharding.split import group_by_bucket

__all__ = ["claim_jobs"]


async def claim_jobs(
    temporal: Client, task_queue: str, holder: str, refs: Iterable[str], *, gone: Iterable[str] = ()
) -> ClaimReply:
    """Claim jobs that nobody else holds, in all their buckets at once. Waits until Temporal responds.

    Args:
        temporal: what `connect` returned.
        task_queue: the task queue of the workers. Jobs of other task queues have other claims.
        holder: who claims the jobs: a workflow's ID and run ID. It must release them.
        refs: the references of the jobs.
        gone: holders that have ended without releasing their jobs.
    """
    replies = await asyncio.gather(
        *(
            _claim_in_bucket(
                temporal, task_queue, bucket, ClaimRequest(holder=holder, jobs=tuple(jobs), gone=tuple(gone))
            )
            for bucket, jobs in group_by_bucket(refs).items()
        )
    )
    held: dict[str, list[str]] = {}
    finished: dict[str, list[str]] = {}
    for reply in replies:
        for total, part in ((held, reply.held), (finished, reply.finished)):
            for other, theirs in part.items():
                total.setdefault(other, []).extend(theirs)
    return ClaimReply(held=held, finished=finished)


async def _claim_in_bucket(temporal: Client, task_queue: str, bucket: int, request: ClaimRequest) -> ClaimReply:
    return await start_and_update(
        temporal,
        ClaimsWorkflow.claim,
        request,
        start=partial(
            WithStartWorkflowOperation,
            ClaimsWorkflow.run,
            Claims(),
            id=claims_workflow_id(task_queue, bucket),
            task_queue=task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        ),
    )
