"""The choice of requests, for any customers at any costs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from indigo_async._polling.rounds import CustomerDemand, Plan, choose_plan

_COSTS = st.floats(0.001, 1_000)


@st.composite
def customer_demands(draw):
    watched = draw(st.integers(1, 10_000))
    is_near = draw(st.booleans())
    due = draw(st.integers(0, watched))
    return CustomerDemand(
        due=due,
        polls_saved=due if is_near else watched,
        list_cost=draw(st.none() | _COSTS),
        list_is_upcoming=is_near,
    )


def cost_of(plan, demands, single_cost, all_customers_cost):
    if plan.all_customers:
        return all_customers_cost
    lists = sum(demands[index].list_cost for index in plan.by_list)
    return lists + sum(demands[index].due * single_cost for index in plan.individually)


_CASES = (st.lists(customer_demands(), max_size=30), _COSTS, st.none() | _COSTS)


@given(*_CASES)
def test_a_plan_covers_what_is_due_once_and_nothing_else(demands, single_cost, all_customers_cost):
    plan = choose_plan(demands, single_cost=single_cost, all_customers_cost=all_customers_cost)
    covered = sorted((*plan.by_list, *plan.individually, *plan.deferred))
    due = [index for index, demand in enumerate(demands) if demand.due]
    assert covered == ([] if plan.all_customers else due)


@given(*_CASES)
def test_a_plan_never_costs_more_than_the_single_reads_it_saves(demands, single_cost, all_customers_cost):
    plan = choose_plan(demands, single_cost=single_cost, all_customers_cost=all_customers_cost)
    singly = sum(demand.polls_saved for demand in demands) * single_cost
    assert cost_of(plan, demands, single_cost, all_customers_cost) <= singly * (1 + 1e-9)


@given(*_CASES)
def test_each_customer_gets_its_cheapest_choice(demands, single_cost, all_customers_cost):
    plan = choose_plan(demands, single_cost=single_cost, all_customers_cost=all_customers_cost)
    for index in plan.by_list:
        assert demands[index].list_cost < demands[index].polls_saved * single_cost
    for index in (*plan.individually, *plan.deferred):
        demand = demands[index]
        assert demand.list_cost is None or demand.list_cost >= demand.polls_saved * single_cost
        assert demand.list_is_upcoming is (index in plan.deferred)


@given(*_CASES)
def test_everything_is_read_only_if_it_is_cheaper_than_the_rest_together(demands, single_cost, price):
    rest = choose_plan(demands, single_cost=single_cost, all_customers_cost=None)
    plan = choose_plan(demands, single_cost=single_cost, all_customers_cost=price)
    if plan.all_customers:
        assert price < sum(demand.polls_saved for demand in demands) * single_cost * (1 + 1e-9)
    else:
        assert plan == rest


def test_five_waits_never_read_a_huge_list():
    demand = CustomerDemand(due=5, polls_saved=5, list_cost=72.0)
    assert choose_plan([demand], single_cost=0.1, all_customers_cost=None) == Plan(individually=(0,))


def test_a_thousand_waits_read_their_list():
    demand = CustomerDemand(due=100, polls_saved=1_000, list_cost=0.4)
    assert choose_plan([demand], single_cost=0.02, all_customers_cost=None) == Plan(by_list=(0,))


def test_new_waits_are_deferred_to_an_upcoming_list():
    demand = CustomerDemand(due=3, polls_saved=3, list_cost=0.4, list_is_upcoming=True)
    assert choose_plan([demand], single_cost=0.02, all_customers_cost=None) == Plan(deferred=(0,))


def test_many_customers_with_few_waits_share_one_list():
    few = [CustomerDemand(due=5, polls_saved=5, list_cost=None) for _ in range(200)]
    assert choose_plan(few, single_cost=0.02, all_customers_cost=0.4) == Plan(all_customers=True)
