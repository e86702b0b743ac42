"""A batch's money, exact over any number of workers: one ledger, in one workflow."""

from __future__ import annotations

import attrs

from indigo_async.temporal.payloads import Booking, BookingKind, Grant

__all__ = ["Ledger"]


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
