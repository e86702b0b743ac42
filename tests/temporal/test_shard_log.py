"""The log of a job in a shard: what the ledger is told about a purchase, and what counts as spent."""

from __future__ import annotations

from typing import Any

import pytest

from indigo_async.errors import BudgetExceededError, ExportExistsError, WorkflowError
from indigo_async.events import Stage
from indigo_async.temporal.payloads import BookingKind, ExportInput, Grant, Hold, JobSummary
from indigo_async.temporal.shards.job_log import ShardJobLog
from indigo_async.temporal.shards.payloads import JobEnd

EXPORT = ExportInput(destination=None, optional_field_types=("phone",))
INTENT: dict[str, Any] = {"field_types": ["phone"], "audience_id": 7, "export_id": 9, "cost_cents": 80}


class Ledger:
    def __init__(self) -> None:
        self.booked: list[tuple[str, str]] = []
        self.grant = Grant(granted=True, left_cents=None)

    async def book(self, kind: BookingKind, export_id: str, cents: int) -> Grant:  # noqa: ARG002 - as the engine calls it
        self.booked.append((kind.value, export_id))
        return self.grant


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def open_log(ledger: Ledger, known: JobEnd | None = None, hold: Hold | None = None) -> ShardJobLog:
    return ShardJobLog(known or JobEnd(), hold, EXPORT, ledger.book)


async def test_a_purchase_is_reserved_before_it_is_sent_and_counts_as_spent(ledger: Ledger):
    log = open_log(ledger)
    await log.record_intent(Stage.PURCHASE, INTENT)
    assert ledger.booked == [("reserve", "9")]
    assert log.open_intent(Stage.PURCHASE) == INTENT
    assert log.describe().intents == {"purchase": INTENT}
    await log.record_result(Stage.PURCHASE, INTENT | {"cost_cents": 90})
    assert (log.open_intent(Stage.PURCHASE), log.spent_cents) == (None, 90)
    assert log.describe(JobSummary(matched_id=7)).facts["purchase"]["cost_cents"] == 90


async def test_a_purchase_that_was_not_made_is_released(ledger: Ledger):
    log = open_log(ledger)
    await log.record_intent(Stage.PURCHASE, INTENT)
    await log.cancel_intent(Stage.PURCHASE)
    assert ledger.booked == [("reserve", "9"), ("release", "9")]
    assert log.open_intent(Stage.PURCHASE) is None


async def test_what_an_earlier_attempt_may_have_purchased_is_never_released(ledger: Ledger):
    log = open_log(ledger, hold=Hold(export_id="9", cents=80))
    assert log.open_intent(Stage.PURCHASE) == {"field_types": ["phone"], "export_id": "9", "cost_cents": 80}
    await log.record_intent(Stage.PURCHASE, INTENT)
    await log.cancel_intent(Stage.PURCHASE)
    await log.cancel_intent(Stage.PURCHASE)
    assert ledger.booked == [("reserve", "9")]
    assert log.open_intent(Stage.PURCHASE) is not None
    await log.record_result(Stage.PURCHASE, INTENT)
    assert log.spent_cents == 80


async def test_a_doubtful_purchase_is_not_released_after_another_try(ledger: Ledger):
    log = open_log(ledger)
    await log.record_intent(Stage.PURCHASE, INTENT)
    await log.record_intent(Stage.PURCHASE, INTENT)
    await log.cancel_intent(Stage.PURCHASE)
    assert ("release", "9") not in ledger.booked
    assert log.open_intent(Stage.PURCHASE) == INTENT


@pytest.mark.parametrize(
    ("grant", "error", "message"),
    [
        (Grant(granted=False, left_cents=10), BudgetExceededError, r"costs \$0\.80 and the batch has \$0\.10 left"),
        (Grant(granted=False, left_cents=10, held="8"), ExportExistsError, "export 8 was or may have been purchased"),
        (Grant(granted=False, left_cents=10, is_superseded=True), WorkflowError, "another worker runs this job now"),
    ],
)
async def test_a_refused_purchase_is_not_made(ledger: Ledger, grant: Grant, error: type[WorkflowError], message: str):
    log = open_log(ledger)
    ledger.grant = grant
    with pytest.raises(error, match=message):
        await log.record_intent(Stage.PURCHASE, INTENT)
    await log.cancel_intent(Stage.PURCHASE)
    assert ledger.booked == [("reserve", "9")]
    assert log.open_intent(Stage.PURCHASE) is None


async def test_a_refused_purchase_keeps_the_doubtful_one_before_it(ledger: Ledger):
    log = open_log(ledger, hold=Hold(export_id="9", cents=80))
    ledger.grant = Grant(granted=False, left_cents=0)
    with pytest.raises(BudgetExceededError):
        await log.record_intent(Stage.PURCHASE, INTENT | {"cost_cents": 100})
    await log.cancel_intent(Stage.PURCHASE)
    assert log.open_intent(Stage.PURCHASE) is not None


async def test_a_recorded_purchase_is_no_intent_although_the_ledger_still_holds_it(ledger: Ledger):
    known = JobEnd(facts={"purchase": INTENT}, spent_cents=80)
    log = open_log(ledger, known, Hold(export_id="9", cents=80))
    assert log.open_intent(Stage.PURCHASE) is None
    assert (log.result(Stage.PURCHASE), log.spent_cents) == (INTENT, 80)


async def test_another_run_keeps_its_own_field_types_and_its_own_spending(ledger: Ledger):
    other = INTENT | {"field_types": ["address"], "export_id": "9"}
    log = open_log(ledger, JobEnd(intents={"purchase": other}))
    assert log.open_intent(Stage.PURCHASE) == other
    await log.record_result(Stage.PURCHASE, other)
    assert (log.spent_cents, ledger.booked) == (0, [])
    held = open_log(ledger, JobEnd(intents={"purchase": other}), Hold(export_id="9", cents=80))
    assert held.open_intent(Stage.PURCHASE) == other


async def test_intents_of_free_stages_are_kept_until_their_result(ledger: Ledger):
    log = open_log(ledger, JobEnd(stage="match", intents={"upload": {}}))
    assert (log.open_intent(Stage.UPLOAD), log.stage) == ({}, "match")
    await log.record_intent(Stage.MATCH, {"audience_id": 7})
    await log.record_result(Stage.UPLOAD, {"audience_id": 7})
    assert log.describe().intents == {"match": {"audience_id": 7}}
    await log.cancel_intent(Stage.MATCH)
    assert (log.describe().intents, log.describe().facts) == ({}, {"upload": {"audience_id": 7}})
    assert ledger.booked == []
