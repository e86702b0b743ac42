"""Read the jobs of a batch from Temporal's histories, without a worker. Drop one of them, or cancel the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from indigo_async.errors import InvalidInputError, Problem, WaitTimeoutError
from indigo_async.events import Stage
from indigo_async.temporal.connection import plain_errors
from indigo_async.temporal.ids import batch_workflow_id, shard_workflow_id
from indigo_async.temporal.payloads import BatchState, BatchSummary, Page
from indigo_async.temporal.shards.history import ShardRecord, decode_first, read_shard
from indigo_async.temporal.shards.payloads import (
    JobState,
    JobStatus,
    ShardTask,
    name_jobs,
    pack_jobs,
    ref_of,
    stop_job,
    summarize_ends,
)
from indigo_async.temporal.workflows.page import combine_summaries

__all__ = ["NOT_STARTED", "BatchRecord", "cancel_batch", "drop_job", "list_jobs", "read_batch", "wait_for_end"]

_CONCURRENT_READS = 10
_CHECK_INTERVAL = 1.0
_ENDED = {JobState.DONE, JobState.FAILED, JobState.CANCELED}
NOT_STARTED = "canceled before it started"


@attrs.frozen(kw_only=True)
class BatchRecord:
    """A run of a batch: its shards in order, and those that wait for their turn.

    `is_complete` says that all of its jobs were submitted.
    """

    name: str
    is_running: bool
    is_complete: bool
    shards: Sequence[ShardRecord]

    def statuses(self) -> list[JobStatus]:
        """The states of the jobs."""
        return [status for shard in self.shards for status in shard.statuses()]

    def summarize(self) -> BatchSummary:
        """The result of the jobs that have ended."""
        return combine_summaries(
            summarize_ends(name_jobs(shard.task.jobs), shard.ends, shard_workflow_id(self.name, shard.task.number))
            for shard in self.shards
        )


async def list_jobs(temporal: Client, name: str) -> list[JobStatus]:
    """List the jobs of a batch that were submitted, with the state, stage and error of each.

    What is read of a running job is as old as its worker's last heartbeat. No worker is needed.

    Args:
        temporal: the client that `connect` returned.
        name: the name of the batch.

    Raises:
        InvalidInputError: Temporal knows no batch of this name.
        ConnectionFailedError: Temporal did not respond, or refused a request.
    """
    with plain_errors(temporal):
        return (await read_batch(temporal, name)).statuses()


async def drop_job(temporal: Client, name: str, key: str, *, timeout: float = 120.0) -> JobStatus:  # noqa: ASYNC109 - how long to wait for a worker
    """Stop one job of a batch, and return how far it got. The other jobs of its shard continue where they were.

    If its purchase is in flight, its outcome is checked first. Running the batch again runs the job.

    Args:
        temporal: the client that `connect` returned.
        name: the name of the batch.
        key: the job's key.
        timeout: the limit in seconds for its worker to stop it. The job is stopped later, too.

    Raises:
        InvalidInputError: there is no such job, it has ended, or its shard has not started.
        WaitTimeoutError: its worker has not stopped it in time.
        ConnectionFailedError: Temporal did not respond, or refused a request.
    """
    with plain_errors(temporal):
        batch = await read_batch(temporal, name)
        shard, status = _find_job(batch, key)
        if status.state in _ENDED:
            raise _invalid("job", f"{key!r} has already ended ({status.state})")
        if shard.run_id is None:
            raise _invalid("job", f"{key!r} waits for other jobs of its batch; drop it once it is running")
        workflow_id = shard_workflow_id(name, shard.task.number)
        await temporal.get_workflow_handle(workflow_id, run_id=shard.run_id).signal("drop", ref_of(status))
        try:
            async with asyncio.timeout(timeout):
                return await _wait_for_job(temporal, workflow_id, shard, ref_of(status))
        except TimeoutError:
            raise WaitTimeoutError(
                f"{key} is not stopped after {timeout:g} s; it will be once its worker responds",
                stage=status.stage or Stage.UPLOAD,
            ) from None


async def _wait_for_job(temporal: Client, workflow_id: str, shard: ShardRecord, ref: str) -> JobStatus:
    """Wait until a job of a running shard has ended."""
    while True:
        record = await read_shard(temporal, workflow_id, shard.run_id)
        for status in () if record is None else record.statuses():
            if ref_of(status) == ref and status.state in _ENDED:
                return status
        await asyncio.sleep(_CHECK_INTERVAL)


async def cancel_batch(temporal: Client, name: str, *, timeout: float = 600.0) -> BatchSummary:  # noqa: ASYNC109 - how long to wait for workers
    """Cancel a running batch, and return the result of its jobs. Purchases in flight are checked and settled first.

    Running the batch again runs the jobs that are not done.

    Args:
        temporal: the client that `connect` returned.
        name: the name of the batch.
        timeout: the limit in seconds for its workers to stop. They stop later, too.

    Raises:
        InvalidInputError: there is no such batch, or it has ended.
        WaitTimeoutError: its workers have not stopped in time.
        ConnectionFailedError: Temporal did not respond, or refused a request.
    """
    with plain_errors(temporal):
        if not (await read_batch(temporal, name)).is_running:
            raise _invalid("batch", f"{name!r} has already ended")
        await temporal.get_workflow_handle(batch_workflow_id(name)).cancel()
        return (await wait_for_end(temporal, name, timeout=timeout)).summarize()


async def wait_for_end(temporal: Client, name: str, *, timeout: float) -> BatchRecord:  # noqa: ASYNC109 - as above
    """Wait until a canceled or terminated batch and all of its shards have ended.

    Raises:
        WaitTimeoutError: they have not ended in time.
    """
    try:
        async with asyncio.timeout(timeout):
            while True:
                batch = await read_batch(temporal, name)
                if not batch.is_running and not any(shard.is_running for shard in batch.shards):
                    return batch
                await asyncio.sleep(_CHECK_INTERVAL)
    except TimeoutError:
        raise WaitTimeoutError(
            f"the batch {name!r} has not stopped after {timeout:g} s; it will once its workers respond",
            stage=Stage.UPLOAD,
        ) from None


async def read_batch(temporal: Client, name: str) -> BatchRecord:
    """Read the last run of a batch.

    Raises:
        InvalidInputError: Temporal knows no batch of this name.
        RPCError: Temporal can't be reached.
    """
    workflow_id = batch_workflow_id(name)
    try:
        described = await temporal.get_workflow_handle(workflow_id).describe()
        handle: WorkflowHandle[Any, Any] = temporal.get_workflow_handle(workflow_id, run_id=described.run_id)
        events: Sequence[HistoryEvent] = (await handle.fetch_history()).events  # pyright: ignore[reportUnknownMemberType] - Temporal leaves its type open
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise _unknown_batch(name) from None
    started = events[0].workflow_execution_started_event_attributes
    state = await decode_first(temporal, started.input.payloads, BatchState)
    if state is None:
        raise _unknown_batch(name)
    run_ms = state.run_ms or int(described.start_time.timestamp() * 1_000)
    pages = {page.number: page for page in [*state.waiting, *await _read_pages(temporal, events)]}
    numbers = range(max([state.pages_taken, *(number + 1 for number in pages)]))
    is_running = described.status is WorkflowExecutionStatus.RUNNING
    shards = await _read_shards(temporal, name, run_ms, numbers)
    return BatchRecord(
        name=name,
        is_running=is_running,
        is_complete=state.complete or any(page.last for page in pages.values()),
        shards=[
            shards.get(number) or _waiting_shard(name, run_ms, pages[number], is_running=is_running)
            for number in numbers
            if number in shards or number in pages
        ],
    )


async def _read_pages(temporal: Client, events: Iterable[HistoryEvent]) -> list[Page]:
    """The pages that were fed to a run of a batch."""
    pages: list[Page] = []
    for event in events:
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
        if request.name == "feed" and (page := await decode_first(temporal, request.args.payloads, Page)) is not None:
            pages.append(page)
    return pages


async def _read_shards(temporal: Client, name: str, run_ms: int, numbers: Iterable[int]) -> Mapping[int, ShardRecord]:
    """The shards of a run that have started, by number."""
    records: dict[int, ShardRecord] = {}
    slots = asyncio.Semaphore(_CONCURRENT_READS)

    async def read(number: int) -> None:
        async with slots:
            record = await read_shard(temporal, shard_workflow_id(name, number))
        if record is not None and record.task.run_ms >= run_ms:  # not of an earlier run
            records[number] = record

    try:
        async with asyncio.TaskGroup() as group:
            for number in numbers:
                group.create_task(read(number))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return records


def _waiting_shard(name: str, run_ms: int, page: Page, *, is_running: bool) -> ShardRecord:
    """A shard that has not started. It never will if the batch has ended."""
    task = ShardTask(batch=name, number=page.number, run_ms=run_ms, jobs=page.jobs or pack_jobs(page.orders))
    ends = {} if is_running else {ref: stop_job(None, message=NOT_STARTED) for ref in name_jobs(task.jobs)}
    return ShardRecord(task=task, ends=ends)


def _find_job(batch: BatchRecord, key: str) -> tuple[ShardRecord, JobStatus]:
    """Find a job by its key. If several have it, one that has not ended."""
    found = [(shard, status) for shard in batch.shards for status in shard.statuses() if status.key == key]
    if not found:
        raise _invalid("job", f"the batch {batch.name!r} has no job {key!r}; list its jobs to see their keys")
    return next((one for one in found if one[1].state not in _ENDED), found[0])


def _unknown_batch(name: str) -> InvalidInputError:
    return _invalid("batch", f"Temporal has no batch named {name!r}; `run` shows the name when it starts")


def _invalid(where: str, message: str) -> InvalidInputError:
    return InvalidInputError([Problem(where, message)])
