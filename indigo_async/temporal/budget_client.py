"""Open the ledgers of batches, and send one worker's bookings to them in groups.

A workflow accepts about ten concurrent updates, and each adds to its history. So a worker sends one update at a time to
a ledger, and bookings that arrive in the meantime share the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from uuid import uuid4

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from indigo_async.errors import InvalidInputError, Problem
from indigo_async.temporal.ids import budget_workflow_id
from indigo_async.temporal.payloads import BeginReply, BeginRequest, Booking, Grant, OpenReply, OpenRequest
from indigo_async.temporal.updates import send_through_outages, start_and_update
from indigo_async.temporal.workflows.budget import BudgetWorkflow
from indigo_async.workflows.sharding.ledger import Ledger

__all__ = ["BudgetClient", "open_ledger"]

_MAX_BOOKINGS_PER_UPDATE = 1_000
_LINGER_SECONDS = 0.1


async def open_ledger(
    temporal: Client,
    name: str,
    *,
    limit_cents: int | None,
    identity: str,
    continue_changed: bool,
    task_queue: str,
) -> OpenReply:
    """Open the ledger of a batch for a run, and start the workflow that holds it unless it is running.

    Args:
        temporal: what `connect` returned.
        name: the name of the batch.
        limit_cents: the limit for all runs of the batch, counted from the first one; None means no limit.
        identity: a hash of the batch's jobs.
        continue_changed: accept other jobs than those of earlier runs.
        task_queue: the task queue of the workers.

    Raises:
        InvalidInputError: the batch had other jobs, or is on another task queue. Nothing was changed.
    """
    await _check_task_queue(temporal, name, task_queue)
    request = OpenRequest(limit_cents=limit_cents, identity=identity, continue_changed=continue_changed)
    reply = await start_and_update(
        temporal,
        BudgetWorkflow.open,
        request,
        start=lambda: WithStartWorkflowOperation(
            BudgetWorkflow.run,
            Ledger(),
            id=budget_workflow_id(name),
            task_queue=task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        ),
    )
    if not reply.is_open:
        message = (
            f"a batch named {name!r} had other jobs; choose another name, which has its own budget, or pass "
            "continue_changed=True to run these jobs as the same batch with the same budget"
        )
        raise InvalidInputError([Problem("name", message)])
    return reply


async def _check_task_queue(temporal: Client, name: str, task_queue: str) -> None:
    """Check that the workers of this task queue serve the ledger, because no others may ever do.

    Raises:
        InvalidInputError: it is on another task queue.
    """
    try:
        described = await send_through_outages(temporal.get_workflow_handle(budget_workflow_id(name)).describe)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return
        raise
    if described.status is WorkflowExecutionStatus.RUNNING and described.task_queue != task_queue:
        message = (
            f"the batch {name!r} and its budget are on the task queue {described.task_queue!r}; pass that one, or "
            "choose another name, which has its own budget"
        )
        raise InvalidInputError([Problem("task_queue", message)])


class BudgetClient:
    """Sends the bookings of one event loop in groups."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Booking, asyncio.Future[Grant]]]] = {}
        self._in_flight: dict[str, asyncio.Task[None]] = {}

    async def begin(self, temporal: Client, budget: str, request: BeginRequest) -> BeginReply:
        """Begin an attempt at a shard in the ledger of its batch. Waits until Temporal responds.

        Raises:
            RPCError: the workflow that holds the ledger has ended.
        """
        handle = temporal.get_workflow_handle_for(BudgetWorkflow.run, budget)
        update_id = str(uuid4())
        return await send_through_outages(
            lambda: handle.execute_update(BudgetWorkflow.begin, request, id=update_id)  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
        )

    async def book(self, temporal: Client, budget: str, booking: Booking) -> Grant:
        """Book in the ledger of a batch. Returns once the booking is in the ledger's history.

        Waits until Temporal responds. A booking whose caller is canceled may be applied or not.

        Raises:
            RPCError: the workflow that holds the ledger has ended.
        """
        done: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(budget, []).append((booking, done))
        if budget not in self._in_flight:
            # An empty context, because this update also carries the bookings of other activities.
            self._in_flight[budget] = asyncio.create_task(self._send(temporal, budget), context=Context())
        return await done

    async def _send(self, temporal: Client, budget: str) -> None:
        try:
            while budget in self._waiting:
                await asyncio.sleep(_LINGER_SECONDS)
                pending = self._take_pending(budget)
                try:
                    grants = await _send_bookings(temporal, budget, pending)
                except Exception as error:  # noqa: BLE001 - raised in every waiting activity
                    for _, done in pending:
                        if not done.done():
                            done.set_exception(error)
                else:
                    _deliver_grants(pending, grants)
        finally:
            del self._in_flight[budget]

    def _take_pending(self, budget: str) -> list[tuple[Booking, asyncio.Future[Grant]]]:
        waiting = self._waiting.pop(budget)
        if waiting[_MAX_BOOKINGS_PER_UPDATE:]:
            self._waiting[budget] = waiting[_MAX_BOOKINGS_PER_UPDATE:]
        return waiting[:_MAX_BOOKINGS_PER_UPDATE]


async def _send_bookings(
    temporal: Client, budget: str, pending: Sequence[tuple[Booking, asyncio.Future[Grant]]]
) -> Sequence[Grant]:
    handle = temporal.get_workflow_handle_for(BudgetWorkflow.run, budget)
    bookings = [booking for booking, _ in pending]
    update_id = str(uuid4())
    return await send_through_outages(
        lambda: handle.execute_update(BudgetWorkflow.book, bookings, id=update_id),  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
        is_wanted=lambda: not all(done.done() for _, done in pending),
    )


def _deliver_grants(pending: Sequence[tuple[Booking, asyncio.Future[Grant]]], grants: Sequence[Grant]) -> None:
    for (_, done), grant in zip(pending, grants, strict=True):
        if not done.done():
            done.set_result(grant)
