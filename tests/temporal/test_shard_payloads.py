"""Shards in histories and heartbeats: packed jobs are restored exactly, and the states of jobs are readable."""

from __future__ import annotations

import msgspec
import pytest

from indigo_async import ColumnSelection
from indigo_async.temporal.converter import from_plain, to_json
from indigo_async.temporal.payloads import ExportInput, JobInput, JobSummary, PackedJobs
from indigo_async.temporal.shards.payloads import (
    JobEnd,
    JobState,
    ShardResult,
    describe_jobs,
    pack_jobs,
    read_heartbeat,
    unpack_jobs,
)
from indigo_async.workflows.sharding.split import job_ref


def job(number: int) -> JobInput:
    return JobInput(
        key=f"job {number}",
        customer_id="42",
        audience_name=f"List {number}",
        csv="https://files.example.org/shared.csv?signature=secret",
        selections={"first_name": ColumnSelection("First", required=True)},
        export=ExportInput(destination=f"{number}.csv", max_cost_cents=100),
        identity=f"identity {number}",
        batch="nightly",
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_packed_jobs_are_restored_and_store_shared_fields_once(count: int):
    jobs = [job(number) for number in range(count)]
    packed = pack_jobs(jobs)
    stored = to_json(packed)
    restored = list(unpack_jobs(from_plain(msgspec.json.decode(stored), PackedJobs)))
    assert restored == [(job_ref(one.customer_id, one.audience_name), one) for one in jobs]
    assert stored.count(b"shared.csv") == min(count, 1)
    assert "secret" not in repr(packed)


def test_a_heartbeat_tells_the_state_of_each_job():
    packed = pack_jobs([job(number) for number in range(5)])
    refs = [ref for ref, _ in unpack_jobs(packed)]
    ends = {
        refs[0]: JobEnd(stage="match", intents={"match": {}}),
        refs[1]: JobEnd(stage="download", summary=JobSummary(matched_id=1), spent_cents=50),
        refs[2]: JobEnd(stage="download", error_type="DownloadError", message="the disk is full", spent_cents=80),
        refs[3]: JobEnd(stage="match", error_type="CancelledError", message="canceled"),
    }
    told = read_heartbeat([msgspec.json.decode(to_json(ShardResult(ends=ends)))])
    assert told == ends
    states = describe_jobs(packed, told)
    assert [(status.key, status.state, status.stage, status.spent_cents) for status in states] == [
        ("job 0", JobState.RUNNING, "match", 0),
        ("job 1", JobState.DONE, "download", 50),
        ("job 2", JobState.FAILED, "download", 80),
        ("job 3", JobState.CANCELED, "match", 0),
        ("job 4", JobState.WAITING, "", 0),
    ]
    assert states[2].message == "the disk is full"
    assert read_heartbeat([]) == {}
