"""Downloading a purchased export: the public recipe, which spends nothing, and the last stage of an export."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from indigo_async._redaction import SecretText, reduce_redacted, sanitize_text
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import DownloadError, ExportExistsError, WorkflowError
from indigo_async.events import DownloadProgressed, ExportDownloaded, ExportReused, Listener, Stage
from indigo_async.files.downloads.dataframes import read_arrow, read_pandas, read_polars
from indigo_async.files.downloads.download import download
from indigo_async.models import Audience, CsvExport, RecordId, same_id
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, RecipeContext, check_client, recipe_scope
from indigo_async.workflows.recipes.existing_exports import (
    ExportState,
    FieldMatch,
    export_state,
    find_export,
    known_fields,
    match_fields,
    needs_wait,
)
from indigo_async.workflows.recipes.export_options import check_destination
from indigo_async.workflows.recipes.waits import wait_export

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = [
    "ExportReceipt",
    "PurchasedExport",
    "choose_purchased",
    "download_csv",
    "download_export",
    "emit_downloaded",
]


@attrs.frozen(kw_only=True)
class ExportReceipt:
    """A purchased and downloaded export: its record, and its CSV file with the size in bytes and the SHA-256 in hex.

    `to_polars`, `to_arrow` and `to_pandas` read the whole file, if those libraries are installed. Every column is text,
    so ZIP codes and phone numbers keep their leading zeros; an empty value is an empty string. They block while they
    read: in a coroutine, use `await asyncio.to_thread(receipt.to_polars)`.

    A pickled copy holds no signed URL.
    """

    export: CsvExport
    path: Path
    size_bytes: int
    sha256: str

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_redacted(self)

    def to_polars(self) -> pl.DataFrame:
        """Read the people into a Polars data frame. All columns are text.

        Raises:
            MissingPackageError: Polars is not installed.
            OSError: the file is gone or can't be read.
        """
        return read_polars(self.path)

    def to_arrow(self) -> pa.Table:
        """Read the people into an Arrow table. All columns are text.

        Raises:
            MissingPackageError: PyArrow is not installed.
            OSError: the file is gone or can't be read.
        """
        return read_arrow(self.path)

    def to_pandas(self) -> pd.DataFrame:
        """Read the people into a pandas data frame. All columns are text.

        Raises:
            MissingPackageError: pandas is not installed.
            OSError: the file is gone or can't be read.
        """
        return read_pandas(self.path)


@attrs.frozen(kw_only=True)
class PurchasedExport:
    """A purchased export that was not downloaded, and the URL of its CSV.

    Anyone who has the URL can download the people until it expires. Reprs hide the URL, and pickled copies have it
    without its signature. The same call of `export_audience` returns a fresh URL, and `download_export` saves the CSV.
    """

    export: CsvExport

    @property
    def download_url(self) -> str:
        """Where the CSV can be downloaded, as the server showed it in this call."""
        return SecretText(self.export.download_url or "")

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_redacted(self)


async def download_export(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: Path | str,
    export_id: RecordId | None = None,
    optional_field_types: Sequence[str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the recipe's own deadline
    on_event: Listener | None = None,
) -> ExportReceipt:
    """Download an export that was purchased earlier, from a fresh URL. Nothing is priced or purchased.

    If the requested export is still in progress, it may have been purchased, so the recipe waits for it.

    Args:
        client: an open client.
        audience: the audience, or its ID.
        customer_id: the audience's customer; None for an audience made in the app.
        destination: where the CSV goes, with mode 0600. An existing file is replaced when the download is complete.
        export_id: which export. Without it, the purchased one, if only one can be meant.
        optional_field_types: instead of `export_id`, the exact paid fields of the export. Of several such exports the
            newest is downloaded. None means any.
        timeout: seconds for the whole recipe.
        on_event: called with each event; see `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        ExportExistsError: several exports could be meant, or the server doesn't show their fields: pass `export_id`.
        AudienceFailedError: the export in progress failed on the server.
        WorkflowError: no such export was purchased.
        DownloadError: the CSV could not be downloaded completely or written. The same call resumes the download.
        WaitTimeoutError: it took longer than `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.

    API reference: GET /audience.
    """
    check = InputCheck()
    check_client(check, client, on_event)
    customer_id = check.optional_customer_id(customer_id)
    audience_id = check.record_id("audience", audience.id if isinstance(audience, Audience) else audience)
    wanted = None if optional_field_types is None else frozenset(check.optional_field_types(optional_field_types))
    if export_id is not None:
        export_id = check.record_id("export_id", export_id)
        if optional_field_types is not None:
            check.add("optional_field_types", "cannot be combined with export_id: pass one of them")
    path = await run_in_thread(partial(check_destination, check, "destination", destination))
    timeout = check.seconds("timeout", timeout)
    check.raise_if_invalid()
    name = audience.name if isinstance(audience, Audience) and audience.name else str(audience_id)
    context = RecipeContext(client, customer_id, name, current_stage=Stage.DOWNLOAD)
    with recipe_scope(context, "download_export", SharedTimeout(timeout), on_event=on_event):
        while True:
            context.audience = current = await context.get_audience(audience_id)
            pending = _find_in_progress(current, export_id=export_id, wanted=wanted)
            if pending is None:
                break
            await wait_export(context, audience_id, pending.id, purchased=False)
        export = choose_purchased(current, export_id=export_id, wanted=wanted)
        context.report_reuse(ExportReused, export_id=export.id, evidence="it was purchased before")
        receipt = await download_csv(context, audience_id, export, path)
        emit_downloaded(context, receipt)
        return receipt


def _find_in_progress(
    audience: Audience, *, export_id: RecordId | None, wanted: frozenset[str] | None
) -> CsvExport | None:
    """Find the newest pending export that may be the requested one, unless one of those can be downloaded."""
    if export_id is not None:
        candidates = [export for export in audience.csv_exports if same_id(export.id, export_id)]
    else:
        candidates = [
            export
            for export in audience.csv_exports
            if wanted is None or match_fields(export, wanted) is not FieldMatch.OTHER
        ]
    if any(export_state(export) is ExportState.DOWNLOADABLE for export in candidates):
        return None
    return next(filter(needs_wait, reversed(candidates)), None)


def choose_purchased(audience: Audience, *, export_id: RecordId | None, wanted: frozenset[str] | None) -> CsvExport:
    """Choose the purchased export that is meant: by its ID, else by its paid fields, else the only one.

    Raises:
        ExportExistsError: several could be meant.
        WorkflowError: there is none.
    """
    purchased = [export for export in audience.csv_exports if export_state(export) is ExportState.DOWNLOADABLE]
    if export_id is not None:
        export = find_export(purchased, export_id)
        if export is None:
            raise _not_purchased_error(audience, f"export {export_id} {_why_unavailable(audience, export_id)}")
        return export
    if not purchased:
        raise _not_purchased_error(audience, "none of its exports was purchased")
    if wanted is None:
        field_sets = {known_fields(export) for export in purchased}
        if len(purchased) == 1 or (len(field_sets) == 1 and None not in field_sets):
            return purchased[-1]
        candidates = purchased
    else:
        same = [export for export in purchased if match_fields(export, wanted) is FieldMatch.SAME]
        if same:
            return same[-1]
        candidates = [export for export in purchased if match_fields(export, wanted) is FieldMatch.UNKNOWN]
        if not candidates:
            raise _not_purchased_error(
                audience,
                f"no export with {_describe_fields(wanted)} was purchased, only {_describe_exports(purchased)}",
            )
    raise ExportExistsError(
        f"it is unclear which purchased export of audience {audience.id} to download: "
        f"{_describe_exports(candidates)}. Pass export_id=... to choose one",
        stage=Stage.DOWNLOAD,
        audience=audience,
    )


def _not_purchased_error(audience: Audience, problem: str) -> WorkflowError:
    unclear = [str(export.id) for export in audience.csv_exports if export_state(export) is ExportState.UNCLEAR]
    if unclear:
        advice = f"export {', '.join(unclear)} may have been purchased: ask Indigo before you purchase another"
    else:
        advice = "to price and purchase an export, call export_audience"
    return WorkflowError(f"audience {audience.id}: {problem}; {advice}", stage=Stage.DOWNLOAD, audience=audience)


def _why_unavailable(audience: Audience, export_id: RecordId) -> str:
    export = find_export(audience.csv_exports, export_id)
    if export is None:
        return "is not one of its exports"
    return f"cannot be downloaded: its status is {sanitize_text(export.status)!r}"


def _describe_exports(exports: Sequence[CsvExport]) -> str:
    return ", ".join(f"export {export.id} with {_describe_fields(known_fields(export))}" for export in exports)


def _describe_fields(fields: frozenset[str] | None) -> str:
    if fields is None:
        return "fields that the server does not show"
    return " and ".join(sorted(fields)) or "no paid fields"


async def download_csv(
    context: RecipeContext, audience_id: RecordId, export: CsvExport, destination: Path
) -> ExportReceipt:
    """Download an export, when the client has a free download slot.

    A URL that has expired, perhaps while waiting for the slot, is refreshed.

    Raises:
        DownloadError: the CSV could not be downloaded completely or written. The message says how to download the
            export without purchasing another.
    """
    client = context.client
    latest = export

    async def refresh_url() -> str | None:
        nonlocal latest
        audience = await context.get_audience(audience_id)
        found = find_export(audience.csv_exports, export.id)
        if found is None or found.download_url is None:
            return None
        latest = found
        return found.download_url

    def report_progress(size: int, total: int | None) -> None:
        context.emit(DownloadProgressed, export_id=export.id, size_bytes=size, total_bytes=total)

    with context.stage(Stage.DOWNLOAD):
        try:
            async with client.core.download_slots:
                file = await download(
                    client.transport,
                    export.download_url or "",
                    destination,
                    retry=client.options.retry,
                    read_timeout=client.options.timeout,
                    source=f"export {export.id} of {client.transport.base_url}",
                    refresh_url=refresh_url,
                    on_progress=report_progress,
                )
        except DownloadError as error:
            problem, expired = str(error), error.expired
        except OSError as error:
            problem = f"{destination} cannot be written ({error.strerror or type(error).__name__})"
            expired = False
        else:
            return ExportReceipt(export=latest, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
        raise DownloadError(
            f"{problem}; export {export.id} of audience {audience_id} is purchased: workflows.download_export(..., "
            f"export_id={export.id!r}) downloads it without purchasing another",
            expired=expired,
        )


def emit_downloaded(context: RecipeContext, receipt: ExportReceipt) -> None:
    """Report that an export is on disk."""
    context.emit(ExportDownloaded, path=receipt.path, size_bytes=receipt.size_bytes)
