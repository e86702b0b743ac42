"""The sandbox's records of audiences and exports, and their status at a given time.

Records are frozen. The store replaces them. A status is a pure function of a record and the clock.
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
    """The minimum duration of each stage, in sandbox seconds. Stages take longer if their computation does."""

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
    """Work that takes time. It is done once it is computed and `due_at` (sandbox seconds) has passed."""

    due_at: float
    is_computed: bool = False
    failure_reason: str | None = None

    def phase(self, now: float) -> Phase:
        if not self.is_computed or now < self.due_at:
            return Phase.RUNNING
        return Phase.DONE if self.failure_reason is None else Phase.FAILED

    def next_change_at(self, now: float) -> float:
        """Return the sandbox time at which the phase may change without a request."""
        return self.due_at if self.is_computed and now < self.due_at else math.inf

    def complete(self, failure: str | None = None) -> Stage:
        return attrs.evolve(self, is_computed=True, failure_reason=self.failure_reason or failure)


@attrs.frozen
class UploadedTable:
    """A CSV that was read. A lite sandbox has no table and knows no columns."""

    row_count: int
    columns: tuple[str, ...] | None = None
    table: CsvTable | None = None


@attrs.frozen(eq=False)
class Members:
    """The people of an audience: how many, and which voters (unless the sandbox is lite).

    In matched audiences, `row_ids` holds the CSV row of each voter. In lookalikes, `scores` holds the similarity.
    """

    size: int
    voters: NDArray[np.int32] | None = None
    row_ids: tuple[str, ...] | None = None
    scores: NDArray[np.float64] | None = None


@attrs.frozen
class Upload:
    """The CSV of a matched audience. `table` is None until it is read, and again after it is matched."""

    url: str
    stage: Stage
    row_count: int | None = None
    columns: tuple[str, ...] | None = None
    table: UploadedTable | None = None


@attrs.frozen(kw_only=True)
class AudienceRecord:
    """An audience. `customer_id` is None if it was created in the web app.

    `stage` is the match or the lookalike, or None until columns are selected. `seeded_status` overrides the status. An
    audience seeded as DELETED appears in lists only.
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
    """A finished export on disk, with a strong ETag."""

    path: Path
    size: int
    etag: str


@attrs.frozen(kw_only=True)
class ExportRecord:
    """An export. `stage` is the preview at first, then the CSV once it is purchased or free.

    `price_override_cents` replaces the sum of the items.
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
    """Return the status: processing until its people are known, failed if its CSV failed."""
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
