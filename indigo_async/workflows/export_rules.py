"""What an existing export is worth: pure rules. Evidence reuses, contradiction stops, doubt never buys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Literal

import attrs

from indigo_async.errors import ExportExistsError
from indigo_async.models import Audience, CsvExport, ExportStatus, RecordId, means_failure
from indigo_async.workflows.events import Stage
from indigo_async.workflows.rules import same_id

__all__ = ["ExportChoice", "ExportState", "choose_export", "export_state", "find_export", "may_cost"]


class ExportState(Enum):
    """What can be done with an export. Source: contract, "Observed"."""

    DOWNLOADABLE = auto()
    IN_PROGRESS = auto()
    FOR_SALE = auto()
    FAILED = auto()


def export_state(export: CsvExport) -> ExportState:
    """A download URL means that nothing is left to buy; in progress means wait; anything else is for sale."""
    if export.download_url is not None:
        return ExportState.DOWNLOADABLE
    if export.status.upper() == ExportStatus.IN_PROGRESS:
        return ExportState.IN_PROGRESS
    return ExportState.FAILED if means_failure(export.status) else ExportState.FOR_SALE


def may_cost(export: CsvExport) -> bool:
    """Whether money may have been paid for an export. The standard fields alone are free of charge.

    Source: reference, "POST /create_preview_csv_export".
    """
    return export.cost_cents != 0 and export.optional_field_types != ()


def find_export(exports: Iterable[CsvExport], export_id: RecordId) -> CsvExport | None:
    return next((export for export in exports if same_id(export.id, export_id)), None)


@attrs.frozen
class ExportChoice:
    """An existing export that serves, and on what evidence."""

    export: CsvExport
    evidence: str


def choose_export(
    audience_id: RecordId,
    exports: Sequence[CsvExport],
    wanted: frozenset[str],
    *,
    reuse_purchased: bool | None,
    audience: Audience | None = None,
) -> ExportChoice | Literal["settle first"] | None:
    """The existing export that serves the wanted field types, if there is one; None when a new preview is needed.

    "settle first": an export that may be the wanted one is in progress, and can only be judged when it is not.
    `audience` is its last known state, for errors.

    Raises:
        ExportExistsError: an export was purchased, its field types are not shown, and the caller has not said whether
            to use it; or one that may have been purchased before failed, or has an unknown status, and the caller has
            not said to buy another.
    """
    ours: list[CsvExport] = []
    unknown: list[CsvExport] = []
    for export in exports:
        if export.optional_field_types is None:
            unknown.append(export)
        elif frozenset(export.optional_field_types) == wanted:
            ours.append(export)
    purchased = _last_of(ours, ExportState.DOWNLOADABLE)
    if purchased is not None:
        return ExportChoice(purchased, "it was purchased before with the same fields")
    doubted = [] if reuse_purchased is False else unknown
    if any(export_state(export) is ExportState.IN_PROGRESS for export in ours + doubted):
        return "settle first"
    doubtful = _last_of(doubted, ExportState.DOWNLOADABLE)
    if doubtful is not None:
        if reuse_purchased:
            return ExportChoice(doubtful, "it was purchased before, and reuse_purchased=True says to use it")
        raise ExportExistsError(
            f"export {doubtful.id} of audience {audience_id} was purchased before, and the server does not show "
            "with which fields; pass reuse_purchased=True to download that one, or False to buy another",
            stage=Stage.PREVIEW,
            audience=audience,
        )
    paid = [] if reuse_purchased is False else [export for export in ours + unknown if may_cost(export)]
    failed = _last_of(paid, ExportState.FAILED)
    if failed is not None:
        raise ExportExistsError(
            f"export {failed.id} of audience {audience_id} failed ({failed.status!r}) and may have been purchased "
            "before; ask the vendor about it, or pass reuse_purchased=False to buy another",
            stage=Stage.PREVIEW,
            audience=audience,
        )
    unclear = next((export for export in unknown if reuse_purchased is not False and _is_unclear(export)), None)
    if unclear is not None:
        raise ExportExistsError(
            f"export {unclear.id} of audience {audience_id} has the status {unclear.status!r}, which is not known "
            "here, so it may have been purchased before; run this again when it has another, or pass "
            "reuse_purchased=False to buy another",
            stage=Stage.PREVIEW,
            audience=audience,
        )
    preview = _last_of(ours, ExportState.FOR_SALE)
    return None if preview is None else ExportChoice(preview, "a preview with the same fields exists")


def _is_unclear(export: CsvExport) -> bool:
    """Whether an export is for sale only as far as its status, which nobody documented, lets one think."""
    says = export.status.upper()
    is_documented = says in {"", *ExportStatus}
    return export_state(export) is ExportState.FOR_SALE and not is_documented and may_cost(export)


def _last_of(exports: Sequence[CsvExport], state: ExportState) -> CsvExport | None:
    return next((export for export in reversed(exports) if export_state(export) is state), None)
