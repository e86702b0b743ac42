"""Where workers deliver exports: a shared folder or an object store."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import attrs

from indigo_async._extras import require_extra
from indigo_async._redaction import secret
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.proxies import Proxies
from indigo_async._validation import InputCheck
from indigo_async.errors import DownloadError, InvalidInputError, Problem, PublishError
from indigo_async.files.downloads.destination import find_folder_problem, is_folder_path
from indigo_async.files.publishing.stores import explain, is_panic, open_store
from indigo_async.temporal.payloads import DeliveredExport
from indigo_async.workflows.recipes.download import ExportReceipt
from indigo_async.workflows.recipes.export_options import check_destination

__all__ = ["DownloadTo", "FolderExportStore", "ObjectExportStore", "export_store", "find_destination_problem"]

DownloadTo: TypeAlias = Callable[[Path], Awaitable[ExportReceipt]]
"""Downloads an export to a path."""

_FIELD = "export.destination"
_PART_BYTES = 8 * 1024 * 1024
_PROBE_NAME = ".indigo-async-write-test"
_MAX_SECONDS_SINCE_WRITING = 30.0
_NOT_PURCHASED = "nothing was purchased. The job continues once it can be written"


@attrs.frozen
class FolderExportStore:
    """Delivers exports to a folder. Workers on several machines need a shared folder."""

    folder: Path

    async def prepare(self) -> None:
        """Create the folder if it is missing, and check that files can be written in it.

        Raises:
            InvalidInputError: they can't, or the folder's parent is missing, such as a disk that isn't mounted.
        """
        problem = await run_in_thread(self._create_folder)
        if problem is not None:
            raise InvalidInputError([Problem("exports", f"{self.folder} {problem}")])

    async def check(self, destination: str) -> None:
        """Check before paying that an export can be written.

        Raises:
            InvalidInputError: its destination is invalid, or outside the folder.
            DownloadError: nothing can be written in the folder now.
        """
        check = InputCheck()
        path = await run_in_thread(partial(self._resolve_path, destination))
        await run_in_thread(partial(check_destination, check, _FIELD, path))
        if check.problems and (problem := await run_in_thread(partial(find_folder_problem, self.folder))):
            raise DownloadError(f"the exports folder {self.folder} {problem}; {_NOT_PURCHASED}")
        check.raise_if_invalid()

    async def deliver(self, destination: str, fetch: DownloadTo) -> DeliveredExport:
        """Download an export to its destination in the folder.

        Raises:
            InvalidInputError: it would be outside the folder. Nothing was downloaded.
        """
        receipt = await fetch(await run_in_thread(partial(self._resolve_path, destination)))
        return DeliveredExport(path=str(receipt.path), size_bytes=receipt.size_bytes, sha256=receipt.sha256)

    def _create_folder(self) -> str | None:
        try:
            self.folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            return f"can't be created: {self.folder.parent} does not exist"
        except FileExistsError:
            pass  # not a folder
        except OSError as error:
            return f"can't be created: {error.strerror or type(error).__name__}"
        return find_folder_problem(self.folder)

    def _resolve_path(self, destination: str) -> Path:
        _require_valid_destination(destination)
        path = self.folder / destination
        try:
            is_inside = path.parent.resolve().is_relative_to(self.folder.resolve())
        except (OSError, RuntimeError):  # a loop of links
            is_inside = False
        if not is_inside:
            problem = f"{destination!r} leads out of the exports folder through a link; name another file"
            raise InvalidInputError([Problem(_FIELD, problem)])
        return path


@attrs.define(eq=False)
class ObjectExportStore:
    """Delivers exports to an object store. They are on the worker's disk only temporarily."""

    url: str
    _store: Any = attrs.field(repr=False)
    _lock: asyncio.Lock = attrs.field(factory=asyncio.Lock, repr=False, init=False)
    _written_at: float = attrs.field(default=-math.inf, repr=False, init=False)

    async def prepare(self) -> None:
        """Check that objects can be written.

        Raises:
            InvalidInputError: they can't.
        """
        problem = await self._try_writing()
        if problem is not None:
            raise InvalidInputError([Problem("exports", f"nothing can be written to {self.url}: {problem}")])

    async def check(self, destination: str) -> None:
        """Check before paying that an export can be written. One written object answers for half a minute.

        Raises:
            InvalidInputError: its destination can't be an object's name.
            DownloadError: nothing can be written to the store now.
        """
        _require_valid_destination(destination)
        clock = asyncio.get_running_loop().time
        async with self._lock:
            problem = await self._try_writing() if clock() - self._written_at > _MAX_SECONDS_SINCE_WRITING else None
        if problem is not None:
            raise DownloadError(f"nothing can be written to {self.url}: {problem}; {_NOT_PURCHASED}")

    async def _try_writing(self) -> str | None:
        """Write an empty object and delete it. Returns why it can't be written; deleting it may be forbidden."""
        import obstore  # noqa: PLC0415 - the extra

        try:
            await obstore.put_async(self._store, _PROBE_NAME, b"")
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            return explain(error, self._store)
        with suppress(Exception):
            await obstore.delete_async(self._store, _PROBE_NAME)
        self._written_at = asyncio.get_running_loop().time()
        return None

    async def deliver(self, destination: str, fetch: DownloadTo) -> DeliveredExport:
        """Download an export and upload it to the store.

        Raises:
            InvalidInputError: its destination cannot be an object's name. Nothing was downloaded.
            DownloadError: the upload failed. The export stays purchased.
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
            except BaseException as error:
                if not isinstance(error, Exception) and not is_panic(error):
                    raise
                reason = explain(error, self._store)
            else:
                self._written_at = asyncio.get_running_loop().time()
                return DeliveredExport(
                    path=f"{self.url.rstrip('/')}/{key}", size_bytes=receipt.size_bytes, sha256=receipt.sha256
                )
        raise DownloadError(f"{key} could not be uploaded to {self.url}: {reason}; the export stays purchased")


def export_store(location: str, *, proxy: str | None = None) -> FolderExportStore | ObjectExportStore:
    """Open the folder or object store where workers deliver exports.

    Args:
        location: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, or the path of a folder.
            Credentials and other settings of an object store come from the environment, as obstore reads it.
        proxy: the URL of an HTTP proxy for an object store. Default: as for `IndigoClient`.

    Raises:
        InvalidInputError: the location is neither.
        MissingPackageError: the extra `publish` is not installed.
    """
    if "://" not in location:
        try:
            return FolderExportStore(Path(location).expanduser().absolute())
        except RuntimeError:  # no such user, or no home
            raise InvalidInputError([Problem("exports", "starts with a home folder that does not exist")]) from None
    check = InputCheck()
    if location.partition("://")[0] not in {"s3", "gs", "az"} or "?" in location or "@" in location:
        check.add(
            "exports", "must be a folder, or a URL such as s3://bucket/prefix, gs://... or az://..., without keys"
        )
    check.raise_if_invalid()
    proxies = Proxies.resolve(secret(proxy))
    require_extra("publish", "an object store for exports")
    try:
        store = open_store(check, location, None, proxies=proxies)
    except PublishError as error:
        raise InvalidInputError([Problem("exports", str(error))]) from None
    return ObjectExportStore(location, store)


def find_destination_problem(destination: str) -> str | None:
    """Find out why a destination is not a file below the exports folder; None if it is one."""
    quoted = repr(destination)
    if is_folder_path(destination):
        return f"{quoted} is a folder; name a file"
    if destination.startswith(("/", "~")):
        return f"{quoted} must be relative to the workers' exports folder or store"
    if ".." in PurePosixPath(destination).parts:
        return f"{quoted} must not contain '..'"
    if "\\" in destination:
        return f"{quoted} must not contain backslashes; separate folders with slashes"
    return None


def _require_valid_destination(destination: str) -> None:
    problem = find_destination_problem(destination)
    if problem is not None:
        raise InvalidInputError([Problem(_FIELD, problem)])


@asynccontextmanager
async def _temporary_folder() -> AsyncGenerator[Path]:
    """Create a folder of mode 0700 that is removed at the end of the block."""
    folder = await run_in_thread(partial(tempfile.TemporaryDirectory, prefix="indigo-export-"))
    try:
        yield Path(folder.name)
    finally:
        await run_in_thread(folder.cleanup)
