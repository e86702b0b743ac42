"""Where a fence is kept: in a bucket, through obstore, or in a folder that all machines share."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeGuard, TypeVar
from urllib.parse import urlsplit

from indigo_async._extras import require_extra
from indigo_async._transport.proxies import Proxies
from indigo_async._validation import InputCheck
from indigo_async.errors import FenceError, PublishError
from indigo_async.files.publishing.stores import SCHEMES, SigningStore, explain, is_panic, open_store, strip_credentials
from indigo_async.workflows.fence.log import FOLDERS, FenceStore, StoredObject

__all__ = ["BucketStore", "FolderStore", "check_fence", "describe_fence", "open_fence_store"]

T = TypeVar("T")

_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700
_THREADS = 4
_REQUEST_SECONDS = 60.0
_NO_LINKS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM})
_LASTING = _NO_LINKS | {errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTDIR}


class FolderStore:
    """A fence in a folder, which machines may share. Only the user who runs this process can read its files."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.label: str = f"the fence {folder}"
        self._folder = folder / prefix
        for private in (self._folder, *(self._folder / name for name in FOLDERS)):
            private.mkdir(_PRIVATE_FOLDER, exist_ok=True)
        # Its own threads, because downloads may use all of the event loop's.
        self._executor = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="indigo-fence")

    async def create(self, name: str, content: bytes) -> bool:
        def create(path: Path) -> bool:
            try:
                # A link appears with its whole content, and only if there is no file of that name.
                _write_beside(path, content, os.link)
            except FileExistsError:
                return False
            return True

        return await self._run(create, name)

    async def replace(self, name: str, content: bytes) -> None:
        await self._run(lambda path: _write_beside(path, content, os.replace), name)

    async def read(self, name: str) -> StoredObject | None:
        return await self._run(_read_file, name)

    async def delete(self, name: str) -> None:
        await self._run(lambda path: path.unlink(missing_ok=True), name)

    def close(self) -> None:
        self._executor.shutdown(wait=False)

    async def _run(self, function: Callable[[Path], T], name: str) -> T:
        """Call a function with a path in a thread. If canceled, the thread completes it."""
        work = partial(function, self._folder / name)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except TimeoutError:
            reason, permanent = f"no response for {_REQUEST_SECONDS:.0f} s", False
        except OSError as error:
            reason, permanent = _explain_os_error(error), error.errno in _LASTING
        raise FenceError(f"{self.label}: {reason}", permanent=permanent)


class BucketStore:
    """A fence in a bucket."""

    def __init__(self, bucket: SigningStore, label: str, prefix: str) -> None:
        self.label: str = f"the fence {label}"
        self._bucket = bucket
        self._prefix = prefix

    async def create(self, name: str, content: bytes) -> bool:
        import obstore  # noqa: PLC0415 - the extra
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415 - the extra

        async def create() -> bool:
            try:
                await obstore.put_async(self._bucket, self._path(name), content, mode="create")
            except AlreadyExistsError:
                return False
            return True

        return await self._run(create())

    async def replace(self, name: str, content: bytes) -> None:
        import obstore  # noqa: PLC0415 - the extra

        await self._run(obstore.put_async(self._bucket, self._path(name), content))

    async def read(self, name: str) -> StoredObject | None:
        import obstore  # noqa: PLC0415 - the extra

        async def read() -> StoredObject | None:
            try:
                found = await obstore.get_async(self._bucket, self._path(name))
            except FileNotFoundError:
                return None
            content = await found.bytes_async()
            return StoredObject(bytes(content), found.meta["last_modified"].timestamp())

        return await self._run(read())

    async def delete(self, name: str) -> None:
        import obstore  # noqa: PLC0415 - the extra

        async def delete() -> None:
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._bucket, self._path(name))

        await self._run(delete())

    def close(self) -> None:
        """Nothing is open."""

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    async def _run(self, work: Awaitable[T]) -> T:
        """Await the store's work. Its errors, whose messages contain URLs, become `FenceError` without a cause."""
        from obstore.exceptions import (  # noqa: PLC0415 - the extra
            NotSupportedError,
            PermissionDeniedError,
            UnauthenticatedError,
        )

        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                return await work
        except TimeoutError:
            reason, permanent = f"no response for {_REQUEST_SECONDS:.0f} s", False
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            reason = explain(error, self._bucket)
            lasting = (PermissionDeniedError, UnauthenticatedError, FileNotFoundError, NotSupportedError)
            permanent = isinstance(error, lasting)
        raise FenceError(f"{self.label}: {reason}", permanent=permanent)


def check_fence(check: InputCheck, place: object) -> None:
    """Check that a fence is a URL of a bucket, an obstore store, or the path of a folder. Doesn't ask the disk."""
    if _is_bucket(place):
        return
    if isinstance(place, str) and "://" in place:
        if urlsplit(place).scheme not in SCHEMES:
            check.add("fence", "must be a folder, or a URL such as s3://bucket/prefix (or gs://, az://)")
        return
    if not isinstance(place, (str, Path)):
        check.add("fence", f"must be a folder, or a URL such as s3://bucket/prefix, not {type(place).__name__}")
        return
    check.path("fence", place)


def describe_fence(place: str | Path | SigningStore) -> str:
    """The place of a fence, without credentials."""
    return strip_credentials(place) if isinstance(place, str) and "://" in place else str(place)


def open_fence_store(place: str | Path | SigningStore, prefix: str, *, proxies: Proxies) -> FenceStore:
    """Open the place of a fence that `check_fence` accepted. All names in it begin with `prefix`. May block.

    Raises:
        FenceError: the folder does not exist, or obstore rejects the URL or its configuration.
        InvalidInputError: a variable names a proxy that can't be used.
        MissingPackageError: a bucket needs the extra `publish`.
    """
    if isinstance(place, Path) or (isinstance(place, str) and "://" not in place):
        return _open_folder(Path(place).expanduser(), prefix)
    require_extra("publish", "a fence in a bucket")
    label = describe_fence(place)
    if not isinstance(place, str):
        return BucketStore(place, label, prefix)
    check = InputCheck()
    try:
        bucket = open_store(check, place, None, proxies=proxies)
    except PublishError as error:
        raise FenceError(f"the fence {label} cannot be opened: {error}", permanent=True) from None
    check.raise_if_invalid()
    if bucket is None:
        raise ValueError("the URL was not checked")
    return BucketStore(bucket, label, prefix)


def _open_folder(folder: Path, prefix: str) -> FolderStore:
    if not folder.is_dir():
        # Not created, because a share that is not mounted would become a new fence, which knows of no purchase.
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise FenceError(
            f"the fence {folder} {problem}: create the folder once, on storage that all machines mount",
            permanent=True,
        )
    try:
        return FolderStore(folder, prefix)
    except OSError as error:
        raise FenceError(f"the fence {folder}: {_explain_os_error(error)}", permanent=True) from None


def _is_bucket(place: object) -> TypeGuard[SigningStore]:
    if sys.modules.get("obstore") is None:
        return False
    from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415 - the extra

    return isinstance(place, (S3Store, GCSStore, AzureStore))


def _write_beside(path: Path, content: bytes, move: Callable[[Path, Path], object]) -> None:
    """Write a file under another name, durably, and then link or rename it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, _PRIVATE_FILE)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        move(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows can't open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_file(path: Path) -> StoredObject | None:
    try:
        with path.open("rb") as file:
            return StoredObject(file.read(), os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return None


def _explain_os_error(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    if error.errno in _NO_LINKS:
        return f"its file system has no hard links ({reason}); use another folder, or a bucket"
    if error.errno in _LASTING:
        return f"its files can't be read and written ({reason}); check that it is mounted, and its permissions"
    return reason
