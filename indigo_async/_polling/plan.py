"""Which requests answer what is due: a pure choice between single looks, lists of customers, and the list of all."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import msgspec

__all__ = ["CustomerDemand", "Plan", "choose_plan"]


class CustomerDemand(msgspec.Struct, frozen=True, kw_only=True, gc=False):  # made for each customer in each round
    """One customer's waits, as far as a list can answer them.

    `due` is how many looks are due now, `polls_saved` how many single looks a list would make unnecessary. `list_cost`
    is None where its list is not to be had. `list_is_upcoming` says that a list will be read soon anyway, for which the
    few that are due can wait.
    """

    customer: str | None
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
