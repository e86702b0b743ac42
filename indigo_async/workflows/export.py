"""The third recipe: price an export, buy it within a limit, download it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs

from indigo_async.client import IndigoClient
from indigo_async.errors import AudienceFailedError, DownloadError, ExportExistsError
from indigo_async.files.download import Downloaded, download
from indigo_async.inputs import InputCheck
from indigo_async.models import Audience, CsvExport, ExportStatus, RecordId
from indigo_async.polling import Needs
from indigo_async.transport.events import Listener, emit
from indigo_async.transport.shield import in_thread
from indigo_async.workflows.directory import Directory
from indigo_async.workflows.events import ExportDownloaded, ExportPriced, ExportReused, Stage
from indigo_async.workflows.purchase import purchased_export
from indigo_async.workflows.rules import ExportState, choose_export, export_state, find_export
from indigo_async.workflows.run import DEFAULT_TIMEOUT, Run, running
from indigo_async.workflows.settle import settled
from indigo_async.workflows.terms import ExportTerms, check_export_terms
from indigo_async.workflows.waits import current, export_settled

__all__ = [
    "ExportReceipt",
    "ExportTerms",
    "check_export_terms",
    "downloaded_export",
    "export_audience",
    "priced_export",
]


@attrs.frozen(kw_only=True)
class ExportReceipt:
    """A bought and downloaded export: the record, and its CSV with its size in bytes and its SHA-256 in hex."""

    export: CsvExport
    path: Path
    size_bytes: int
    sha256: str


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

    Called again with the same arguments, it downloads the export that was bought instead of buying another.

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
        on_event: told what happens, as values of `indigo_async.workflows.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        BudgetExceededError: it costs more than the limit, or its cost cannot be read; nothing was bought.
        ExportExistsError: see `reuse_purchased`; nothing was bought.
        AudienceFailedError: the export failed at the server.
        DownloadError: bought, and the CSV could not be fetched whole; the same call downloads it again.
        WaitTimeoutError: not done within `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.
        OSError: the destination cannot be written.

    Source: reference, "Cookbook: Export an audience"; contract, "Observed".
    """
    check = InputCheck()
    check.customer_id(customer_id, optional=True)
    audience_id = audience.id if isinstance(audience, Audience) else audience
    check.record_id("audience", audience_id)
    terms = check_export_terms(
        check,
        optional_field_types=optional_field_types,
        max_cost_cents=max_cost_cents,
        destination=destination,
        reuse_purchased=reuse_purchased,
    )
    check.seconds("timeout", timeout)
    check.done()
    name = audience.name if isinstance(audience, Audience) and audience.name else str(audience_id)
    run = Run(client, customer_id, name, Directory(client))
    async with running(run, timeout=timeout, on_event=on_event):
        return await downloaded_export(run, audience_id, terms)


async def downloaded_export(run: Run, audience_id: RecordId, terms: ExportTerms) -> ExportReceipt:
    """The export, priced, bought and downloaded: each done already or done now."""
    receipt = await _remembered_receipt(run, terms)
    if receipt is not None:
        return receipt
    export = await priced_export(run, audience_id, terms)
    if export_state(export) is not ExportState.DOWNLOADABLE:
        with run.at(Stage.PURCHASE):
            export = await purchased_export(run, audience_id, export, terms)
            if export_state(export) is not ExportState.DOWNLOADABLE:
                export = await export_settled(run, audience_id, export.id, purchased=True)
    with run.at(Stage.DOWNLOAD):
        export, file = await _downloaded(run, audience_id, export, terms.destination)
    bought = {"export_id": export.id, "cost_cents": export.cost_cents}
    kept = {"path": str(file.path), "size_bytes": file.size_bytes, "sha256": file.sha256}
    await run.memory.remember(Stage.DOWNLOAD, terms.facts | bought | kept)
    emit(
        ExportDownloaded(
            customer_id=run.customer_id, audience_name=run.audience_name, path=file.path, size_bytes=file.size_bytes
        )
    )
    return ExportReceipt(export=export, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)


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
    return ExportReceipt(export=export, path=path, size_bytes=size, sha256=known["sha256"])


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


async def priced_export(run: Run, audience_id: RecordId, terms: ExportTerms) -> CsvExport:
    """An export that serves the terms, out of progress: bought already, or for sale at a price."""
    with run.at(Stage.PREVIEW):
        exports: tuple[CsvExport, ...] = ()
        export = None
        if str(audience_id) not in run.made:
            exports = (await current(run, audience_id, Needs.EXPORTS)).csv_exports
            export = await _existing(run, audience_id, exports, terms)
        if export is None:
            export = await _new_preview(run, audience_id, exports, terms)
        if export_state(export) is ExportState.IN_PROGRESS:
            export = await export_settled(run, audience_id, export.id, purchased=False)
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
        choice = choose_export(audience_id, exports, wanted, reuse_purchased=terms.reuse_purchased)
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
        ExportExistsError: it was about to be bought and is not among the audience's exports, so whether it was bought
            cannot be known.
    """
    begun = run.memory.intended(Stage.PURCHASE)
    for known in (begun, run.memory.recall(Stage.PURCHASE), run.memory.recall(Stage.PREVIEW)):
        if known is None or known["field_types"] != terms.facts["field_types"]:
            continue
        export = find_export(exports, known["export_id"])
        if export is not None and export_state(export) is not ExportState.FAILED:
            return export
        if known is begun and export is None and terms.reuse_purchased is not False:
            raise ExportExistsError(
                f"the purchase of export {known['export_id']} was begun and its end is unknown, and audience "
                f"{audience_id} does not show that export; pass reuse_purchased=False to buy another",
                stage=Stage.PREVIEW,
                audience=run.audience,
            )
    return None


async def _settled_or_failed(run: Run, audience_id: RecordId, export_id: RecordId) -> None:
    try:
        await export_settled(run, audience_id, export_id, purchased=False)
    except AudienceFailedError:
        return  # an earlier export that failed is no longer in the way


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
    export = await settled(
        lambda: run.client.create_preview_csv_export(
            audience_id=audience_id,
            customer_id=run.customer_id,
            optional_field_types=terms.optional_field_types,
        ),
        look,
        retry=run.client.transport.retry,
    )
    await run.memory.remember(Stage.PREVIEW, terms.facts | {"export_id": export.id})
    return export


async def _downloaded(
    run: Run, audience_id: RecordId, export: CsvExport, destination: Path
) -> tuple[CsvExport, Downloaded]:
    """The file; its URL is asked for once more where the one at hand has expired."""
    transport = run.client.transport
    try:
        return export, await download(transport, export.download_url or "", destination, retry=transport.retry)
    except DownloadError as error:
        if not error.expired:
            raise
    fresh = find_export((await run.client.get_audience(audience_id, run.customer_id)).csv_exports, export.id)
    if fresh is None or fresh.download_url is None:
        raise DownloadError(f"{destination.name}: the download's URL has expired and the server shows no other")
    return fresh, await download(transport, fresh.download_url, destination, retry=transport.retry)
