"""Create a worker, which runs the stages of jobs on one API client."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from indigo_async.client import IndigoClient
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.temporal.activities import AudienceActivities
from indigo_async.temporal.export_stores import FolderExportStore, ObjectExportStore
from indigo_async.temporal.ids import TASK_QUEUE
from indigo_async.temporal.workflows.batch import BatchWorkflow
from indigo_async.temporal.workflows.budget import BudgetWorkflow
from indigo_async.temporal.workflows.claims import ClaimsWorkflow
from indigo_async.temporal.workflows.job import AudienceWorkflow
from indigo_async.temporal.workflows.page import PageWorkflow

__all__ = ["WORKFLOWS", "create_worker", "create_workflow_runner"]

WORKFLOWS = (AudienceWorkflow, PageWorkflow, BatchWorkflow, BudgetWorkflow, ClaimsWorkflow)

_LONGEST_HEARTBEAT_PAUSE = timedelta(minutes=10)
_CACHED_WORKFLOWS = 2_000


def create_workflow_runner() -> SandboxedWorkflowRunner:
    """Create Temporal's workflow sandbox, which blocks I/O and clocks, with this package's modules passed through."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(
            "indigo_async", "attrs", "attr", "cattrs", "msgspec"
        )
    )


def create_worker(
    temporal: Client,
    client: IndigoClient,
    *,
    exports: FolderExportStore | ObjectExportStore,
    publisher: Publisher | None = None,
    task_queue: str = TASK_QUEUE,
    max_stages: int = 10_000,
    graceful_seconds: float = 90.0,
) -> Worker:
    """Create a worker. Run it with `async with worker:` or `await worker.run()`.

    On shutdown it hands its waits over to other workers at once, and finishes purchases and downloads in progress.

    Args:
        temporal: what `connect` returned.
        client: an open client, used by all stages of this worker.
        exports: where exports are delivered; see `export_store`.
        publisher: publishes local CSVs for as long as their matches need them.
        task_queue: the task queue to poll.
        max_stages: the maximum number of concurrent stages, nearly all of which wait behind one polling loop.
        graceful_seconds: the time for purchases and downloads in progress to finish on shutdown.
    """
    return Worker(
        temporal,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=AudienceActivities(client, exports, publisher).activities,
        workflow_runner=create_workflow_runner(),
        max_concurrent_activities=max_stages,
        max_cached_workflows=_CACHED_WORKFLOWS,
        # Stages send heartbeats as often as their timeout requires, so Temporal need not throttle them to one a minute.
        max_heartbeat_throttle_interval=_LONGEST_HEARTBEAT_PAUSE,
        graceful_shutdown_timeout=timedelta(seconds=graceful_seconds),
    )
