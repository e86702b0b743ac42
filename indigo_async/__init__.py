"""An asyncio SDK for the Indigo audiences API: match, grow, price, purchase and download voter audiences.

    from indigo_async import IndigoClient, workflows

    async with IndigoClient() as client:
        matched = await workflows.upload_and_match(client, "https://example.org/donors.csv", ...)

`IndigoClient` has the endpoints, `workflows` the recipes and batches, `errors` all exceptions.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # instead of importing `typing`, which would take most of this module's import time
if TYPE_CHECKING:
    from indigo_async import blocking, errors, workflows
    from indigo_async._transport.pacing import Pacing
    from indigo_async._transport.retry import RetryPolicy
    from indigo_async._version import __version__
    from indigo_async.client import CustomerClient, IndigoClient
    from indigo_async.errors import IndigoError
    from indigo_async.inputs import (
        ColumnSelection,
        ColumnSelections,
        LookalikeFilters,
        OptionalFieldType,
    )
    from indigo_async.models import (
        ApiResponse,
        Audience,
        AudienceStatus,
        CsvExport,
        ExportStatus,
        UploadedAudienceCsv,
        UploadStatus,
    )

__all__ = [
    "ApiResponse",
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
    "__version__",
    "blocking",
    "errors",
    "workflows",
]

_EXPORTS = {
    "client": ["CustomerClient", "IndigoClient"],
    "errors": ["IndigoError"],
    "inputs": ["ColumnSelection", "ColumnSelections", "LookalikeFilters", "OptionalFieldType"],
    "models": [
        "ApiResponse",
        "Audience",
        "AudienceStatus",
        "CsvExport",
        "ExportStatus",
        "UploadStatus",
        "UploadedAudienceCsv",
    ],
    "_transport.pacing": ["Pacing"],
    "_transport.retry": ["RetryPolicy"],
    "_version": ["__version__"],
}
_MODULE_OF = {name: f"indigo_async.{module}" for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> object:
    """Import names on first use, so the command's help does not wait for the HTTP library."""
    if name in _MODULE_OF:
        value: object = getattr(import_module(_MODULE_OF[name]), name)
    elif name in __all__:
        value = import_module(f"indigo_async.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names. `help` imports and shows them."""
    return __all__
