"""What the sandbox keeps about audiences and exports, and how far each one has come at a given time.

Records are frozen; the store replaces them. A status is a pure function of a record and the clock.
"""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from indigo_async.inputs import OptionalFieldType
from indigo_async.models import AudienceStatus, ExportStatus, RecordId, UploadStatus
from indigo_async.sandbox.state.pricing import Price

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indigo_async.sandbox.people import CsvTable

__all__ = [
    "AudienceRecord",
    "CsvFile",
    "ExportRecord",
    "Members",
    "Phase",
    "Stage",
    "StageTimes",
    "Upload",
    "UploadedTable",
    "audience_status",
    "export_status",
    "upload_status",
]


@attrs.frozen(kw_only=True)
class StageTimes:
    """How long each stage takes at least, in sandbox seconds; longer where the computation itself takes longer."""

    upload: float = 20.0
    match: float = 40.0
    lookalike: float = 60.0
    export: float = 10.0


class Phase(Enum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@attrs.frozen
class Stage:
    """Something that takes time: over when it has been computed and its time (`due_at`, sandbox seconds) has come."""

    due_at: float
    is_computed: bool = False
    failure_reason: str | None = None

    def phase(self, now: float) -> Phase:
        if not self.is_computed or now < self.due_at:
            return Phase.RUNNING
        return Phase.DONE if self.failure_reason is None else Phase.FAILED

    def next_change_at(self, now: float) -> float:
        """When the phase may change by the passing of time alone."""
        return self.due_at if self.is_computed and now < self.due_at else math.inf

    def complete(self, failure: str | None = None) -> Stage:
        return attrs.evolve(self, is_computed=True, failure_reason=self.failure_reason or failure)


@attrs.frozen
class UploadedTable:
    """A CSV that was read. Without people there is no table and its columns are unknown."""

    row_count: int
    columns: tuple[str, ...] | None = None
    table: CsvTable | None = None


@attrs.frozen(eq=False)
class Members:
    """The people of an audience: how many, and which voters where there are people at all.

    For matched audiences `row_ids` says which row of the CSV each voter came from; for lookalikes `scores` says how
    alike each is.
    """

    size: int
    voters: NDArray[np.int32] | None = None
    row_ids: tuple[str, ...] | None = None
    scores: NDArray[np.float64] | None = None


@attrs.frozen
class Upload:
    """The CSV behind a matched audience. `table` is None until it was read and again once it was matched."""

    url: str
    stage: Stage
    row_count: int | None = None
    columns: tuple[str, ...] | None = None
    table: UploadedTable | None = None


@attrs.frozen(kw_only=True)
class AudienceRecord:
    """An audience. `customer_id` is None for those made in the app.

    `stage` is the match or the lookalike, None while the CSV's columns are not selected yet. A `seeded_status` is shown
    whatever the work is; one that says DELETED is in lists only.
    """

    id: RecordId
    customer_id: str | None
    created_at: float
    name: str | None = None
    upload: Upload | None = None
    base_audience_id: RecordId | None = None
    stage: Stage | None = None
    members: Members | None = None
    seeded_status: str | None = None
    export_ids: tuple[RecordId, ...] = ()


@attrs.frozen
class CsvFile:
    """A finished export on disk. `etag` is strong: other bytes, another tag."""

    path: Path
    size: int
    etag: str


@attrs.frozen(kw_only=True)
class ExportRecord:
    """An export. `stage` is the preview at first, and the CSV once it was purchased or needs no purchase.

    `price_override_cents` is the price where it is no longer that of the items.
    """

    id: RecordId
    audience_id: RecordId
    created_at: float
    field_types: tuple[OptionalFieldType, ...]
    price: Price
    needs_purchase: bool
    stage: Stage
    purchased_at: float | None = None
    file: CsvFile | None = None
    price_override_cents: int | None = None

    @property
    def cost_cents(self) -> int:
        return self.price.cents if self.price_override_cents is None else self.price_override_cents


def upload_status(upload: Upload, now: float) -> UploadStatus:
    match upload.stage.phase(now):
        case Phase.RUNNING:
            return UploadStatus.PROCESSING
        case Phase.DONE:
            return UploadStatus.READY_FOR_COLUMN_SELECTION
        case Phase.FAILED:
            return UploadStatus.FAILED


def audience_status(record: AudienceRecord, now: float) -> AudienceStatus:
    """An audience is processing until its people are known, and failed if its CSV did."""
    if record.upload is not None and upload_status(record.upload, now) is UploadStatus.FAILED:
        return AudienceStatus.FAILED
    if record.stage is None:
        return AudienceStatus.PROCESSING
    match record.stage.phase(now):
        case Phase.RUNNING:
            return AudienceStatus.PROCESSING
        case Phase.DONE:
            return AudienceStatus.ACTIVE
        case Phase.FAILED:
            return AudienceStatus.FAILED


def export_status(export: ExportRecord, now: float) -> ExportStatus:
    match export.stage.phase(now):
        case Phase.RUNNING:
            return ExportStatus.IN_PROGRESS
        case Phase.FAILED:
            return ExportStatus.FAILED
        case Phase.DONE if export.needs_purchase and export.purchased_at is None:
            return ExportStatus.REQUIRES_PAYMENT
        case Phase.DONE:
            return ExportStatus.ACTIVE
