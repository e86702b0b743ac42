"""`BudgetWorkflow`: the ledger of one batch, which outlives the batch's runs as a journal does."""

from __future__ import annotations

import attrs
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from indigo_async.temporal.payloads import Booking, BookingKind, Grant

__all__ = ["BudgetWorkflow", "Ledger"]

_MAX_HISTORY_LENGTH = 4_000


@attrs.define(kw_only=True)
class Ledger:
    """Cents that purchases may cost in all; None sets no bound beyond each job's own.

    A purchase is known by its export's ID, and reserving twice for one export is reserving once. What is reserved and
    neither settled nor released stays reserved: a purchase of unknown outcome counts as made.
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
        """Do what a booking says; only a reservation may be refused."""
        match booking.kind:
            case BookingKind.RESERVE:
                return self.reserve(booking.export_id, booking.cents)
            case BookingKind.SETTLE:
                self.settle(booking.export_id, booking.cents)
            case BookingKind.RELEASE:
                self.release(booking.export_id)
        return Grant(granted=True, left_cents=self.left_cents)

    def reserve(self, export_id: str, cents: int) -> Grant:
        """Set cents aside for an export, if that many are left."""
        more = cents - self.reserved.get(export_id, 0)
        left = self.left_cents
        if left is not None and more > left:
            return Grant(granted=False, left_cents=left)
        self.reserved[export_id] = max(cents, self.reserved.get(export_id, 0))
        return Grant(granted=True, left_cents=self.left_cents)

    def settle(self, export_id: str, charged_cents: int) -> None:
        """Count a purchase as spent, at what was charged; once for each reservation."""
        reserved = self.reserved.pop(export_id, None)
        if reserved is not None:
            self.spent_cents += charged_cents or reserved  # workflows started before this rule name no amount

    def release(self, export_id: str) -> None:
        """The export certainly was not bought."""
        self.reserved.pop(export_id, None)


@workflow.defn(name="BudgetWorkflow")
class BudgetWorkflow:
    """Grants money to purchases, one after the other.

    Workers book in groups; an update with some hundred bookings is five events. It continues as new before they grow
    many. `close` ends it.
    """

    @workflow.init
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._closed = False

    @workflow.run
    async def run(self, ledger: Ledger) -> Ledger:  # noqa: ARG002 - taken by __init__, so that no update comes before it
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
        """Set the most that may be spent in all, which a later run of the batch may raise."""
        self._ledger.limit_cents = limit_cents
        return self._ledger

    @workflow.update
    async def book(self, bookings: list[Booking]) -> list[Grant]:
        """Do what bookings say, in their order."""
        return [self._ledger.book(booking) for booking in bookings]

    @workflow.signal
    async def close(self) -> None:
        self._closed = True

    @workflow.query
    def ledger(self) -> Ledger:
        return self._ledger
