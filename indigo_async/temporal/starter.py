"""Start the workflows of one job, or of a batch of any size that is fed in pages."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError, Problem, WorkflowError
from indigo_async.events import Stage
from indigo_async.temporal.budget_client import open_ledger
from indigo_async.temporal.connection import ensure_search_attributes
from indigo_async.temporal.converter import to_json
from indigo_async.temporal.export_stores import find_destination_problem
from indigo_async.temporal.failures import build_failure, find_last_stage
from indigo_async.temporal.ids import (
    IDENTITY_MEMO_KEY,
    TASK_QUEUE,
    batch_workflow_id,
    budget_workflow_id,
    job_workflow_id,
)
from indigo_async.temporal.payloads import (
    BatchProgress,
    BatchState,
    BatchSummary,
    ExportInput,
    JobInput,
    JobSummary,
    LookalikeInput,
    Page,
)
from indigo_async.temporal.shard_payloads import pack_jobs
from indigo_async.temporal.updates import plain_cancellation
from indigo_async.temporal.workflows.batch import BatchWorkflow
from indigo_async.temporal.workflows.job import AudienceWorkflow, build_search_attributes
from indigo_async.workflows.batches.conflicts import check_jobs
from indigo_async.workflows.batches.jobs import AudienceJob, check_job, compute_identity, normalized_inputs
from indigo_async.workflows.sharding.split import job_ref

__all__ = ["WORKER_PUBLISHER", "check_destination", "run_batch", "run_job"]

_SHARD_SIZE = 100
_MAX_SHARD_SIZE = 250
"""So that heartbeats stay far below the 256 KB at which Temporal warns."""
_FINGERPRINT_LENGTH = 32
_PROGRESS_SECONDS = 2.0
_QUERY_TIMEOUT = timedelta(seconds=10)


@attrs.frozen
class _WorkerPublisher:
    """Represents the workers' publisher while jobs are checked, because the workers publish local CSVs."""

    def publish(self, path: Path) -> AbstractAsyncContextManager[str]:
        raise NotImplementedError


WORKER_PUBLISHER = _WorkerPublisher()
"""The publisher with which jobs are checked before workers run them."""


async def run_job(
    temporal: Client,
    job: AudienceJob,
    *,
    task_queue: str = TASK_QUEUE,
    purchase: bool = True,
    heartbeat_seconds: float = 120.0,
    timeout: float = 14_400.0,  # noqa: ASYNC109 - the job's own deadline
) -> JobSummary:
    """Run one job as a workflow and return its result. A repeated call returns the result of the same workflow.

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
    """
    check = InputCheck()
    checked = await run_in_thread(partial(check_job, check, job, WORKER_PUBLISHER))
    check_destination(check, "export.destination", job)
    purchase = check.boolean("purchase", purchase)
    heartbeat_seconds = check.seconds("heartbeat_seconds", heartbeat_seconds)
    timeout = check.seconds("timeout", timeout)
    check.raise_if_invalid()
    job_input = await _build_job_input(
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
    try:
        handle = await start(id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
    except WorkflowAlreadyStartedError:
        handle = temporal.get_workflow_handle_for(AudienceWorkflow.run, workflow_id)
        if await _read_identity(handle) != job_input.identity:
            handle = await start()
    if await _read_identity(handle) != job_input.identity:
        raise WorkflowError(
            f"{workflow_id} is in progress with other inputs or options; wait until it has ended or cancel it",
            stage=Stage.MATCH,
        )
    try:
        summary: JobSummary = await handle.result()
    except WorkflowFailureError as error:
        failure = build_failure(job_input, workflow_id, error)
    else:
        return summary
    stage = failure.stage or await find_last_stage(handle)  # a canceled workflow doesn't tell
    raise WorkflowError(f"{failure.error_type}: {failure.message}", stage=stage)


async def run_batch(
    temporal: Client,
    jobs: Sequence[AudienceJob],
    *,
    name: str,
    task_queue: str = TASK_QUEUE,
    budget_cents: int | None = None,
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

    Args:
        temporal: the client that `connect` returned.
        jobs: the jobs. Their destinations are relative to the workers' exports folder or store.
        name: the name of the batch, by which a later call finds it and its budget.
        task_queue: the task queue of the workers.
        budget_cents: the limit for all batches of this name; None leaves only each job's `max_cost_cents`.
        purchase: False stops each job at its priced preview.
        max_in_flight: the maximum number of concurrent jobs, rounded to whole shards.
        shard_size: the number of jobs in a shard, at most 250.
        heartbeat_seconds: a shard is given to another worker after this long without a heartbeat.
        job_timeout: the limit in seconds for each job, counted from the start of its shard.
        on_progress: called with the progress every few seconds.

    Raises:
        InvalidInputError: lists all problems, or a batch of this name is in progress with other jobs. Nothing was
            started.
    """
    check = InputCheck()
    name = check.text("name", name)
    if budget_cents is not None:
        budget_cents = check.cents("budget_cents", budget_cents)
    max_in_flight = check.positive_integer("max_in_flight", max_in_flight)
    shard_size = check.positive_integer("shard_size", shard_size)
    if shard_size > _MAX_SHARD_SIZE:
        check.add("shard_size", f"must be at most {_MAX_SHARD_SIZE}")
    purchase = check.boolean("purchase", purchase)
    heartbeat_seconds = check.seconds("heartbeat_seconds", heartbeat_seconds)
    job_timeout = check.seconds("job_timeout", job_timeout)
    check.raise_if_invalid()
    await run_in_thread(partial(check_jobs, jobs, WORKER_PUBLISHER))
    for number, job in enumerate(jobs):
        check_destination(check, f"jobs[{number}].export.destination", job)
    check.raise_if_invalid()
    shows_stage = await ensure_search_attributes(temporal)
    inputs = [
        await _build_job_input(
            checked,
            purchase=purchase,
            batch=name,
            budget=budget_workflow_id(name),
            heartbeat_seconds=heartbeat_seconds,
            timeout_seconds=job_timeout,
            shows_stage=shows_stage,
        )
        for checked in await run_in_thread(lambda: [check_job(InputCheck(), job, WORKER_PUBLISHER) for job in jobs])
    ]
    inputs.sort(key=_ref_of)
    await open_ledger(
        temporal,
        name,
        limit_cents=budget_cents,
        identity=hashlib.sha256(to_json([[_ref_of(job), job.fingerprint] for job in inputs])).hexdigest(),
        continue_changed=True,
        task_queue=task_queue,
    )
    batch_identity = hashlib.sha256(to_json([shard_size, [job.identity for job in inputs]])).hexdigest()
    state = BatchState(name=name, max_pages_under_way=max(1, max_in_flight // shard_size))
    started = await temporal.start_workflow(
        BatchWorkflow.run,
        state,
        id=batch_workflow_id(name),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        memo={IDENTITY_MEMO_KEY: batch_identity},
    )
    # By its ID alone, because a batch that continues as new has another run ID.
    batch = temporal.get_workflow_handle_for(BatchWorkflow.run, started.id)
    if await _read_identity(batch) != batch_identity:
        problem = (
            f"a batch named {name!r} is in progress with other jobs; wait until it has ended or choose another name"
        )
        raise InvalidInputError([Problem("name", problem)])
    async with _report_progress(batch, on_progress):
        await _feed(batch, _split_into_shards(inputs, shard_size))
        return await batch.result()


def check_destination(check: InputCheck, where: str, job: AudienceJob) -> None:
    """Check that a job's destination is inside the workers' exports folder or store."""
    destination = None if job.export is None else job.export.destination
    problem = find_destination_problem(str(destination)) if isinstance(destination, (str, Path)) else None
    if problem is not None:
        check.add(where, problem)


async def _build_job_input(job: AudienceJob, **options: Any) -> JobInput:
    """Build the input of a checked job's workflow."""
    selections, filters = normalized_inputs(job)
    step, export = job.lookalike, job.export
    job_input = JobInput(
        key=job.key,
        customer_id=job.customer_id,
        audience_name=job.audience_name,
        csv=str(job.csv),
        selections=selections.by_field(),
        lookalike=None
        if step is None
        else LookalikeInput(
            audience_name=step.audience_name,
            size=step.size,
            include_original_audience=step.include_original_audience,
            filters=filters,
        ),
        export=None
        if export is None
        else ExportInput(
            destination=None if export.destination is None else str(export.destination),
            optional_field_types=tuple(export.optional_field_types),
            max_cost_cents=export.max_cost_cents,
            reuse_purchased=export.reuse_purchased,
            allow_empty=export.allow_empty,
        ),
        identity="",
        **options,
    )
    made = await compute_identity(job, base_url="")
    identity = hashlib.sha256(to_json([made.fingerprint, job_input.export, job_input.purchase])).hexdigest()
    return attrs.evolve(job_input, identity=identity, fingerprint=made.fingerprint[:_FINGERPRINT_LENGTH])


async def _read_identity(handle: WorkflowHandle[Any, Any]) -> str:
    return await (await handle.describe()).memo_value(IDENTITY_MEMO_KEY, "", type_hint=str)


def _ref_of(job: JobInput) -> str:
    return job_ref(job.customer_id, job.audience_name)


def _split_into_shards(inputs: Iterable[JobInput], size: int) -> list[Page]:
    remaining = iter(inputs)
    parts: list[tuple[JobInput, ...]] = []
    while part := tuple(islice(remaining, size)):
        parts.append(part)
    parts = parts or [()]
    return [
        Page(number=number, jobs=pack_jobs(part), last=number == len(parts) - 1) for number, part in enumerate(parts)
    ]


async def _feed(batch: WorkflowHandle[BatchWorkflow, BatchSummary], pages: Sequence[Page]) -> None:
    """Feed the pages that the batch has not accepted yet, even if it continues as new in between."""
    accepted = 0  # the first response corrects this
    while accepted < len(pages):
        with plain_cancellation():
            accepted = await batch.execute_update(  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
                BatchWorkflow.feed, pages[accepted]
            )


@asynccontextmanager
async def _report_progress(
    batch: WorkflowHandle[BatchWorkflow, BatchSummary], on_progress: Callable[[BatchProgress], object] | None
) -> AsyncGenerator[None]:
    """Report the batch's progress inside the block."""

    async def report() -> None:
        while on_progress is not None:
            with suppress(RPCError):  # no worker responds in time
                on_progress(await batch.query(BatchWorkflow.progress, rpc_timeout=_QUERY_TIMEOUT))
            await asyncio.sleep(_PROGRESS_SECONDS)

    reporting = asyncio.create_task(report())
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.wait([reporting])
