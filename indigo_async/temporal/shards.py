"""The activity that runs a shard, with heartbeats. It ends cleanly when it is canceled or its worker shuts down."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity

from indigo_async.temporal.failures import create_handover
from indigo_async.temporal.ids import claim_holder
from indigo_async.temporal.payloads import Turn
from indigo_async.temporal.shard_attempt import ShardAttempt, WorkerParts
from indigo_async.temporal.shard_payloads import ShardResult, ShardTask, read_heartbeat

__all__ = ["ShardActivities"]

_HEARTBEATS_PER_TIMEOUT = 3
_HANDOVER_DELAY = timedelta(milliseconds=100)


class ShardActivities:
    """The activity of one worker that runs shards."""

    def __init__(self, worker: WorkerParts) -> None:
        self._worker = worker

    @activity.defn
    async def run_shard(self, task: ShardTask) -> ShardResult:
        """Run the jobs of a shard, and return how they ended. Jobs that others run are left out.

        If canceled, it returns how far the jobs got once they have ended cleanly.
        """
        info = activity.info()
        attempt = ShardAttempt(
            self._worker,
            activity.client(),
            task,
            dict(read_heartbeat(info.heartbeat_details)),
            # By the server's clock, so that it grows over all activities of the shard, even if an operator resets it.
            turn=Turn(
                shard=str(task.number),
                run=task.run_ms,
                attempt=int(info.current_attempt_scheduled_time.timestamp() * 1_000),
            ),
            holder=claim_holder(info.workflow_id or "", info.workflow_run_id or ""),
            task_queue=info.task_queue,
        )
        try:
            if await _is_completed(attempt):
                return attempt.progress
        finally:
            activity.heartbeat(attempt.progress)  # for the next attempt, if there is one
        cancellation = activity.cancellation_details()
        if cancellation is None or cancellation.worker_shutdown:
            raise create_handover("the worker is shutting down; another one continues", delay=_HANDOVER_DELAY)
        if cancellation.cancel_requested:
            return attempt.progress
        raise asyncio.CancelledError  # another attempt has begun, or an operator paused or reset the activity


async def _is_completed(attempt: ShardAttempt) -> bool:
    """Run an attempt, with heartbeats. Returns False if it was interrupted: canceled, or its worker shuts down.

    Jobs always end cleanly: the outcome of a purchase in flight is checked first.
    """
    limit = activity.info().heartbeat_timeout
    interval = None if limit is None else limit.total_seconds() / _HEARTBEATS_PER_TIMEOUT
    work = asyncio.ensure_future(attempt.run())
    shutdown = asyncio.ensure_future(activity.wait_for_worker_shutdown())
    is_interrupted = False
    while not work.done():
        activity.heartbeat(attempt.progress)
        try:
            await asyncio.wait({work, shutdown}, timeout=interval, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            is_interrupted = True
        if is_interrupted or shutdown.done():
            work.cancel()
            await asyncio.wait({work}, timeout=interval)
    shutdown.cancel()
    if work.cancelled():
        return False
    work.result()
    return True
