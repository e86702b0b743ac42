"""The same jobs as durable workflows on Temporal, on as many machines as there are (extra `temporal`)."""

try:
    import temporalio as _  # noqa: F401 - only whether it is there
except ImportError as _missing:
    raise ImportError("indigo_async.temporal needs Temporal's SDK: pip install 'indigo-async[temporal]'") from _missing

from indigo_async.temporal.batch_workflow import BatchWorkflow
from indigo_async.temporal.budget_workflow import BudgetWorkflow
from indigo_async.temporal.connecting import connect
from indigo_async.temporal.converter import data_converter
from indigo_async.temporal.exports import export_store
from indigo_async.temporal.job_workflow import AudienceWorkflow
from indigo_async.temporal.page_workflow import PageWorkflow
from indigo_async.temporal.records import BatchProgress, BatchSummary, Failure, JobProgress, JobSummary
from indigo_async.temporal.submitting import run_batch, run_job
from indigo_async.temporal.worker import create_worker

__all__ = [
    "AudienceWorkflow",
    "BatchProgress",
    "BatchSummary",
    "BatchWorkflow",
    "BudgetWorkflow",
    "Failure",
    "JobProgress",
    "JobSummary",
    "PageWorkflow",
    "connect",
    "create_worker",
    "data_converter",
    "export_store",
    "run_batch",
    "run_job",
]
