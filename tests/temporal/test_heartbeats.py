"""When a shard tells Temporal how far its jobs got."""

from __future__ import annotations

from indigo_async.temporal.payloads import BookingKind, ExportInput, Grant, JobSummary
from indigo_async.temporal.shards.activity import HeartbeatSchedule
from indigo_async.temporal.shards.job_log import ShardJobLog
from indigo_async.temporal.shards.payloads import JobEnd, ShardResult

JOBS = 20


def progress(facts: int, *, ended: int = 0) -> ShardResult:
    """The progress of jobs that have so many facts in total."""
    ends = {
        f"job {number}": JobEnd(
            facts={"upload": {}} if number < facts else {}, error_type="NotFoundError" if number < ended else ""
        )
        for number in range(JOBS)
    }
    return ShardResult(ends=ends)


def test_heartbeats_are_regular():
    schedule = HeartbeatSchedule(10.0)
    due = [schedule.is_due(progress(0), now) for now in (0.0, 5.0, 9.9, 10.0, 19.0, 20.0)]
    assert due == [True, False, False, True, False, True]


def test_much_news_is_told_at_once_and_little_news_waits():
    schedule = HeartbeatSchedule(10.0)
    assert schedule.is_due(progress(0), 0.0)
    assert not schedule.is_due(progress(1), 1.0)
    assert schedule.is_due(progress(2), 2.0)
    assert not schedule.is_due(progress(2), 3.0)
    assert schedule.is_due(progress(2, ended=5), 4.0)


def test_a_shard_of_one_job_tells_every_fact():
    schedule = HeartbeatSchedule(10.0)
    one = {"job": JobEnd()}
    assert schedule.is_due(ShardResult(ends=one), 0.0)
    assert schedule.is_due(ShardResult(ends={"job": JobEnd(facts={"upload": {}})}), 1.0)


async def book(kind: BookingKind, export_id: str, cents: int) -> Grant:
    raise NotImplementedError


def test_a_finished_job_keeps_only_facts_that_later_runs_use():
    preview = {"field_types": ["phone"], "audience_id": "a2", "export_id": "e1"}
    facts = {
        "upload": {"audience_id": "a1", "before": {"named": False}},
        "match": {"audience_id": "a1"},
        "lookalike": {"audience_id": "a2"},
        "preview": preview,
        "purchase": preview | {"cost_cents": 8_000},
    }
    log = ShardJobLog(JobEnd(facts=facts), None, ExportInput(destination="1.csv"), book)
    assert log.describe().facts == facts
    assert log.describe(JobSummary(matched_id="a1")).facts.keys() == {"match", "lookalike", "purchase"}
    facts["preview"] = preview | {"export_id": "e2"}
    log = ShardJobLog(JobEnd(facts=facts), None, ExportInput(destination="1.csv"), book)
    assert log.describe(JobSummary(matched_id="a1")).facts.keys() == {"match", "lookalike", "preview", "purchase"}
