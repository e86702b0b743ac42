"""Rounds: choose the cheapest requests for the audiences that are due.

A list covers all watches of its customer, due or not, and makes them fall due together from then on. So a customer with
many waits costs one request per interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs
import msgspec

from indigo_async._polling.cost_model import ALL_CUSTOMERS, ListScope
from indigo_async._polling.polls import PollExecutor, iterate_in_slices
from indigo_async._polling.watchlist import ListPoll, ListSchedule, Watch, WatchedCustomer

__all__ = ["CustomerDemand", "Plan", "RoundPlanner", "choose_plan"]

# In intervals. Old waits have longer intervals, which would be too long for a new wait.
_UPCOMING_INTERVALS = 1.2

StartTask: TypeAlias = Callable[[Coroutine[None, None, None]], object]


class CustomerDemand(msgspec.Struct, frozen=True, kw_only=True, gc=False):  # created per customer and round
    """What a list of one customer would be worth.

    Attributes:
        due: polls that are due now.
        polls_saved: single reads that the list would replace.
        list_cost: the list's cost; None if there is no such list.
        list_is_upcoming: whether a list will be read soon anyway, so that what is due can wait for it.
    """

    due: int
    polls_saved: int
    list_cost: float | None
    list_is_upcoming: bool = False


@attrs.frozen(kw_only=True)
class Plan:
    """The requests of a round: one list of everything, or what to do for which customers (by index)."""

    all_customers: bool = False
    by_list: tuple[int, ...] = ()
    individually: tuple[int, ...] = ()
    deferred: tuple[int, ...] = ()


def choose_plan(demands: Sequence[CustomerDemand], *, single_cost: float, all_customers_cost: float | None) -> Plan:
    """Choose the cheapest requests for what is due.

    A customer's list is read if it costs less than the single reads that it saves. Otherwise the customer waits for an
    upcoming list, or its audiences are read singly. The list of everything is read if it costs less than all of that
    together, including what customers with nothing due yet would save.
    """
    total = 0.0
    by_list: list[int] = []
    individually: list[int] = []
    deferred: list[int] = []
    for index, demand in enumerate(demands):
        cost = demand.polls_saved * single_cost
        choice = deferred if demand.list_is_upcoming else individually
        if demand.list_cost is not None and demand.list_cost < cost:
            cost = demand.list_cost
            choice = by_list
        total += cost
        if demand.due:
            choice.append(index)
    if all_customers_cost is not None and all_customers_cost < total:
        return Plan(all_customers=True)
    return Plan(by_list=tuple(by_list), individually=tuple(individually), deferred=tuple(deferred))


@attrs.frozen
class RoundPlanner:
    """Starts lists for what is due, and adds single reads to the executor's backlog."""

    executor: PollExecutor

    async def start_requests(self, due: list[Watch | WatchedCustomer], now: float, start: StartTask) -> None:
        """Start the requests for what is due; `start` runs each list in a task."""
        groups = await self._group_by_customer(due)
        if groups:
            self._start_cheapest(groups, now, start)

    def find_upcoming_list(self, customer: WatchedCustomer, now: float) -> ListSchedule | None:
        """The schedule of a list that will show this customer's audiences soon."""
        for schedule in (customer.list_schedule, self.executor.watchlist.list_schedule):
            if now < schedule.next_due <= now + _UPCOMING_INTERVALS * self.executor.interval:
                return schedule
        return None

    async def _group_by_customer(self, due: list[Watch | WatchedCustomer]) -> dict[WatchedCustomer, list[Watch]]:
        """Group the watches that lists could cover. The others join the backlog, or a list in flight covers them."""
        groups: dict[WatchedCustomer, list[Watch]] = {}
        async for item in iterate_in_slices(due):
            if isinstance(item, WatchedCustomer):
                if item.list_poll is None:
                    groups.setdefault(item, []).extend(item.batched())
            elif item.waits:
                if item.polled_individually or not self.executor.coverage.covers(item):
                    self.executor.poll_individually(item)
                elif item.customer.list_poll is None:  # otherwise it falls due with its customer after the list
                    groups.setdefault(item.customer, []).append(item)
        # Waits may have ended between two slices.
        active = {customer: [watch for watch in watches if watch.waits] for customer, watches in groups.items()}
        return {customer: watches for customer, watches in active.items() if watches}

    def _start_cheapest(self, groups: Mapping[WatchedCustomer, list[Watch]], now: float, start: StartTask) -> None:
        slot_seconds = self.executor.api.slot_seconds
        single_cost = self.executor.cost_model.estimate_single(slot_seconds)
        all_customers_cost = self._estimate_all_customers(single_cost, slot_seconds, now)
        customers = list(groups)
        if all_customers_cost is not None:
            customers = [
                customer for customer in self.executor.watchlist.customers.values() if customer.list_poll is None
            ]
        demands = [
            self._build_demand(customer, len(groups.get(customer, ())), slot_seconds, now) for customer in customers
        ]
        plan = choose_plan(demands, single_cost=single_cost, all_customers_cost=all_customers_cost)
        if plan.all_customers:
            saved = sum(demand.polls_saved for demand in demands)
            poll = self._create_list_poll(ALL_CUSTOMERS, customers, self.executor.watchlist.list_schedule)
            start(self.executor.poll_list(poll, saved_cost=saved * single_cost))
        for index in plan.by_list:
            customer = customers[index]
            poll = self._create_list_poll(customer.id, [customer], customer.list_schedule)
            start(self.executor.poll_list(poll, saved_cost=demands[index].polls_saved * single_cost))
        for index in plan.individually:
            self.executor.backlog.update(dict.fromkeys(groups[customers[index]]))
        for index in plan.deferred:
            upcoming = self.find_upcoming_list(customers[index], now)
            for watch in groups[customers[index]]:
                self.executor.schedule.put(watch, upcoming.next_due if upcoming is not None else now)

    def _estimate_all_customers(self, single_cost: float, slot_seconds: float, now: float) -> float | None:
        """The cost of the list of everything; None if it cannot be the cheapest choice."""
        watchlist = self.executor.watchlist
        if len(watchlist.customers) == 1 and None not in watchlist.customers:
            return None
        cost = self.executor.cost_model.estimate_list(ALL_CUSTOMERS, watchlist.size, slot_seconds, now)
        return cost if cost is not None and cost < watchlist.size * single_cost else None

    def _build_demand(self, customer: WatchedCustomer, due: int, slot_seconds: float, now: float) -> CustomerDemand:
        watched = len(customer.listed)
        list_cost = None
        if customer.id is not None:  # audiences without a customer ID are shown only in the list of everything
            list_cost = self.executor.cost_model.estimate_list(customer.id, watched, slot_seconds, now)
        is_upcoming = self.find_upcoming_list(customer, now) is not None
        return CustomerDemand(
            due=due, polls_saved=due if is_upcoming else watched, list_cost=list_cost, list_is_upcoming=is_upcoming
        )

    def _create_list_poll(self, scope: ListScope, customers: list[WatchedCustomer], schedule: ListSchedule) -> ListPoll:
        """A list for everything listed of these customers, which removes it from the backlog."""
        pending: dict[str, Watch] = {}
        for customer in customers:
            pending.update(customer.listed)
        if len(pending) < sum(len(customer.listed) for customer in customers):
            self._poll_duplicates_individually(customers, pending)
        if self.executor.backlog:  # iterate over the list's watches, since the backlog may be much longer
            for watch in pending.values():
                self.executor.backlog.pop(watch, None)
        poll = ListPoll(scope, asyncio.get_running_loop().time(), customers, pending, schedule)
        for customer in customers:
            customer.list_poll = poll
        return poll

    def _poll_duplicates_individually(self, customers: Iterable[WatchedCustomer], pending: Mapping[str, Watch]) -> None:
        """Read an audience singly if it is watched for two customers, one of which must be wrong."""
        for customer in customers:
            for watch in list(customer.listed.values()):
                if pending[watch.key] is not watch:
                    self.executor.poll_individually(watch)
