from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.workflows.fence import state as fence_state
from indigo_async.workflows.fence.state import Entry, FenceState, PurchaseFacts, Snapshot

JOB = "ab12"


def facts(export_id: str = "7", cents: int = 100) -> PurchaseFacts:
    return PurchaseFacts(audience_id=5, export_id=export_id, cost_cents=cents, field_types=("phone",))


def entry(owner: str, **requests: object) -> Entry:
    return Entry(id="x", owner=owner, **requests)  # type: ignore[arg-type]


def test_a_second_owner_of_a_job_is_refused_until_the_first_leaves():
    state = FenceState()
    assert state.apply(entry("a", claims=(JOB,))).held == {}
    assert state.apply(entry("b", claims=(JOB, "cd34"))).held == {JOB: "a"}
    state.apply(entry("a", leaves=True))
    assert state.apply(entry("b", claims=(JOB,))).held == {}


def test_an_owner_whose_job_was_taken_over_can_reserve_and_withdraw_nothing():
    state = FenceState()
    state.apply(entry("a", claims=(JOB,)))
    assert state.apply(entry("a", intents={JOB: facts()})).grants[JOB].granted
    assert state.apply(entry("b", gone=("a",), claims=(JOB,))).held == {}
    refused = state.apply(entry("a", intents={JOB: facts("8")})).grants[JOB]
    assert (refused.granted, refused.is_superseded) == (False, True)
    state.apply(entry("a", withdrawals=(JOB,)))
    assert state.intents[JOB] == [facts()]
    # The new owner goes on with the same export, at once reserved and once only.
    assert state.apply(entry("b", limit_cents=100, intents={JOB: facts()})).grants[JOB].granted
    assert state.ledger.reserved_cents == 100


def test_a_job_with_a_purchase_of_unknown_outcome_can_not_purchase_another_export():
    state = FenceState()
    state.apply(entry("a", claims=(JOB,), intents={JOB: facts("7")}))
    refused = state.apply(entry("a", intents={JOB: facts("8")})).grants[JOB]
    assert (refused.granted, refused.held) == (False, "7")


def test_a_withdrawal_leaves_what_an_earlier_owner_intended():
    state = FenceState()
    state.apply(entry("a", claims=(JOB,), intents={JOB: facts()}))
    state.apply(entry("b", gone=("a",), claims=(JOB,), intents={JOB: facts()}))
    state.apply(entry("b", withdrawals=(JOB,)))
    assert state.intents[JOB] == [facts()]
    assert state.ledger.reserved_cents == 100


def test_a_purchase_counts_once_at_what_was_charged_whoever_reports_it():
    state = FenceState()
    state.apply(entry("a", claims=(JOB,), intents={JOB: facts(cents=100)}))
    state.apply(entry("b", gone=("a",), claims=(JOB,)))
    state.apply(entry("b", results={JOB: facts(cents=90)}))
    state.apply(entry("a", results={JOB: facts(cents=90)}))
    assert (state.ledger.spent_cents, state.ledger.reserved_cents) == (90, 0)
    assert state.purchases[JOB] == facts(cents=90)
    assert JOB not in state.intents


def test_a_purchase_that_turned_out_free_counts_nothing():
    state = FenceState()
    state.apply(entry("a", claims=(JOB,), intents={JOB: facts(cents=100)}))
    state.apply(entry("a", results={JOB: facts(cents=0)}))
    assert (state.ledger.spent_cents, state.ledger.reserved_cents, state.ledger.holders) == (0, 0, {})


def test_the_oldest_purchases_are_forgotten_and_their_cents_are_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fence_state, "_MAX_PURCHASES", 2)
    state = FenceState()
    for job in ("1", "2", "1", "3"):
        state.apply(entry("a", claims=(job,), intents={job: facts(job)}))
        state.apply(entry("a", results={job: facts(job)}))
    assert list(state.purchases) == ["1", "3"]
    assert state.ledger.spent_cents == 400


def test_an_owner_obeys_the_limit_that_it_was_given():
    state = FenceState()
    state.apply(entry("a", claims=("1", "2", "3")))
    reserve = {"1": facts("1", 60), "2": facts("2", 60)}
    grants = state.apply(entry("a", limit_cents=100, intents=reserve)).grants
    assert [grants[job].granted for job in "12"] == [True, False]
    assert grants["2"].left_cents == 40
    assert state.apply(entry("a", limit_cents=0, intents={"3": facts("3", 0)})).grants["3"].granted
    assert state.apply(entry("a", limit_cents=120, intents={"2": facts("2", 60)})).grants["2"].granted


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    """An entry with requests of any owner for any job. An export belongs to one job and has one price."""
    jobs = st.sampled_from(["1", "2", "3"])
    owners = st.sampled_from(["a", "b", "c"])

    def facts_of(job: str) -> PurchaseFacts:
        choice = draw(st.integers(0, 1))
        return facts(f"{job}-{choice}", 20 + 15 * choice)

    kinds = draw(st.lists(st.sampled_from(["result", "intent", "withdrawal"]), max_size=2))
    requests = {draw(jobs): kind for kind in kinds}
    owner = draw(owners)
    return Entry(
        id="x",
        owner=owner,
        limit_cents=100,
        gone=tuple(draw(st.lists(owners.filter(lambda other: other != owner), max_size=1))),
        claims=tuple(draw(st.lists(jobs, max_size=3, unique=True))),
        results={job: facts_of(job) for job, kind in requests.items() if kind == "result"},
        withdrawals=tuple(job for job, kind in requests.items() if kind == "withdrawal"),
        intents={job: facts_of(job) for job, kind in requests.items() if kind == "intent"},
        leaves=draw(st.integers(0, 5)) == 0,
    )


def stored_and_restored(state: FenceState) -> FenceState:
    return FenceState.restore(msgspec.json.decode(msgspec.json.encode(state.snapshot()), type=Snapshot))


@given(st.lists(_entries(), max_size=40))
def test_any_log_keeps_the_rules(entries: list[Entry]):
    state = FenceState()
    for one in entries:
        before = stored_and_restored(state)
        replies = state.apply(one)
        for job, owner in replies.held.items():
            assert before.owners[job] == owner != one.owner
        for job, grant in replies.grants.items():
            owner_then = before.owners.get(job)
            if owner_then in {None, *one.gone}:
                owner_then = one.owner if job in one.claims else None
            assert grant.is_superseded == (owner_then != one.owner)
            if grant.granted:
                assert {intent.export_id for intent in state.intents[job]} == {state.ledger.holders[job]}
        used = state.ledger.spent_cents + state.ledger.reserved_cents
        assert used <= max(100, before.ledger.spent_cents + before.ledger.reserved_cents)
        assert set(state.intents) == set(state.ledger.holders)
    assert stored_and_restored(state) == state
