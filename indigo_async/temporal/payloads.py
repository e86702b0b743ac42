"""The data in workflow histories: checked jobs, and the input and result of each stage.

All of it is small JSON. It never contains the API token or the download URL of an export. The CSV's URL is included as
the caller passed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

from indigo_async.inputs import ColumnSelection, LookalikeFilters
from indigo_async.models import RecordId
from indigo_async.workflows.sharding.claims import ClaimReply
from indigo_async.workflows.sharding.ledger import Grant, Hold, Turn

__all__ = [
    "BatchProgress",
    "BatchState",
    "BatchSummary",
    "BeginReply",
    "BeginRequest",
    "Booking",
    "BookingKind",
    "ClaimReply",
    "ClaimRequest",
    "ClaimedJob",
    "DeliveredExport",
    "ExportInput",
    "ExportTask",
    "Failure",
    "Grant",
    "Hold",
    "JobInput",
    "JobProgress",
    "JobSummary",
    "LookalikeInput",
    "LookalikeTask",
    "OpenReply",
    "OpenRequest",
    "PackedJobs",
    "Page",
    "Quote",
    "ReleaseRequest",
    "Settlement",
    "Turn",
]


@attrs.frozen(kw_only=True)
class LookalikeInput:
    """The lookalike that a job creates."""

    audience_name: str
    size: int
    include_original_audience: bool | None = None
    filters: LookalikeFilters | None = None


@attrs.frozen(kw_only=True)
class ExportInput:
    """The export that a job purchases and delivers. Without a destination, it is only purchased."""

    destination: str | None
    optional_field_types: tuple[str, ...] = ()
    max_cost_cents: int = 0
    reuse_purchased: bool | None = None
    allow_empty: bool = False


@attrs.frozen(kw_only=True)
class JobInput:
    """One job, checked and normalized.

    `identity` is a hash of what the job makes and may spend: the result of an earlier workflow is reused only if the
    identities are equal. `fingerprint` is a hash of what the job makes alone. `budget` is the ID of the workflow that
    holds the batch's budget, and `batch` the batch's name. A stage is given to another worker after `heartbeat_seconds`
    without a heartbeat, and the whole job may take `timeout_seconds`. `shows_stage` updates the search attribute for
    the stage.
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
    fingerprint: str = ""
    batch: str | None = None
    budget: str | None = None
    heartbeat_seconds: float = 120.0
    timeout_seconds: float = 14_400.0
    shows_stage: bool = False


@attrs.frozen(kw_only=True)
class LookalikeTask:
    """The input for creating a lookalike."""

    customer_id: str
    audience_name: str
    base_id: RecordId
    lookalike: LookalikeInput


@attrs.frozen(kw_only=True)
class Quote:
    """A priced export: its audience, its ID, its price if the server shows one, and whether it can be downloaded."""

    audience_id: RecordId
    export_id: RecordId
    cost_cents: int | None
    downloadable: bool


@attrs.frozen(kw_only=True)
class ExportTask:
    """The input for pricing, purchasing and delivering an export. `quote` is the priced export, once there is one.

    Scheduling the purchase with this task records the intent: it is in the history before anything can be sent. `facts`
    and `intents` are those of a `ClaimedJob`.
    """

    customer_id: str
    audience_name: str
    audience_id: RecordId
    export: ExportInput
    quote: Quote | None = None
    budget: str | None = None
    facts: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])
    intents: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])


@attrs.frozen(kw_only=True)
class DeliveredExport:
    """A delivered CSV: its path or object URL, its size in bytes, and its SHA-256 in hex."""

    path: str
    size_bytes: int
    sha256: str


@attrs.frozen(kw_only=True)
class JobSummary:
    """The result of a job. `spent_cents` is the cost of this workflow's own purchase.

    A purchased export without a destination isn't delivered. Histories hold no download URL: read it from the server.
    """

    matched_id: RecordId
    lookalike_id: RecordId | None = None
    quote: Quote | None = None
    spent_cents: int = 0
    delivered: DeliveredExport | None = None


@attrs.frozen(kw_only=True)
class ClaimedJob:
    """What is known of a claimed job.

    `summary` is the result of another run that did the same job. Otherwise, if another run had the same inputs, `facts`
    are the results of its stages as a journal records them, and `intents` its requests with an unknown outcome.
    """

    summary: JobSummary | None = None
    facts: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])
    intents: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])


@attrs.frozen(kw_only=True)
class JobProgress:
    """The progress of a job."""

    stage: str
    matched_id: RecordId | None = None
    lookalike_id: RecordId | None = None
    quote: Quote | None = None


@attrs.frozen(kw_only=True)
class Failure:
    """A failed job: its key, its workflow, the stage, the type of error and its message."""

    key: str
    workflow_id: str
    stage: str
    error_type: str
    message: str


@attrs.frozen(kw_only=True)
class PackedJobs:
    """The fields of jobs as plain JSON: those that all jobs share, and each job's own. See `shards.payloads`."""

    shared: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=False)
    own: tuple[dict[str, Any], ...] = attrs.field(default=(), repr=False)


@attrs.frozen(kw_only=True)
class Page:
    """Jobs that are started together. `number` counts the pages of a batch from 0, and `last` marks the last one.

    Batches of earlier versions have a workflow for each job in `orders`. Others have one for the whole page, with
    `jobs`.
    """

    number: int
    orders: tuple[JobInput, ...] = ()
    last: bool = False
    jobs: PackedJobs | None = None


class BookingKind(StrEnum):
    """Reserve cents for an export, settle its purchase, or release what certainly was not spent."""

    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"


@attrs.frozen(kw_only=True)
class Booking:
    """An entry in the ledger of a batch, for one export. A job of a shard adds its reference and the shard's turn."""

    kind: BookingKind
    export_id: str
    cents: int = 0
    job: str = ""
    turn: Turn | None = None


@attrs.frozen(kw_only=True)
class Settlement:
    """A purchase whose result is in the history of its shard: the export, its charge and the reference of its job."""

    export_id: str
    charged_cents: int
    job: str


@attrs.frozen(kw_only=True)
class OpenRequest:
    """Open the ledger for a run of its batch. None means no limit.

    `identity` is a hash of the batch's jobs. `continue_changed` accepts jobs other than those of earlier runs.
    """

    limit_cents: int | None
    identity: str
    continue_changed: bool = False


@attrs.frozen(kw_only=True)
class OpenReply:
    """Whether the ledger is open for the run. If not, it belongs to a batch of other jobs, and nothing was changed."""

    is_open: bool
    spent_cents: int
    reserved_cents: int


@attrs.frozen(kw_only=True)
class BeginRequest:
    """Begin an attempt at a shard. Its jobs are named by their references."""

    turn: Turn
    jobs: tuple[str, ...]


@attrs.frozen(kw_only=True)
class BeginReply:
    """The exports that earlier attempts may have purchased, by the references of their jobs.

    A superseded attempt must stop, because a later one runs the shard. Its reply has the holds, too, for
    another batch that takes over the jobs.
    """

    is_superseded: bool = False
    holds: Mapping[str, Hold] = attrs.field(factory=dict[str, Hold])


@attrs.frozen(kw_only=True)
class ClaimRequest:
    """Claim jobs, named by their references. `gone` names holders that have ended without releasing theirs."""

    holder: str
    jobs: tuple[str, ...]
    gone: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ReleaseRequest:
    """Release all jobs of a holder. Its history has the results of the `finished` ones."""

    holder: str
    finished: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class BatchSummary:
    """The result of a batch or one of its shards. `failures` holds the first 1,000.

    `recalled` counts jobs whose result came from the workflow of an earlier or concurrent batch.
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
    """The progress of a batch: shards started, shards and jobs in progress, and the results of jobs that have ended.

    `jobs_by_stage` counts the jobs in progress. `complete` says that all jobs were submitted. `done_earlier` counts the
    jobs whose results an earlier run of the batch has.
    """

    pages: int
    pages_under_way: int
    jobs_under_way: int
    complete: bool
    so_far: BatchSummary
    jobs_by_stage: Mapping[str, int] = attrs.field(factory=dict[str, int])
    done_earlier: int = 0


@attrs.frozen(kw_only=True)
class BatchState:
    """The state that a batch carries over when it continues as new.

    `run_ms` is when its run started, in milliseconds since 1970.
    """

    name: str
    max_pages_under_way: int
    run_ms: int = 0
    pages_taken: int = 0
    complete: bool = False
    waiting: tuple[Page, ...] = ()
    so_far: BatchSummary = attrs.Factory(BatchSummary)
