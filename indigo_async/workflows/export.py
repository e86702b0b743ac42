"""The third recipe: price an export, buy it within a limit, download it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from indigo_async.client import IndigoClient
from indigo_async.inputs import InputCheck
from indigo_async.models import Audience, CsvExport, ExportStatus, RecordId
from indigo_async.transport.events import Listener
from indigo_async.transport.shield import in_thread
from indigo_async.transport.time_limit import TimeLimit
from indigo_async.workflows.directory import Directory
from indigo_async.workflows.events import Stage
from indigo_async.workflows.export_rules import ExportState, export_state
from indigo_async.workflows.fetching import fetched_export, tell_downloaded
from indigo_async.workflows.preview import priced_export, was_bought
from indigo_async.workflows.purchase import check_price, purchased_export
from indigo_async.workflows.receipt import ExportReceipt
from indigo_async.workflows.rules import same_id
from indigo_async.workflows.run import DEFAULT_TIMEOUT, Run, running
from indigo_async.workflows.settle import patiently
from indigo_async.workflows.terms import ExportTerms, check_export_terms
from indigo_async.workflows.waits import export_settled

__all__ = [
    "ExportReceipt",
    "ExportTerms",
    "bought_export",
    "check_export_terms",
    "downloaded_export",
    "export_audience",
    "priced_export",
]


async def export_audience(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: Path | str,
    optional_field_types: Sequence[str] = (),
    max_cost_cents: int = 0,
    reuse_purchased: bool | None = None,
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
        reuse_purchased: what to do with a purchased export whose fields the server does not show: download that one
            (True), buy another (False), or stop and ask (None).
        timeout: seconds for the whole recipe.
        on_event: told what happens, as values of `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        BudgetExceededError: it costs more than the limit, or its cost cannot be read; nothing was bought.
        ExportExistsError: see `reuse_purchased`; nothing was bought.
        AudienceFailedError: the export failed at the server.
        DownloadError: bought, and the CSV could not be fetched whole or written. `fetch_again` with the export's ID,
            which the message says, downloads it; the same call might, with `reuse_purchased=False`, buy another.
        WaitTimeoutError: not done within `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.

    Source: reference, "Cookbook: Export an audience"; contract, "Observed".
    """
    check = InputCheck()
    check.customer_id(customer_id, optional=True)
    audience_id = audience.id if isinstance(audience, Audience) else audience
    check.record_id("audience", audience_id)
    terms = await in_thread(
        partial(
            check_export_terms,
            check,
            optional_field_types=optional_field_types,
            max_cost_cents=max_cost_cents,
            destination=destination,
            reuse_purchased=reuse_purchased,
        )
    )
    check.seconds("timeout", timeout)
    check.done()
    name = audience.name if isinstance(audience, Audience) and audience.name else str(audience_id)
    run = Run(client, customer_id, name, Directory(client))
    with running(run, "export_audience", TimeLimit(timeout), on_event=on_event):
        run.stage = Stage.PREVIEW
        run.audience = await patiently(
            lambda: client.get_audience(audience_id, customer_id), retry=client.transport.retry
        )
        return await downloaded_export(run, audience_id, terms, exports=run.audience.csv_exports)


async def downloaded_export(
    run: Run, audience_id: RecordId, terms: ExportTerms, *, exports: Sequence[CsvExport] | None = None
) -> ExportReceipt:
    """The export, priced, bought and downloaded: each done already or done now.

    `exports` are the audience's, where they were just looked at.
    """
    receipt = await _remembered_receipt(run, terms)
    if receipt is not None:
        return receipt
    export = await priced_export(run, audience_id, terms, exports=exports)
    export = await bought_export(run, audience_id, export, terms)
    receipt = await fetched_export(run, audience_id, export, terms.destination)
    export = receipt.export
    bought = {"export_id": export.id, "cost_cents": export.cost_cents}
    kept = {"path": str(receipt.path), "size_bytes": receipt.size_bytes, "sha256": receipt.sha256}
    await run.memory.remember(Stage.DOWNLOAD, terms.facts | bought | kept)
    tell_downloaded(run, receipt)
    return receipt


async def bought_export(run: Run, audience_id: RecordId, export: CsvExport, terms: ExportTerms) -> CsvExport:
    """A priced export that can be downloaded: bought already, or bought now."""
    if export_state(export) is ExportState.DOWNLOADABLE:
        await _remember_found_out(run, export)
        return export
    to_buy = not was_bought(run, export)
    if to_buy:
        run.stage = Stage.PURCHASE  # a price over the limit ends the recipe here, and no purchase is told of
        check_price(run, export, terms.max_cost_cents)
    with run.at(Stage.PURCHASE):
        if to_buy:
            export = await purchased_export(run, audience_id, export, terms)
        if export_state(export) is not ExportState.DOWNLOADABLE:
            export = await export_settled(run, audience_id, export.id, purchased=True)
    return export


async def _remember_found_out(run: Run, export: CsvExport) -> None:
    """Write down that a purchase was made whose outcome an earlier run did not live to see."""
    intended = run.memory.intended(Stage.PURCHASE)
    if intended is not None and same_id(intended["export_id"], export.id):
        await run.memory.remember(Stage.PURCHASE, intended)


async def _remembered_receipt(run: Run, terms: ExportTerms) -> ExportReceipt | None:
    """The receipt of an earlier run, if its file is where it is wanted and as long as it was."""
    known = run.memory.recall(Stage.DOWNLOAD)
    if known is None or known["field_types"] != terms.facts["field_types"]:
        return None
    path, size = Path(known["path"]), known["size_bytes"]
    if path != terms.destination or await in_thread(partial(_size_of, path)) != size:
        return None
    export = CsvExport(
        id=known["export_id"],
        status=ExportStatus.ACTIVE,
        cost_cents=known["cost_cents"],
        optional_field_types=terms.optional_field_types,
    )
    run.quote = export
    return ExportReceipt(export=export, path=path, size_bytes=size, sha256=known["sha256"])


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
