"""Follow the progress of a batch from the heartbeats of its running shards, with few requests to Temporal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowFailureError
from temporalio.service import RPCError

from indigo_async.errors import InvalidInputError
from indigo_async.temporal.ids import batch_workflow_id, shard_workflow_id
from indigo_async.temporal.payloads import BatchProgress, BatchSummary
from indigo_async.temporal.shards.history import decode_first, read_shard
from indigo_async.temporal.shards.payloads import JobEnd, ShardResult, name_jobs, summarize_ends
from indigo_async.temporal.workflows.page import combine_summaries
from indigo_async.temporal.workflows.shard import ShardWorkflow

__all__ = ["ProgressReader"]

_RPC_TIMEOUT = timedelta(seconds=10)
_MIN_INTERVAL = 2.0
_MAX_RPCS_PER_SECOND = 5
_MAX_RESULTS_PER_ROUND = 50
_CONCURRENT_READS = 10


class ProgressReader:
    """Reads the progress of a batch again and again.

    Each time, it sends one request for the batch, one for each running shard, and one for each shard that has ended
    since.

    Args:
        temporal: what `connect` returned.
        name: the batch's name.
        keys: the keys of its jobs by their references.
        done_earlier: how many of them an earlier run has done.
    """

    def __init__(self, temporal: Client, name: str, keys: Mapping[str, str], *, done_earlier: int) -> None:
        self._temporal = temporal
        self._name = name
        self._keys = keys
        self._done_earlier = done_earlier
        self.is_complete = False
        """Whether all jobs were submitted."""
        self._slots = asyncio.Semaphore(_CONCURRENT_READS)
        self._started = 0
        """How many shards have started."""
        self._ended: dict[int, BatchSummary] = {}
        self._running: dict[int, dict[str, JobEnd]] = {}
        """How far the jobs of running shards got, by the shards' numbers."""

    async def follow(self) -> AsyncGenerator[BatchProgress]:
        """Yield the progress until the caller stops. Sends about five requests per second at most."""
        while True:
            with suppress(RPCError, InvalidInputError):
                yield await self._read()
            await asyncio.sleep(max(_MIN_INTERVAL, (len(self._running) + 1) / _MAX_RPCS_PER_SECOND))

    async def _read(self) -> BatchProgress:
        described = await self._describe(batch_workflow_id(self._name))
        prefix = shard_workflow_id(self._name, 0).removesuffix("0")
        running = {
            int(child.workflow_id.removeprefix(prefix))
            for child in described.raw_description.pending_children
            if child.workflow_id.startswith(prefix)
        }
        self._started = max([self._started, *(number + 1 for number in running)])  # shards start in order
        ended = [number for number in range(self._started) if number not in running | self._ended.keys()]
        try:
            async with asyncio.TaskGroup() as group:
                for number in ended[:_MAX_RESULTS_PER_ROUND]:
                    group.create_task(self._read_result(number))
                for number in running:
                    group.create_task(self._read_heartbeat(number))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        for number in self._ended.keys() & self._running.keys():
            del self._running[number]
        return self._summarize()

    async def _read_result(self, number: int) -> None:
        """Read the result of a shard that has ended, even if it was canceled or terminated."""
        workflow_id = shard_workflow_id(self._name, number)
        async with self._slots:
            try:
                handle = self._temporal.get_workflow_handle_for(ShardWorkflow.run, workflow_id)
                self._ended[number] = await handle.result(rpc_timeout=_RPC_TIMEOUT)
            except WorkflowFailureError:
                record = await read_shard(self._temporal, workflow_id)
                if record is not None:
                    self._ended[number] = summarize_ends(name_jobs(record.task.jobs), record.ends, workflow_id)

    async def _read_heartbeat(self, number: int) -> None:
        async with self._slots:
            described = await self._describe(shard_workflow_id(self._name, number))
        ends = self._running.setdefault(number, {})
        for pending in described.raw_description.pending_activities:
            heartbeat = await decode_first(self._temporal, pending.heartbeat_details.payloads, ShardResult)
            ends |= {} if heartbeat is None else heartbeat.ends

    async def _describe(self, workflow_id: str) -> WorkflowExecutionDescription:
        handle: Any = self._temporal.get_workflow_handle(workflow_id)
        described: WorkflowExecutionDescription = await handle.describe(rpc_timeout=_RPC_TIMEOUT)
        return described

    def _summarize(self) -> BatchProgress:
        in_progress = Counter(
            end.stage for ends in self._running.values() for end in ends.values() if not end.has_ended and end.stage
        )
        running = [
            summarize_ends(self._keys, {ref: end for ref, end in ends.items() if end.has_ended}, "")
            for ends in self._running.values()
        ]
        return BatchProgress(
            pages=self._started,
            pages_under_way=len(self._running),
            jobs_under_way=in_progress.total(),
            jobs_by_stage=dict(in_progress),
            complete=self.is_complete,
            done_earlier=self._done_earlier,
            so_far=combine_summaries([*self._ended.values(), *running]),
        )
