"""The third recipe: price an export, purchase it within a limit, and download it or hand over its URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

from indigo_async._redaction import sanitize_text
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import EmptyAudienceError, PurchaseInDoubtError
from indigo_async.events import Listener, Stage
from indigo_async.models import Audience, CsvExport, ExportStatus, RecordId, same_id
from indigo_async.workflows.recipes.budget import Reservation
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, JobLog, RecipeContext, check_client, recipe_scope
from indigo_async.workflows.recipes.download import ExportReceipt, PurchasedExport, download_csv, emit_downloaded
from indigo_async.workflows.recipes.existing_exports import ExportState, export_state
from indigo_async.workflows.recipes.export_options import ExportOptions, check_export_options
from indigo_async.workflows.recipes.preview import ExportRead, ensure_preview
from indigo_async.workflows.recipes.purchase import check_price, export_lock, purchase_export
from indigo_async.workflows.recipes.waits import wait_export

__all__ = ["ensure_exported", "ensure_purchased", "export_audience", "find_recorded_receipt", "is_purchased"]

_NO_FACTS: Mapping[str, Any] = {}

_CONTRADICTION_SECONDS = 60.0
"""How long the server may show a purchased export as unpaid: its records may lag."""


@overload
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
    timeout: float = ...,  # noqa: ASYNC109 - the recipe's own deadline
    on_event: Listener | None = None,
) -> ExportReceipt: ...


@overload
async def export_audience(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: None,
    optional_field_types: Sequence[str] = (),
    max_cost_cents: int = 0,
    reuse_purchased: bool | None = None,
    allow_empty: bool = False,
    timeout: float = ...,  # noqa: ASYNC109 - the recipe's own deadline
    on_event: Listener | None = None,
) -> PurchasedExport: ...


async def export_audience(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: Path | str | None,
    optional_field_types: Sequence[str] = (),
    max_cost_cents: int = 0,
    reuse_purchased: bool | None = None,
    allow_empty: bool = False,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the recipe's own deadline
    on_event: Listener | None = None,
) -> ExportReceipt | PurchasedExport:
    """Price an export of an audience, purchase it if it costs no more than the limit, and download its CSV.

    If you call it again with the same arguments, it uses the purchased export, unless you pass `reuse_purchased=False`.
    With `destination=None`, nothing is downloaded: the result has the export's current download URL.

    Args:
        client: an open client.
        audience: an `ACTIVE` audience, or its ID.
        customer_id: the audience's customer; None for an audience made in the app.
        destination: where the CSV goes, with mode 0600. An existing file is replaced when the download is complete.
            None purchases the export without downloading it; `download_export` downloads it later.
        optional_field_types: the paid fields to add to the free ones; see `OptionalFieldType`.
        max_cost_cents: the most that may be spent, in cents. The default purchases free exports only.
        reuse_purchased: what to do if an export was purchased before and the server doesn't show its field types:
            use that one (True), purchase another (False), or raise `ExportExistsError` (None). An export that this
            client or the batch's journal recorded as purchased is never purchased again.
        allow_empty: purchase the export even if the audience is known to have no people.
        timeout: seconds for the whole recipe.
        on_event: called with each event; see `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        BudgetExceededError: the export costs more than the limit, or its price can't be read; nothing was purchased.
        ExportExistsError: see `reuse_purchased`; nothing was purchased.
        EmptyAudienceError: see `allow_empty`; nothing was purchased.
        PurchaseInDoubtError: the export may or may not have been purchased, and the server's records don't show which.
        AudienceFailedError: the export failed on the server.
        DownloadError: the export was purchased, but its CSV could not be downloaded completely or written. Call
            `download_export` with the export ID in the message. The same call with `reuse_purchased=False` might
            purchase another.
        WaitTimeoutError: it took longer than `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.

    API reference: "Cookbook: Export an audience".
    """
    check = InputCheck()
    check_client(check, client, on_event)
    customer_id = check.optional_customer_id(customer_id)
    audience_id = check.record_id("audience", audience.id if isinstance(audience, Audience) else audience)
    options = await run_in_thread(
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
    timeout = check.seconds("timeout", timeout)
    check.raise_if_invalid()
    name = audience.name if isinstance(audience, Audience) and audience.name else str(audience_id)
    context = RecipeContext(client, customer_id, name, current_stage=Stage.PREVIEW)
    with recipe_scope(context, "export_audience", SharedTimeout(timeout), on_event=on_event):
        return await ensure_exported(context, audience_id, options)


async def ensure_exported(
    context: RecipeContext,
    audience_id: RecordId,
    options: ExportOptions,
    *,
    download_facts: Mapping[str, Any] = _NO_FACTS,
) -> ExportReceipt | PurchasedExport:
    """Return the export priced, purchased and, if it has a destination, downloaded: each done before or now.

    `download_facts` are recorded together with a download.
    """
    context.buys_another = options.reuse_purchased is False
    receipt = await run_in_thread(partial(find_recorded_receipt, context.job_log, options))
    if receipt is not None:
        context.set_quote(receipt.export)
        return receipt
    async with export_lock(context.client, audience_id):
        read = await ensure_preview(context, audience_id, options)
        export = await ensure_purchased(context, audience_id, read, options)
    if options.destination is None:
        return PurchasedExport(export=export)
    receipt = await download_csv(context, audience_id, export, options.destination)
    facts = {
        "audience_id": audience_id,
        "export_id": receipt.export.id,
        "cost_cents": receipt.export.cost_cents,
        "path": str(receipt.path),
        "size_bytes": receipt.size_bytes,
        "sha256": receipt.sha256,
    }
    await context.job_log.record_result(Stage.DOWNLOAD, {**options.journal_facts, **facts, **download_facts})
    emit_downloaded(context, receipt)
    return receipt


async def ensure_purchased(
    context: RecipeContext, audience_id: RecordId, read: ExportRead, options: ExportOptions
) -> CsvExport:
    """Return an export that is purchased, before or now, and can be downloaded.

    Raises:
        BudgetExceededError, EmptyAudienceError: nothing was purchased.
        PurchaseInDoubtError: see `purchase_export`.
    """
    export = read.export
    if export_state(export) is not ExportState.DOWNLOADABLE:
        if not read.is_purchased:
            context.current_stage = Stage.PURCHASE  # a price above the limit ends the recipe before the stage starts
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
    """Whether nothing is left to purchase."""
    return read.is_purchased or export_state(read.export) is ExportState.DOWNLOADABLE


def _check_not_empty(context: RecipeContext, audience_id: RecordId, options: ExportOptions) -> None:
    """Refuse to purchase an export without people.

    Raises:
        EmptyAudienceError: the audience is known to be empty, and the options don't allow that.
    """
    audience = context.audience
    is_empty = audience is not None and same_id(audience.id, audience_id) and audience.people_count == 0
    if is_empty and not options.allow_empty:
        raise EmptyAudienceError(
            f"audience {audience_id} has 0 people; nothing was purchased. Check its columns and filters, or pass "
            "allow_empty=True to export it anyway",
            stage=Stage.PURCHASE,
            audience=audience,
        )


async def _wait_for_url(context: RecipeContext, audience_id: RecordId, export: CsvExport) -> CsvExport:
    """Wait until a purchased export shows its download URL.

    Raises:
        PurchaseInDoubtError: it was purchased, but the server keeps asking for payment.
    """
    asks_for_payment = export_state(export) is ExportState.FOR_SALE and export.status.strip() != ""
    try:
        async with context.time_limit(_CONTRADICTION_SECONDS if asks_for_payment else None):
            return await wait_export(context, audience_id, export.id, purchased=True)
    except TimeoutError:
        raise PurchaseInDoubtError(
            f"export {export.id} of audience {audience_id} was purchased by this job or client, but the server shows "
            f"the status {sanitize_text(export.status)!r}; nothing more was purchased. Ask Indigo about it",
            stage=context.current_stage,
            audience=context.audience,
            export=export,
        ) from None


async def _record_found_purchase(context: RecipeContext, export: CsvExport) -> None:
    """Record a purchase whose outcome an earlier run did not learn, at the charge that the server shows."""
    intent = context.job_log.open_intent(Stage.PURCHASE)
    if intent is None or not same_id(intent["export_id"], export.id):
        return
    charged = intent["cost_cents"] if export.cost_cents is None else export.cost_cents
    Reservation(context.budget, intent["cost_cents"], context.account).spend(charged)
    await context.job_log.record_result(Stage.PURCHASE, {**intent, "cost_cents": charged})


def find_recorded_receipt(job_log: JobLog, options: ExportOptions) -> ExportReceipt | None:
    """Return the receipt of an earlier run, if its file is at the destination with the recorded size. Blocks."""
    recorded = job_log.result(Stage.DOWNLOAD)
    if recorded is None or recorded["field_types"] != options.journal_facts["field_types"]:
        return None
    path, size = Path(recorded["path"]), recorded["size_bytes"]
    if path != options.destination or _file_size(path) != size:
        return None
    export = CsvExport(
        id=recorded["export_id"],
        status=ExportStatus.ACTIVE,
        cost_cents=recorded["cost_cents"],
        optional_field_types=options.optional_field_types,
    )
    return ExportReceipt(export=export, path=path, size_bytes=size, sha256=recorded["sha256"])


def _file_size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
