"""An asyncio SDK for the Indigo audiences API: match, grow, price, buy and download voter audiences."""

from indigo_async import errors, workflows
from indigo_async.client import IndigoClient
from indigo_async.customer import CustomerClient
from indigo_async.errors import IndigoError
from indigo_async.inputs import (
    ColumnSelection,
    ColumnSelections,
    LookalikeFilters,
    OptionalFieldType,
)
from indigo_async.models import (
    Audience,
    AudienceStatus,
    CsvExport,
    ExportStatus,
    UploadedAudienceCsv,
    UploadStatus,
)
from indigo_async.transport.pacing import Pacing
from indigo_async.transport.policy import RetryPolicy

__all__ = [
    "Audience",
    "AudienceStatus",
    "ColumnSelection",
    "ColumnSelections",
    "CsvExport",
    "CustomerClient",
    "ExportStatus",
    "IndigoClient",
    "IndigoError",
    "LookalikeFilters",
    "OptionalFieldType",
    "Pacing",
    "RetryPolicy",
    "UploadStatus",
    "UploadedAudienceCsv",
    "errors",
    "workflows",
]
