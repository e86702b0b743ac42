"""The choice of requests, for any parties at any prices."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from indigo_async._polling.rounds import CustomerDemand, Plan, choose_plan

_PRICES = st.floats(0.001, 1_000)


@st.composite
def customer_demands(draw):
    watched = draw(st.integers(1, 10_000))
    is_near = draw(st.booleans())
    due = draw(st.integers(0, watched))
    return CustomerDemand(
        due=due,
        polls_saved=due if is_near else watched,
        list_cost=draw(st.none() | _PRICES),
        list_is_upcoming=is_near,
    )


def price_of(plan, given_parties, single_price, everything_price):
    if plan.all_customers:
        return everything_price
    lists = sum(given_parties[index].list_cost for index in plan.by_list)
    return lists + sum(given_parties[index].due * single_price for index in plan.individually)


_CASES = (st.lists(customer_demands(), max_size=30), _PRICES, st.none() | _PRICES)


@given(*_CASES)
def test_a_plan_covers_what_is_due_once_and_nothing_else(given_parties, single_price, everything_price):
    plan = choose_plan(given_parties, single_cost=single_price, all_customers_cost=everything_price)
    covered = sorted((*plan.by_list, *plan.individually, *plan.deferred))
    due = [index for index, party in enumerate(given_parties) if party.due]
    assert covered == ([] if plan.all_customers else due)


@given(*_CASES)
def test_a_plan_is_never_dearer_than_the_looks_that_it_saves(given_parties, single_price, everything_price):
    plan = choose_plan(given_parties, single_cost=single_price, all_customers_cost=everything_price)
    singly = sum(party.polls_saved for party in given_parties) * single_price
    assert price_of(plan, given_parties, single_price, everything_price) <= singly * (1 + 1e-9)


@given(*_CASES)
def test_each_party_gets_its_cheapest_answer(given_parties, single_price, everything_price):
    plan = choose_plan(given_parties, single_cost=single_price, all_customers_cost=everything_price)
    for index in plan.by_list:
        assert given_parties[index].list_cost < given_parties[index].polls_saved * single_price
    for index in (*plan.individually, *plan.deferred):
        party = given_parties[index]
        assert party.list_cost is None or party.list_cost >= party.polls_saved * single_price
        assert party.list_is_upcoming is (index in plan.deferred)


@given(*_CASES)
def test_everything_is_read_only_where_it_is_cheaper_than_the_rest_together(given_parties, single_price, price):
    rest = choose_plan(given_parties, single_cost=single_price, all_customers_cost=None)
    plan = choose_plan(given_parties, single_cost=single_price, all_customers_cost=price)
    if plan.all_customers:
        assert price < sum(party.polls_saved for party in given_parties) * single_price * (1 + 1e-9)
    else:
        assert plan == rest


def test_five_waits_never_read_a_huge_list():
    party = CustomerDemand(due=5, polls_saved=5, list_cost=72.0)
    assert choose_plan([party], single_cost=0.1, all_customers_cost=None) == Plan(individually=(0,))


def test_a_thousand_waits_read_their_list():
    party = CustomerDemand(due=100, polls_saved=1_000, list_cost=0.4)
    assert choose_plan([party], single_cost=0.02, all_customers_cost=None) == Plan(by_list=(0,))


def test_newcomers_wait_for_a_list_that_is_near():
    party = CustomerDemand(due=3, polls_saved=3, list_cost=0.4, list_is_upcoming=True)
    assert choose_plan([party], single_cost=0.02, all_customers_cost=None) == Plan(deferred=(0,))


def test_customers_with_few_waits_each_share_one_list():
    few = [CustomerDemand(due=5, polls_saved=5, list_cost=None) for _ in range(200)]
    assert choose_plan(few, single_cost=0.02, all_customers_cost=0.4) == Plan(all_customers=True)
