"""Pricing an export, or finding the one that exists."""

from __future__ import annotations

from collections.abc import Sequence

from indigo_async.errors import AudienceFailedError, ExportExistsError
from indigo_async.models import CsvExport, ExportStatus, RecordId
from indigo_async.polling import Needs
from indigo_async.transport.events import emit
from indigo_async.workflows.events import ExportPriced, ExportReused, Stage
from indigo_async.workflows.export_rules import ExportState, choose_export, export_state, find_export
from indigo_async.workflows.rules import same_id
from indigo_async.workflows.run import Run
from indigo_async.workflows.terms import ExportTerms
from indigo_async.workflows.waits import current, export_settled

__all__ = ["priced_export", "was_bought"]


async def priced_export(
    run: Run, audience_id: RecordId, terms: ExportTerms, *, exports: Sequence[CsvExport] | None = None
) -> CsvExport:
    """An export that serves the terms, out of progress: bought already, or for sale at a price.

    `exports` are the audience's, where they were just looked at.
    """
    with run.at(Stage.PREVIEW):
        export = None
        if str(audience_id) in run.made:
            exports = ()
        else:
            if exports is None:
                exports = (await current(run, audience_id, Needs.EXPORTS)).csv_exports
            export = await _existing(run, audience_id, exports, terms)
        if export is None:
            export = await _new_preview(run, audience_id, exports, terms)
        if export_state(export) is ExportState.IN_PROGRESS:
            export = await export_settled(run, audience_id, export.id, purchased=False)
        run.quote = export
        if export_state(export) is ExportState.FOR_SALE:
            emit(
                ExportPriced(
                    customer_id=run.customer_id,
                    audience_name=run.audience_name,
                    export_id=export.id,
                    cost_cents=export.cost_cents,
                )
            )
        return export


async def _existing(
    run: Run, audience_id: RecordId, exports: Sequence[CsvExport], terms: ExportTerms
) -> CsvExport | None:
    """An export made before: by memory, else by the server's records under the rules."""
    remembered = _remembered_export(run, audience_id, exports, terms)
    if remembered is not None:
        return remembered
    wanted = frozenset(terms.optional_field_types)
    while True:
        # What memory knows to be priced only cannot have been bought, so its failure leaves no doubt.
        priced = run.memory.recall(Stage.PREVIEW)
        unbought = [export for export in exports if priced is None or not same_id(export.id, priced["export_id"])]
        choice = choose_export(
            audience_id, unbought, wanted, reuse_purchased=terms.reuse_purchased, audience=run.audience
        )
        if choice is None:
            return None
        if choice != "settle first":
            if export_state(choice.export) is ExportState.DOWNLOADABLE:
                emit(
                    ExportReused(
                        customer_id=run.customer_id,
                        audience_name=run.audience_name,
                        export_id=choice.export.id,
                        evidence=choice.evidence,
                    )
                )
            return choice.export
        for export in exports:
            if export_state(export) is ExportState.IN_PROGRESS:
                await _settled_or_failed(run, audience_id, export.id)
        exports = (await current(run, audience_id, Needs.EXPORTS)).csv_exports


def _remembered_export(
    run: Run, audience_id: RecordId, exports: Sequence[CsvExport], terms: ExportTerms
) -> CsvExport | None:
    """The export that an earlier run bought, was about to buy, or priced.

    Raises:
        ExportExistsError: it was bought, or perhaps bought, and failed or is not shown any more.
    """
    bought = (run.memory.intended(Stage.PURCHASE), run.memory.recall(Stage.PURCHASE))
    for known in (*bought, run.memory.recall(Stage.PREVIEW)):
        if known is None or known["field_types"] != terms.facts["field_types"]:
            continue
        export = find_export(exports, known["export_id"])
        if export is not None and export_state(export) is not ExportState.FAILED:
            return export
        if known in bought and known["cost_cents"] > 0 and terms.reuse_purchased is not False:
            what = "is not shown by the server any more" if export is None else "failed at the server"
            raise ExportExistsError(
                f"export {known['export_id']} of audience {audience_id} was bought, or perhaps bought, and {what}; "
                "ask the vendor about it, or pass reuse_purchased=False to buy another",
                stage=Stage.PREVIEW,
                audience=run.audience,
            )
    return None


def was_bought(run: Run, export: CsvExport) -> bool:
    """Whether an earlier run bought the export, as far as is remembered, and the server does not ask for the money."""
    known = run.memory.recall(Stage.PURCHASE)
    asks = export.status.upper() == ExportStatus.REQUIRES_PAYMENT
    return known is not None and same_id(known["export_id"], export.id) and not asks


async def _settled_or_failed(run: Run, audience_id: RecordId, export_id: RecordId) -> None:
    try:
        await export_settled(run, audience_id, export_id, purchased=False)
    except AudienceFailedError:
        return  # the rules judge an earlier export that failed


async def _new_preview(run: Run, audience_id: RecordId, exports: Sequence[CsvExport], terms: ExportTerms) -> CsvExport:
    before = {str(export.id) for export in exports}
    wanted = frozenset(terms.optional_field_types)

    async def look() -> CsvExport | None:
        now = await run.client.get_audience(audience_id, run.customer_id)
        for export in now.csv_exports:
            types = export.optional_field_types
            if str(export.id) not in before and types is not None and frozenset(types) == wanted:
                return export
        return None  # unknown fields are no evidence, and another preview costs nothing

    await run.memory.intend(Stage.PREVIEW, terms.facts)
    export = await run.post(
        lambda: run.client.create_preview_csv_export(
            audience_id=audience_id,
            customer_id=run.customer_id,
            optional_field_types=terms.optional_field_types,
        ),
        look,
    )
    await run.memory.remember(Stage.PREVIEW, terms.facts | {"export_id": export.id})
    return export
