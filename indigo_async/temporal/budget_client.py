"""What one worker books on the ledgers of batches, in groups: what comes while a booking is under way shares the next.

A workflow takes some ten updates at a time, and each adds to its history. So thousands of purchases on a worker make
one update after the other, not thousands at once.
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
    """To be used within one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Booking, asyncio.Future[Grant]]]] = {}
        self._in_flight: dict[str, asyncio.Task[None]] = {}

    async def book(self, temporal: Client, budget: str, booking: Booking) -> Grant:
        """Book on the ledger of a batch. Returns when that is in its history.

        Raises:
            RPCError: the workflow that holds the ledger could not be reached.
        """
        done: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(budget, []).append((booking, done))
        if budget not in self._in_flight:
            # Its own context: this update serves other activities, too.
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
                except Exception as error:  # noqa: BLE001 - told to each who waits
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
