"""From jobs to workflows: one job, or a batch of any size, fed in pages."""

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
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError, Problem, WorkflowError
from indigo_async.events import Stage
from indigo_async.temporal.connection import ensure_search_attributes
from indigo_async.temporal.converter import to_json
from indigo_async.temporal.export_stores import find_destination_problem
from indigo_async.temporal.failures import build_failure
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
from indigo_async.temporal.workflows.batch import BatchWorkflow
from indigo_async.temporal.workflows.budget import BudgetWorkflow, Ledger
from indigo_async.temporal.workflows.job import AudienceWorkflow, build_search_attributes
from indigo_async.workflows.batches.conflicts import check_jobs
from indigo_async.workflows.batches.jobs import AudienceJob, CheckedJob, check_job, compute_fingerprint

__all__ = ["WORKER_PUBLISHER", "run_batch", "run_job"]

_PAGE_SIZE = 100
_PROGRESS_SECONDS = 2.0
_QUERY_TIMEOUT = timedelta(seconds=10)


@attrs.frozen
class _WorkerPublisher:
    """Stands for the workers' publisher when jobs are checked: a local CSV is theirs to publish."""

    def publish(self, path: Path) -> AbstractAsyncContextManager[str]:
        raise NotImplementedError


WORKER_PUBLISHER = _WorkerPublisher()
"""The publisher under which jobs are checked before workers run them."""


async def run_job(
    temporal: Client,
    job: AudienceJob,
    *,
    task_queue: str = TASK_QUEUE,
    purchase: bool = True,
    heartbeat_seconds: float = 120.0,
    timeout: float = 14_400.0,  # noqa: ASYNC109 - the job's own deadline
) -> JobSummary:
    """Run one job as a workflow and wait for its end. Called again, it waits for the same workflow, or returns its end.

    Args:
        temporal: what `connect` returned.
        job: what to do; its destination is relative to where the workers' exports land.
        task_queue: where its workers look for work.
        purchase: False stops at the priced preview.
        heartbeat_seconds: after so long without a sign of life of its worker, a stage is given to another.
        timeout: seconds for the whole job.

    Raises:
        InvalidInputError: before anything is started, with all problems.
        WorkflowError: the job failed, or is under way with other terms; the message says how.
    """
    check = InputCheck()
    checked = await run_in_thread(partial(check_job, check, job, WORKER_PUBLISHER))
    _check_destination(check, "export.destination", job)
    check.raise_if_invalid()
    order = await _build_job_input(
        checked,
        purchase=purchase,
        heartbeat_seconds=heartbeat_seconds,
        timeout_seconds=timeout,
        shows_stage=await ensure_search_attributes(temporal),
    )
    workflow_id = job_workflow_id(order.customer_id, order.audience_name)
    start = partial(
        temporal.start_workflow,
        AudienceWorkflow.run,
        order,
        id=workflow_id,
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        memo={IDENTITY_MEMO_KEY: order.identity},
        search_attributes=build_search_attributes(order),
    )
    try:
        handle = await start(id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
    except WorkflowAlreadyStartedError:
        handle = temporal.get_workflow_handle_for(AudienceWorkflow.run, workflow_id)
        if await _read_identity(handle) != order.identity:
            handle = await start()
    if await _read_identity(handle) != order.identity:
        raise WorkflowError(
            f"{workflow_id} is under way with other inputs or terms; wait for its end, or cancel it", stage=Stage.MATCH
        )
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        failure = build_failure(order, workflow_id, error)
    raise WorkflowError(f"{failure.error_type}: {failure.message}", stage=failure.stage)


async def run_batch(
    temporal: Client,
    jobs: Sequence[AudienceJob],
    *,
    name: str,
    task_queue: str = TASK_QUEUE,
    budget_cents: int | None = None,
    purchase: bool = True,
    max_in_flight: int = 10_000,
    page_size: int = _PAGE_SIZE,
    heartbeat_seconds: float = 120.0,
    job_timeout: float = 14_400.0,
    on_progress: Callable[[BatchProgress], object] | None = None,
) -> BatchSummary:
    """Run jobs as workflows, under one that feeds them in pages, and wait for the end of all.

    Interrupted, the batch goes on by itself with what it was fed; the same call feeds it the rest, and waits again.
    Called after its end, what is done is recalled and what failed is tried again.

    Args:
        temporal: what `connect` returned.
        jobs: what to do; their destinations are relative to where the workers' exports land.
        name: the batch's, by which a later call finds it and its budget.
        task_queue: where its workers look for work.
        budget_cents: the most that all batches of this name may spend; None leaves it to each job's `max_cost_cents`.
        purchase: False stops each job at its priced preview.
        max_in_flight: how many jobs are under way at most, to the next page.
        page_size: how many jobs are started by one workflow.
        heartbeat_seconds: after so long without a sign of life of its worker, a stage is given to another.
        job_timeout: seconds for each job.
        on_progress: told every few seconds how far it is.

    Raises:
        InvalidInputError: before anything is started, with all problems; also where a batch of this name is being fed
            with other jobs.
    """
    check = InputCheck()
    check.text("name", name)
    check.positive_integer("max_in_flight", max_in_flight)
    check.positive_integer("page_size", page_size)
    check.raise_if_invalid()
    await run_in_thread(partial(check_jobs, jobs, WORKER_PUBLISHER))
    for number, job in enumerate(jobs):
        _check_destination(check, f"jobs[{number}].export.destination", job)
    check.raise_if_invalid()
    budget = None
    if budget_cents is not None:
        budget = await _start_budget(temporal, name, budget_cents, task_queue)
    shows_stage = await ensure_search_attributes(temporal)
    orders = [
        await _build_job_input(
            one,
            purchase=purchase,
            batch=name,
            budget=budget,
            heartbeat_seconds=heartbeat_seconds,
            timeout_seconds=job_timeout,
            shows_stage=shows_stage,
        )
        for one in await run_in_thread(lambda: [check_job(InputCheck(), job, WORKER_PUBLISHER) for job in jobs])
    ]
    fed = hashlib.sha256(to_json([page_size, [order.identity for order in orders]])).hexdigest()
    state = BatchState(name=name, max_pages_under_way=max(1, max_in_flight // page_size))
    started = await temporal.start_workflow(
        BatchWorkflow.run,
        state,
        id=batch_workflow_id(name),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        memo={IDENTITY_MEMO_KEY: fed},
    )
    # By its ID alone: it is another run where the batch continued as new.
    batch = temporal.get_workflow_handle_for(BatchWorkflow.run, started.id)
    if await _read_identity(batch) != fed:
        problem = f"a batch named {name!r} is under way with other jobs; wait for its end, or choose another name"
        raise InvalidInputError([Problem("name", problem)])
    async with _report_progress(batch, on_progress):
        await _feed(batch, _split_into_pages(orders, page_size))
        return await batch.result()


def _check_destination(check: InputCheck, where: str, job: AudienceJob) -> None:
    """Check that a job's export lands where the workers' exports land, and nowhere else."""
    destination = None if job.export is None else job.export.destination
    problem = find_destination_problem(str(destination)) if isinstance(destination, (str, Path)) else None
    if problem is not None:
        check.add(where, problem)


async def _build_job_input(checked: CheckedJob, **terms: object) -> JobInput:
    job, selected = checked.job, checked.export_options
    step = job.lookalike
    order = JobInput(
        key=job.key,
        customer_id=job.customer_id,
        audience_name=job.audience_name,
        csv=str(job.csv),
        selections=checked.selections.by_field(),
        lookalike=None
        if step is None
        else LookalikeInput(
            audience_name=step.audience_name,
            size=step.size,
            include_original_audience=step.include_original_audience,
            filters=checked.filters,
        ),
        export=None
        if selected is None
        else ExportInput(
            destination=str(selected.destination),
            optional_field_types=selected.optional_field_types,
            max_cost_cents=selected.max_cost_cents,
            reuse_purchased=selected.reuse_purchased,
            allow_empty=selected.allow_empty,
        ),
        identity="",
        **terms,  # type: ignore[arg-type]
    )
    made = await compute_fingerprint(checked, base_url="")
    identity = hashlib.sha256(to_json([made, order.export, order.purchase])).hexdigest()
    return attrs.evolve(order, identity=identity)


async def _read_identity(handle: WorkflowHandle[Any, Any]) -> str:
    return await (await handle.describe()).memo_value(IDENTITY_MEMO_KEY, "", type_hint=str)


async def _start_budget(temporal: Client, name: str, limit_cents: int, task_queue: str) -> str:
    """The ID of the workflow that holds the batch's money, with the limit set."""
    start = WithStartWorkflowOperation(
        BudgetWorkflow.run,
        Ledger(limit_cents=limit_cents),
        id=budget_workflow_id(name),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    await temporal.execute_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
        BudgetWorkflow.set_limit, limit_cents, start_workflow_operation=start
    )
    return budget_workflow_id(name)


def _split_into_pages(orders: Iterable[JobInput], size: int) -> list[Page]:
    at = iter(orders)
    parts: list[tuple[JobInput, ...]] = []
    while part := tuple(islice(at, size)):
        parts.append(part)
    parts = parts or [()]
    return [Page(number=number, orders=part, last=number == len(parts) - 1) for number, part in enumerate(parts)]


async def _feed(batch: WorkflowHandle[BatchWorkflow, BatchSummary], pages: Sequence[Page]) -> None:
    """Feed what was not taken in before, however often the batch continues as new meanwhile."""
    taken = 0  # to which the first answer says better
    while taken < len(pages):
        taken = await batch.execute_update(  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
            BatchWorkflow.feed, pages[taken]
        )


@asynccontextmanager
async def _report_progress(
    batch: WorkflowHandle[BatchWorkflow, BatchSummary], on_progress: Callable[[BatchProgress], object] | None
) -> AsyncGenerator[None]:
    """Tell of the batch's progress while the block lasts."""

    async def tell() -> None:
        while on_progress is not None:
            with suppress(RPCError):  # no worker is there to answer, or not soon
                on_progress(await batch.query(BatchWorkflow.progress, rpc_timeout=_QUERY_TIMEOUT))
            await asyncio.sleep(_PROGRESS_SECONDS)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])
