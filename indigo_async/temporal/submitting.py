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

from indigo_async.errors import InvalidInputError, Problem, WorkflowError
from indigo_async.inputs import InputCheck
from indigo_async.temporal.batch_workflow import BatchWorkflow
from indigo_async.temporal.budget_workflow import BudgetWorkflow
from indigo_async.temporal.connecting import knows_search_keys
from indigo_async.temporal.converter import to_json
from indigo_async.temporal.exports import landing_problem
from indigo_async.temporal.failures import failure_of
from indigo_async.temporal.job_workflow import AudienceWorkflow, attributes_of
from indigo_async.temporal.ledger import Ledger
from indigo_async.temporal.names import IDENTITY, TASK_QUEUE, batch_id_of, budget_id_of, workflow_id_of
from indigo_async.temporal.records import (
    BatchEnd,
    BatchProgress,
    BatchState,
    ExportOrder,
    JobEnd,
    LookalikeOrder,
    Order,
    Page,
)
from indigo_async.transport.shield import in_thread
from indigo_async.workflows.claims import check_jobs
from indigo_async.workflows.events import Stage
from indigo_async.workflows.jobs import AudienceJob, CheckedJob, check_job, fingerprint

__all__ = ["BY_WORKERS", "run_batch", "run_job"]

_PAGE_SIZE = 100
_PROGRESS_SECONDS = 2.0
_QUERY_TIMEOUT = timedelta(seconds=10)


@attrs.frozen
class _WorkersPublish:
    """Stands for the workers' publisher when jobs are checked: a local CSV is theirs to publish."""

    def publish(self, path: Path) -> AbstractAsyncContextManager[str]:
        raise NotImplementedError


BY_WORKERS = _WorkersPublish()
"""The publisher under which jobs are checked before workers run them."""


async def run_job(
    temporal: Client,
    job: AudienceJob,
    *,
    task_queue: str = TASK_QUEUE,
    purchase: bool = True,
    heartbeat_seconds: float = 120.0,
    timeout: float = 14_400.0,  # noqa: ASYNC109 - the job's own deadline
) -> JobEnd:
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
    checked = await in_thread(partial(check_job, check, job, BY_WORKERS))
    _check_landing(check, "export.destination", job)
    check.done()
    order = await _order_of(
        checked,
        purchase=purchase,
        heartbeat_seconds=heartbeat_seconds,
        timeout_seconds=timeout,
        shows_stage=await knows_search_keys(temporal),
    )
    workflow_id = workflow_id_of(order.customer_id, order.audience_name)
    start = partial(
        temporal.start_workflow,
        AudienceWorkflow.run,
        order,
        id=workflow_id,
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        memo={IDENTITY: order.identity},
        search_attributes=attributes_of(order),
    )
    try:
        handle = await start(id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
    except WorkflowAlreadyStartedError:
        handle = temporal.get_workflow_handle_for(AudienceWorkflow.run, workflow_id)
        if await _identity_of(handle) != order.identity:
            handle = await start()
    if await _identity_of(handle) != order.identity:
        raise WorkflowError(
            f"{workflow_id} is under way with other inputs or terms; wait for its end, or cancel it", stage=Stage.MATCH
        )
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        failure = failure_of(order, workflow_id, error)
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
) -> BatchEnd:
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
    check.size("max_in_flight", max_in_flight)
    check.size("page_size", page_size)
    check.done()
    await in_thread(partial(check_jobs, jobs, BY_WORKERS))
    for number, job in enumerate(jobs):
        _check_landing(check, f"jobs[{number}].export.destination", job)
    check.done()
    budget = None
    if budget_cents is not None:
        budget = await _budget(temporal, name, budget_cents, task_queue)
    shows_stage = await knows_search_keys(temporal)
    orders = [
        await _order_of(
            one,
            purchase=purchase,
            batch=name,
            budget=budget,
            heartbeat_seconds=heartbeat_seconds,
            timeout_seconds=job_timeout,
            shows_stage=shows_stage,
        )
        for one in await in_thread(lambda: [check_job(InputCheck(), job, BY_WORKERS) for job in jobs])
    ]
    fed = hashlib.sha256(to_json([page_size, [order.identity for order in orders]])).hexdigest()
    state = BatchState(name=name, max_pages_under_way=max(1, max_in_flight // page_size))
    started = await temporal.start_workflow(
        BatchWorkflow.run,
        state,
        id=batch_id_of(name),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        memo={IDENTITY: fed},
    )
    # By its ID alone: it is another run where the batch continued as new.
    batch = temporal.get_workflow_handle_for(BatchWorkflow.run, started.id)
    if await _identity_of(batch) != fed:
        problem = f"a batch named {name!r} is under way with other jobs; wait for its end, or choose another name"
        raise InvalidInputError([Problem("name", problem)])
    async with _told(batch, on_progress):
        await _feed(batch, _pages(orders, page_size))
        return await batch.result()


def _check_landing(check: InputCheck, where: str, job: AudienceJob) -> None:
    """Check that a job's export lands where the workers' exports land, and nowhere else."""
    destination = None if job.export is None else job.export.destination
    problem = landing_problem(str(destination)) if isinstance(destination, (str, Path)) else None
    if problem is not None:
        check.add(where, problem)


async def _order_of(checked: CheckedJob, **terms: object) -> Order:
    job, selected = checked.job, checked.terms
    step = job.lookalike
    order = Order(
        key=job.key,
        customer_id=job.customer_id,
        audience_name=job.audience_name,
        csv=str(job.csv),
        selections=checked.selections.by_field(),
        lookalike=None
        if step is None
        else LookalikeOrder(
            audience_name=step.audience_name,
            size=step.size,
            include_original_audience=step.include_original_audience,
            filters=checked.filters,
        ),
        export=None
        if selected is None
        else ExportOrder(
            destination=str(selected.destination),
            optional_field_types=selected.optional_field_types,
            max_cost_cents=selected.max_cost_cents,
            reuse_purchased=selected.reuse_purchased,
            allow_empty=selected.allow_empty,
        ),
        identity="",
        **terms,  # type: ignore[arg-type]
    )
    made = await fingerprint(checked, base_url="")
    identity = hashlib.sha256(to_json([made, order.export, order.purchase])).hexdigest()
    return attrs.evolve(order, identity=identity)


async def _identity_of(handle: WorkflowHandle[Any, Any]) -> str:
    return await (await handle.describe()).memo_value(IDENTITY, "", type_hint=str)


async def _budget(temporal: Client, name: str, limit_cents: int, task_queue: str) -> str:
    """The ID of the workflow that holds the batch's money, with the limit set."""
    start = WithStartWorkflowOperation(
        BudgetWorkflow.run,
        Ledger(limit_cents=limit_cents),
        id=budget_id_of(name),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    await temporal.execute_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
        BudgetWorkflow.set_limit, limit_cents, start_workflow_operation=start
    )
    return budget_id_of(name)


def _pages(orders: Iterable[Order], size: int) -> list[Page]:
    at = iter(orders)
    parts: list[tuple[Order, ...]] = []
    while part := tuple(islice(at, size)):
        parts.append(part)
    parts = parts or [()]
    return [Page(number=number, orders=part, last=number == len(parts) - 1) for number, part in enumerate(parts)]


async def _feed(batch: WorkflowHandle[BatchWorkflow, BatchEnd], pages: Sequence[Page]) -> None:
    """Feed what was not taken in before, however often the batch continues as new meanwhile."""
    taken = 0  # to which the first answer says better
    while taken < len(pages):
        taken = await batch.execute_update(  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
            BatchWorkflow.feed, pages[taken]
        )


@asynccontextmanager
async def _told(
    batch: WorkflowHandle[BatchWorkflow, BatchEnd], on_progress: Callable[[BatchProgress], object] | None
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
