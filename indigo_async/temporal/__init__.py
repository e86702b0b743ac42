"""The same jobs as durable workflows on Temporal, on as many machines as there are (extra `temporal`)."""

try:
    import temporalio as _  # noqa: F401 - only whether it is there
except ImportError as _missing:
    raise ImportError("indigo_async.temporal needs Temporal's SDK: pip install 'indigo-async[temporal]'") from _missing

from indigo_async.temporal.batch_workflow import BatchWorkflow
from indigo_async.temporal.budget_workflow import BudgetWorkflow
from indigo_async.temporal.connecting import connect
from indigo_async.temporal.converter import data_converter
from indigo_async.temporal.exports import exports_at
from indigo_async.temporal.job_workflow import AudienceWorkflow
from indigo_async.temporal.page_workflow import PageWorkflow
from indigo_async.temporal.records import BatchEnd, BatchProgress, Failure, JobEnd, JobProgress
from indigo_async.temporal.submitting import run_batch, run_job
from indigo_async.temporal.worker import worker_of

__all__ = [
    "AudienceWorkflow",
    "BatchEnd",
    "BatchProgress",
    "BatchWorkflow",
    "BudgetWorkflow",
    "Failure",
    "JobEnd",
    "JobProgress",
    "PageWorkflow",
    "connect",
    "data_converter",
    "exports_at",
    "run_batch",
    "run_job",
    "worker_of",
]
