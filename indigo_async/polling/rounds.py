"""Rounds: which requests answer what is due.

A list answers all watches of its customer, due or not, and lets them fall due together again, so that a customer with
many waits costs one request an interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TypeAlias

from indigo_async.polling.costs import EVERYTHING, Scope
from indigo_async.polling.looks import Looks, in_slices
from indigo_async.polling.plan import Party, choose
from indigo_async.polling.schedule import Schedule
from indigo_async.polling.source import Source
from indigo_async.polling.waits import Cadence, Customer, ListLook, Watch, Watchlist

__all__ = ["Rounds"]

# In intervals: those of old waits are longer, and too long for a newcomer.
_NEAR = 1.2

Starter: TypeAlias = Callable[[Coroutine[None, None, None]], object]


class Rounds:
    """Turns what is due into requests: starts lists, and leaves single looks in the backlog."""

    def __init__(
        self,
        source: Source,
        watchlist: Watchlist,
        schedule: Schedule[Watch | Customer],
        looks: Looks,
        *,
        interval: float,
        chance: Callable[[], float],
    ) -> None:
        self._source = source
        self._watchlist = watchlist
        self._schedule = schedule
        self._looks = looks
        self._interval = interval
        self._chance = chance

    async def answer(self, due: list[Watch | Customer], now: float, start: Starter) -> None:
        """Deal with what is due; `start` runs a look beside this."""
        groups = await self._group(due)
        if groups:
            self._carry_out(groups, now, start)

    def coming_list(self, customer: Customer, now: float) -> Cadence | None:
        """The cadence of a list that will show this customer's audiences before long."""
        for cadence in (customer.cadence, self._watchlist.cadence):
            if now < cadence.next <= now + _NEAR * self._interval:
                return cadence
        return None

    def spread(self, due: Iterable[Watch | Customer], now: float) -> None:
        """Let what fell due while the machine slept fall due within an interval."""
        for thing in due:
            self._schedule.put(thing, now + self._interval * self._chance())

    async def _group(self, due: list[Watch | Customer]) -> dict[Customer, list[Watch]]:
        """What lists could answer, by customer. The rest goes to the backlog, or is about to be answered by a list."""
        groups: dict[Customer, list[Watch]] = {}
        async for thing in in_slices(due):
            if isinstance(thing, Customer):
                if thing.look is None:
                    groups.setdefault(thing, []).extend(thing.riders())
            elif thing.waits:
                self._group_watch(groups, thing)
        # Between two slices some may have been given up.
        alive = {customer: [watch for watch in watches if watch.waits] for customer, watches in groups.items()}
        return {customer: watches for customer, watches in alive.items() if watches}

    def _group_watch(self, groups: dict[Customer, list[Watch]], watch: Watch) -> None:
        if watch.alone or not self._looks.are_listed(watch):
            self._looks.ask_singly(watch)
        elif watch.customer.look is None:  # else it falls due with its customer, once the list has come
            groups.setdefault(watch.customer, []).append(watch)

    def _carry_out(self, groups: Mapping[Customer, list[Watch]], now: float, start: Starter) -> None:
        """Pick the requests that answer these, and start them."""
        slot_seconds = self._source.slot_seconds
        single_price = self._looks.ledger.price_of_single(slot_seconds)
        customers = list(groups)
        everything_price = self._price_of_everything(single_price, slot_seconds, now)
        if everything_price is not None:
            customers = [customer for customer in self._watchlist.customers.values() if customer.look is None]
        parties = [self._party(customer, len(groups.get(customer, ())), slot_seconds, now) for customer in customers]
        plan = choose(parties, single_price=single_price, everything_price=everything_price)
        if plan.everything:
            saved = sum(party.saved for party in parties)
            look = self._list_look(EVERYTHING, customers, self._watchlist.cadence)
            start(self._looks.listing(look, worth=saved * single_price))
        for index in plan.lists:
            customer = customers[index]
            look = self._list_look(customer.id, [customer], customer.cadence)
            start(self._looks.listing(look, worth=parties[index].saved * single_price))
        for index in plan.singly:
            self._looks.backlog.update(dict.fromkeys(groups[customers[index]]))
        for index in plan.later:
            coming = self.coming_list(customers[index], now)
            for watch in groups[customers[index]]:
                self._schedule.put(watch, coming.next if coming is not None else now)

    def _price_of_everything(self, single_price: float, slot_seconds: float, now: float) -> float | None:
        """The price of a list of everything; None where it cannot be the cheapest."""
        watchlist = self._watchlist
        if len(watchlist.customers) == 1 and None not in watchlist.customers:
            return None
        price = self._looks.ledger.price_of_list(EVERYTHING, watchlist.size, slot_seconds, now)
        return price if price is not None and price < watchlist.size * single_price else None

    def _party(self, customer: Customer, due: int, slot_seconds: float, now: float) -> Party:
        watched = len(customer.listed)
        is_near = self.coming_list(customer, now) is not None
        return Party(
            customer=customer.id,
            due=due,
            saved=due if is_near else watched,
            # Without a customer's ID there is no list but that of everything.
            list_price=None
            if customer.id is None
            else self._looks.ledger.price_of_list(customer.id, watched, slot_seconds, now),
            list_is_near=is_near,
        )

    def _list_look(self, scope: Scope, customers: list[Customer], cadence: Cadence) -> ListLook:
        """A list for all that is listed of these customers, of which nothing need be asked singly any more."""
        wanted: dict[str, Watch] = {}
        for customer in customers:
            wanted.update(customer.listed)
        if len(wanted) < sum(len(customer.listed) for customer in customers):
            self._part_namesakes(customers, wanted)
        if self._looks.backlog:  # not walked through: it may be longer than all that one of many lists is for
            for watch in wanted.values():
                self._looks.backlog.pop(watch, None)
        look = ListLook(scope, asyncio.get_running_loop().time(), customers, wanted, cadence)
        for customer in customers:
            customer.look = look
        return look

    def _part_namesakes(self, customers: Iterable[Customer], wanted: Mapping[str, Watch]) -> None:
        """Ask singly where one audience is waited for under two customers, of which one must be wrong."""
        for customer in customers:
            for watch in list(customer.listed.values()):
                if wanted[watch.key] is not watch:
                    self._looks.ask_singly(watch)
