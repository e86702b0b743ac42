"""`ShardWorkflow` runs about a hundred jobs as one activity, in the same way as a batch in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import attrs
from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.exceptions import TimeoutError as OutOfTimeError
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from indigo_async.events import Stage
    from indigo_async.temporal.failures import build_failure
    from indigo_async.temporal.ids import claim_holder, claims_workflow_id
    from indigo_async.temporal.payloads import BatchSummary, ReleaseRequest, Settlement
    from indigo_async.temporal.shards.payloads import (
        JobEnd,
        ShardResult,
        ShardTask,
        leave_out,
        name_jobs,
        read_heartbeat,
        stop_job,
        summarize_ends,
        unpack_jobs,
    )
    from indigo_async.temporal.workflows.shared import RETRY, is_current_task_cancelled, send_signal
    from indigo_async.workflows.sharding.split import group_by_bucket

__all__ = ["ShardWorkflow"]

_MARGIN = timedelta(minutes=10)
"""The activity ends its jobs by their deadline, and itself soon afterwards."""
_NOTHING_KNOWN = JobEnd()


@workflow.defn(name="ShardWorkflow")
class ShardWorkflow:
    """Adds about twenty events for all of its jobs.

    It settles purchases and releases claims only once its history has the results of the jobs. So every purchase is
    either reserved on the ledger or in this history. If its activity ended without reporting how far all jobs got, it
    keeps the claims, and another batch that wants the jobs asks the ledger what they may have purchased.
    """

    @workflow.init
    def __init__(self, task: ShardTask) -> None:
        self._task = task
        self._keys = name_jobs(task.jobs)
        self._ends: dict[str, JobEnd] = {}
        self._dropped: set[str] = set()
        self._settled: set[str] = set()
        """The exports whose purchases are settled."""
        self._has_reported_all = True
        """Whether the last activity reported how far all of its jobs got."""
        self._activity: asyncio.Task[ShardResult] | None = None

    @workflow.run
    async def run(self, task: ShardTask) -> BatchSummary:  # noqa: ARG002 - __init__ takes it
        while self._unfinished():
            self._ends |= await self._run_jobs()
            is_canceled = is_current_task_cancelled()
            for ref in self._unfinished():
                if is_canceled or ref in self._dropped:
                    self._ends[ref] = stop_job(self._ends.get(ref))
            await _run_to_completion(self._settle_and_release())
            if is_canceled:
                raise asyncio.CancelledError
        return summarize_ends(self._keys, self._ends, workflow.info().workflow_id)

    @workflow.signal
    async def drop(self, key: str) -> None:
        """Stop the jobs with this key or reference. The others continue where they were."""
        dropped = {ref for ref in self._unfinished() if key in {ref, self._keys[ref]}}
        self._dropped |= dropped
        if self._activity is None:
            self._ends |= {ref: stop_job(self._ends.get(ref)) for ref in dropped}
        elif dropped:
            self._activity.cancel()

    def _unfinished(self) -> list[str]:
        return [ref for ref in self._keys if ref not in self._ends or not self._ends[ref].has_ended]

    async def _run_jobs(self) -> dict[str, JobEnd]:
        """Run the jobs that are left, and return how they ended or how far they got.

        If the workflow is canceled or jobs are dropped, the activity first ends all jobs cleanly.
        """
        _, options = next(unpack_jobs(self._task.jobs))
        deadline = workflow.info().start_time + timedelta(seconds=options.timeout_seconds)
        left, dropped_before = self._unfinished(), len(self._dropped)
        task = attrs.evolve(
            self._task,
            jobs=leave_out(self._task.jobs, self._keys.keys() - left),
            known={ref: self._ends[ref] for ref in left if ref in self._ends},
            deadline_ms=int(deadline.timestamp() * 1_000),
        )
        running: asyncio.Task[ShardResult] = workflow.start_activity(
            "run_shard",
            task,
            result_type=ShardResult,
            schedule_to_close_timeout=max(deadline + _MARGIN - workflow.now(), timedelta(milliseconds=1)),
            heartbeat_timeout=timedelta(seconds=options.heartbeat_seconds),
            retry_policy=RETRY,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        self._activity, self._has_reported_all = running, False
        try:
            ends = (await running).ends
        except asyncio.CancelledError:
            return {}
        except ActivityError as error:
            ends = dict(read_heartbeat(_last_heartbeat(error)))
            # Canceled to drop a job, an activity whose worker was killed is not retried.
            is_interrupted = is_current_task_cancelled() or len(self._dropped) > dropped_before
            if not is_interrupted:
                failure = build_failure(options, workflow.info().workflow_id, error)
                ends |= {ref: stop_job(ends.get(ref), failure.error_type, failure.message) for ref in left}
            return ends
        else:
            self._has_reported_all = True
            return ends
        finally:
            self._activity = None

    async def _settle_and_release(self) -> None:
        """Settle the purchases in the ledger of the batch, and release the jobs if it is known how far they got."""
        info = workflow.info()
        _, options = next(unpack_jobs(self._task.jobs))
        signals: list[Coroutine[Any, Any, None]] = []
        purchases = {
            ref: purchase
            for ref, end in self._ends.items()
            if not end.recalled
            and (purchase := end.facts.get(Stage.PURCHASE.value))
            and str(purchase["export_id"]) not in self._settled
        }
        self._settled |= {str(purchase["export_id"]) for purchase in purchases.values()}
        if options.budget is not None and purchases:
            settlements = [
                Settlement(export_id=str(facts["export_id"]), charged_cents=facts["cost_cents"], job=ref)
                for ref, facts in purchases.items()
            ]
            signals.append(send_signal(options.budget, "settle", settlements))
        holder = claim_holder(info.workflow_id, info.run_id)
        for bucket, refs in group_by_bucket(self._keys if self._has_reported_all else ()).items():
            finished = tuple(ref for ref in refs if self._ends.get(ref, _NOTHING_KNOWN).is_worth_reading)
            request = ReleaseRequest(holder=holder, finished=finished)
            signals.append(send_signal(claims_workflow_id(info.task_queue, bucket), "release", request))
        await asyncio.gather(*signals)


def _last_heartbeat(error: ActivityError) -> list[Any]:
    """The details of the last heartbeat of an activity that ran out of time."""
    cause = error.cause
    return list(cause.last_heartbeat_details) if isinstance(cause, OutOfTimeError) else []


async def _run_to_completion(work: Coroutine[Any, Any, None]) -> None:
    """Await work that a cancellation must not interrupt. A cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
