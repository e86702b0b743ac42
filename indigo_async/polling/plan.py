"""Which requests answer what is due: a pure choice between single looks, lists of customers, and the list of all."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import msgspec

__all__ = ["Party", "Plan", "choose"]


class Party(msgspec.Struct, frozen=True, kw_only=True, gc=False):  # made for each customer in each round
    """One customer's waits, as far as a list can answer them.

    `due` is how many looks are due now, `saved` how many single looks a list would make unnecessary. `list_price` is
    None where its list is not to be had. `list_is_near` says that a list will be read soon anyway, for which the few
    that are due can wait.
    """

    customer: str | None
    due: int
    saved: int
    list_price: float | None
    list_is_near: bool = False


@attrs.frozen(kw_only=True)
class Plan:
    """What to do with the looks that are due: the parties (by their index) of each kind."""

    everything: bool = False
    lists: tuple[int, ...] = ()
    singly: tuple[int, ...] = ()
    later: tuple[int, ...] = ()


def choose(parties: Sequence[Party], *, single_price: float, everything_price: float | None) -> Plan:
    """The cheapest requests that answer what is due.

    A party's looks are answered by its list where that is cheaper than the single looks that it saves; where not, they
    wait for a list that is near, or are made singly. One list of everything answers all parties where it is cheaper
    than that together; then parties without due looks count, too, since it saves theirs.
    """
    total = 0.0
    lists: list[int] = []
    singly: list[int] = []
    later: list[int] = []
    for index, party in enumerate(parties):
        price = party.saved * single_price
        kind = later if party.list_is_near else singly
        if party.list_price is not None and party.list_price < price:
            price = party.list_price
            kind = lists
        total += price
        if party.due:
            kind.append(index)
    if everything_price is not None and everything_price < total:
        return Plan(everything=True)
    return Plan(lists=tuple(lists), singly=tuple(singly), later=tuple(later))
