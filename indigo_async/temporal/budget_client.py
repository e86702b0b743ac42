"""Send one worker's bookings to the ledgers of batches in groups.

A workflow accepts about ten concurrent updates, and each adds to its history. So a worker sends one update at a time,
and bookings that arrive in the meantime share the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context

from temporalio.client import Client

from indigo_async.temporal.payloads import Booking, Grant
from indigo_async.temporal.workflows.budget import BudgetWorkflow

__all__ = ["BudgetClient"]

_MAX_BOOKINGS_PER_UPDATE = 1_000


class BudgetClient:
    """Groups the bookings of one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Booking, asyncio.Future[Grant]]]] = {}
        self._in_flight: dict[str, asyncio.Task[None]] = {}

    async def book(self, temporal: Client, budget: str, booking: Booking) -> Grant:
        """Book in the ledger of a batch. Returns once the booking is in the ledger's history.

        Raises:
            RPCError: the workflow that holds the ledger could not be reached.
        """
        done: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(budget, []).append((booking, done))
        if budget not in self._in_flight:
            # An empty context, because this update also carries the bookings of other activities.
            self._in_flight[budget] = asyncio.create_task(self._send(temporal, budget), context=Context())
        return await done

    async def _send(self, temporal: Client, budget: str) -> None:
        try:
            while pending := self._take_pending(budget):
                handle = temporal.get_workflow_handle_for(BudgetWorkflow.run, budget)
                try:
                    grants = await handle.execute_update(  # pyright: ignore[reportUnknownMemberType] - Temporal leaves a type open
                        BudgetWorkflow.book, [booking for booking, _ in pending]
                    )
                except Exception as error:  # noqa: BLE001 - raised in every waiting activity
                    for _, done in pending:
                        if not done.done():
                            done.set_exception(error)
                else:
                    _deliver_grants(pending, grants)
        finally:
            del self._in_flight[budget]

    def _take_pending(self, budget: str) -> list[tuple[Booking, asyncio.Future[Grant]]]:
        waiting = self._waiting.pop(budget, [])
        if waiting[_MAX_BOOKINGS_PER_UPDATE:]:
            self._waiting[budget] = waiting[_MAX_BOOKINGS_PER_UPDATE:]
        return waiting[:_MAX_BOOKINGS_PER_UPDATE]


def _deliver_grants(pending: Sequence[tuple[Booking, asyncio.Future[Grant]]], grants: Sequence[Grant]) -> None:
    for (_, done), grant in zip(pending, grants, strict=True):
        if not done.done():
            done.set_result(grant)
