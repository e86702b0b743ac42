"""The choice of requests, for any parties at any prices."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from indigo_async.polling.plan import Party, Plan, choose

_PRICES = st.floats(0.001, 1_000)


@st.composite
def parties(draw):
    watched = draw(st.integers(1, 10_000))
    is_near = draw(st.booleans())
    due = draw(st.integers(0, watched))
    return Party(
        customer=draw(st.none() | st.text(max_size=3)),
        due=due,
        saved=due if is_near else watched,
        list_price=draw(st.none() | _PRICES),
        list_is_near=is_near,
    )


def price_of(plan, given_parties, single_price, everything_price):
    if plan.everything:
        return everything_price
    lists = sum(given_parties[index].list_price for index in plan.lists)
    return lists + sum(given_parties[index].due * single_price for index in plan.singly)


_CASES = (st.lists(parties(), max_size=30), _PRICES, st.none() | _PRICES)


@given(*_CASES)
def test_a_plan_covers_what_is_due_once_and_nothing_else(given_parties, single_price, everything_price):
    plan = choose(given_parties, single_price=single_price, everything_price=everything_price)
    covered = sorted((*plan.lists, *plan.singly, *plan.later))
    due = [index for index, party in enumerate(given_parties) if party.due]
    assert covered == ([] if plan.everything else due)


@given(*_CASES)
def test_a_plan_is_never_dearer_than_the_looks_that_it_saves(given_parties, single_price, everything_price):
    plan = choose(given_parties, single_price=single_price, everything_price=everything_price)
    singly = sum(party.saved for party in given_parties) * single_price
    assert price_of(plan, given_parties, single_price, everything_price) <= singly * (1 + 1e-9)


@given(*_CASES)
def test_each_party_gets_its_cheapest_answer(given_parties, single_price, everything_price):
    plan = choose(given_parties, single_price=single_price, everything_price=everything_price)
    for index in plan.lists:
        assert given_parties[index].list_price < given_parties[index].saved * single_price
    for index in (*plan.singly, *plan.later):
        party = given_parties[index]
        assert party.list_price is None or party.list_price >= party.saved * single_price
        assert party.list_is_near is (index in plan.later)


@given(*_CASES)
def test_everything_is_read_only_where_it_is_cheaper_than_the_rest_together(given_parties, single_price, price):
    rest = choose(given_parties, single_price=single_price, everything_price=None)
    plan = choose(given_parties, single_price=single_price, everything_price=price)
    if plan.everything:
        assert price < sum(party.saved for party in given_parties) * single_price * (1 + 1e-9)
    else:
        assert plan == rest


def test_five_waits_never_read_a_huge_list():
    party = Party(customer="42", due=5, saved=5, list_price=72.0)
    assert choose([party], single_price=0.1, everything_price=None) == Plan(singly=(0,))


def test_a_thousand_waits_read_their_list():
    party = Party(customer="42", due=100, saved=1_000, list_price=0.4)
    assert choose([party], single_price=0.02, everything_price=None) == Plan(lists=(0,))


def test_newcomers_wait_for_a_list_that_is_near():
    party = Party(customer="42", due=3, saved=3, list_price=0.4, list_is_near=True)
    assert choose([party], single_price=0.02, everything_price=None) == Plan(later=(0,))


def test_customers_with_few_waits_each_share_one_list():
    few = [Party(customer=str(number), due=5, saved=5, list_price=None) for number in range(200)]
    assert choose(few, single_price=0.02, everything_price=0.4) == Plan(everything=True)
