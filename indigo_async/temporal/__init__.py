"""Run jobs as durable workflows on Temporal, on any number of machines (extra `temporal`)."""

from indigo_async._extras import require_extra

try:
    import temporalio as _  # noqa: F401 - only to check that it is installed
except ImportError:
    require_extra("temporal", "indigo_async.temporal")
    raise

from indigo_async.temporal.batches.jobs import cancel_batch, drop_job, list_jobs
from indigo_async.temporal.batches.starter import run_batch
from indigo_async.temporal.connection import connect
from indigo_async.temporal.converter import data_converter
from indigo_async.temporal.payloads import (
    BatchProgress,
    BatchSummary,
    DeliveredExport,
    Failure,
    JobProgress,
    JobSummary,
    Quote,
)
from indigo_async.temporal.shards.payloads import JobState, JobStatus
from indigo_async.temporal.starter import run_job
from indigo_async.temporal.workers.export_stores import export_store
from indigo_async.temporal.workers.worker import create_worker
from indigo_async.temporal.workflows.batch import BatchWorkflow
from indigo_async.temporal.workflows.budget import BudgetWorkflow
from indigo_async.temporal.workflows.job import AudienceWorkflow
from indigo_async.temporal.workflows.page import PageWorkflow
from indigo_async.temporal.workflows.shard import ShardWorkflow

__all__ = [
    "AudienceWorkflow",
    "BatchProgress",
    "BatchSummary",
    "BatchWorkflow",
    "BudgetWorkflow",
    "DeliveredExport",
    "Failure",
    "JobProgress",
    "JobState",
    "JobStatus",
    "JobSummary",
    "PageWorkflow",
    "Quote",
    "ShardWorkflow",
    "cancel_batch",
    "connect",
    "create_worker",
    "data_converter",
    "drop_job",
    "export_store",
    "list_jobs",
    "run_batch",
    "run_job",
]
