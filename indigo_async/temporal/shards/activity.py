"""The activity that runs a shard, with heartbeats. It ends cleanly when it is canceled or its worker shuts down."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from indigo_async.events import Stage
from indigo_async.temporal.failures import create_handover, to_application_error
from indigo_async.temporal.ids import claim_holder
from indigo_async.temporal.payloads import Turn
from indigo_async.temporal.shards.attempt import ShardAttempt, WorkerParts
from indigo_async.temporal.shards.claims import start_server_clock
from indigo_async.temporal.shards.payloads import ShardResult, ShardTask, read_heartbeat
from indigo_async.temporal.workers.load import SHARD_ACTIVITY, WorkerLoad

__all__ = ["HeartbeatSchedule", "ShardActivities"]

_HEARTBEATS_PER_TIMEOUT = 3
_DEFAULT_HEARTBEAT_SECONDS = 10.0
_MIN_HEARTBEAT_SECONDS = 1.0
_NEW_FACTS_PER_JOB = 0.1
_FACTS_OF_ENDED_JOB = len(Stage)
_HANDOVER_DELAY = timedelta(milliseconds=100)


class ShardActivities:
    """The activity of one worker that runs shards."""

    def __init__(self, worker: WorkerParts, load: WorkerLoad) -> None:
        self._worker = worker
        self._load = load

    @activity.defn(name=SHARD_ACTIVITY)
    async def run_shard(self, task: ShardTask) -> ShardResult:
        """Run the jobs of a shard, and return how they ended. Jobs that others hold are left out.

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
            clock=start_server_clock(),
        )
        try:
            with self._load.running_shard(lambda: attempt.jobs_in_progress):
                if await _is_completed(attempt):
                    return attempt.progress
        except Exception as error:  # noqa: BLE001 - the workflow receives every kind of error
            # Temporal doesn't retry an activity that is being canceled, so it must return how far it got.
            if not _is_cancel_requested():
                raise _to_failure(error) from None
        finally:
            activity.heartbeat(attempt.progress)  # for the next attempt, if there is one
        if _is_cancel_requested():
            return attempt.progress
        cancellation = activity.cancellation_details()
        if cancellation is None or cancellation.worker_shutdown:
            raise create_handover("the worker is shutting down; another one continues", delay=_HANDOVER_DELAY)
        raise asyncio.CancelledError  # another attempt has started, or an operator paused or reset the activity


def _to_failure(error: Exception) -> ApplicationError:
    return error if isinstance(error, ApplicationError) else to_application_error(error, retryable=True)


def _is_cancel_requested() -> bool:
    """Whether the workflow canceled the activity."""
    cancellation = activity.cancellation_details()
    return cancellation is not None and cancellation.cancel_requested


async def _is_completed(attempt: ShardAttempt) -> bool:
    """Run an attempt, with heartbeats. Returns False if it was interrupted: canceled, or its worker shuts down.

    Jobs always end cleanly: the outcome of a purchase in flight is checked first.
    """
    work = asyncio.ensure_future(attempt.run())
    shutdown = asyncio.ensure_future(activity.wait_for_worker_shutdown())
    limit = activity.info().heartbeat_timeout
    interval = _DEFAULT_HEARTBEAT_SECONDS if limit is None else limit.total_seconds() / _HEARTBEATS_PER_TIMEOUT
    schedule, seconds = HeartbeatSchedule(interval), min(_MIN_HEARTBEAT_SECONDS, interval)
    waiting = {work, shutdown}
    while not work.done():
        progress = attempt.progress
        if schedule.is_due(progress, time.monotonic()):
            activity.heartbeat(progress)
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            is_interrupted = shutdown.done()
        except asyncio.CancelledError:
            is_interrupted = True
        if is_interrupted and shutdown in waiting:
            waiting.remove(shutdown)
            attempt.hurry()
            work.cancel()  # once, so that jobs can end cleanly
    shutdown.cancel()
    if work.cancelled():
        return False
    work.result()
    return True


class HeartbeatSchedule:
    """When to send heartbeats: regularly, and sooner if there is much to report.

    The next worker repeats requests for what a killed worker has not reported: at most one fact for every tenth job, or
    what it learned in the last second.

    Args:
        interval: the seconds between heartbeats without news.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._facts_sent = 0
        self._sent_at = float("-inf")

    def is_due(self, progress: ShardResult, now: float) -> bool:
        """Whether to send the progress now; then it counts as reported."""
        facts = sum(_FACTS_OF_ENDED_JOB if end.has_ended else len(end.facts) for end in progress.ends.values())
        has_news = facts - self._facts_sent >= max(1.0, _NEW_FACTS_PER_JOB * len(progress.ends))
        if not has_news and now - self._sent_at < self._interval:
            return False
        self._facts_sent, self._sent_at = facts, now
        return True
