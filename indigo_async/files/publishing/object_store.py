"""Publish local CSVs in an object store (S3, Google Cloud Storage, Azure) with obstore (extra `publish`)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs

from indigo_async._extras import require_extra
from indigo_async._redaction import SecretText, secret
from indigo_async._transport.cancellation import cleanup, run_in_thread, run_to_completion, wait_shielded
from indigo_async._transport.proxies import Proxies
from indigo_async._validation import InputCheck
from indigo_async.errors import PublishError
from indigo_async.files.publishing.publisher import content_name, unreadable
from indigo_async.files.publishing.stores import (
    SCHEMES,
    SigningStore,
    explain,
    is_panic,
    open_store,
    strip_credentials,
)

__all__ = ["ObjectStorePublisher"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")

_DEFAULT_EXPIRY_SECONDS = 6 * 3600.0
_MAX_EXPIRY_SECONDS = 7 * 24 * 3600  # the maximum of S3 and Google Cloud Storage
_PART_BYTES = 8 * 1024 * 1024
_CONCURRENT_PARTS = 2
_CONCURRENT_UPLOADS = 8
_CLEANUP_TIMEOUT = 30.0


@attrs.define(eq=False)
class _SharedObject:
    """An object in the bucket, the number of jobs that use it, and a lock for its upload.

    A failed upload may still have created the object. Its key is never used again, so a request that the store carries
    out late affects only this object.
    """

    key: str
    users: int = 0
    is_uploaded: bool = False
    lock: asyncio.Lock = attrs.Factory(asyncio.Lock)


class ObjectStorePublisher:
    """A `Publisher` that uploads files to a bucket, signs URLs that expire, and removes the files after the match.

    Each object is named by its content, in a folder with a random name that is never used again. No removal, whether
    late or by another process, can therefore remove a file that a match still needs. Jobs that publish the same file
    at the same time through one publisher share an object, and the last one removes it. Give the bucket a lifecycle
    rule that deletes what a killed process or a lost response left behind.
    """

    def __init__(
        self,
        store: str | SigningStore,
        *,
        config: Mapping[str, str] | None = None,
        expires_in: float = _DEFAULT_EXPIRY_SECONDS,
        proxy: str | None = None,
    ) -> None:
        """Configure the bucket and the URLs.

        Args:
            store: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`, or an obstore `S3Store`,
                `GCSStore` or `AzureStore` with its own configuration. The prefix is optional.
            config: obstore's configuration for a URL, such as `{"region": "us-east-1"}`, including options of its
                HTTP client, such as `allow_http`. Anything missing comes from the environment (`AWS_ACCESS_KEY_ID` and
                the like). AWS profiles are not read.
            expires_in: how many seconds a URL is valid after the upload, at most 7 days. It must be long enough for
                the server to fetch the file. A URL signed with temporary credentials expires with them.
            proxy: the URL of an HTTP proxy, for a store given as a URL. Default: as for `IndigoClient`.

        Raises:
            InvalidInputError: an argument is invalid.
            PublishError: obstore rejects the URL or its configuration.
            MissingPackageError: the extra `publish` is not installed.
        """
        check = InputCheck()
        expires_in = check.seconds("expires_in", expires_in)
        if not check.problems and expires_in > _MAX_EXPIRY_SECONDS:
            check.add("expires_in", f"must be at most {_MAX_EXPIRY_SECONDS} seconds (7 days), not {expires_in:g}")
        if config is not None and not isinstance(store, str):
            check.add("config", "is only for a URL; an obstore store has its own configuration")
        if proxy is not None and not isinstance(store, str):
            check.add("proxy", "is only for a URL; an obstore store has its own client options")
        self._store = _open_store(check, store, config, Proxies.resolve(secret(proxy)))
        check.raise_if_invalid()
        self._label = strip_credentials(store) if isinstance(store, str) else repr(store)
        self._expires_in = timedelta(seconds=expires_in)
        self._objects: dict[str, _SharedObject] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT_UPLOADS)

    def __repr__(self) -> str:
        return f"ObjectStorePublisher({self._label})"

    @asynccontextmanager
    async def publish(self, path: Path) -> AsyncGenerator[str]:
        """Upload a file, yield its signed URL, and remove the file at the end of the block.

        Raises:
            PublishError: the file cannot be read, or the store rejects it.
        """
        try:
            name = await content_name(path)
        except OSError as error:
            raise unreadable(path, error) from None
        if not self._objects:
            self._slots = asyncio.Semaphore(_CONCURRENT_UPLOADS)  # for the current event loop
        shared = self._objects.setdefault(name, _SharedObject(f"{secrets.token_hex(16)}/{name}"))
        shared.users += 1
        try:
            async with shared.lock:
                if not shared.is_uploaded:
                    await self._upload(path, shared.key)
                    shared.is_uploaded = True
            yield await self._translate_errors(path, _sign_url(self._store, shared.key, self._expires_in))
        finally:
            shared.users -= 1
            if not shared.users:
                del self._objects[name]  # before any await: a job that comes now starts a new object
                await run_to_completion(asyncio.ensure_future(self._remove(shared)))

    async def _upload(self, path: Path, key: str) -> None:
        """Upload a file. If canceled, stop the upload cleanly first: a store keeps the parts of a broken one."""
        async with self._slots:
            stopped = asyncio.Event()
            work = asyncio.ensure_future(_upload_file(self._store, key, path, stopped))
            try:
                await self._translate_errors(path, asyncio.shield(work))
            except asyncio.CancelledError:
                stopped.set()
                await wait_shielded(work, seconds=_CLEANUP_TIMEOUT)
                if not work.cancel() and not work.cancelled():
                    work.exception()  # mark it as retrieved
                raise

    async def _translate_errors(self, path: Path, work: Awaitable[T]) -> T:
        """Await the store's work. Its errors, whose messages contain URLs, become `PublishError` without a cause."""
        try:
            return await work
        except PublishError:
            raise
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            reason = explain(error, self._store)
        raise PublishError(f"{path.name} could not be published in {self._label}: {reason}")

    async def _remove(self, shared: _SharedObject) -> None:
        """Remove an object that no job uses, even after a failed upload, which may have created it."""
        import obstore  # noqa: PLC0415 - the extra

        left_behind = f"{shared.key} may be left in {self._label}; it contains voters' data"
        try:
            with cleanup("removing uploaded CSVs", left_behind, seconds=_CLEANUP_TIMEOUT):
                async with asyncio.timeout(_CLEANUP_TIMEOUT):
                    await obstore.delete_async(self._store, shared.key)
        except FileNotFoundError:
            pass
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            _logger.warning(
                "%s could not be removed from %s, %s voters' data: %s",
                shared.key,
                self._label,
                "and holds" if shared.is_uploaded else "where a failed upload may have left it, and then holds",
                explain(error, self._store),
            )


def _open_store(
    check: InputCheck, store: str | SigningStore, config: Mapping[str, str] | None, proxies: Proxies
) -> SigningStore | Any:
    """Open the store; if the argument is invalid, add the problem to `check`."""
    require_extra("publish", "ObjectStorePublisher")
    from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415 - the extra

    if isinstance(store, (S3Store, GCSStore, AzureStore)):
        return store
    if not isinstance(store, str) or urlsplit(store).scheme not in SCHEMES:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        check.add(
            "store",
            "must be a URL such as s3://bucket/prefix (or gs://, az://), or an obstore S3Store, GCSStore or AzureStore",
        )
        return None
    return open_store(check, store, config, proxies=proxies)


async def _sign_url(store: SigningStore, key: str, expires_in: timedelta) -> SecretText:
    import obstore  # noqa: PLC0415 - the extra

    return SecretText(await obstore.sign_async(store, "GET", key, expires_in))


async def _upload_file(store: SigningStore, key: str, path: Path, stopped: asyncio.Event) -> None:
    """Upload a file, streaming large ones from disk in parts. A stopped upload leaves no parts."""
    import obstore  # noqa: PLC0415 - the extra

    digest = hashlib.sha256()

    def read() -> bytes:
        part = file.read(_PART_BYTES)
        digest.update(part)
        if len(part) < _PART_BYTES and not key.endswith(f"/{digest.hexdigest()}.csv"):
            raise PublishError(f"{path} changed while it was being published; try again when nothing is writing to it")
        return part

    async def parts(part: bytes) -> AsyncGenerator[bytes]:
        while part:
            if stopped.is_set():
                raise InterruptedError  # obstore then removes the parts that were sent
            yield part
            part = await run_in_thread(read)

    with await run_in_thread(lambda: path.open("rb")) as file:
        first = await run_in_thread(read)
        await obstore.put_async(
            store,
            key,
            parts(first) if len(first) == _PART_BYTES else first,
            attributes={"Content-Type": "text/csv"},
            chunk_size=_PART_BYTES,
            max_concurrency=_CONCURRENT_PARTS,
        )
