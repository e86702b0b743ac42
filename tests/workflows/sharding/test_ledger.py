"""The ledger of a batch: never more than its limit, one export for each job, and nothing for a superseded worker."""

from __future__ import annotations

from indigo_async.workflows.sharding.ledger import Hold, Ledger, Turn

FIRST = Turn(shard="0", run=1, attempt=1)
SECOND = Turn(shard="0", run=1, attempt=2)


def test_a_charge_above_the_quote_is_counted_once_and_reduces_the_budget():
    ledger = Ledger(limit_cents=1_000)
    assert ledger.reserve("a", 100).granted
    for _ in range(2):
        ledger.settle("a", 5_000)
    assert (ledger.spent_cents, ledger.left_cents) == (5_000, 0)
    assert not ledger.reserve("b", 1).granted


def test_a_later_attempt_learns_what_a_job_holds_and_the_earlier_one_gets_nothing():
    ledger = Ledger(limit_cents=1_000)
    assert ledger.begin(FIRST, ["a"]) == {}
    assert ledger.reserve("1", 100, job="a", turn=FIRST).granted
    assert ledger.begin(SECOND, ["a", "b"]) == {"a": Hold(export_id="1", cents=100)}
    assert ledger.begin(FIRST, ["a"]) is None
    assert ledger.reserve("2", 100, job="b", turn=FIRST).is_superseded
    assert ledger.reserve("3", 100, job="a", turn=SECOND).held == "1"


def test_other_jobs_are_refused_unless_the_batch_is_continued_with_them():
    ledger = Ledger(limit_cents=100)
    assert ledger.open("jobs", 200)
    assert not ledger.open("other jobs", None)
    assert (ledger.identity, ledger.limit_cents) == ("jobs", 200)
    assert ledger.open("other jobs", None, continue_changed=True)
    assert (ledger.identity, ledger.limit_cents) == ("other jobs", None)
