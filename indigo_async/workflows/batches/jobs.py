"""A job: all recipes for one list of people, as one value and one await."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import attrs
import msgspec

from indigo_async._text import without_query
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.events import Listener, Stage
from indigo_async.files.publishing.publisher import Publisher, content_name
from indigo_async.inputs import (
    ColumnSelection,
    ColumnSelections,
    ColumnSelectionsInput,
    LookalikeFilters,
    LookalikeFiltersInput,
)
from indigo_async.models import Audience, CsvExport
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, RecipeContext, recipe_scope
from indigo_async.workflows.recipes.download import ExportReceipt
from indigo_async.workflows.recipes.existing_audiences import normalize_url
from indigo_async.workflows.recipes.export import ensure_downloaded
from indigo_async.workflows.recipes.export_options import ExportOptions, check_export_options
from indigo_async.workflows.recipes.lookalike import check_lookalike, ensure_lookalike
from indigo_async.workflows.recipes.match import check_csv, ensure_matched, is_url
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.recipes.preview import ensure_preview
from indigo_async.workflows.recipes.purchase import export_lock

__all__ = [
    "AudienceJob",
    "CheckedJob",
    "ExportStep",
    "JobIdentity",
    "JobResult",
    "LookalikeStep",
    "check_job",
    "compute_fingerprint",
    "compute_identity",
    "run_job",
    "run_stages",
]


T = TypeVar("T")

_SHORT_DIGEST_LENGTH = 16


def _copy_mutable(value: T) -> T:
    """A copy of what its maker may change, and use again for the next job, before this one is sent."""
    return copy.deepcopy(value) if type(value) in {dict, list} else value


@attrs.frozen(kw_only=True)
class LookalikeStep:
    """The lookalike that a job grows; see `workflows.create_lookalike`."""

    audience_name: str
    size: int
    include_original_audience: bool | None = None
    filters: LookalikeFiltersInput | None = attrs.field(default=None, converter=_copy_mutable)


@attrs.frozen(kw_only=True)
class ExportStep:
    """The export that a job buys and downloads; see `workflows.export_audience`. `max_cost_cents` is in cents.

    With `allow_empty`, the export of an audience that is known to hold nobody is purchased, too.
    """

    destination: Path | str
    optional_field_types: Sequence[str] = attrs.field(default=(), converter=_copy_mutable)
    max_cost_cents: int = 0
    reuse_purchased: bool | None = None
    allow_empty: bool = False


def _repr_csv(csv: str | Path) -> str:
    """A CSV without the query of its URL, where a signature stands."""
    return repr(without_query(csv) if isinstance(csv, str) and is_url(csv) else csv)


@attrs.frozen(kw_only=True)
class AudienceJob:
    """One list of people on its way: matched, perhaps grown, perhaps exported (the lookalike, where there is one).

    A job is known by its customer and its audience's name. `key` is the caller's own name for it in outcomes and
    reports; by default both, joined by a slash.
    """

    customer_id: str
    audience_name: str
    csv: str | Path = attrs.field(repr=_repr_csv)
    column_selections: ColumnSelectionsInput = attrs.field(converter=_copy_mutable)
    lookalike: LookalikeStep | None = None
    export: ExportStep | None = None
    key: str = attrs.field(
        default=attrs.Factory(lambda self: f"{self.customer_id}/{self.audience_name}", takes_self=True)
    )


@attrs.frozen(kw_only=True)
class JobResult:
    """What a job brought about. `quote` is the priced export, bought or not; `receipt` the bought, downloaded one."""

    matched: Audience
    lookalike: Audience | None = None
    quote: CsvExport | None = None
    receipt: ExportReceipt | None = None


@attrs.frozen(kw_only=True)
class CheckedJob:
    """A job whose inputs obey the rules, in their normal form."""

    job: AudienceJob
    selections: ColumnSelections
    filters: LookalikeFilters | None
    export_options: ExportOptions | None


async def run_job(
    client: IndigoClient,
    job: AudienceJob,
    *,
    publisher: Publisher | None = None,
    purchase: bool = True,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the job's own deadline
    on_event: Listener | None = None,
) -> JobResult:
    """Run one job through all its stages. Run again, it goes on where the server says it was.

    Args:
        client: an open client.
        job: what to do.
        publisher: puts a local CSV at a URL for as long as the match needs it.
        purchase: False stops at the priced preview, which a later run buys.
        timeout: seconds for the whole job.
        on_event: told what happens, as values of `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        WorkflowError, ApiError, TransportError, ResponseDecodeError, DownloadError: see the recipes.
    """
    check = InputCheck()
    checked = await run_in_thread(partial(check_job, check, job, publisher))
    check.seconds("timeout", timeout)
    check.raise_if_invalid()
    run = RecipeContext(client, job.customer_id, job.audience_name, NameIndex(client), publisher=publisher)
    with recipe_scope(run, "run_job", SharedTimeout(timeout), on_event=on_event):
        return await run_stages(run, checked, purchase=purchase)


def check_job(check: InputCheck, job: AudienceJob, publisher: Publisher | None) -> CheckedJob:
    """Check a whole job before anything of it is sent."""
    check.customer_id(job.customer_id)
    check.text("audience_name", job.audience_name)
    columns = check.column_selections(job.column_selections)
    check_csv(check, job.csv, publisher, columns)
    filters, terms = None, None
    if _check_step(job.lookalike, LookalikeStep, check, "lookalike"):
        if job.lookalike.audience_name == job.audience_name:
            check.add("lookalike.audience_name", "must differ from the matched audience's: names are unique")
        part = InputCheck()
        filters = check_lookalike(part, **attrs.asdict(job.lookalike, recurse=False))
        check.add_nested("lookalike", part.problems)
    if _check_step(job.export, ExportStep, check, "export"):
        part = InputCheck()
        terms = check_export_options(part, **attrs.asdict(job.export, recurse=False))
        check.add_nested("export", part.problems)
    return CheckedJob(
        job=job, selections=_share_selections(job.column_selections, columns), filters=filters, export_options=terms
    )


def _share_selections(given: ColumnSelectionsInput, checked: Mapping[str, ColumnSelection]) -> ColumnSelections:
    """The selections in their normal form; the caller's own where that is theirs, since all jobs may share them."""
    selections = ColumnSelections(**checked)
    return given if isinstance(given, ColumnSelections) and given == selections else selections


def _check_step(value: object, kind: type[T], check: InputCheck, where: str) -> TypeGuard[T]:
    if value is not None and not isinstance(value, kind):
        check.add(where, f"must be {kind.__name__}(...), not {type(value).__name__}")
    return isinstance(value, kind)


async def run_stages(context: RecipeContext, checked: CheckedJob, *, purchase: bool) -> JobResult:
    """The stages of a job, each done already or done now."""
    job, terms = checked.job, checked.export_options
    matched = await ensure_matched(context, job.csv, checked.selections)
    lookalike = None
    if job.lookalike is not None:
        with context.stage(Stage.LOOKALIKE):
            lookalike = await ensure_lookalike(
                context,
                matched.id,
                name=job.lookalike.audience_name,
                size=job.lookalike.size,
                include_original_audience=job.lookalike.include_original_audience,
                filters=checked.filters,
            )
    target = lookalike or matched
    if terms is None:
        return JobResult(matched=matched, lookalike=lookalike)
    if not purchase:
        async with export_lock(context.client, target.id):
            quote = (await ensure_preview(context, target.id, terms)).export
        return JobResult(matched=matched, lookalike=lookalike, quote=quote)
    receipt = await ensure_downloaded(context, target.id, terms)
    return JobResult(matched=matched, lookalike=lookalike, quote=receipt.export, receipt=receipt)


@attrs.frozen
class JobIdentity:
    """What a job makes, as hashes: the people, how they are matched and grown, and at which address.

    `input_hashes` has one for each part of it: the server, the CSV, the columns and the lookalike.
    `compute_fingerprint` stands for the whole. Money, destinations and exported fields are in neither: they may change
    between two runs of a job.
    """

    fingerprint: str
    input_hashes: Mapping[str, str]


async def compute_identity(checked: CheckedJob, *, base_url: str) -> JobIdentity:
    """What a job makes at the server with this base URL."""
    job = checked.job
    csv = str(job.csv) if is_url(job.csv) else await content_name(Path(job.csv))
    step = job.lookalike
    grown: Any = None
    if step is not None:
        filters = attrs.asdict(checked.filters) if checked.filters is not None else None
        grown = [step.audience_name, step.size, step.include_original_audience, filters]
    columns = {field: attrs.astuple(selection) for field, selection in checked.selections.by_field().items()}
    return JobIdentity(
        fingerprint=_digest([base_url, without_query(csv), columns, grown]),
        input_hashes={
            "server": _short_digest(normalize_url(base_url)),
            "csv": _short_digest(normalize_url(csv)),
            "columns": _short_digest(columns),
            "lookalike": _short_digest(grown),
        },
    )


async def compute_fingerprint(checked: CheckedJob, *, base_url: str) -> str:
    """All of a job's inputs as one hash; see `JobIdentity`."""
    return (await compute_identity(checked, base_url=base_url)).fingerprint


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted", enc_hook=_as_list)).hexdigest()


def _short_digest(value: Any) -> str:
    """Enough to tell one job's inputs from its own of another run: thousands of jobs wait with theirs in memory."""
    return _digest(value)[:_SHORT_DIGEST_LENGTH]


def _as_list(value: Any) -> Any:
    """Sequences of any type, for hashing."""
    return list(value)
