"""What a batch may spend, and what each job spends of it.

The price is reserved before each purchase, and the charge is booked after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs

__all__ = ["Account", "Budget", "Reservation"]


@attrs.define
class Budget:
    """Cents that may be spent in total; None sets no limit beyond each job's own.

    A reservation that is neither spent nor released stays: a purchase with an unknown outcome counts as made.
    """

    limit_cents: int | None = None
    spent_cents: int = 0
    reserved_cents: int = 0
    _charges_as_quoted: bool = attrs.field(default=False, init=False)
    _lock: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False, eq=False, repr=False)

    @property
    def left_cents(self) -> int | None:
        if self.limit_cents is None:
            return None
        return max(0, self.limit_cents - self.spent_cents - self.reserved_cents)

    @asynccontextmanager
    async def purchase_lock(self) -> AsyncGenerator[None]:
        """Run paid purchases one at a time until one is charged as quoted.

        So a server that charges more than it quotes can exceed the budget once, not once per job in flight.
        """
        if self._charges_as_quoted:
            yield
            return
        await self._lock.acquire()
        if self._charges_as_quoted:
            self._lock.release()
            yield
            return
        try:
            yield
        finally:
            self._lock.release()

    def record_charge(self, *, quoted_cents: int, charged_cents: int) -> None:
        """Record whether the server charges what it quotes."""
        self._charges_as_quoted = charged_cents <= quoted_cents


@attrs.define
class Account:
    """What one job has spent and reserved in this run, in cents. It is part of the budget's sums."""

    spent_cents: int = 0
    reserved_cents: int = 0


@attrs.define
class Reservation:
    """What one purchase reserves in a budget, for the account of its job.

    `already_counted_cents`: what the budget already counts, because an earlier run made the purchase or may have.
    """

    budget: Budget
    already_counted_cents: int = 0
    account: Account = attrs.Factory(Account)
    reserved_cents: int = attrs.field(default=0, init=False)

    def reserve(self, price_cents: int) -> bool:
        """Reserve a price if that much is left. Nothing awaits in between, so it is exact under concurrency."""
        wanted = max(0, price_cents - self.already_counted_cents)
        more, left = wanted - self.reserved_cents, self.budget.left_cents
        if left is not None and more > left:
            return False
        self._add(more)
        return True

    def spend(self, charged_cents: int) -> None:
        """Book what was charged, whatever was reserved."""
        self._add(-self.reserved_cents)
        spent = max(0, charged_cents - self.already_counted_cents)
        self.budget.spent_cents += spent
        self.account.spent_cents += spent

    def release(self) -> None:
        """Release the reservation: the purchase was certainly not made."""
        self._add(-self.reserved_cents)

    def _add(self, cents: int) -> None:
        self.reserved_cents += cents
        self.budget.reserved_cents += cents
        self.account.reserved_cents += cents
