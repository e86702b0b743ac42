"""The data of shards in workflow histories and heartbeats: packed jobs, and how far each one got.

Jobs are named by their references (`job_ref`), because their own keys may be long or repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import attrs

from indigo_async.temporal.converter import from_plain, to_plain
from indigo_async.temporal.failures import CANCELED, CANCELED_MESSAGE, TERMINATED
from indigo_async.temporal.payloads import BatchSummary, Failure, JobInput, JobSummary, PackedJobs
from indigo_async.workflows.sharding.split import job_ref

__all__ = [
    "JobEnd",
    "JobState",
    "JobStatus",
    "ShardResult",
    "ShardTask",
    "describe_jobs",
    "leave_out",
    "name_jobs",
    "pack_jobs",
    "read_heartbeat",
    "ref_of",
    "stop_job",
    "summarize_ends",
    "unpack_jobs",
]


@attrs.frozen(kw_only=True)
class JobEnd:
    """How a job ended, or how far it got.

    It has ended if it has a `summary` or an `error_type`. `facts` holds the results of its stages as a journal records
    them, and `intents` the requests whose outcome is unknown. `spent_cents` is the charge of its own purchase.
    `recalled` marks a summary from another run, which made the purchase.
    """

    stage: str = ""
    summary: JobSummary | None = None
    error_type: str = ""
    message: str = ""
    recalled: bool = False
    spent_cents: int = 0
    facts: dict[str, dict[str, Any]] = attrs.Factory(dict[str, dict[str, Any]])
    intents: dict[str, dict[str, Any]] = attrs.Factory(dict[str, dict[str, Any]])

    @property
    def has_ended(self) -> bool:
        return self.summary is not None or self.error_type != ""

    @property
    def is_worth_reading(self) -> bool:
        """Whether another run of the job can use this."""
        return bool(self.summary or self.facts or self.intents)


@attrs.frozen(kw_only=True)
class ShardTask:
    """The jobs that one worker runs together: those of a shard, or those that are left of it.

    `run_ms` is when the batch's run started, in milliseconds since 1970, and no job runs beyond `deadline_ms`. `known`
    is how far jobs got in earlier activities of the shard, by reference.
    """

    batch: str
    number: int
    run_ms: int
    jobs: PackedJobs
    deadline_ms: int = 0
    known: dict[str, JobEnd] = attrs.Factory(dict[str, JobEnd])


@attrs.frozen(kw_only=True)
class ShardResult:
    """The result of a shard's activity, and the content of its heartbeats: how far each job got, by reference.

    A job that is missing or has not ended is left for the next activity.
    """

    ends: dict[str, JobEnd] = attrs.Factory(dict[str, JobEnd])


class JobState(StrEnum):
    """The state of a job as `JobStatus` shows it."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


@attrs.frozen(kw_only=True)
class JobStatus:
    """The state of one job of a batch: its last stage, its error if it failed, and what it spent, in cents."""

    key: str
    customer_id: str
    audience_name: str
    state: JobState
    stage: str = ""
    error_type: str = ""
    message: str = ""
    spent_cents: int = 0


class _NamedJob(Protocol):
    """A job in any form."""

    @property
    def customer_id(self) -> str: ...

    @property
    def audience_name(self) -> str: ...


def ref_of(job: _NamedJob) -> str:
    """The reference of a job."""
    return job_ref(job.customer_id, job.audience_name)


def pack_jobs(jobs: Sequence[JobInput]) -> PackedJobs:
    """Pack jobs so that what all of them share is stored once."""
    plain: list[dict[str, Any]] = [to_plain(job) for job in jobs]
    shared = dict(plain[0]) if plain else {}
    for job in plain[1:]:
        shared = {field: value for field, value in shared.items() if field in job and job[field] == value}
    own = tuple({field: value for field, value in job.items() if field not in shared} for job in plain)
    return PackedJobs(shared=shared, own=own)


def name_jobs(packed: PackedJobs) -> dict[str, str]:
    """The keys of packed jobs by their references."""
    jobs = ({**packed.shared, **own} for own in packed.own)
    return {job_ref(job["customer_id"], job["audience_name"]): job["key"] for job in jobs}


def leave_out(packed: PackedJobs, refs: Container[str]) -> PackedJobs:
    """Packed jobs without those with these references."""
    own = tuple(own for own, ref in zip(packed.own, name_jobs(packed), strict=True) if ref not in refs)
    return attrs.evolve(packed, own=own)


def unpack_jobs(packed: PackedJobs) -> Iterator[tuple[str, JobInput]]:
    """The packed jobs with their references, in order."""
    for own in packed.own:
        job = from_plain({**packed.shared, **own}, JobInput)
        yield ref_of(job), job


def read_heartbeat(details: Sequence[Any]) -> Mapping[str, JobEnd]:
    """How far each job of a running shard got, by reference, from the details of its activity's last heartbeat."""
    return from_plain(details[0], ShardResult).ends if details else {}


def stop_job(end: JobEnd | None, error_type: str = CANCELED, message: str = CANCELED_MESSAGE) -> JobEnd:
    """How a job ends that is dropped, canceled or given up, unless it has ended already."""
    end = end or JobEnd()
    return end if end.has_ended else attrs.evolve(end, error_type=error_type, message=message)


def summarize_ends(keys: Mapping[str, str], ends: Mapping[str, JobEnd], workflow_id: str) -> BatchSummary:
    """The result of the jobs that have ended, of those with these keys by reference."""
    ended = {ref: end for ref, end in ends.items() if end.has_ended}
    failed = {ref: end for ref, end in ended.items() if end.summary is None}
    quotes = [end.summary.quote for end in ended.values() if end.summary is not None]
    return BatchSummary(
        done=len(ended) - len(failed),
        failed=len(failed),
        recalled=sum(end.recalled for end in ended.values()),
        quoted_cents=sum(quote.cost_cents or 0 for quote in quotes if quote is not None),
        spent_cents=sum(end.spent_cents for end in ends.values()),
        failed_by_error=dict(Counter(end.error_type for end in failed.values())),
        failures=tuple(
            Failure(
                key=keys[ref],
                workflow_id=workflow_id,
                stage=end.stage,
                error_type=end.error_type,
                message=end.message,
            )
            for ref, end in failed.items()
        ),
    )


def describe_jobs(packed: PackedJobs, ends: Mapping[str, JobEnd]) -> list[JobStatus]:
    """The states of a shard's jobs, from its last heartbeat or its results."""
    return [_describe_job(job, ends.get(ref)) for ref, job in unpack_jobs(packed)]


def _describe_job(job: JobInput, end: JobEnd | None) -> JobStatus:
    status = JobStatus(
        key=job.key, customer_id=job.customer_id, audience_name=job.audience_name, state=JobState.WAITING
    )
    if end is None:
        return status
    return attrs.evolve(
        status,
        state=_state_of(end),
        stage=end.stage,
        error_type=end.error_type,
        message=end.message,
        spent_cents=end.spent_cents,
    )


def _state_of(end: JobEnd) -> JobState:
    if end.summary is not None:
        return JobState.DONE
    if end.error_type in {CANCELED, TERMINATED}:
        return JobState.CANCELED
    if end.error_type:
        return JobState.FAILED
    return JobState.RUNNING if end.stage else JobState.WAITING
