"""Pricing an export, or finding an existing one.

Nothing here relies on a list row, because lists may lag behind purchases: exports are read with a single GET of their
audience.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import attrs

from indigo_async._redaction import sanitize_text
from indigo_async.errors import AudienceFailedError, ExportExistsError, PurchaseInDoubtError, RecordMismatchError
from indigo_async.events import ExportPriced, ExportReused, Stage
from indigo_async.models import Audience, CsvExport, RecordId, same_id
from indigo_async.workflows.recipes.context import RecipeContext
from indigo_async.workflows.recipes.existing_exports import (
    ExportChoice,
    ExportState,
    FieldMatch,
    RecordedExports,
    choose_export,
    export_state,
    find_export,
    match_fields,
    needs_wait,
)
from indigo_async.workflows.recipes.export_options import ExportOptions
from indigo_async.workflows.recipes.reconcile import retry_delays, retry_rate_limited
from indigo_async.workflows.recipes.waits import wait_export

__all__ = ["NEVER", "ExportRead", "ensure_preview", "read_until_shown"]

NEVER = float("-inf")

_URL_WAIT_SECONDS = 15 * 60.0
"""How long an export may be ACTIVE before the server shows its download URL."""


@attrs.frozen(kw_only=True)
class ExportRead:
    """A record of an export, and when (event-loop time) the request for it was sent.

    `read_at` is `NEVER` if the record may come from a list. `is_purchased`: it must not be purchased again.
    """

    export: CsvExport
    read_at: float = NEVER
    is_purchased: bool = False


async def ensure_preview(context: RecipeContext, audience_id: RecordId, options: ExportOptions) -> ExportRead:
    """Return an export with the requested fields: already purchased, or for sale. Creates a preview if needed.

    Raises:
        ExportExistsError: an export may have been purchased before, and it is unclear whether it is the requested one.
        PurchaseInDoubtError: the journal records a purchase that the server doesn't show.
    """
    with context.stage(Stage.PREVIEW):
        read = None
        existing: Iterable[CsvExport] = ()
        if str(audience_id) not in context.created_ids:
            read = await _find_existing(context, audience_id, options)
            existing = context.audience.csv_exports if context.audience is not None else ()
        if read is None:
            read = await _create_preview(context, audience_id, options, existing)
        if not read.is_purchased and export_state(read.export) not in {ExportState.DOWNLOADABLE, ExportState.FOR_SALE}:
            read = ExportRead(export=await _wait_until_priced(context, audience_id, read.export))
        context.set_quote(read.export)
        if not read.is_purchased and export_state(read.export) is ExportState.FOR_SALE:
            context.emit(ExportPriced, export_id=read.export.id, cost_cents=read.export.cost_cents)
        return read


async def _read_audience(context: RecipeContext, audience_id: RecordId) -> tuple[Audience, float]:
    """Read an audience with a single GET. Also returns when (event-loop time) the request was sent."""
    read_at = NEVER

    async def read() -> Audience:
        nonlocal read_at
        read_at = asyncio.get_running_loop().time()
        return await context.client.get_audience(audience_id, context.customer_id)

    context.audience = audience = await retry_rate_limited(read, retry=context.client.options.retry)
    return audience, read_at


async def read_until_shown(context: RecipeContext, audience_id: RecordId, export_id: RecordId) -> ExportRead:
    """Read the audience until it shows an export, as often as the retry policy allows.

    Raises:
        PurchaseInDoubtError: it doesn't, or it shows the export twice with different facts.
    """
    delays = retry_delays(context.client.options.retry)
    while True:
        audience, read_at = await _read_audience(context, audience_id)
        shown = [export for export in audience.csv_exports if same_id(export.id, export_id)]
        if len({(export_state(export), export.cost_cents) for export in shown}) == 1:
            return ExportRead(export=shown[0], read_at=read_at)
        delay = next(delays, None)
        if delay is None:
            problem = "shows it twice with different facts" if shown else "does not show it"
            raise PurchaseInDoubtError(
                f"export {export_id} of audience {audience_id} may have been purchased, but the server {problem}; "
                "nothing more was purchased. Ask Indigo about this export",
                stage=context.current_stage,
                audience=audience,
            )
        await asyncio.sleep(delay)


async def _find_existing(context: RecipeContext, audience_id: RecordId, options: ExportOptions) -> ExportRead | None:
    """Find an earlier export that fits, by the journal, this client, and the server's records."""
    wanted = frozenset(options.optional_field_types)
    audience, read_at = await _read_audience(context, audience_id)
    recorded = _recorded_exports(context, audience)
    for export_id in sorted(recorded.blocking):
        if recorded.fields[export_id] == wanted and find_export(audience.csv_exports, export_id) is None:
            read_at = (await read_until_shown(context, audience_id, export_id)).read_at
            audience = context.audience or audience
    while True:
        choice = choose_export(audience, wanted, reuse_purchased=options.reuse_purchased, recorded=recorded)
        if choice is None:
            return None
        if choice.is_purchased or not needs_wait(choice.export):
            _report_reuse(context, choice, recorded)
            return ExportRead(export=choice.export, read_at=read_at, is_purchased=choice.is_purchased)
        with suppress(AudienceFailedError):  # choose_export judges an earlier export that failed
            await _wait_until_priced(context, audience_id, choice.export)
        audience, read_at = await _read_audience(context, audience_id)
        recorded = _recorded_exports(context, audience)


def _recorded_exports(context: RecipeContext, audience: Audience) -> RecordedExports:
    """What the journal and this client know about the exports of an audience."""
    intent, purchase = context.job_log.open_intent(Stage.PURCHASE), context.job_log.result(Stage.PURCHASE)
    preview = context.job_log.result(Stage.PREVIEW)
    journaled = [
        facts for facts in (preview, purchase, intent) if facts is not None and _concerns_audience(facts, audience.id)
    ]
    shown = {str(export.id) for export in audience.csv_exports}
    by_client = {
        export_id: context.client.purchased_exports[export_id]
        for export_id in shown & context.client.purchased_exports.keys()
    }
    fields = {export_id: known for export_id, known in by_client.items() if known is not None}
    fields |= {str(facts["export_id"]): frozenset(facts["field_types"]) for facts in journaled}
    paid = [facts for facts in (purchase, intent) if facts in journaled and facts["cost_cents"] > 0]
    binding = frozenset(str(facts["export_id"]) for facts in paid)
    purchased = {str(purchase["export_id"])} if purchase in journaled else set[str]()
    previews = {str(preview["export_id"])} if preview in journaled else set[str]()
    return RecordedExports(
        fields=fields,
        previews=frozenset(previews - binding - by_client.keys()),
        purchased=frozenset(purchased | by_client.keys()),
        blocking=binding,
    )


def _concerns_audience(facts: Mapping[str, Any], audience_id: RecordId) -> bool:
    """Whether the journal's facts about an export concern this audience. Older journals don't name it."""
    return same_id(facts.get("audience_id", audience_id), audience_id)


async def _wait_until_priced(context: RecipeContext, audience_id: RecordId, export: CsvExport) -> CsvExport:
    """Wait until an export is no longer in progress: for sale, or downloadable.

    Raises:
        ExportExistsError: it stays ACTIVE without a download URL.
    """
    is_active = export_state(export) is ExportState.ACTIVE_WITHOUT_URL
    try:
        async with context.time_limit(_URL_WAIT_SECONDS if is_active else None):
            return await wait_export(context, audience_id, export.id, purchased=False)
    except TimeoutError:
        raise ExportExistsError(
            f"export {export.id} of audience {audience_id} has the status {sanitize_text(export.status)!r}, so it may "
            "have been purchased before, but the server has not shown its download URL for 15 minutes; nothing was "
            "purchased now. Ask Indigo about it",
            stage=context.current_stage,
            audience=context.audience,
        ) from None


def _report_reuse(context: RecipeContext, choice: ExportChoice, recorded: RecordedExports) -> None:
    if not (choice.is_purchased or export_state(choice.export) is ExportState.DOWNLOADABLE):
        return
    export_id = choice.export.id
    warning = None if str(export_id) in recorded.blocking else f"reusing export {export_id}: {choice.evidence}"
    context.report_reuse(ExportReused, warning=warning, export_id=export_id, evidence=choice.evidence)


async def _create_preview(
    context: RecipeContext, audience_id: RecordId, options: ExportOptions, existing: Iterable[CsvExport]
) -> ExportRead:
    before = {str(export.id) for export in existing}
    wanted = frozenset(options.optional_field_types)
    read_at = NEVER

    async def send() -> CsvExport:
        nonlocal read_at
        sent_at = asyncio.get_running_loop().time()
        export = await context.client.create_preview_csv_export(
            audience_id=audience_id,
            customer_id=context.customer_id,
            optional_field_types=options.optional_field_types,
        )
        # Only a response that names the audience shows that the export belongs to it.
        read_at = sent_at if export.audience is not None else NEVER
        return export

    async def find_created() -> CsvExport | None:
        """Find a preview whose response was lost. Unknown fields are no evidence, and another preview is free."""
        nonlocal read_at
        read_at = asyncio.get_running_loop().time()
        now = await context.client.get_audience(audience_id, context.customer_id)
        created = (export for export in now.csv_exports if str(export.id) not in before)
        return next((export for export in created if match_fields(export, wanted) is FieldMatch.SAME), None)

    facts = options.journal_facts | {"audience_id": audience_id}
    await context.job_log.record_intent(Stage.PREVIEW, facts)
    export = await context.post(send, find_created)
    if str(export.id) in before or str(export.id) in context.client.purchased_exports:
        read_at = NEVER  # the server returned an export that existed before: read its state
    elif match_fields(export, wanted) is FieldMatch.OTHER and export.optional_field_types:
        raise RecordMismatchError(
            endpoint="POST /create_preview_csv_export",
            record_kind="field types",
            requested=", ".join(sorted(wanted)) or "none",
            received=", ".join(export.optional_field_types),
        )
    await context.job_log.record_result(Stage.PREVIEW, facts | {"export_id": export.id})
    return ExportRead(export=export, read_at=read_at, is_purchased=str(export.id) in context.client.purchased_exports)
