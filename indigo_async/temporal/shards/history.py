"""Read from a shard's history how its jobs ended, or how far they got. No worker is needed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

import attrs
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from indigo_async.events import Stage
from indigo_async.temporal.failures import TERMINATED, TERMINATED_MESSAGE
from indigo_async.temporal.payloads import JobInput, JobSummary
from indigo_async.temporal.shards.payloads import (
    JobEnd,
    JobStatus,
    ShardResult,
    ShardTask,
    describe_jobs,
    name_jobs,
    ref_of,
    stop_job,
    unpack_jobs,
)

__all__ = ["ShardRecord", "decode_first", "read_ends", "read_shard"]

T = TypeVar("T")

_ACTIVITY_EVENTS = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
}
_SHARD_WORKFLOW = "ShardWorkflow"
_NOT_FINISHED = "not done in time; running the batch again resumes the job"


@attrs.frozen(kw_only=True)
class ShardRecord:
    """A shard: its jobs, and how far each one got, by reference. `run_id` is None if it has not started."""

    task: ShardTask
    ends: dict[str, JobEnd]
    run_id: str | None = None
    is_running: bool = False

    def statuses(self) -> list[JobStatus]:
        """The states of the jobs."""
        return describe_jobs(self.task.jobs, self.ends)


async def read_shard(temporal: Client, workflow_id: str, run_id: str | None = None) -> ShardRecord | None:
    """Read a shard, running or ended. None if Temporal doesn't keep its history, or it is no shard.

    Raises:
        RPCError: Temporal could not be reached.
    """
    read = await _read_history(temporal, workflow_id, run_id)
    if read is None or read[0].workflow_type != _SHARD_WORKFLOW:
        return None
    return await _to_record(temporal, *read)


async def read_ends(temporal: Client, workflow_id: str, run_id: str) -> dict[str, tuple[JobInput, JobEnd]]:
    """Read how the jobs of a shard ended, or the one of a job's own workflow, by reference.

    A job's own workflow releases the job just before it ends with the result, so this waits for its end.

    Raises:
        RPCError: Temporal could not be reached.
    """
    read = await _read_history(temporal, workflow_id, run_id)
    if read is None:
        return {}
    described, events = read
    if described.workflow_type == _SHARD_WORKFLOW:
        record = await _to_record(temporal, described, events)
        return {ref: (job, record.ends[ref]) for ref, job in unpack_jobs(record.task.jobs) if ref in record.ends}
    if described.status is WorkflowExecutionStatus.RUNNING:
        with suppress(WorkflowFailureError):
            await temporal.get_workflow_handle(workflow_id, run_id=run_id).result(follow_runs=False)
        return await read_ends(temporal, workflow_id, run_id)
    job = await decode_first(temporal, events[0].workflow_execution_started_event_attributes.input.payloads, JobInput)
    summary = await decode_first(
        temporal, events[-1].workflow_execution_completed_event_attributes.result.payloads, JobSummary
    )
    if job is None or summary is None:
        return {}
    end = JobEnd(stage=Stage.DOWNLOAD.value, summary=summary, spent_cents=summary.spent_cents)
    return {ref_of(job): (job, end)}


async def _read_history(
    temporal: Client, workflow_id: str, run_id: str | None
) -> tuple[WorkflowExecutionDescription, Sequence[HistoryEvent]] | None:
    try:
        described = await temporal.get_workflow_handle(workflow_id, run_id=run_id).describe()
        history = await temporal.get_workflow_handle(workflow_id, run_id=described.run_id).fetch_history()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None
    events: Sequence[HistoryEvent] = history.events  # pyright: ignore[reportUnknownMemberType] - Temporal leaves its type open
    return described, events


async def _to_record(
    temporal: Client, described: WorkflowExecutionDescription, events: Sequence[HistoryEvent]
) -> ShardRecord:
    task = await decode_first(temporal, events[0].workflow_execution_started_event_attributes.input.payloads, ShardTask)
    if task is None:
        raise ValueError(f"{described.id} is not a shard")
    ends: dict[str, JobEnd] = {}
    dropping: set[str | None] = set()
    dropped: set[str | None] = set()
    for event in events:
        result = await decode_first(temporal, _result_payloads(event), ShardResult)
        ends |= {} if result is None else result.ends
        dropping.add(await decode_first(temporal, _drop_payloads(event), str))
        if event.event_type in _ACTIVITY_EVENTS:  # until then, the activity may find out that a job is done
            dropped |= dropping
    for pending in described.raw_description.pending_activities:
        heartbeat = await decode_first(temporal, pending.heartbeat_details.payloads, ShardResult)
        ends |= {} if heartbeat is None else heartbeat.ends
    keys = name_jobs(task.jobs)
    ends |= {ref: stop_job(ends.get(ref)) for ref, key in keys.items() if {ref, key} & dropped}
    match described.status:
        case WorkflowExecutionStatus.RUNNING:
            pass
        case WorkflowExecutionStatus.CANCELED:
            ends |= {ref: stop_job(ends.get(ref)) for ref in keys}
        case WorkflowExecutionStatus.TERMINATED:
            ends |= {ref: stop_job(ends.get(ref), TERMINATED, TERMINATED_MESSAGE) for ref in keys}
        case _:
            ends |= {ref: stop_job(ends.get(ref), "WaitTimeoutError", _NOT_FINISHED) for ref in keys}
    is_running = described.status is WorkflowExecutionStatus.RUNNING
    return ShardRecord(task=task, ends=ends, run_id=described.run_id, is_running=is_running)


def _result_payloads(event: HistoryEvent) -> Sequence[Payload]:
    """The result of the shard's activity, or the last heartbeat of one that failed."""
    if event.HasField("activity_task_completed_event_attributes"):
        return event.activity_task_completed_event_attributes.result.payloads
    failure = event.activity_task_timed_out_event_attributes.failure
    return failure.timeout_failure_info.last_heartbeat_details.payloads


def _drop_payloads(event: HistoryEvent) -> Sequence[Payload]:
    signal = event.workflow_execution_signaled_event_attributes
    return signal.input.payloads if signal.signal_name == "drop" else ()


async def decode_first(temporal: Client, payloads: Sequence[Payload], kind: type[T]) -> T | None:
    """Decode the first payload; None if there is none."""
    if not payloads:
        return None
    decoded: list[T] = await temporal.data_converter.decode(payloads, [kind])
    return decoded[0]
