"""What recipes tell their listeners. Each event names the customer and the audience that the recipe is about."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import attrs

from indigo_async._transport.events import Event
from indigo_async.models import RecordId

__all__ = [
    "AudienceReused",
    "DownloadProgressed",
    "ExportDownloaded",
    "ExportPriced",
    "ExportPurchased",
    "ExportReused",
    "RecipeFailed",
    "RecipeFinished",
    "RecipeStarted",
    "RecipeWarning",
    "Stage",
    "StageFailed",
    "StageFinished",
    "StageStarted",
    "StatusChanged",
    "WorkflowEvent",
]


class Stage(StrEnum):
    """Where a recipe is."""

    UPLOAD = "upload"
    MATCH = "match"
    LOOKALIKE = "lookalike"
    PREVIEW = "preview"
    PURCHASE = "purchase"
    DOWNLOAD = "download"


@attrs.frozen(kw_only=True)
class WorkflowEvent(Event):
    """Something that happened to one audience of one customer."""

    customer_id: str | None
    audience_name: str


@attrs.frozen(kw_only=True)
class RecipeStarted(WorkflowEvent):
    """`recipe` is the function that was called, such as `upload_and_match`; `job` for a job of a batch."""

    recipe: str


@attrs.frozen(kw_only=True)
class RecipeFinished(WorkflowEvent):
    """`seconds` is how long the whole recipe took."""

    recipe: str
    seconds: float


@attrs.frozen(kw_only=True)
class RecipeFailed(WorkflowEvent):
    """The recipe raised an error of that type (also `CancelledError`) after so many seconds, at that stage."""

    recipe: str
    seconds: float
    stage: Stage
    error_type: str


@attrs.frozen(kw_only=True)
class RecipeWarning(WorkflowEvent):
    """Something that a person should know about this audience although the recipe goes on, such as a reuse."""

    stage: Stage
    message: str


@attrs.frozen(kw_only=True)
class StageStarted(WorkflowEvent):
    stage: Stage


@attrs.frozen(kw_only=True)
class StageFailed(WorkflowEvent):
    """The stage ended with an error of that type (also `CancelledError`) after so many seconds."""

    stage: Stage
    seconds: float
    error_type: str


@attrs.frozen(kw_only=True)
class StageFinished(WorkflowEvent):
    """`seconds` is how long the stage took, waiting included."""

    stage: Stage
    seconds: float


@attrs.frozen(kw_only=True)
class StatusChanged(WorkflowEvent):
    """A look showed another status than the look before."""

    audience_id: RecordId
    status: str


@attrs.frozen(kw_only=True)
class AudienceReused(WorkflowEvent):
    """An audience that exists is used instead of making another; `evidence` says why it is taken for ours."""

    audience_id: RecordId
    evidence: str


@attrs.frozen(kw_only=True)
class ExportPriced(WorkflowEvent):
    export_id: RecordId
    cost_cents: int | None


@attrs.frozen(kw_only=True)
class ExportReused(WorkflowEvent):
    """An export that was purchased before is downloaded; nothing is bought."""

    export_id: RecordId
    evidence: str


@attrs.frozen(kw_only=True)
class ExportPurchased(WorkflowEvent):
    export_id: RecordId
    cost_cents: int


@attrs.frozen(kw_only=True)
class DownloadProgressed(WorkflowEvent):
    """How many bytes of a CSV have come, of how many, if the server says that. Told twice a second at most."""

    export_id: RecordId
    size_bytes: int
    total_bytes: int | None


@attrs.frozen(kw_only=True)
class ExportDownloaded(WorkflowEvent):
    path: Path
    size_bytes: int
