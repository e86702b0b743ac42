"""The ledger of a batch: never more than its limit, one export for each job, and nothing for a superseded worker."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from indigo_async.temporal.converter import from_plain, to_plain
from indigo_async.workflows.sharding.ledger import Grant, Hold, Ledger, Turn

FIRST = Turn(shard="0", run=1, attempt=1)
SECOND = Turn(shard="0", run=1, attempt=2)
NEXT_RUN = Turn(shard="0", run=2, attempt=1)
OTHER_SHARD = Turn(shard="1", run=1, attempt=0)

SLOTS = st.sampled_from("ab")
"""A shard of two jobs. When a job is done, the next one takes its place."""

IS_LATEST = st.booleans()
"""Whether the latest worker does something, or the one before it, which may be slow."""


def reload(ledger: Ledger) -> Ledger:
    """What the ledger's workflow has after it continued as new."""
    return from_plain(to_plain(ledger), Ledger)


def price(export_id: str) -> int:
    """Each preview of a job has another price."""
    return 10 * int(export_id.partition("/")[2])


@attrs.define
class Worker:
    """An attempt at the shard of all jobs. It may be superseded without knowing it."""

    turn: Turn
    inherited: dict[str, str]
    reserved: dict[str, str] = attrs.Factory(dict[str, str])
    sent: set[str] = attrs.Factory(set[str])


class PurchasesOfShards(RuleBasedStateMachine):
    """Workers follow the rules of a shard. Any of them may be slow, and go on long after it was replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.jobs = {"a": "a0", "b": "b0"}
        self.workers = [self.start_worker(FIRST)]
        self.purchased: set[str] = set()
        self.settled: set[str] = set()

    def start_worker(self, turn: Turn) -> Worker:
        held = self.ledger.begin(turn, self.jobs.values())
        assert held is not None
        assert all(hold.cents == price(hold.export_id) for hold in held.values())
        assert {job: hold.export_id for job, hold in held.items()} == self.ledger.holders
        return Worker(turn, {job: hold.export_id for job, hold in held.items()})

    def worker(self, is_latest: bool) -> Worker:
        return self.workers[-1] if is_latest else self.workers[max(0, len(self.workers) - 2)]

    def is_superseded(self, worker: Worker) -> bool:
        return worker is not self.workers[-1]

    @initialize(limit_cents=st.sampled_from([None, 120, 30]))
    def open(self, limit_cents: int | None) -> None:
        assert self.ledger.open("jobs", limit_cents)

    @rule(is_new_run=st.booleans())
    def begin(self, is_new_run: bool) -> None:
        last = self.workers[-1].turn
        run, attempt = (last.run + 1, 1) if is_new_run else (last.run, last.attempt + 1)
        self.workers.append(self.start_worker(attrs.evolve(last, run=run, attempt=attempt)))
        for worker in self.workers:  # an update whose outcome was unknown is sent again
            assert (self.ledger.begin(worker.turn, ()) is None) == self.is_superseded(worker)
        for job, export_id in self.workers[-1].inherited.items():
            self.reserve_for(self.workers[-1], job, export_id)

    @rule(is_latest=IS_LATEST, slot=SLOTS, preview=st.integers(1, 3))
    def reserve(self, is_latest: bool, slot: str, preview: int) -> None:
        worker, job = self.worker(is_latest), self.jobs[slot]
        self.reserve_for(worker, job, worker.inherited.get(job, worker.reserved.get(job, f"{job}/{preview}")))

    def reserve_for(self, worker: Worker, job: str, export_id: str) -> None:
        before = self.ledger.spent_cents + self.ledger.reserved_cents
        grant = self.ledger.reserve(export_id, price(export_id), job=job, turn=worker.turn)
        now = self.ledger.spent_cents + self.ledger.reserved_cents
        assert grant.is_superseded == self.is_superseded(worker)
        if grant.granted:
            worker.reserved[job] = export_id
            assert now == before or self.ledger.limit_cents is None or now <= self.ledger.limit_cents
        else:
            assert now == before

    @rule(is_latest=IS_LATEST, slot=SLOTS)
    def purchase(self, is_latest: bool, slot: str) -> None:
        """Send the POST. The server charges for each export once."""
        worker, job = self.worker(is_latest), self.jobs[slot]
        if job in worker.reserved:
            worker.sent.add(job)
            self.purchased.add(worker.reserved[job])

    @rule(is_latest=IS_LATEST, slot=SLOTS)
    def release(self, is_latest: bool, slot: str) -> None:
        """The POST certainly was not carried out."""
        worker, job = self.worker(is_latest), self.jobs[slot]
        if job in worker.reserved and job not in worker.sent and job not in worker.inherited:
            grant = self.ledger.release(worker.reserved.pop(job), job=job, turn=worker.turn)
            assert grant.granted != self.is_superseded(worker)

    @rule(slot=SLOTS, times=st.integers(1, 2))
    def settle(self, slot: str, times: int) -> None:
        """Only the latest attempt's result enters the history. It saw at the server what was purchased."""
        latest, job = self.workers[-1], self.jobs[slot]
        for export_id in self.purchased & {latest.inherited.get(job), latest.reserved.get(job)}:
            for _ in range(times):
                self.ledger.settle(export_id, price(export_id), job=job)
            self.settled.add(export_id)
            self.jobs[slot] = f"{slot}{len(self.settled)}"

    @invariant()
    def no_job_is_purchased_twice(self) -> None:
        assert len({export_id.partition("/")[0] for export_id in self.purchased}) == len(self.purchased)

    @invariant()
    def a_job_holds_one_export_that_is_reserved(self) -> None:
        assert sorted(self.ledger.holders.values()) == sorted(self.ledger.reserved)
        assert all(export_id.startswith(f"{job}/") for job, export_id in self.ledger.holders.items())

    @invariant()
    def everything_purchased_is_counted_once(self) -> None:
        assert self.ledger.spent_cents == sum(map(price, self.settled))
        assert self.purchased - self.settled <= set(self.ledger.reserved)
        assert self.ledger.reserved_cents == sum(self.ledger.reserved.values())

    @invariant()
    def the_ledger_continues_as_new(self) -> None:
        before = self.ledger
        self.ledger = reload(before)
        assert self.ledger == before


TestPurchasesOfShards = PurchasesOfShards.TestCase
TestPurchasesOfShards.settings = settings(max_examples=200, stateful_step_count=30)


EXPORTS = st.sampled_from("abcd")
CENTS = st.integers(0, 50)
BOOKINGS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), EXPORTS, CENTS),
        st.tuples(st.just("settle"), EXPORTS, CENTS),
        st.tuples(st.just("release"), EXPORTS, st.just(0)),
    )
)


def book(ledger: Ledger, kind: str, export_id: str, cents: int) -> bool:
    match kind:
        case "reserve":
            return ledger.reserve(export_id, cents, job="").granted
        case "settle":
            ledger.settle(export_id, cents, job="")
        case _:
            ledger.release(export_id, job="")
    return True


@given(BOOKINGS, st.integers(0, 100))
def test_a_ledger_never_grants_more_than_its_limit(bookings: list[tuple[str, str, int]], limit: int):
    ledger = Ledger(limit_cents=limit)
    for kind, export_id, cents in bookings:
        before = ledger.spent_cents + ledger.reserved_cents
        reserved = ledger.reserved.get(export_id)
        is_granted = book(ledger, kind, export_id, cents)
        now = ledger.spent_cents + ledger.reserved_cents
        if kind == "settle":
            assert now == before + (0 if reserved is None else cents - reserved)
        else:
            assert now <= max(before, limit)
        assert is_granted or now == before
        assert ledger.left_cents == max(0, limit - now)


@given(BOOKINGS)
def test_a_repeated_booking_changes_nothing(bookings: list[tuple[str, str, int]]):
    once, twice = Ledger(limit_cents=100), Ledger(limit_cents=100)
    for booking in bookings:
        book(once, *booking)
        book(twice, *booking)
        book(twice, *booking)
        assert once == twice


def test_a_charge_above_the_quote_is_counted_once_and_reduces_the_budget():
    ledger = Ledger(limit_cents=1_000)
    assert ledger.reserve("1", 100, job="a").granted
    for _ in range(2):
        ledger.settle("1", 5_000, job="a")
    assert (ledger.spent_cents, ledger.left_cents) == (5_000, 0)
    assert not ledger.reserve("2", 1, job="b").granted


def test_a_raised_price_reserves_the_difference():
    ledger = Ledger(limit_cents=100)
    assert ledger.reserve("1", 60, job="a").left_cents == 40
    assert ledger.reserve("1", 101, job="a") == Grant(granted=False, left_cents=40)
    assert ledger.reserve("1", 100, job="a") == Grant(granted=True, left_cents=0)
    assert ledger.reserve("1", 50, job="a").left_cents == 0


def test_the_charge_is_what_counts_even_if_it_is_nothing():
    ledger = Ledger(limit_cents=100)
    ledger.reserve("1", 60, job="a")
    ledger.settle("1", 0, job="a")
    ledger.reserve("2", 70, job="b")
    ledger.settle("2", None, job="b")
    assert (ledger.spent_cents, ledger.left_cents) == (70, 30)


def test_workflows_of_single_jobs_book_without_a_job():
    ledger = Ledger()
    for export_id in "123":
        assert ledger.reserve(export_id, 10, job="").granted
    assert ledger.holders == {}
    ledger.reserve("3", 10, job="a")
    ledger.settle("3", 10, job="")
    assert ledger.begin(FIRST, ["a"]) == {"a": Hold(export_id="3", cents=0)}


def test_a_later_attempt_learns_what_a_job_holds_and_the_earlier_one_gets_nothing():
    ledger = Ledger(limit_cents=1_000)
    assert ledger.begin(FIRST, ["a"]) == {}
    assert ledger.reserve("1", 100, job="a", turn=FIRST).granted
    assert ledger.begin(SECOND, ["a", "b"]) == {"a": Hold(export_id="1", cents=100)}
    assert ledger.begin(FIRST, ["a"]) is None
    superseded = Grant(granted=False, left_cents=900, is_superseded=True)
    assert ledger.reserve("2", 100, job="b", turn=FIRST) == superseded
    assert ledger.release("1", job="a", turn=FIRST) == superseded
    assert ledger.reserve("3", 100, job="a", turn=SECOND) == Grant(granted=False, left_cents=900, held="1")
    assert ledger.release("1", job="a", turn=SECOND) == Grant(granted=True, left_cents=1_000)


def test_attempts_supersede_those_at_the_same_shard_and_runs_all_earlier_runs():
    ledger = Ledger()
    assert ledger.begin(SECOND, []) == {}
    assert ledger.begin(OTHER_SHARD, []) == {}
    assert ledger.attempts == {"0": 2, "1": 0}
    assert ledger.begin(NEXT_RUN, []) == {}
    for turn in (FIRST, SECOND, OTHER_SHARD):
        assert ledger.begin(turn, []) is None
        assert ledger.reserve("1", 1, job="a", turn=turn).is_superseded
    assert ledger.attempts == {"0": 1}
    assert ledger.begin(NEXT_RUN, []) == {}


@pytest.mark.parametrize("limit_cents", [None, 200])
def test_other_jobs_are_refused_unless_the_batch_is_continued_with_them(limit_cents: int | None):
    ledger = Ledger(limit_cents=100)
    assert ledger.open("jobs", 200)
    assert ledger.open("other jobs", limit_cents) is False
    assert (ledger.identity, ledger.limit_cents) == ("jobs", 200)
    assert ledger.open("jobs", None)
    assert ledger.open("other jobs", limit_cents, continue_changed=True)
    assert (ledger.identity, ledger.limit_cents) == ("other jobs", limit_cents)
