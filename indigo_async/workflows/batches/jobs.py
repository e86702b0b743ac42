"""A job: all recipes for one CSV, as one value and one await."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeGuard, TypeVar, cast

import attrs
import msgspec

from indigo_async._exact import to_list
from indigo_async._filters import check_filters
from indigo_async._redaction import reduce_redacted
from indigo_async._text import without_query
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import Problem
from indigo_async.events import Listener, Stage
from indigo_async.files.downloads.destination import DestinationFolder, inspect_destination_folder, resolve_folder
from indigo_async.files.publishing.publisher import Publisher, content_name
from indigo_async.inputs import (
    ColumnSelections,
    ColumnSelectionsInput,
    LookalikeFilters,
    LookalikeFiltersInput,
)
from indigo_async.models import Audience, AudienceStatus, CsvExport, RecordId, UploadedAudienceCsv, UploadStatus
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, JobLog, RecipeContext, check_client, recipe_scope
from indigo_async.workflows.recipes.download import ExportReceipt, PurchasedExport
from indigo_async.workflows.recipes.existing_audiences import normalize_url
from indigo_async.workflows.recipes.export import ensure_exported, find_recorded_receipt
from indigo_async.workflows.recipes.export_options import ExportOptions, check_export_options
from indigo_async.workflows.recipes.lookalike import check_lookalike, ensure_lookalike, warn_if_fewer
from indigo_async.workflows.recipes.match import check_csv, ensure_matched, is_url
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.recipes.preview import ensure_preview
from indigo_async.workflows.recipes.purchase import export_lock

__all__ = [
    "AudienceJob",
    "ExportStep",
    "JobIdentity",
    "JobResult",
    "LookalikeStep",
    "SharedChecks",
    "check_job",
    "compute_identity",
    "find_recorded_result",
    "normalized_inputs",
    "reuse_result",
    "run_job",
    "run_stages",
]

T = TypeVar("T")
R = TypeVar("R")

_SHORT_DIGEST_LENGTH = 16
_MAX_SHARED_OBJECTS = 1_000


def _copy_mutable(value: T) -> T:
    """Copy values that the caller may change or use up before the job is sent."""
    kept: Any = value
    if value is None or isinstance(value, (str, tuple, ColumnSelections, LookalikeFilters)):
        pass
    elif isinstance(value, dict):
        kept = {key: _copy_mutable(item) for key, item in cast("dict[Any, Any]", value).items()}
    elif isinstance(value, (list, set, Iterator)):
        kept = [_copy_mutable(item) for item in to_list(cast("object", value)) or ()]
    copied: T = kept
    return copied


# Converters have exact types, because mypy can't read a generic one.
def _copy_filters(filters: LookalikeFiltersInput | None) -> LookalikeFiltersInput | None:
    return _copy_mutable(filters)


def _copy_field_types(field_types: Sequence[str]) -> Sequence[str]:
    return _copy_mutable(field_types)


def _copy_selections(selections: ColumnSelectionsInput) -> ColumnSelectionsInput:
    return _copy_mutable(selections)


@attrs.frozen(kw_only=True)
class LookalikeStep:
    """The lookalike that a job creates; see `workflows.create_lookalike`.

    Attributes:
        audience_name: unique among the customer's audiences.
        size: the number of people requested.
        include_original_audience: whether it includes the matched people. None: the server decides.
        filters: where the people live; all filters must match.
    """

    audience_name: str
    size: int
    include_original_audience: bool | None = None
    filters: LookalikeFiltersInput | None = attrs.field(default=None, converter=_copy_filters)


@attrs.frozen(kw_only=True)
class ExportStep:
    """The export that a job purchases and downloads; see `workflows.export_audience`.

    Attributes:
        destination: where the CSV goes. None purchases the export without downloading it; `JobResult.purchased` has its
            URL.
        optional_field_types: the paid fields to add to the free ones; see `OptionalFieldType`.
        max_cost_cents: the most that this export may cost, in cents. 0 purchases free exports only.
        reuse_purchased: what to do if an export was purchased before and the server doesn't show its field types; see
            `workflows.export_audience`.
        allow_empty: purchase the export even if the audience is known to be empty.
    """

    destination: Path | str | None
    optional_field_types: Sequence[str] = attrs.field(default=(), converter=_copy_field_types)
    max_cost_cents: int = 0
    reuse_purchased: bool | None = None
    allow_empty: bool = False


def _repr_csv(csv: str | Path) -> str:
    """A CSV without the query of its URL, which may hold a signature."""
    return repr(without_query(csv) if isinstance(csv, str) and is_url(csv) else csv)


@attrs.frozen(kw_only=True)
class AudienceJob:
    """One CSV to match, and optionally a lookalike to create and an export to purchase.

    A job is identified by its customer ID and audience name.

    Attributes:
        customer_id: whose audience it is.
        audience_name: the name of the matched audience, unique among this customer's.
        csv: a URL that the server can fetch, or a local path, which needs a `Publisher`.
        column_selections: the CSV column for each field, and whether a match must agree on it.
        lookalike: the lookalike to create.
        export: the export to purchase, of the lookalike if there is one.
        key: your own name for the job in outcomes and reports. Default: the customer ID and audience name, joined by a
            slash.
    """

    customer_id: str
    audience_name: str
    csv: str | Path = attrs.field(repr=_repr_csv)
    column_selections: ColumnSelectionsInput = attrs.field(converter=_copy_selections)
    lookalike: LookalikeStep | None = None
    export: ExportStep | None = None
    key: str = attrs.field(
        default=attrs.Factory(lambda self: f"{self.customer_id}/{self.audience_name}", takes_self=True)
    )


@attrs.frozen(kw_only=True)
class JobResult:
    """What a job produced. A pickled copy holds no signed URL.

    If an earlier run finished the job, nothing is read from the server: the audiences have the IDs and counts that the
    journal recorded.

    Attributes:
        matched: the audience matched from the CSV.
        lookalike: the lookalike, if the job has that step.
        quote: the priced export, purchased or not.
        receipt: the purchased and downloaded export, if the step has a destination.
        purchased: the purchased export with its URL, if the step has `destination=None`.
    """

    matched: Audience
    lookalike: Audience | None = None
    quote: CsvExport | None = None
    receipt: ExportReceipt | None = None
    purchased: PurchasedExport | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_redacted(self)


async def run_job(
    client: IndigoClient,
    job: AudienceJob,
    *,
    publisher: Publisher | None = None,
    purchase: bool = True,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the job's own deadline
    on_event: Listener | None = None,
) -> JobResult:
    """Run one job through all its stages. Run again, it continues from the server's state.

    Args:
        client: an open client.
        job: what to do.
        publisher: makes a local CSV available at a URL until it is matched.
        purchase: False stops at the priced preview, which a later run purchases.
        timeout: seconds for the whole job.
        on_event: called with each event; see `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        WorkflowError, ApiError, TransportError, ResponseDecodeError, DownloadError: see the recipes.
    """
    check = InputCheck()
    check_client(check, client, on_event)
    purchase = check.boolean("purchase", purchase)
    checked = await run_in_thread(partial(check_job, check, job, can_publish=publisher is not None))
    check.seconds("timeout", timeout)
    check.raise_if_invalid()
    context = RecipeContext(client, job.customer_id, job.audience_name, NameIndex(client), publisher=publisher)
    with recipe_scope(context, "run_job", SharedTimeout(timeout), on_event=on_event):
        return await run_stages(context, checked, purchase=purchase)


@attrs.define(eq=False)
class _CheckedOnce(Generic[T, R]):
    """A check that is made once for each object, such as the column selections that thousands of jobs share."""

    _check: Callable[[InputCheck, T], R]
    _results: dict[int, tuple[T, R, list[Problem]]] = attrs.field(factory=dict[int, Any], init=False)
    """By the object's `id`, which is its own as long as the object is here."""

    def __call__(self, check: InputCheck, value: T) -> R:
        known = self._results.get(id(value))
        if known is None:
            if len(self._results) >= _MAX_SHARED_OBJECTS:
                self._results.clear()
            part = InputCheck()
            known = self._results[id(value)] = value, self._check(part, value), part.problems
        check.problems += known[2]
        return known[1]


def _check_selections(check: InputCheck, given: ColumnSelectionsInput) -> ColumnSelections:
    selections = ColumnSelections(**check.column_selections(given))
    return given if isinstance(given, ColumnSelections) and given == selections else selections


@attrs.frozen(eq=False)
class SharedChecks:
    """What many jobs have in common is checked once, while all the jobs of a list or a manifest are checked."""

    selections: Callable[[InputCheck, ColumnSelectionsInput], ColumnSelections] = attrs.field(
        factory=lambda: _CheckedOnce(_check_selections)
    )
    filters: Callable[[InputCheck, LookalikeFiltersInput | None], LookalikeFilters | None] = attrs.field(
        factory=lambda: _CheckedOnce(check_filters)
    )
    field_types: Callable[[InputCheck, Sequence[str]], tuple[str, ...]] = attrs.field(
        factory=lambda: _CheckedOnce(InputCheck.optional_field_types)
    )
    inspect_folder: Callable[[str], DestinationFolder] = attrs.field(
        factory=lambda: lru_cache(_MAX_SHARED_OBJECTS)(inspect_destination_folder)
    )
    resolve_folder: Callable[[str], str] = attrs.field(factory=lambda: lru_cache(_MAX_SHARED_OBJECTS)(resolve_folder))


_SEPARATE_CHECKS = SharedChecks(
    selections=_check_selections,
    filters=check_filters,
    field_types=InputCheck.optional_field_types,
    inspect_folder=inspect_destination_folder,
    resolve_folder=resolve_folder,
)


def check_job(
    check: InputCheck, job: AudienceJob, shared: SharedChecks = _SEPARATE_CHECKS, *, can_publish: bool
) -> AudienceJob:
    """Check a whole job before anything is sent for it. `can_publish`: whether its CSV may be a local file.

    Returns the job in its normal form: plain text and numbers, `ColumnSelections`, `LookalikeFilters`, a `Path` if the
    export has a destination, and a tuple of field types. It is meaningful only if there are no problems.
    """
    customer_id = check.customer_id(job.customer_id)
    audience_name = check.text("audience_name", job.audience_name)
    selections = shared.selections(check, job.column_selections)
    check_csv(check, job.csv, selections, can_publish=can_publish)
    lookalike, export = job.lookalike, job.export
    if _check_step(lookalike, LookalikeStep, check, "lookalike"):
        lookalike = _check_lookalike(check, lookalike, shared)
        if audience_name and lookalike.audience_name == audience_name:
            check.add("lookalike.audience_name", "must differ from the matched audience's: names are unique")
    if _check_step(export, ExportStep, check, "export"):
        export = _check_export(check, export, shared)
    return AudienceJob(
        customer_id=customer_id,
        audience_name=audience_name,
        csv=job.csv,
        column_selections=selections,
        lookalike=lookalike,
        export=export,
        key=job.key,
    )


def _check_lookalike(check: InputCheck, step: LookalikeStep, shared: SharedChecks) -> LookalikeStep:
    part = InputCheck()
    options = check_lookalike(
        part,
        audience_name=step.audience_name,
        size=step.size,
        include_original_audience=step.include_original_audience,
        filters=step.filters,
        check_filters=shared.filters,
    )
    check.add_nested("lookalike", part.problems)
    return LookalikeStep(
        audience_name=options.audience_name,
        size=options.size,
        include_original_audience=options.include_original_audience,
        filters=options.filters,
    )


def _check_export(check: InputCheck, step: ExportStep, shared: SharedChecks) -> ExportStep:
    part = InputCheck()
    options = check_export_options(
        part,
        optional_field_types=step.optional_field_types,
        max_cost_cents=step.max_cost_cents,
        destination=step.destination,
        reuse_purchased=step.reuse_purchased,
        allow_empty=step.allow_empty,
        check_field_types=shared.field_types,
        inspect_folder=shared.inspect_folder,
    )
    check.add_nested("export", part.problems)
    return ExportStep(
        destination=options.destination,
        optional_field_types=options.optional_field_types,
        max_cost_cents=options.max_cost_cents,
        reuse_purchased=options.reuse_purchased,
        allow_empty=options.allow_empty,
    )


def _check_step(value: object, kind: type[T], check: InputCheck, where: str) -> TypeGuard[T]:
    if value is not None and not isinstance(value, kind):
        check.add(where, f"must be {kind.__name__}(...), not {type(value).__name__}")
    return isinstance(value, kind)


def normalized_inputs(job: AudienceJob) -> tuple[ColumnSelections, LookalikeFilters | None]:
    """The column selections and the lookalike filters of a job that `check_job` returned."""
    selections, filters = job.column_selections, None if job.lookalike is None else job.lookalike.filters
    if not isinstance(selections, ColumnSelections) or not isinstance(filters, LookalikeFilters | None):
        raise TypeError("the job was not checked")
    return selections, filters


async def run_stages(context: RecipeContext, job: AudienceJob, *, purchase: bool) -> JobResult:
    """Run the stages of a checked job, skipping what is already done."""
    selections, filters = normalized_inputs(job)
    matched = await ensure_matched(context, job.csv, selections)
    lookalike = None
    if job.lookalike is not None:
        with context.stage(Stage.LOOKALIKE):
            lookalike = await ensure_lookalike(
                context,
                matched.id,
                name=job.lookalike.audience_name,
                size=job.lookalike.size,
                include_original_audience=job.lookalike.include_original_audience,
                filters=filters,
            )
    target = lookalike or matched
    if job.export is None:
        return JobResult(matched=matched, lookalike=lookalike)
    options = _export_options(job.export)
    if not purchase:
        async with export_lock(context.client, target.id):
            quote = (await ensure_preview(context, target.id, options)).export
        return JobResult(matched=matched, lookalike=lookalike, quote=quote)
    facts = {
        "matched": _audience_facts(matched),
        "lookalike": None if lookalike is None else _audience_facts(lookalike),
    }
    done = await ensure_exported(context, target.id, options, download_facts=facts)
    return JobResult(
        matched=matched,
        lookalike=lookalike,
        quote=done.export,
        receipt=done if isinstance(done, ExportReceipt) else None,
        purchased=done if isinstance(done, PurchasedExport) else None,
    )


def find_recorded_result(job_log: JobLog, job: AudienceJob) -> JobResult | None:
    """The result of a checked job if an earlier run finished it: its CSV was downloaded, and is still there. Blocks.

    Journals of earlier versions lack the audiences, which must then be read from the server.
    """
    recorded = None if job.export is None else job_log.result(Stage.DOWNLOAD)
    if job.export is None or recorded is None or "matched" not in recorded:
        return None
    receipt = find_recorded_receipt(job_log, _export_options(job.export))
    if receipt is None:
        return None
    matched = _restore_audience(job, job.audience_name, recorded["matched"])
    lookalike = None
    if job.lookalike is not None:
        lookalike = _restore_audience(job, job.lookalike.audience_name, recorded["lookalike"], base_id=matched.id)
    return JobResult(matched=matched, lookalike=lookalike, quote=receipt.export, receipt=receipt)


def reuse_result(context: RecipeContext, job: AudienceJob, result: JobResult) -> None:
    """Use a recorded result: as after all stages, without a request."""
    context.current_stage = Stage.DOWNLOAD
    context.audience = result.lookalike or result.matched
    if result.quote is not None:
        context.set_quote(result.quote)
    if job.lookalike is not None and result.lookalike is not None:
        warn_if_fewer(context, result.lookalike, job.lookalike.size)


def _export_options(step: ExportStep) -> ExportOptions:
    return ExportOptions(**attrs.asdict(step, recurse=False))


def _audience_facts(audience: Audience) -> dict[str, Any]:
    """What the journal records about the audience of a finished job."""
    csv = audience.uploaded_audience_csv
    return {
        "id": audience.id,
        "size": audience.size,
        "matched_count": audience.matched_count,
        "row_count": None if csv is None else csv.row_count,
    }


def _restore_audience(
    job: AudienceJob, name: str, facts: Mapping[str, Any], *, base_id: RecordId | None = None
) -> Audience:
    csv = UploadedAudienceCsv(status=UploadStatus.READY_FOR_COLUMN_SELECTION, row_count=facts["row_count"])
    return Audience(
        id=facts["id"],
        name=name,
        status=AudienceStatus.ACTIVE,
        customer_id=job.customer_id,
        base_audience_id=base_id,
        size=facts["size"],
        matched_count=facts["matched_count"],
        uploaded_audience_csv=csv if base_id is None else None,
    )


@attrs.frozen
class JobIdentity:
    """What a job makes, as hashes: `fingerprint` of everything, `input_hashes` of each part.

    The parts are the server, the CSV, the columns and the lookalike. Prices, destinations and exported fields are not
    included, so they may change between two runs of a job.
    """

    fingerprint: str
    input_hashes: Mapping[str, str]


async def compute_identity(job: AudienceJob, *, base_url: str) -> JobIdentity:
    """The identity of a checked job at the server with this base URL."""
    selections, filters = normalized_inputs(job)
    csv = str(job.csv) if is_url(job.csv) else await content_name(Path(job.csv))
    step = job.lookalike
    lookalike: Any = None
    if step is not None:
        lookalike = [
            step.audience_name,
            step.size,
            step.include_original_audience,
            None if filters is None else attrs.asdict(filters),
        ]
    columns = {field: attrs.astuple(selection) for field, selection in selections.by_field().items()}
    return JobIdentity(
        fingerprint=_digest([base_url, without_query(csv), columns, lookalike]),
        input_hashes={
            "server": _server_hash(base_url),
            "csv": _short_digest(normalize_url(csv)),
            "columns": _short_digest(columns),
            "lookalike": _short_digest(lookalike),
        },
    )


@lru_cache(maxsize=16)
def _server_hash(base_url: str) -> str:
    return _short_digest(normalize_url(base_url))


def _short_digest(value: Any) -> str:
    """Short, because thousands of waiting jobs hold theirs in memory; they only tell a job's own runs apart."""
    return _digest(value)[:_SHORT_DIGEST_LENGTH]


def _digest(value: Any) -> str:
    # enc_hook: sequences of any type count as lists
    return hashlib.sha256(msgspec.json.encode(value, order="sorted", enc_hook=list)).hexdigest()
