"""`BudgetWorkflow` holds the ledger of one batch, exact across any number of workers and runs."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from indigo_async.temporal.payloads import (
        BeginReply,
        BeginRequest,
        Booking,
        BookingKind,
        Grant,
        OpenReply,
        OpenRequest,
        Settlement,
    )
    from indigo_async.temporal.workflows.shared import is_history_long
    from indigo_async.workflows.sharding.ledger import Ledger

__all__ = ["BudgetWorkflow"]

_MAX_HISTORY_LENGTH = 2_000


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
        await workflow.wait_condition(lambda: self._closed or is_history_long(_MAX_HISTORY_LENGTH))
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self._closed:
            workflow.continue_as_new(self._ledger)
        return self._ledger

    @workflow.update
    async def open(self, request: OpenRequest) -> OpenReply:
        """Open the ledger for a run, unless its batch had other jobs. A later run may change the limit."""
        is_open = self._ledger.open(request.identity, request.limit_cents, continue_changed=request.continue_changed)
        return OpenReply(
            is_open=is_open, spent_cents=self._ledger.spent_cents, reserved_cents=self._ledger.reserved_cents
        )

    @workflow.update
    async def set_limit(self, limit_cents: int) -> Ledger:
        """Set the total limit, as earlier versions did at the start of a run."""
        self._ledger.limit_cents = limit_cents
        return self._ledger

    @workflow.update
    async def begin(self, request: BeginRequest) -> BeginReply:
        """Begin an attempt at a shard, which supersedes all earlier ones."""
        is_superseded = self._ledger.begin(request.turn, request.jobs) is None
        return BeginReply(is_superseded=is_superseded, holds=self._ledger.find_holds(request.jobs))

    @workflow.update
    async def book(self, bookings: list[Booking]) -> list[Grant]:
        """Apply bookings in order."""
        return [_book(self._ledger, booking) for booking in bookings]

    @workflow.signal
    async def settle(self, settlements: list[Settlement]) -> None:
        """Count purchases as spent. Their results are in the histories of their shards."""
        for one in settlements:
            self._ledger.settle(one.export_id, one.charged_cents, job=one.job)

    @workflow.signal
    async def close(self) -> None:
        self._closed = True

    @workflow.query
    def ledger(self) -> Ledger:
        return self._ledger


def _book(ledger: Ledger, booking: Booking) -> Grant:
    match booking.kind:
        case BookingKind.RESERVE:
            return ledger.reserve(booking.export_id, booking.cents, job=booking.job, turn=booking.turn)
        case BookingKind.RELEASE:
            return ledger.release(booking.export_id, job=booking.job, turn=booking.turn)
        case BookingKind.SETTLE:
            ledger.settle(booking.export_id, booking.cents or None, job=booking.job)  # older workflows send no amount
            return Grant(granted=True, left_cents=ledger.left_cents)
