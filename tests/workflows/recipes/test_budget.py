"""What a batch may spend: a price is reserved before its purchase, and the charge is booked after it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.workflows.recipes.budget import Account, Budget, Reservation


def state(budget: Budget) -> tuple[int, int, int | None]:
    return budget.spent_cents, budget.reserved_cents, budget.left_cents


def test_a_price_is_reserved_up_to_the_last_cent_and_not_beyond():
    budget = Budget(limit_cents=100)
    assert Reservation(budget).reserve(60)
    assert state(budget) == (0, 60, 40)
    assert Reservation(budget).reserve(41) is False
    assert state(budget) == (0, 60, 40)
    assert Reservation(budget).reserve(40)
    assert state(budget) == (0, 100, 0)
    assert Reservation(budget).reserve(0)


def test_a_new_price_replaces_the_reserved_one():
    budget = Budget(limit_cents=100)
    reservation = Reservation(budget)
    assert reservation.reserve(60)
    assert reservation.reserve(90)
    assert state(budget) == (0, 90, 10)
    assert not reservation.reserve(101)
    assert state(budget) == (0, 90, 10)
    assert reservation.reserve(30)
    assert state(budget) == (0, 30, 70)


@pytest.mark.parametrize(("charged", "left"), [(60, 40), (70, 30), (0, 100), (130, 0)])
def test_what_was_charged_is_spent_whatever_was_reserved(charged: int, left: int):
    budget = Budget(limit_cents=100)
    reservation = Reservation(budget)
    reservation.reserve(60)
    reservation.spend(charged)
    assert state(budget) == (charged, 0, left)


def test_what_was_certainly_not_purchased_is_released_once():
    budget = Budget(limit_cents=100)
    Reservation(budget).reserve(10)
    reservation = Reservation(budget)
    reservation.reserve(60)
    reservation.release()
    reservation.release()
    assert state(budget) == (0, 10, 90)


def test_what_an_earlier_run_paid_counts_once():
    budget = Budget(limit_cents=100, spent_cents=80)
    reservation = Reservation(budget, 80)
    assert reservation.reserve(80)
    assert state(budget) == (80, 0, 20)
    assert reservation.reserve(95)
    assert state(budget) == (80, 15, 5)
    reservation.spend(95)
    assert state(budget) == (95, 0, 5)
    reservation.spend(60)
    assert state(budget) == (95, 0, 5)


def test_without_a_limit_everything_may_be_spent():
    budget = Budget()
    assert Reservation(budget).reserve(10**12)
    assert state(budget) == (0, 10**12, None)


@given(
    st.integers(0, 50),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["spend", "release", "in doubt"])), max_size=10),
)
def test_reserved_and_spent_never_exceed_the_limit_if_prices_are_kept(limit: int, purchases: list[tuple[int, str]]):
    budget = Budget(limit_cents=limit)
    counted = 0
    for price, outcome in purchases:
        reservation = Reservation(budget)
        if reservation.reserve(price):
            counted += 0 if outcome == "release" else price
            if outcome == "spend":
                reservation.spend(price)
            elif outcome == "release":
                reservation.release()
        else:
            assert counted + price > limit
        assert budget.spent_cents + budget.reserved_cents == counted <= limit


def test_the_accounts_of_jobs_add_up_to_the_budget():
    budget, accounts = Budget(), [Account(), Account()]
    for price, account in [(10, accounts[0]), (20, accounts[1]), (30, accounts[0])]:
        reservation = Reservation(budget, account=account)
        assert reservation.reserve(price)
        reservation.spend(price + 1)
        assert Reservation(budget, account=account).reserve(price)
    assert accounts == [Account(spent_cents=42, reserved_cents=40), Account(spent_cents=21, reserved_cents=20)]
    assert state(budget) == (63, 60, None)


@pytest.mark.parametrize(("charged", "at_once"), [(100, True), (99, True), (101, False)])
async def test_purchases_take_turns_until_one_is_charged_as_quoted(charged: int, *, at_once: bool):
    budget = Budget()
    release, held = asyncio.Event(), 0

    async def hold() -> None:
        nonlocal held
        async with budget.purchase_lock():
            held += 1
            await release.wait()

    async with asyncio.TaskGroup() as group:
        first = [group.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        assert held == 1
        release.set()
        await asyncio.wait(first)
        release.clear()
        budget.record_charge(quoted_cents=100, charged_cents=charged)
        for _ in range(3):
            group.create_task(hold())
        await asyncio.sleep(0)
        assert held == 3 + (3 if at_once else 1)
        release.set()
