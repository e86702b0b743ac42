"""What travels through a workflow's history: a job as checked, what each stage needs, and what it brought about.

All of it is small JSON. None of it holds the API's token or an export's download URL; the CSV's URL is there as the
caller gave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import attrs

from indigo_async.inputs import ColumnSelection, LookalikeFilters
from indigo_async.models import RecordId

__all__ = [
    "BatchProgress",
    "BatchState",
    "BatchSummary",
    "Booking",
    "BookingKind",
    "DeliveredExport",
    "ExportInput",
    "ExportTask",
    "Failure",
    "Grant",
    "JobInput",
    "JobProgress",
    "JobSummary",
    "LookalikeInput",
    "LookalikeTask",
    "Page",
    "Quote",
]


@attrs.frozen(kw_only=True)
class LookalikeInput:
    """The lookalike that a job grows."""

    audience_name: str
    size: int
    include_original_audience: bool | None = None
    filters: LookalikeFilters | None = None


@attrs.frozen(kw_only=True)
class ExportInput:
    """The export that a job buys and delivers. `max_cost_cents` is in cents."""

    destination: str
    optional_field_types: tuple[str, ...] = ()
    max_cost_cents: int = 0
    reuse_purchased: bool | None = None
    allow_empty: bool = False


@attrs.frozen(kw_only=True)
class JobInput:
    """One job, checked, in its normal form.

    `identity` is a hash of what the job makes and may spend: a workflow that ended well is taken for this order's only
    when they agree. `budget` is the ID of the workflow that holds the batch's budget, `batch` the batch's name. A
    stage's worker is taken for dead after `heartbeat_seconds` without a sign of life; the whole job may take
    `timeout_seconds`. `shows_stage` keeps the search attribute for the stage up to date.
    """

    key: str
    customer_id: str
    audience_name: str
    csv: str = attrs.field(repr=False)
    selections: dict[str, ColumnSelection]
    lookalike: LookalikeInput | None = None
    export: ExportInput | None = None
    purchase: bool = True
    identity: str
    batch: str | None = None
    budget: str | None = None
    heartbeat_seconds: float = 120.0
    timeout_seconds: float = 14_400.0
    shows_stage: bool = False


@attrs.frozen(kw_only=True)
class LookalikeTask:
    """What growing a lookalike needs."""

    customer_id: str
    audience_name: str
    base_id: RecordId
    lookalike: LookalikeInput


@attrs.frozen(kw_only=True)
class Quote:
    """A priced export: of which audience, which export, its price where the server shows one, and if it can be had."""

    audience_id: RecordId
    export_id: RecordId
    cost_cents: int | None
    downloadable: bool


@attrs.frozen(kw_only=True)
class ExportTask:
    """What pricing, buying and delivering an export need. `quote` is the priced one, once there is one.

    Scheduled for the purchase, this is the intent: it is in the history before anything can be sent.
    """

    customer_id: str
    audience_name: str
    audience_id: RecordId
    export: ExportInput
    quote: Quote | None = None
    budget: str | None = None


@attrs.frozen(kw_only=True)
class DeliveredExport:
    """An export's CSV where it was wanted: a path or the URL of an object, its bytes, and its SHA-256 in hex."""

    path: str
    size_bytes: int
    sha256: str


@attrs.frozen(kw_only=True)
class JobSummary:
    """What a job brought about. `spent_cents` is what this workflow's own purchase cost."""

    matched_id: RecordId
    lookalike_id: RecordId | None = None
    quote: Quote | None = None
    spent_cents: int = 0
    delivered: DeliveredExport | None = None


@attrs.frozen(kw_only=True)
class JobProgress:
    """How far a job is."""

    stage: str
    end: JobSummary | None = None
    matched_id: RecordId | None = None
    lookalike_id: RecordId | None = None
    quote: Quote | None = None


@attrs.frozen(kw_only=True)
class Failure:
    """A job that failed: its key, where, the kind of error and what it says."""

    key: str
    workflow_id: str
    stage: str
    error_type: str
    message: str


@attrs.frozen(kw_only=True)
class Page:
    """Jobs that are started together. `number` counts a batch's pages from 0; `last` says that no page comes after."""

    number: int
    orders: tuple[JobInput, ...]
    last: bool


class BookingKind(StrEnum):
    """Set cents aside for an export; it was bought; it certainly was not."""

    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"


@attrs.frozen(kw_only=True)
class Booking:
    """A line in the ledger of a batch, about one export."""

    kind: BookingKind
    export_id: str
    cents: int = 0


@attrs.frozen(kw_only=True)
class Grant:
    """Whether cents were set aside, and how many are left; None where there is no limit."""

    granted: bool
    left_cents: int | None


@attrs.frozen(kw_only=True)
class BatchSummary:
    """A batch, or one page of it, in numbers; money is in cents. `failures` holds the first 1,000.

    `recalled` counts the jobs that were done by an earlier workflow, or are being done by that of another batch.
    """

    done: int = 0
    failed: int = 0
    recalled: int = 0
    quoted_cents: int = 0
    spent_cents: int = 0
    failed_by_error: Mapping[str, int] = attrs.field(factory=dict[str, int])
    failures: tuple[Failure, ...] = ()


@attrs.frozen(kw_only=True)
class BatchProgress:
    """How far a batch is: pages taken in, pages and jobs under way, and the numbers of the pages that ended."""

    pages: int
    pages_under_way: int
    jobs_under_way: int
    complete: bool
    so_far: BatchSummary


@attrs.frozen(kw_only=True)
class BatchState:
    """What a batch carries over when its history has grown long."""

    name: str
    max_pages_under_way: int
    pages_taken: int = 0
    complete: bool = False
    waiting: tuple[Page, ...] = ()
    so_far: BatchSummary = attrs.Factory(BatchSummary)
