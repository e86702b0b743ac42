"""`BudgetWorkflow`: the ledger of one batch, which outlives the batch's runs as a journal does."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from indigo_async.temporal.ledger import Ledger
    from indigo_async.temporal.payloads import Booking, Grant

__all__ = ["BudgetWorkflow"]

_MAX_HISTORY_LENGTH = 4_000


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
