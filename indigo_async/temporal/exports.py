"""Where exports land: a folder that the workers share, or an object store."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import attrs

from indigo_async.errors import DownloadError, InvalidInputError, Problem
from indigo_async.files.destination import names_folder
from indigo_async.inputs import InputCheck
from indigo_async.temporal.records import Delivered
from indigo_async.transport.shield import in_thread
from indigo_async.workflows.receipt import ExportReceipt
from indigo_async.workflows.terms import check_destination

__all__ = ["Fetch", "FolderExports", "StoreExports", "exports_at", "landing_problem"]

Fetch: TypeAlias = Callable[[Path], Awaitable[ExportReceipt]]
"""Downloads an export to a path."""

_WHERE = "export.destination"
_PART_BYTES = 8 * 1024 * 1024


@attrs.frozen
class FolderExports:
    """Exports in a folder, under their jobs' destinations. Workers on several machines need one that they share."""

    folder: Path

    async def check(self, destination: str) -> None:
        """Check that an export can be written there, before it is paid.

        Raises:
            InvalidInputError: it cannot, or it would land outside the folder.
        """
        check = InputCheck()
        path = await in_thread(partial(self._path_of, destination))
        await in_thread(partial(check_destination, check, _WHERE, path))
        check.done()

    async def deliver(self, destination: str, fetch: Fetch) -> Delivered:
        """Have an export downloaded to its place.

        Raises:
            InvalidInputError: before it is fetched, if it would land outside the folder.
        """
        receipt = await fetch(await in_thread(partial(self._path_of, destination)))
        return Delivered(path=str(receipt.path), size_bytes=receipt.size_bytes, sha256=receipt.sha256)

    def _path_of(self, destination: str) -> Path:
        _require_inside(destination)
        path = self.folder / destination
        try:
            is_inside = path.parent.resolve().is_relative_to(self.folder.resolve())
        except (OSError, RuntimeError):  # links in a circle
            is_inside = False
        if not is_inside:
            problem = f"{destination!r} leads out of the folder of the exports by a link; name another file"
            raise InvalidInputError([Problem(_WHERE, problem)])
        return path


@attrs.frozen
class StoreExports:
    """Exports in an object store, under their jobs' destinations; on the worker's disk they are only in passing."""

    url: str
    _store: Any = attrs.field(repr=False)

    async def check(self, destination: str) -> None:
        """Check that a destination can name an object, before the export is paid.

        Raises:
            InvalidInputError: it cannot.
        """
        _require_inside(destination)

    async def deliver(self, destination: str, fetch: Fetch) -> Delivered:
        """Have an export downloaded, and put it into the store.

        Raises:
            InvalidInputError: before it is fetched, if its destination can name no object.
            DownloadError: the store did not take it; the export stays bought.
        """
        import obstore  # noqa: PLC0415 - the extra

        _require_inside(destination)
        key = PurePosixPath(destination).as_posix()
        async with _passing_folder() as folder:
            receipt = await fetch(folder / "export.csv")
            try:
                await obstore.put_async(
                    self._store, key, receipt.path, attributes={"Content-Type": "text/csv"}, chunk_size=_PART_BYTES
                )
            except Exception as error:  # noqa: BLE001 - of obstore's kinds and Python's own, whose texts hold addresses
                kind = type(error).__name__
            else:
                return Delivered(
                    path=f"{self.url.rstrip('/')}/{key}", size_bytes=receipt.size_bytes, sha256=receipt.sha256
                )
        raise DownloadError(f"{key} could not be put into {self.url} ({kind}); the export is bought and stays so")


def exports_at(place: str) -> FolderExports | StoreExports:
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
            return FolderExports(Path(place).expanduser().absolute())
        except RuntimeError:  # no such user, or no home
            raise InvalidInputError([Problem("exports", "begins with a home folder that does not exist")]) from None
    check = InputCheck()
    if place.partition("://")[0] not in {"s3", "gs", "az"} or "?" in place or "@" in place:
        check.add(
            "exports", "must be a folder, or a URL such as s3://bucket/prefix, gs://... or az://..., without keys"
        )
    check.done()
    try:
        from obstore.store import from_url  # noqa: PLC0415 - the extra
    except ImportError:
        raise ImportError("exports in a store need obstore: pip install 'indigo-async[publish]'") from None
    return StoreExports(place, from_url(place))


def landing_problem(destination: str) -> str | None:
    """Why a destination names no file below the place where exports land, if it does not."""
    shown = repr(destination)
    if names_folder(destination):
        return f"{shown} is a folder; name a file"
    if destination.startswith(("/", "~")):
        return f"{shown} must be relative to the place where the workers' exports land"
    if ".." in PurePosixPath(destination).parts:
        return f"{shown} must not hold '..'"
    if "\\" in destination:
        return f"{shown} must not hold backslashes; separate folders by slashes"
    return None


def _require_inside(destination: str) -> None:
    problem = landing_problem(destination)
    if problem is not None:
        raise InvalidInputError([Problem(_WHERE, problem)])


@asynccontextmanager
async def _passing_folder() -> AsyncGenerator[Path]:
    """A folder of mode 0700 for as long as the block lasts."""
    folder = await in_thread(partial(tempfile.TemporaryDirectory, prefix="indigo-export-"))
    try:
        yield Path(folder.name)
    finally:
        await in_thread(folder.cleanup)
