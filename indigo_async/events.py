"""All that `on_event=` functions are told, of recipes and of clients."""

from indigo_async.transport.events import Event, Listener, RequestEnded, RequestRetried, RequestStarted, facts_of
from indigo_async.workflows.events import (
    AudienceAdopted,
    DownloadProgressed,
    ExportDownloaded,
    ExportPriced,
    ExportPurchased,
    ExportReused,
    RecipeFailed,
    RecipeFinished,
    RecipeStarted,
    Stage,
    StageFailed,
    StageFinished,
    StageStarted,
    StatusChanged,
    WorkflowEvent,
)

__all__ = [
    "AudienceAdopted",
    "DownloadProgressed",
    "Event",
    "ExportDownloaded",
    "ExportPriced",
    "ExportPurchased",
    "ExportReused",
    "Listener",
    "RecipeFailed",
    "RecipeFinished",
    "RecipeStarted",
    "RequestEnded",
    "RequestRetried",
    "RequestStarted",
    "Stage",
    "StageFailed",
    "StageFinished",
    "StageStarted",
    "StatusChanged",
    "WorkflowEvent",
    "facts_of",
]
