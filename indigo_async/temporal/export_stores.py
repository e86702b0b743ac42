"""Where exports land: a folder that the workers share, or an object store."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import attrs

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._validation import InputCheck
from indigo_async.errors import DownloadError, InvalidInputError, Problem
from indigo_async.files.downloads.destination import is_folder_path
from indigo_async.temporal.payloads import DeliveredExport
from indigo_async.workflows.recipes.export_options import check_destination
from indigo_async.workflows.recipes.receipt import ExportReceipt

__all__ = ["DownloadTo", "FolderExportStore", "ObjectExportStore", "export_store", "find_destination_problem"]

DownloadTo: TypeAlias = Callable[[Path], Awaitable[ExportReceipt]]
"""Downloads an export to a path."""

_FIELD = "export.destination"
_PART_BYTES = 8 * 1024 * 1024


@attrs.frozen
class FolderExportStore:
    """Exports in a folder, under their jobs' destinations. Workers on several machines need one that they share."""

    folder: Path

    async def check(self, destination: str) -> None:
        """Check that an export can be written there, before it is paid.

        Raises:
            InvalidInputError: it cannot, or it would land outside the folder.
        """
        check = InputCheck()
        path = await run_in_thread(partial(self._resolve_path, destination))
        await run_in_thread(partial(check_destination, check, _FIELD, path))
        check.raise_if_invalid()

    async def deliver(self, destination: str, fetch: DownloadTo) -> DeliveredExport:
        """Have an export downloaded to its place.

        Raises:
            InvalidInputError: before it is fetched, if it would land outside the folder.
        """
        receipt = await fetch(await run_in_thread(partial(self._resolve_path, destination)))
        return DeliveredExport(path=str(receipt.path), size_bytes=receipt.size_bytes, sha256=receipt.sha256)

    def _resolve_path(self, destination: str) -> Path:
        _require_valid_destination(destination)
        path = self.folder / destination
        try:
            is_inside = path.parent.resolve().is_relative_to(self.folder.resolve())
        except (OSError, RuntimeError):  # links in a circle
            is_inside = False
        if not is_inside:
            problem = f"{destination!r} leads out of the folder of the exports by a link; name another file"
            raise InvalidInputError([Problem(_FIELD, problem)])
        return path


@attrs.frozen
class ObjectExportStore:
    """Exports in an object store, under their jobs' destinations; on the worker's disk they are only in passing."""

    url: str
    _store: Any = attrs.field(repr=False)

    async def check(self, destination: str) -> None:
        """Check that a destination can name an object, before the export is paid.

        Raises:
            InvalidInputError: it cannot.
        """
        _require_valid_destination(destination)

    async def deliver(self, destination: str, fetch: DownloadTo) -> DeliveredExport:
        """Have an export downloaded, and put it into the store.

        Raises:
            InvalidInputError: before it is fetched, if its destination can name no object.
            DownloadError: the store did not take it; the export stays bought.
        """
        import obstore  # noqa: PLC0415 - the extra

        _require_valid_destination(destination)
        key = PurePosixPath(destination).as_posix()
        async with _temporary_folder() as folder:
            receipt = await fetch(folder / "export.csv")
            try:
                await obstore.put_async(
                    self._store, key, receipt.path, attributes={"Content-Type": "text/csv"}, chunk_size=_PART_BYTES
                )
            except Exception as error:  # noqa: BLE001 - of obstore's kinds and Python's own, whose texts hold addresses
                kind = type(error).__name__
            else:
                return DeliveredExport(
                    path=f"{self.url.rstrip('/')}/{key}", size_bytes=receipt.size_bytes, sha256=receipt.sha256
                )
        raise DownloadError(f"{key} could not be put into {self.url} ({kind}); the export is bought and stays so")


def export_store(place: str) -> FolderExportStore | ObjectExportStore:
    """Where exports are to land.

    Args:
        place: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, or the path of a folder. What a
            store's address does not say, its credentials above all, comes from the environment, as obstore takes it.

    Raises:
        InvalidInputError: it is neither.
        ImportError: the extra `publish` is not installed.
    """
    if "://" not in place:
        try:
            return FolderExportStore(Path(place).expanduser().absolute())
        except RuntimeError:  # no such user, or no home
            raise InvalidInputError([Problem("exports", "begins with a home folder that does not exist")]) from None
    check = InputCheck()
    if place.partition("://")[0] not in {"s3", "gs", "az"} or "?" in place or "@" in place:
        check.add(
            "exports", "must be a folder, or a URL such as s3://bucket/prefix, gs://... or az://..., without keys"
        )
    check.raise_if_invalid()
    try:
        from obstore.store import from_url  # noqa: PLC0415 - the extra
    except ImportError:
        raise ImportError("exports in a store need obstore: pip install 'indigo-async[publish]'") from None
    return ObjectExportStore(place, from_url(place))


def find_destination_problem(destination: str) -> str | None:
    """Why a destination names no file below the place where exports land, if it does not."""
    shown = repr(destination)
    if is_folder_path(destination):
        return f"{shown} is a folder; name a file"
    if destination.startswith(("/", "~")):
        return f"{shown} must be relative to the place where the workers' exports land"
    if ".." in PurePosixPath(destination).parts:
        return f"{shown} must not hold '..'"
    if "\\" in destination:
        return f"{shown} must not hold backslashes; separate folders by slashes"
    return None


def _require_valid_destination(destination: str) -> None:
    problem = find_destination_problem(destination)
    if problem is not None:
        raise InvalidInputError([Problem(_FIELD, problem)])


@asynccontextmanager
async def _temporary_folder() -> AsyncGenerator[Path]:
    """A folder of mode 0700 for as long as the block lasts."""
    folder = await run_in_thread(partial(tempfile.TemporaryDirectory, prefix="indigo-export-"))
    try:
        yield Path(folder.name)
    finally:
        await run_in_thread(folder.cleanup)
