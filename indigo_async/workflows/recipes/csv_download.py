"""The last stage of an export: its CSV on disk, when there is room among the downloads, under a URL that is good."""

from __future__ import annotations

from pathlib import Path

from indigo_async.errors import DownloadError
from indigo_async.events import DownloadProgressed, ExportDownloaded, Stage, emit
from indigo_async.files.downloads.download import download
from indigo_async.models import CsvExport, RecordId
from indigo_async.workflows.recipes.context import RecipeContext
from indigo_async.workflows.recipes.existing_exports import find_export
from indigo_async.workflows.recipes.receipt import ExportReceipt
from indigo_async.workflows.recipes.reconcile import retry_rate_limited

__all__ = ["download_csv", "emit_downloaded"]


async def download_csv(
    context: RecipeContext, audience_id: RecordId, export: CsvExport, destination: Path
) -> ExportReceipt:
    """Download an export, after other downloads of the client where there are many.

    A URL that has expired, perhaps in that queue, is asked for again: whoever has a turn uses a fresh one at once.

    Raises:
        DownloadError: it could not be fetched whole or written; the export stays bought, and the message says how to
            download it without buying another.
    """
    client = context.client
    latest = export

    async def fresh_url() -> str | None:
        nonlocal latest
        audience = await retry_rate_limited(
            lambda: client.get_audience(audience_id, context.customer_id), retry=client.transport.retry
        )
        found = find_export(audience.csv_exports, export.id)
        if found is None or found.download_url is None:
            return None
        latest = found
        return found.download_url

    def tell(size: int, total: int | None) -> None:
        emit(
            DownloadProgressed(
                customer_id=context.customer_id,
                audience_name=context.audience_name,
                export_id=export.id,
                size_bytes=size,
                total_bytes=total,
            )
        )

    with context.stage(Stage.DOWNLOAD):
        try:
            async with client.download_slots:
                file = await download(
                    client.transport,
                    export.download_url or "",
                    destination,
                    retry=client.transport.retry,
                    source=f"export {export.id} of {client.transport.base_url}",
                    refresh_url=fresh_url,
                    on_progress=tell,
                )
        except DownloadError as error:
            why, expired = str(error), error.expired
        except OSError as error:
            why = f"{destination} cannot be written ({error.strerror or type(error).__name__})"
            expired = False
        else:
            return ExportReceipt(export=latest, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
        raise DownloadError(
            f"{why}; export {export.id} of audience {audience_id} is bought and stays so: workflows.download_export(..., "
            f"export_id={export.id!r}) downloads it and buys nothing",
            expired=expired,
        )


def emit_downloaded(context: RecipeContext, receipt: ExportReceipt) -> None:
    """Tell the listeners that an export is on disk."""
    emit(
        ExportDownloaded(
            customer_id=context.customer_id,
            audience_name=context.audience_name,
            path=receipt.path,
            size_bytes=receipt.size_bytes,
        )
    )
