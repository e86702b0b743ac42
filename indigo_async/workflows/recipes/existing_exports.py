"""Pure rules about existing exports: reuse needs evidence, a contradiction stops, and doubt never purchases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto

import attrs

from indigo_async._redaction import sanitize_text
from indigo_async.errors import ExportExistsError
from indigo_async.events import Stage
from indigo_async.inputs import OptionalFieldType
from indigo_async.models import Audience, CsvExport, ExportStatus, RecordId, is_failure_status, same_id

__all__ = [
    "NOTHING_RECORDED",
    "ExportChoice",
    "ExportState",
    "FieldMatch",
    "RecordedExports",
    "choose_export",
    "export_state",
    "find_export",
    "known_fields",
    "match_fields",
    "may_cost",
    "needs_wait",
]


class ExportState(Enum):
    """What can be done with an export, by its status and URL alone."""

    DOWNLOADABLE = auto()
    IN_PROGRESS = auto()
    FOR_SALE = auto()
    FAILED = auto()
    ACTIVE_WITHOUT_URL = auto()
    """It may have just been purchased."""
    UNCLEAR = auto()
    """Its status is unknown, or contradicts its URL. It may have been purchased."""


_UNPAID = frozenset(
    {
        ExportStatus.REQUIRES_PAYMENT.value,
        "AWAITING_PAYMENT",
        "NEEDS_PAYMENT",
        "NOT_PURCHASED",
        "PAYMENT_REQUIRED",
        "PENDING_PAYMENT",
        "PREVIEW",
        "UNPAID",
    }
)
"""Statuses that mean "not paid yet". Only `REQUIRES_PAYMENT` was observed; the others are inferred."""


def export_state(export: CsvExport) -> ExportState:
    """Read the state from the status and the URL.

    An export with neither is an unpaid preview: a purchased one has a `downloadUrl` (API reference: GET /audience).
    """
    status = re.sub(r"[\s-]+", "_", export.status.strip().upper())
    if export.download_url is not None:
        return ExportState.UNCLEAR if status in _UNPAID else ExportState.DOWNLOADABLE
    if status == ExportStatus.IN_PROGRESS:
        return ExportState.IN_PROGRESS
    if is_failure_status(status):
        return ExportState.FAILED
    if not status or status in _UNPAID:
        return ExportState.FOR_SALE
    return ExportState.ACTIVE_WITHOUT_URL if status == ExportStatus.ACTIVE else ExportState.UNCLEAR


def needs_wait(export: CsvExport) -> bool:
    """Whether the state will probably change soon without another request."""
    return export_state(export) in {ExportState.IN_PROGRESS, ExportState.ACTIVE_WITHOUT_URL}


def may_cost(export: CsvExport) -> bool:
    """Whether money may have been paid for an export. The standard fields alone are free (API reference)."""
    if export.cost_cents is None:
        return export.optional_field_types != ()
    return export.cost_cents > 0


def find_export(exports: Iterable[CsvExport], export_id: RecordId) -> CsvExport | None:
    return next((export for export in exports if same_id(export.id, export_id)), None)


class FieldMatch(Enum):
    """How an export's paid field types compare with the wanted ones."""

    SAME = auto()
    OTHER = auto()
    UNKNOWN = auto()


_PAID_FIELDS = frozenset(option.value for option in OptionalFieldType)

_FREE_FIELDS = frozenset(
    {
        "age",
        "birth_date",
        "county_voter_id",
        "date_of_birth",
        "dob",
        "ethnicity",
        "first_name",
        "full_name",
        "gender",
        "id",
        "last_name",
        "middle_initial",
        "middle_name",
        "name",
        "name_suffix",
        "party",
        "party_registration",
        "reg_date",
        "registration_date",
        "state_voter_id",
        "voter_id",
        "voterbase_id",
    }
)
"""Standard fields, which a server may list along with the paid ones."""


def match_fields(export: CsvExport, wanted: frozenset[str]) -> FieldMatch:
    """Compare the field types that the server shows with the wanted ones.

    Case, separators, order, duplicates and free fields make no difference. What the SDK doesn't understand is unknown,
    not different: a name that the API reference doesn't list, or an empty list on an export that may have cost money.
    """
    shown = known_fields(export)
    if shown is None or (not shown and wanted and export.cost_cents is None):
        return FieldMatch.UNKNOWN
    return FieldMatch.SAME if shown == wanted else FieldMatch.OTHER


def known_fields(export: CsvExport) -> frozenset[str] | None:
    """Return an export's paid field types, with the names in the API reference; None if some aren't shown."""
    if export.optional_field_types is None:
        return None
    shown = frozenset(map(_canonical_field, export.optional_field_types)) - _FREE_FIELDS
    if not shown <= _PAID_FIELDS or (not shown and export.cost_cents):
        return None
    return shown


def _canonical_field(name: str) -> str:
    """`phone` for " Phone", `vote_history` for "Vote History", "vote-history" and "voteHistory"."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s_.-]+", "_", split).casefold()


@attrs.frozen(kw_only=True)
class RecordedExports:
    """What the journal and this client know about exports, whatever the server shows, by export ID as text.

    `fields` are the paid field types that were requested. `previews` were only priced; `purchased` were certainly
    purchased. `blocking` are purchases that the journal records as made or started: they block another purchase,
    whatever the caller says.
    """

    fields: Mapping[str, frozenset[str]] = attrs.field(factory=dict[str, frozenset[str]])
    previews: frozenset[str] = frozenset()
    purchased: frozenset[str] = frozenset()
    blocking: frozenset[str] = frozenset()

    def match(self, export: CsvExport, wanted: frozenset[str]) -> FieldMatch:
        recorded = self.fields.get(str(export.id))
        if recorded is not None:
            return FieldMatch.SAME if recorded == wanted else FieldMatch.OTHER
        return match_fields(export, wanted)


NOTHING_RECORDED = RecordedExports()


@attrs.frozen(kw_only=True)
class ExportChoice:
    """An existing export to use, and why. `is_purchased`: it must never be purchased again."""

    export: CsvExport
    evidence: str
    is_purchased: bool = False


def choose_export(
    audience: Audience,
    wanted: frozenset[str],
    *,
    reuse_purchased: bool | None,
    recorded: RecordedExports = NOTHING_RECORDED,
) -> ExportChoice | None:
    """Choose the existing export that has the wanted field types; None if a new preview is needed.

    If the chosen export still changes (`needs_wait`), the caller waits and chooses again. `audience` must come from a
    single GET, because lists may lag.

    Raises:
        ExportExistsError: an export was or may have been purchased, and it is unclear whether it is the wanted one.
    """
    same = [export for export in audience.csv_exports if recorded.match(export, wanted) is FieldMatch.SAME]
    unknown = [export for export in audience.csv_exports if recorded.match(export, wanted) is FieldMatch.UNKNOWN]
    _refuse_failed(audience, [export for export in same if str(export.id) in recorded.blocking])
    known = _newest(same, lambda export: str(export.id) in recorded.purchased and not _has_failed(export))
    if known is not None:
        return ExportChoice(export=known, evidence="already purchased by this job or this process", is_purchased=True)
    purchased = _newest(same, _is_downloadable)
    if purchased is not None:
        return ExportChoice(export=purchased, evidence="purchased earlier with the same field types", is_purchased=True)
    pending = _newest(same, needs_wait)
    if pending is not None:
        return ExportChoice(export=pending, evidence="in progress with the same field types")
    _refuse_unclear(audience, [export for export in same if str(export.id) not in recorded.previews])
    if reuse_purchased is not False:
        choice = _choose_unknown(audience, unknown, recorded, reuse_purchased=reuse_purchased)
        if choice is not None:
            return choice
        priced_only = recorded.previews
        _refuse_failed(audience, [export for export in [*same, *unknown] if str(export.id) not in priced_only])
        _refuse_unreadable(audience)
    preview = _newest(
        same,
        lambda export: (
            export_state(export) is ExportState.FOR_SALE
            or (export_state(export) is ExportState.UNCLEAR and str(export.id) in recorded.previews)
        ),
    )
    return None if preview is None else ExportChoice(export=preview, evidence="a preview with the same field types")


def _choose_unknown(
    audience: Audience, unknown: Sequence[CsvExport], recorded: RecordedExports, *, reuse_purchased: bool | None
) -> ExportChoice | None:
    """Choose among exports whose field types the server doesn't show."""
    pending = _newest(unknown, needs_wait)
    if pending is not None:
        return ExportChoice(export=pending, evidence="in progress with unknown field types")
    purchased = _newest(unknown, lambda export: _is_downloadable(export) or str(export.id) in recorded.purchased)
    if purchased is None:
        _refuse_unclear(audience, unknown)
        return None
    if reuse_purchased:
        evidence = "purchased earlier, and reused because of reuse_purchased=True; field types are not compared"
        return ExportChoice(export=purchased, evidence=evidence, is_purchased=True)
    raise ExportExistsError(
        f"export {purchased.id} of audience {audience.id} was purchased before, but the server does not clearly show "
        "its field types; nothing was purchased now. To download it, pass reuse_purchased=True, or call "
        f"workflows.download_export(..., export_id={purchased.id!r})",
        stage=Stage.PREVIEW,
        audience=audience,
    )


def _refuse_unclear(audience: Audience, exports: Sequence[CsvExport]) -> None:
    unclear = _newest(exports, lambda export: export_state(export) is ExportState.UNCLEAR and may_cost(export))
    if unclear is not None:
        status = sanitize_text(unclear.status)
        url = " and a download URL" if unclear.download_url is not None else ""
        raise ExportExistsError(
            f"export {unclear.id} of audience {audience.id} has the status {status!r}{url}, so it may have been "
            "purchased before; nothing was purchased now. Run this again when its status changes, or ask Indigo",
            stage=Stage.PREVIEW,
            audience=audience,
        )


def _refuse_failed(audience: Audience, exports: Sequence[CsvExport]) -> None:
    failed = _newest(exports, lambda export: _has_failed(export) and may_cost(export))
    if failed is not None:
        raise ExportExistsError(
            f"export {failed.id} of audience {audience.id} failed (its status is {sanitize_text(failed.status)!r}) and "
            "may have been purchased before; nothing was purchased now. Ask Indigo whether you were charged for it",
            stage=Stage.PREVIEW,
            audience=audience,
        )


def _refuse_unreadable(audience: Audience) -> None:
    if "csvExports" in audience.extra:
        raise ExportExistsError(
            f"some exports of audience {audience.id} cannot be read (csvExports has an unexpected shape), so one of "
            "them may have been purchased before; nothing was purchased now. Ask Indigo about this audience",
            stage=Stage.PREVIEW,
            audience=audience,
        )


def _newest(exports: Sequence[CsvExport], fits: Callable[[CsvExport], bool]) -> CsvExport | None:
    """The last export that fits: servers list the oldest first."""
    return next((export for export in reversed(exports) if fits(export)), None)


def _is_downloadable(export: CsvExport) -> bool:
    return export_state(export) is ExportState.DOWNLOADABLE


def _has_failed(export: CsvExport) -> bool:
    return export_state(export) is ExportState.FAILED
