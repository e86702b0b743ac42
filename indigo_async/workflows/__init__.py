"""The cookbook's recipes, each as one `await`, and batches that run them for thousands of lists."""

from indigo_async.events import (
    AudienceReused,
    DownloadProgressed,
    ExportDownloaded,
    ExportPriced,
    ExportPurchased,
    ExportReused,
    RecipeFailed,
    RecipeFinished,
    RecipeStarted,
    RecipeWarning,
    Stage,
    StageFailed,
    StageFinished,
    StageStarted,
    StatusChanged,
    WorkflowEvent,
)
from indigo_async.workflows.batches.batch import Batch, Jobs, run_batch, start_batch
from indigo_async.workflows.batches.jobs import AudienceJob, ExportStep, JobResult, LookalikeStep, run_job
from indigo_async.workflows.batches.report import (
    BatchReport,
    CustomerTotals,
    JobFailure,
    JobOutcome,
    JobWarning,
    StageTime,
)
from indigo_async.workflows.journal.reader import (
    JournalReader,
    JournalRow,
    OutcomeRow,
    ProgressRow,
    StageRow,
    read_journal,
    sum_purchases,
)
from indigo_async.workflows.journal.rows import EntryKind, PurchaseTotals
from indigo_async.workflows.recipes.download import ExportReceipt, PurchasedExport, download_export
from indigo_async.workflows.recipes.export import export_audience
from indigo_async.workflows.recipes.lookalike import create_lookalike
from indigo_async.workflows.recipes.match import upload_and_match
from indigo_async.workflows.recipes.waits import wait_for_column_selection, wait_for_export, wait_until_active

__all__ = [
    "AudienceJob",
    "AudienceReused",
    "Batch",
    "BatchReport",
    "CustomerTotals",
    "DownloadProgressed",
    "EntryKind",
    "ExportDownloaded",
    "ExportPriced",
    "ExportPurchased",
    "ExportReceipt",
    "ExportReused",
    "ExportStep",
    "JobFailure",
    "JobOutcome",
    "JobResult",
    "JobWarning",
    "Jobs",
    "JournalReader",
    "JournalRow",
    "LookalikeStep",
    "OutcomeRow",
    "ProgressRow",
    "PurchaseTotals",
    "PurchasedExport",
    "RecipeFailed",
    "RecipeFinished",
    "RecipeStarted",
    "RecipeWarning",
    "Stage",
    "StageFailed",
    "StageFinished",
    "StageRow",
    "StageStarted",
    "StageTime",
    "StatusChanged",
    "WorkflowEvent",
    "create_lookalike",
    "download_export",
    "export_audience",
    "read_journal",
    "run_batch",
    "run_job",
    "start_batch",
    "sum_purchases",
    "upload_and_match",
    "wait_for_column_selection",
    "wait_for_export",
    "wait_until_active",
]
