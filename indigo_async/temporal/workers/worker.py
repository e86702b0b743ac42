"""Create a worker, which runs the stages of jobs on one API client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from indigo_async.client import IndigoClient
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.temporal.activities import AudienceActivities
from indigo_async.temporal.ids import TASK_QUEUE
from indigo_async.temporal.shards.activity import ShardActivities
from indigo_async.temporal.shards.attempt import WorkerParts
from indigo_async.temporal.workers.export_stores import FolderExportStore, ObjectExportStore
from indigo_async.temporal.workers.guard import WorkerGuard
from indigo_async.temporal.workers.load import WorkerLoad
from indigo_async.temporal.workflows.batch import BatchWorkflow
from indigo_async.temporal.workflows.budget import BudgetWorkflow
from indigo_async.temporal.workflows.claims import ClaimsWorkflow
from indigo_async.temporal.workflows.job import AudienceWorkflow
from indigo_async.temporal.workflows.page import PageWorkflow
from indigo_async.temporal.workflows.shard import ShardWorkflow

__all__ = ["WORKFLOWS", "create_worker", "create_workflow_runner"]

WORKFLOWS = (AudienceWorkflow, PageWorkflow, ShardWorkflow, BatchWorkflow, BudgetWorkflow, ClaimsWorkflow)

_MAX_HEARTBEAT_THROTTLE = timedelta(seconds=0.5)
_CACHED_WORKFLOWS = 2_000
_KILLED_WORKER_TIMEOUT = timedelta(seconds=2)
_GIVEN_UP = "Temporal gave up on it, because its workflow has ended or its heartbeats were late"


def create_workflow_runner() -> SandboxedWorkflowRunner:
    """Create Temporal's workflow sandbox, which blocks I/O and clocks, with this package's modules passed through."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(
            "indigo_async", "attrs", "attr", "cattrs", "msgspec"
        )
    )


def shorten_failure_logs() -> None:
    """Have Temporal log a failed activity in one line. Its traceback would only show where a stage raised its error."""
    logging.getLogger("temporalio.activity").addFilter(_shorten_failure)


def _shorten_failure(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    activity: Mapping[str, object] = getattr(record, "temporal_activity", {})
    if isinstance(error, (ApplicationError, asyncio.CancelledError)):
        reason = f"{error.type}: {error.message}" if isinstance(error, ApplicationError) else _GIVEN_UP
        where = (activity.get("activity_type"), activity.get("workflow_id"), activity.get("attempt"))
        record.msg, record.args, record.exc_info = "%s of %s ended (attempt %s): %s", (*where, reason), None
    return True


def create_worker(
    temporal: Client,
    client: IndigoClient,
    *,
    exports: FolderExportStore | ObjectExportStore,
    publisher: Publisher | None = None,
    task_queue: str = TASK_QUEUE,
    max_jobs: int = 10_000,
    graceful_seconds: float = 90.0,
) -> Worker:
    """Create a worker. Run it with `async with worker:` or `await worker.run()`.

    Before its first job it checks that exports can be written and that the API accepts the token, and waits for an API
    that can't be reached. If the API rejects the token, now or later, the worker hands its jobs over to other workers
    and shuts down; then `run()` and the `async with` block raise `AuthenticationError`. If exports can't be written at
    the start, they raise `InvalidInputError`.

    On shutdown it hands its waits over to other workers at once, and finishes purchases and downloads in progress.

    Args:
        temporal: what `connect` returned.
        client: an open client, used by all stages of this worker.
        exports: where exports are delivered; see `export_store`.
        publisher: publishes local CSVs for as long as their matches need them.
        task_queue: the task queue to poll.
        max_jobs: about how many jobs the worker runs at the same time, nearly all of which wait behind one polling
            loop. A shard counts as 100 jobs. A full worker takes no more, so that others can.
        graceful_seconds: the time for purchases and downloads in progress to finish on shutdown.
    """
    return create_guarded_worker(
        temporal,
        client,
        WorkerGuard(client, exports),
        WorkerLoad(max_jobs),
        exports=exports,
        publisher=publisher,
        task_queue=task_queue,
        graceful_seconds=graceful_seconds,
    )


def create_guarded_worker(
    temporal: Client,
    client: IndigoClient,
    guard: WorkerGuard,
    load: WorkerLoad,
    *,
    exports: FolderExportStore | ObjectExportStore,
    publisher: Publisher | None,
    task_queue: str,
    graceful_seconds: float,
) -> Worker:
    """Create a worker with a guard and a load that its owner can ask, too."""

    @asynccontextmanager
    async def running() -> AsyncGenerator[None]:
        """Stop the worker if the guard says so, and raise why."""
        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        if guard.error is not None:
            raise guard.error

    async def watch() -> None:
        await guard.watch()
        await worker.shutdown()

    shorten_failure_logs()
    parts = WorkerParts(client=client, exports=exports, publisher=publisher, guard=guard)
    shards = ShardActivities(parts, load)
    worker = Worker(
        temporal,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=[*AudienceActivities(client, exports, publisher, guard).activities, shards.run_shard],
        workflow_runner=create_workflow_runner(),
        tuner=load.create_tuner(),
        max_cached_workflows=_CACHED_WORKFLOWS,
        # Ledgers and claims wait this long for a killed worker that has them in its cache.
        sticky_queue_schedule_to_start_timeout=_KILLED_WORKER_TIMEOUT,
        # Activities send heartbeats only as often as needed, so Temporal need not throttle them.
        max_heartbeat_throttle_interval=_MAX_HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=timedelta(seconds=graceful_seconds),
        plugins=[SimplePlugin("indigo-async", run_context=running)],
    )
    return worker
