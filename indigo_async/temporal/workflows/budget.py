"""`BudgetWorkflow` holds the ledger of one batch, exact across any number of workers and runs."""

from __future__ import annotations

import attrs
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from indigo_async.temporal.payloads import Booking, BookingKind, Grant

__all__ = ["BudgetWorkflow", "Ledger"]

_MAX_HISTORY_LENGTH = 4_000


@attrs.define(kw_only=True)
class Ledger:
    """The budget of a batch. A `limit_cents` of None means no limit beyond that of each job.

    A purchase is identified by its export's ID, so reserving twice for one export reserves once. A reservation that is
    neither settled nor released stays: a purchase with an unknown outcome counts as made.
    """

    limit_cents: int | None = None
    spent_cents: int = 0
    reserved: dict[str, int] = attrs.Factory(dict[str, int])

    @property
    def left_cents(self) -> int | None:
        if self.limit_cents is None:
            return None
        return max(0, self.limit_cents - self.spent_cents - sum(self.reserved.values()))

    def book(self, booking: Booking) -> Grant:
        """Apply a booking. Only a reservation can be refused."""
        match booking.kind:
            case BookingKind.RESERVE:
                return self.reserve(booking.export_id, booking.cents)
            case BookingKind.SETTLE:
                self.settle(booking.export_id, booking.cents)
            case BookingKind.RELEASE:
                self.release(booking.export_id)
        return Grant(granted=True, left_cents=self.left_cents)

    def reserve(self, export_id: str, cents: int) -> Grant:
        """Reserve cents for an export if that many are left."""
        more = cents - self.reserved.get(export_id, 0)
        left = self.left_cents
        if left is not None and more > left:
            return Grant(granted=False, left_cents=left)
        self.reserved[export_id] = max(cents, self.reserved.get(export_id, 0))
        return Grant(granted=True, left_cents=self.left_cents)

    def settle(self, export_id: str, charged_cents: int) -> None:
        """Count the charged cents of a purchase as spent, once for each reservation."""
        reserved = self.reserved.pop(export_id, None)
        if reserved is not None:
            self.spent_cents += charged_cents or reserved  # older workflows send no amount

    def release(self, export_id: str) -> None:
        """Cancel the reservation of an export that certainly was not purchased."""
        self.reserved.pop(export_id, None)


@workflow.defn(name="BudgetWorkflow")
class BudgetWorkflow:
    """Grants money to purchases, one after another.

    Workers book in groups: an update with hundreds of bookings is five events. The workflow continues as new before
    its history grows long. `close` ends it.
    """

    @workflow.init
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._closed = False

    @workflow.run
    async def run(self, ledger: Ledger) -> Ledger:  # noqa: ARG002 - __init__ takes it, before any update
        await workflow.wait_condition(lambda: self._closed or self._is_history_long())
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self._closed:
            workflow.continue_as_new(self._ledger)
        return self._ledger

    def _is_history_long(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_history_length() > _MAX_HISTORY_LENGTH

    @workflow.update
    async def set_limit(self, limit_cents: int) -> Ledger:
        """Set the total limit, which a later run of the batch may change."""
        self._ledger.limit_cents = limit_cents
        return self._ledger

    @workflow.update
    async def book(self, bookings: list[Booking]) -> list[Grant]:
        """Apply bookings in order."""
        return [self._ledger.book(booking) for booking in bookings]

    @workflow.signal
    async def close(self) -> None:
        self._closed = True

    @workflow.query
    def ledger(self) -> Ledger:
        return self._ledger
