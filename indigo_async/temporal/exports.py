"""Where exports land: a folder that the workers share, or an object store."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import attrs

from indigo_async.errors import DownloadError
from indigo_async.inputs import InputCheck
from indigo_async.temporal.records import Delivered
from indigo_async.transport.shield import in_thread
from indigo_async.workflows.receipt import ExportReceipt

__all__ = ["Fetch", "FolderExports", "StoreExports", "exports_at"]

Fetch: TypeAlias = Callable[[Path], Awaitable[ExportReceipt]]
"""Downloads an export to a path."""

_PART_BYTES = 8 * 1024 * 1024


@attrs.frozen
class FolderExports:
    """Exports in a folder, under their jobs' destinations. Workers on several machines need one that they share."""

    folder: Path

    async def deliver(self, destination: str, fetch: Fetch) -> Delivered:
        """Have an export downloaded to its place."""
        receipt = await fetch(self.folder / destination)
        return Delivered(path=str(receipt.path), size_bytes=receipt.size_bytes, sha256=receipt.sha256)


@attrs.frozen
class StoreExports:
    """Exports in an object store, under their jobs' destinations; on the worker's disk they are only in passing."""

    url: str
    _store: Any = attrs.field(repr=False)

    async def deliver(self, destination: str, fetch: Fetch) -> Delivered:
        """Have an export downloaded, and put it into the store.

        Raises:
            DownloadError: the store did not take it; the export stays bought.
        """
        import obstore  # noqa: PLC0415 - the extra

        key = _key_of(destination)
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
        return FolderExports(Path(place).absolute())
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


def _key_of(destination: str) -> str:
    """An object's name: the destination's parts, from the store's prefix on and never above it."""
    parts = PurePosixPath(destination.replace("\\", "/")).parts
    return "/".join(part for part in parts if part not in {"/", "..", "."})


@asynccontextmanager
async def _passing_folder() -> AsyncGenerator[Path]:
    """A folder of mode 0700 for as long as the block lasts."""
    folder = await in_thread(partial(tempfile.TemporaryDirectory, prefix="indigo-export-"))
    try:
        yield Path(folder.name)
    finally:
        await in_thread(folder.cleanup)
