"""How much a batch may spend: reserved before each purchase, settled after it."""

from __future__ import annotations

import attrs

__all__ = ["Budget"]


@attrs.define
class Budget:
    """Cents that may be spent in all; None sets no bound beyond each job's own.

    What is reserved and neither spent nor released stays reserved: a purchase of unknown outcome counts as made.
    """

    limit_cents: int | None = None
    spent_cents: int = 0
    reserved_cents: int = 0

    @property
    def left_cents(self) -> int | None:
        if self.limit_cents is None:
            return None
        return max(0, self.limit_cents - self.spent_cents - self.reserved_cents)

    def reserve(self, cents: int) -> bool:
        """Set cents aside, if that many are left. Nothing awaits in between, so it is exact under concurrency."""
        if self.left_cents is not None and cents > self.left_cents:
            return False
        self.reserved_cents += cents
        return True

    def spend(self, cents: int) -> None:
        """Turn reserved cents into spent ones."""
        self.reserved_cents -= cents
        self.spent_cents += cents

    def release(self, cents: int) -> None:
        """Give reserved cents back: the purchase certainly was not made."""
        self.reserved_cents -= cents
