"""Start the workflow of a batch of any size, feed it in shards, and wait for its result."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.temporal.batches.jobs import NOT_STARTED, read_batch, wait_for_end
from indigo_async.temporal.batches.progress import ProgressReader
from indigo_async.temporal.budget_client import open_ledger
from indigo_async.temporal.connection import ensure_search_attributes, plain_errors
from indigo_async.temporal.converter import to_json
from indigo_async.temporal.ids import (
    IDENTITY_MEMO_KEY,
    TASK_QUEUE,
    batch_workflow_id,
    budget_workflow_id,
)
from indigo_async.temporal.job_inputs import build_job_input, check_destination
from indigo_async.temporal.payloads import BatchProgress, BatchState, BatchSummary, JobInput, PackedJobs, Page
from indigo_async.temporal.shards.payloads import name_jobs, pack_jobs, ref_of, stop_job, summarize_ends
from indigo_async.temporal.starter import read_identity
from indigo_async.temporal.updates import send_through_outages
from indigo_async.temporal.workflows.batch import LOST_PAGE, BatchWorkflow
from indigo_async.temporal.workflows.job import build_batch_attributes
from indigo_async.temporal.workflows.page import combine_summaries
from indigo_async.workflows.batches.conflicts import check_jobs
from indigo_async.workflows.batches.jobs import AudienceJob, check_job

__all__ = ["run_batch"]

_logger = logging.getLogger("indigo_async")

_SHARD_SIZE = 100
_MAX_SHARD_SIZE = 250
"""So that heartbeats stay far below the 256 KB at which Temporal warns."""
_MAX_ID_LENGTH = 900
"""Of the batch's workflow ID. Temporal refuses those of more than 1,000 bytes, and shards add to theirs."""
_MAX_SHARD_BYTES = 1_000_000
"""Of a shard's jobs as JSON. Temporal refuses payloads of 2 MB, and compression and encryption may change the size."""
_MAX_STOP_SECONDS = 120.0
"""How long the shards of a canceled batch may take to end. Purchases in flight are checked for at most a minute."""


async def run_batch(
    temporal: Client,
    jobs: Sequence[AudienceJob],
    *,
    name: str,
    task_queue: str = TASK_QUEUE,
    budget_cents: int | None = None,
    continue_changed: bool = False,
    purchase: bool = True,
    max_in_flight: int = 10_000,
    shard_size: int = _SHARD_SIZE,
    heartbeat_seconds: float = 30.0,
    job_timeout: float = 14_400.0,
    on_progress: Callable[[BatchProgress], object] | None = None,
) -> BatchSummary:
    """Run jobs in shards, which are child workflows of a batch workflow, and wait until all have ended.

    A worker runs the jobs of a shard together, as a batch in one process does. Jobs of one customer share a shard, so
    that they share lists, too.

    If the caller is interrupted, the batch continues with the shards it has; the same call feeds it the rest and waits
    again. After the batch has ended, the same call recalls the jobs that are done and retries those that failed.

    If an operator cancels or terminates the batch or one of its shards, the jobs that have not ended count as failed,
    at the stage they reached. Outages of Temporal are waited out.

    Args:
        temporal: the client that `connect` returned.
        jobs: the jobs. Their destinations are relative to the workers' exports folder or store.
        name: the name of the batch, by which a later call finds it and its budget.
        task_queue: the task queue of the workers.
        budget_cents: the limit for all batches of this name; None leaves only each job's `max_cost_cents`.
        continue_changed: run these jobs in the batch of this name and with its budget, although it had other jobs.
        purchase: False stops each job at its priced preview.
        max_in_flight: the maximum number of concurrent jobs, rounded to whole shards.
        shard_size: the number of jobs in a shard, at most 250.
        heartbeat_seconds: a shard is given to another worker after this long without a heartbeat.
        job_timeout: the limit in seconds for each job, counted from the start of its shard.
        on_progress: called with the progress every few seconds.

    Raises:
        InvalidInputError: lists all problems, or the batch of this name has or had other jobs. Nothing was started.
        ConnectionFailedError: Temporal refused a request.
    """
    check = InputCheck()
    name = check.text("name", name)
    if len(batch_workflow_id(name)) > _MAX_ID_LENGTH:
        check.add("name", "is too long for the IDs of Temporal's workflows; choose a shorter one")
    if budget_cents is not None:
        budget_cents = check.cents("budget_cents", budget_cents)
    max_in_flight = check.positive_integer("max_in_flight", max_in_flight)
    shard_size = check.positive_integer("shard_size", shard_size)
    if shard_size > _MAX_SHARD_SIZE:
        check.add("shard_size", f"must be at most {_MAX_SHARD_SIZE}")
    purchase = check.boolean("purchase", purchase)
    continue_changed = check.boolean("continue_changed", continue_changed)
    heartbeat_seconds = check.seconds("heartbeat_seconds", heartbeat_seconds)
    job_timeout = check.seconds("job_timeout", job_timeout)
    check.raise_if_invalid()
    await run_in_thread(partial(check_jobs, jobs, can_publish=True))  # workers do
    for number, job in enumerate(jobs):
        check_destination(check, f"jobs[{number}].export.destination", job)
    check.raise_if_invalid()
    shows_stage = await ensure_search_attributes(temporal)
    inputs = [
        await build_job_input(
            checked,
            purchase=purchase,
            batch=name,
            budget=budget_workflow_id(name),
            heartbeat_seconds=heartbeat_seconds,
            timeout_seconds=job_timeout,
            shows_stage=shows_stage,
        )
        for checked in await run_in_thread(lambda: [check_job(InputCheck(), job, can_publish=True) for job in jobs])
    ]
    inputs.sort(key=ref_of)
    batch_identity = hashlib.sha256(to_json([shard_size, [job.identity for job in inputs]])).hexdigest()
    with plain_errors(temporal):
        done_earlier = await _count_done_earlier(temporal, name, batch_identity)
        await open_ledger(
            temporal,
            name,
            limit_cents=budget_cents,
            identity=hashlib.sha256(to_json([[ref_of(job), job.fingerprint] for job in inputs])).hexdigest(),
            continue_changed=continue_changed,
            task_queue=task_queue,
        )
        state = BatchState(name=name, max_pages_under_way=max(1, max_in_flight // shard_size))
        start = partial(
            temporal.start_workflow,
            BatchWorkflow.run,
            state,
            id=batch_workflow_id(name),
            task_queue=task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            memo={IDENTITY_MEMO_KEY: batch_identity},
            search_attributes=build_batch_attributes(name) if shows_stage else None,
        )
        started: WorkflowHandle[BatchWorkflow, BatchSummary] = await send_through_outages(start)
        # By its ID alone, because a batch that continues as new has another run ID.
        batch = temporal.get_workflow_handle_for(BatchWorkflow.run, started.id)
        if await read_identity(batch) != batch_identity:
            raise _has_other_jobs(name)
        keys = {ref_of(job): job.key for job in inputs}
        progress = ProgressReader(temporal, name, keys, done_earlier=done_earlier)
        async with _report_progress(progress, on_progress):
            await _feed(batch, _split_into_shards(inputs, shard_size))
            progress.is_complete = True
            try:
                summary = await send_through_outages(started.result)
            except WorkflowFailureError:  # canceled or terminated
                return await _read_summary(temporal, name, keys)
        return await _read_summary(temporal, name, keys) if LOST_PAGE in summary.failed_by_error else summary


async def _count_done_earlier(temporal: Client, name: str, identity: str) -> int:
    """Count the jobs that the last run of a batch with the same jobs has done.

    Raises:
        InvalidInputError: the batch is in progress with other jobs.
    """
    batch = temporal.get_workflow_handle_for(BatchWorkflow.run, batch_workflow_id(name))
    try:
        described = await send_through_outages(batch.describe)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return 0
        raise
    is_same = await described.memo_value(IDENTITY_MEMO_KEY, "", type_hint=str) == identity
    if described.status is WorkflowExecutionStatus.RUNNING:
        if is_same:
            return 0
        raise _has_other_jobs(name)
    if not is_same:
        return 0
    if described.status is WorkflowExecutionStatus.COMPLETED:
        return (await batch.result()).done
    return (await read_batch(temporal, name)).summarize().done


def _has_other_jobs(name: str) -> InvalidInputError:
    problem = (
        f"a batch named {name!r} is in progress with other jobs; wait until it has ended, cancel it, or choose another "
        "name, which has its own budget"
    )
    return InvalidInputError([Problem("name", problem)])


async def _read_summary(temporal: Client, name: str, keys: Mapping[str, str]) -> BatchSummary:
    """The result of a batch that was canceled or terminated, or of which shards were, from its histories."""
    record = await wait_for_end(temporal, name, timeout=_MAX_STOP_SECONDS)
    known = {ref for shard in record.shards for ref in name_jobs(shard.task.jobs)}
    never = {ref: stop_job(None, message=NOT_STARTED) for ref in keys if ref not in known}
    return combine_summaries([record.summarize(), summarize_ends(keys, never, "")])


def _split_into_shards(inputs: Sequence[JobInput], size: int) -> list[Page]:
    parts = [inputs[start : start + size] for start in range(0, len(inputs), size)] or [()]
    packed = [jobs for part in parts for jobs in _pack_within_limit(part)]
    return [Page(number=number, jobs=jobs, last=number == len(packed) - 1) for number, jobs in enumerate(packed)]


def _pack_within_limit(part: Sequence[JobInput]) -> list[PackedJobs]:
    """Pack the jobs of a shard, or of several smaller ones if Temporal would refuse a shard as large as this."""
    packed, middle = pack_jobs(part), len(part) // 2
    if not middle or len(to_json(packed)) <= _MAX_SHARD_BYTES:
        return [packed]
    return _pack_within_limit(part[:middle]) + _pack_within_limit(part[middle:])


async def _feed(batch: WorkflowHandle[BatchWorkflow, BatchSummary], shards: Sequence[Page]) -> None:
    """Feed the shards that the batch has not accepted yet, even if it continues as new in between, until it ends."""
    accepted = 0  # the first response corrects this
    while accepted < len(shards):
        shard, update_id = shards[accepted], str(uuid4())
        try:
            accepted = await send_through_outages(
                partial(batch.execute_update, BatchWorkflow.feed, shard, id=update_id)  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
            )
        except WorkflowUpdateFailedError:  # it ended with the update in progress
            return
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:  # it has ended
                return
            raise


@asynccontextmanager
async def _report_progress(
    reader: ProgressReader, on_progress: Callable[[BatchProgress], object] | None
) -> AsyncGenerator[None]:
    """Report the batch's progress inside the block."""

    async def report() -> None:
        if on_progress is None:
            return
        try:
            async for progress in reader.follow():
                on_progress(progress)
        except Exception:
            _logger.exception("the progress of a batch is no longer reported")

    reporting = asyncio.create_task(report())
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.wait([reporting])
