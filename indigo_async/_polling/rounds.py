"""Rounds: which requests answer what is due.

A list answers all watches of its customer, due or not, and lets them fall due together again, so that a customer with
many waits costs one request an interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs
import msgspec

from indigo_async._polling.api import AudienceApi
from indigo_async._polling.cost_model import ALL_CUSTOMERS, ListScope
from indigo_async._polling.polls import PollExecutor, iterate_in_slices
from indigo_async._polling.schedule import Schedule
from indigo_async._polling.watchlist import ListPoll, ListSchedule, Watch, WatchedCustomer, Watchlist

__all__ = ["CustomerDemand", "Plan", "RoundPlanner", "choose_plan"]

# In intervals: those of old waits are longer, and too long for a newcomer.
_UPCOMING_INTERVALS = 1.2

StartTask: TypeAlias = Callable[[Coroutine[None, None, None]], object]


class RoundPlanner:
    """Turns what is due into requests: starts lists, and leaves single looks in the backlog."""

    def __init__(
        self,
        api: AudienceApi,
        watchlist: Watchlist,
        schedule: Schedule[Watch | WatchedCustomer],
        executor: PollExecutor,
        *,
        interval: float,
        jitter: Callable[[], float],
    ) -> None:
        self._api = api
        self._watchlist = watchlist
        self._schedule = schedule
        self._executor = executor
        self._interval = interval
        self._jitter = jitter

    async def start_requests(self, due: list[Watch | WatchedCustomer], now: float, start: StartTask) -> None:
        """Deal with what is due; `start` runs a look beside this."""
        groups = await self._group_by_customer(due)
        if groups:
            self._start_cheapest(groups, now, start)

    def find_upcoming_list(self, customer: WatchedCustomer, now: float) -> ListSchedule | None:
        """The cadence of a list that will show this customer's audiences before long."""
        for cadence in (customer.list_schedule, self._watchlist.list_schedule):
            if now < cadence.next_due <= now + _UPCOMING_INTERVALS * self._interval:
                return cadence
        return None

    def reschedule_spread_out(self, due: Iterable[Watch | WatchedCustomer], now: float) -> None:
        """Let what fell due while the machine slept fall due within an interval."""
        for thing in due:
            self._schedule.put(thing, now + self._interval * self._jitter())

    async def _group_by_customer(self, due: list[Watch | WatchedCustomer]) -> dict[WatchedCustomer, list[Watch]]:
        """What lists could answer, by customer. The rest goes to the backlog, or is about to be answered by a list."""
        groups: dict[WatchedCustomer, list[Watch]] = {}
        async for thing in iterate_in_slices(due):
            if isinstance(thing, WatchedCustomer):
                if thing.list_poll is None:
                    groups.setdefault(thing, []).extend(thing.batched())
            elif thing.waits:
                self._group_watch(groups, thing)
        # Between two slices some may have been given up.
        alive = {customer: [watch for watch in watches if watch.waits] for customer, watches in groups.items()}
        return {customer: watches for customer, watches in alive.items() if watches}

    def _group_watch(self, groups: dict[WatchedCustomer, list[Watch]], watch: Watch) -> None:
        if watch.polled_individually or not self._executor.is_covered_by_lists(watch):
            self._executor.poll_individually(watch)
        elif watch.customer.list_poll is None:  # else it falls due with its customer, once the list has come
            groups.setdefault(watch.customer, []).append(watch)

    def _start_cheapest(self, groups: Mapping[WatchedCustomer, list[Watch]], now: float, start: StartTask) -> None:
        """Pick the requests that answer these, and start them."""
        slot_seconds = self._api.slot_seconds
        single_price = self._executor.cost_model.estimate_single(slot_seconds)
        customers = list(groups)
        everything_price = self._estimate_all_customers(single_price, slot_seconds, now)
        if everything_price is not None:
            customers = [customer for customer in self._watchlist.customers.values() if customer.list_poll is None]
        parties = [
            self._build_demand(customer, len(groups.get(customer, ())), slot_seconds, now) for customer in customers
        ]
        plan = choose_plan(parties, single_cost=single_price, all_customers_cost=everything_price)
        if plan.all_customers:
            saved = sum(party.polls_saved for party in parties)
            look = self._create_list_poll(ALL_CUSTOMERS, customers, self._watchlist.list_schedule)
            start(self._executor.poll_list(look, saved_cost=saved * single_price))
        for index in plan.by_list:
            customer = customers[index]
            look = self._create_list_poll(customer.id, [customer], customer.list_schedule)
            start(self._executor.poll_list(look, saved_cost=parties[index].polls_saved * single_price))
        for index in plan.individually:
            self._executor.backlog.update(dict.fromkeys(groups[customers[index]]))
        for index in plan.deferred:
            coming = self.find_upcoming_list(customers[index], now)
            for watch in groups[customers[index]]:
                self._schedule.put(watch, coming.next_due if coming is not None else now)

    def _estimate_all_customers(self, single_price: float, slot_seconds: float, now: float) -> float | None:
        """The price of a list of everything; None where it cannot be the cheapest."""
        watchlist = self._watchlist
        if len(watchlist.customers) == 1 and None not in watchlist.customers:
            return None
        price = self._executor.cost_model.estimate_list(ALL_CUSTOMERS, watchlist.size, slot_seconds, now)
        return price if price is not None and price < watchlist.size * single_price else None

    def _build_demand(self, customer: WatchedCustomer, due: int, slot_seconds: float, now: float) -> CustomerDemand:
        watched = len(customer.listed)
        is_near = self.find_upcoming_list(customer, now) is not None
        return CustomerDemand(
            due=due,
            polls_saved=due if is_near else watched,
            # Without a customer's ID there is no list but that of everything.
            list_cost=None
            if customer.id is None
            else self._executor.cost_model.estimate_list(customer.id, watched, slot_seconds, now),
            list_is_upcoming=is_near,
        )

    def _create_list_poll(self, scope: ListScope, customers: list[WatchedCustomer], cadence: ListSchedule) -> ListPoll:
        """A list for all that is listed of these customers, of which nothing need be asked singly any more."""
        wanted: dict[str, Watch] = {}
        for customer in customers:
            wanted.update(customer.listed)
        if len(wanted) < sum(len(customer.listed) for customer in customers):
            self._poll_duplicates_individually(customers, wanted)
        if self._executor.backlog:  # not walked through: it may be longer than all that one of many lists is for
            for watch in wanted.values():
                self._executor.backlog.pop(watch, None)
        look = ListPoll(scope, asyncio.get_running_loop().time(), customers, wanted, cadence)
        for customer in customers:
            customer.list_poll = look
        return look

    def _poll_duplicates_individually(self, customers: Iterable[WatchedCustomer], wanted: Mapping[str, Watch]) -> None:
        """Ask singly where one audience is waited for under two customers, of which one must be wrong."""
        for customer in customers:
            for watch in list(customer.listed.values()):
                if wanted[watch.key] is not watch:
                    self._executor.poll_individually(watch)


class CustomerDemand(msgspec.Struct, frozen=True, kw_only=True, gc=False):  # made for each customer in each round
    """One customer's waits, as far as a list can answer them.

    `due` is how many looks are due now, `polls_saved` how many single looks a list would make unnecessary. `list_cost`
    is None where its list is not to be had. `list_is_upcoming` says that a list will be read soon anyway, for which the
    few that are due can wait.
    """

    due: int
    polls_saved: int
    list_cost: float | None
    list_is_upcoming: bool = False


@attrs.frozen(kw_only=True)
class Plan:
    """What to do with the looks that are due: the parties (by their index) of each kind."""

    all_customers: bool = False
    by_list: tuple[int, ...] = ()
    individually: tuple[int, ...] = ()
    deferred: tuple[int, ...] = ()


def choose_plan(demands: Sequence[CustomerDemand], *, single_cost: float, all_customers_cost: float | None) -> Plan:
    """The cheapest requests that answer what is due.

    A party's looks are answered by its list where that is cheaper than the single looks that it saves; where not, they
    wait for a list that is near, or are made singly. One list of everything answers all parties where it is cheaper
    than that together; then parties without due looks count, too, since it saves theirs.
    """
    total = 0.0
    lists: list[int] = []
    singly: list[int] = []
    later: list[int] = []
    for index, party in enumerate(demands):
        price = party.polls_saved * single_cost
        kind = later if party.list_is_upcoming else singly
        if party.list_cost is not None and party.list_cost < price:
            price = party.list_cost
            kind = lists
        total += price
        if party.due:
            kind.append(index)
    if all_customers_cost is not None and all_customers_cost < total:
        return Plan(all_customers=True)
    return Plan(by_list=tuple(lists), individually=tuple(singly), deferred=tuple(later))
