"""The third recipe: price an export, purchase it within a limit, download it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from indigo_async._redaction import sanitize_text
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import EmptyAudienceError, PurchaseInDoubtError
from indigo_async.events import Listener, Stage
from indigo_async.models import Audience, CsvExport, ExportStatus, RecordId
from indigo_async.workflows.recipes.adoption import people_count, same_id
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, RecipeContext, recipe_scope
from indigo_async.workflows.recipes.csv_download import download_csv, emit_downloaded
from indigo_async.workflows.recipes.existing_exports import ExportState, export_state
from indigo_async.workflows.recipes.export_lock import export_lock
from indigo_async.workflows.recipes.export_options import ExportOptions, check_export_options
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.recipes.preview import ExportRead, ensure_preview
from indigo_async.workflows.recipes.purchase import check_price, purchase_export
from indigo_async.workflows.recipes.receipt import ExportReceipt
from indigo_async.workflows.recipes.waits import wait_export

__all__ = [
    "ExportOptions",
    "ExportReceipt",
    "check_export_options",
    "ensure_downloaded",
    "ensure_purchased",
    "export_audience",
    "is_purchased",
]

_CONTRADICTION_SECONDS = 60.0
"""How long a purchased export may be shown as unpaid, as by a server that lags."""


async def export_audience(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: Path | str,
    optional_field_types: Sequence[str] = (),
    max_cost_cents: int = 0,
    reuse_purchased: bool | None = None,
    allow_empty: bool = False,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the recipe's own deadline
    on_event: Listener | None = None,
) -> ExportReceipt:
    """Price an export of an audience, buy it if it costs no more than the limit, and download its CSV.

    Called again with the same arguments, it downloads the export that was bought instead of buying another, unless
    `reuse_purchased=False` says otherwise.

    Args:
        client: an open client.
        audience: an `ACTIVE` audience, or its ID.
        customer_id: the audience's customer; None for an audience made in the app.
        destination: where the CSV goes, with mode 0600; a file there is replaced when the download is whole.
        optional_field_types: the paid fields to add to the free ones; see `OptionalFieldType`.
        max_cost_cents: the most that may be spent, in cents. The default buys free exports only.
        reuse_purchased: what to do with a purchased export whose field types the server does not show: download that
            one (True), buy another (False), or stop with an error (None). An export that this client, or the batch's
            journal, recorded as purchased is never bought again.
        allow_empty: purchase the export even if the audience is known to hold nobody.
        timeout: seconds for the whole recipe.
        on_event: told what happens, as values of `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        BudgetExceededError: it costs more than the limit, or its cost cannot be read; nothing was bought.
        ExportExistsError: see `reuse_purchased`; nothing was bought.
        EmptyAudienceError: see `allow_empty`; nothing was bought.
        PurchaseInDoubtError: it may have been purchased, and the server's records don't settle it.
        AudienceFailedError: the export failed at the server.
        DownloadError: bought, and the CSV could not be fetched whole or written. `download_export` with the export's
        ID,
            which the message says, downloads it; the same call might, with `reuse_purchased=False`, buy another.
        WaitTimeoutError: not done within `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.

    Source: reference, "Cookbook: Export an audience"; contract, "Observed".
    """
    check = InputCheck()
    check.customer_id(customer_id, optional=True)
    audience_id = audience.id if isinstance(audience, Audience) else audience
    check.record_id("audience", audience_id)
    terms = await run_in_thread(
        partial(
            check_export_options,
            check,
            optional_field_types=optional_field_types,
            max_cost_cents=max_cost_cents,
            destination=destination,
            reuse_purchased=reuse_purchased,
            allow_empty=allow_empty,
        )
    )
    check.seconds("timeout", timeout)
    check.raise_if_invalid()
    name = audience.name if isinstance(audience, Audience) and audience.name else str(audience_id)
    run = RecipeContext(client, customer_id, name, NameIndex(client))
    with recipe_scope(run, "export_audience", SharedTimeout(timeout), on_event=on_event):
        run.current_stage = Stage.PREVIEW
        return await ensure_downloaded(run, audience_id, terms)


async def ensure_downloaded(context: RecipeContext, audience_id: RecordId, options: ExportOptions) -> ExportReceipt:
    """Return the export priced, purchased and downloaded: each done already or done now."""
    receipt = await _recorded_receipt(context, options)
    if receipt is not None:
        return receipt
    async with export_lock(context.client, audience_id):
        export = await ensure_purchased(
            context, audience_id, await ensure_preview(context, audience_id, options), options
        )
    receipt = await download_csv(context, audience_id, export, options.destination)
    export = receipt.export
    bought = {"audience_id": audience_id, "export_id": export.id, "cost_cents": export.cost_cents}
    kept = {"path": str(receipt.path), "size_bytes": receipt.size_bytes, "sha256": receipt.sha256}
    await context.job_log.record_result(Stage.DOWNLOAD, options.journal_facts | bought | kept)
    emit_downloaded(context, receipt)
    return receipt


async def ensure_purchased(
    context: RecipeContext, audience_id: RecordId, read: ExportRead, options: ExportOptions
) -> CsvExport:
    """Return an export that is purchased, already or now, and can be downloaded.

    Raises:
        BudgetExceededError, PurchaseInDoubtError: see `purchase_export`.
    """
    export = read.export
    if export_state(export) is ExportState.DOWNLOADABLE:
        await _record_found_purchase(context, export)
        return export
    if not read.is_purchased:
        context.current_stage = Stage.PURCHASE  # a price above the limit ends the recipe here, before the stage starts
        check_price(context, export, options.max_cost_cents)
        _check_not_empty(context, audience_id, options)
    with context.stage(Stage.PURCHASE):
        if not read.is_purchased:
            export = await purchase_export(context, audience_id, read, options)
        if export_state(export) is not ExportState.DOWNLOADABLE:
            export = await _wait_for_url(context, audience_id, export)
    await _record_found_purchase(context, export)
    return export


def is_purchased(read: ExportRead) -> bool:
    """Whether nothing is left to buy."""
    return read.is_purchased or export_state(read.export) is ExportState.DOWNLOADABLE


def _check_not_empty(context: RecipeContext, audience_id: RecordId, options: ExportOptions) -> None:
    """Refuse to buy an export of nobody.

    Raises:
        EmptyAudienceError: the audience is known to be empty, and the caller does not allow that.
    """
    audience = context.audience
    is_empty = audience is not None and same_id(audience.id, audience_id) and people_count(audience) == 0
    if is_empty and not options.allow_empty:
        raise EmptyAudienceError(
            f"audience {audience_id} has 0 people; nothing was bought. Check its columns and filters; to export it "
            "anyway, pass allow_empty=True",
            stage=Stage.PURCHASE,
            audience=audience,
        )


async def _wait_for_url(context: RecipeContext, audience_id: RecordId, export: CsvExport) -> CsvExport:
    """Wait until a purchased export shows its download URL.

    Raises:
        PurchaseInDoubtError: it was purchased, and the server goes on asking for payment.
    """
    asks_for_payment = export_state(export) is ExportState.FOR_SALE and export.status.strip() != ""
    try:
        async with asyncio.timeout(_CONTRADICTION_SECONDS if asks_for_payment else None):
            return await wait_export(context, audience_id, export.id, purchased=True)
    except TimeoutError:
        raise PurchaseInDoubtError(
            f"export {export.id} of audience {audience_id} was purchased by this job or client, but the server shows "
            f"the status {sanitize_text(export.status)!r}; nothing more was bought. Ask the vendor about it",
            stage=context.current_stage,
            audience=context.audience,
            export=export,
        ) from None


async def _record_found_purchase(context: RecipeContext, export: CsvExport) -> None:
    """Record a purchase whose outcome an earlier run did not learn, at what the server shows was charged."""
    intent = context.job_log.open_intent(Stage.PURCHASE)
    if intent is None or not same_id(intent["export_id"], export.id):
        return
    charged = intent["cost_cents"] if export.cost_cents is None else export.cost_cents
    context.budget.spent_cents += max(0, charged - intent["cost_cents"])
    await context.job_log.record_result(Stage.PURCHASE, {**intent, "cost_cents": charged})


async def _recorded_receipt(context: RecipeContext, options: ExportOptions) -> ExportReceipt | None:
    """The receipt of an earlier run, if its file is where it is wanted and as long as it was."""
    known = context.job_log.result(Stage.DOWNLOAD)
    if known is None or known["field_types"] != options.journal_facts["field_types"]:
        return None
    path, size = Path(known["path"]), known["size_bytes"]
    if path != options.destination or await run_in_thread(partial(_size_of, path)) != size:
        return None
    export = CsvExport(
        id=known["export_id"],
        status=ExportStatus.ACTIVE,
        cost_cents=known["cost_cents"],
        optional_field_types=options.optional_field_types,
    )
    context.quote = export
    return ExportReceipt(export=export, path=path, size_bytes=size, sha256=known["sha256"])


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
