"""Publishing local CSVs in an object store (S3, Google Cloud Storage, Azure) by obstore: the extra `publish`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import attrs

from indigo_async._redaction import SecretText
from indigo_async._transport.cancellation import run_in_thread, run_to_completion, wait_shielded
from indigo_async._validation import InputCheck
from indigo_async.errors import PublishError
from indigo_async.files.publishing.publisher import content_name

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    SigningStore: TypeAlias = S3Store | GCSStore | AzureStore

__all__ = ["ObjectStorePublisher"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")

_SCHEMES = ("s3", "gs", "az")
_DEFAULT_EXPIRY_SECONDS = 6 * 3600.0
_MAX_EXPIRY_SECONDS = 7 * 24 * 3600  # what S3 and Google Cloud Storage sign for at most
_PART_BYTES = 8 * 1024 * 1024
_CONCURRENT_PARTS = 2
_CONCURRENT_UPLOADS = 8
_CLEANUP_TIMEOUT = 30.0
_RETRY = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_ERROR_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")


@attrs.define(eq=False)
class _SharedObject:
    """An object in the bucket, and how many jobs want it there; its lock is held to put it there.

    An upload that was begun and failed may have put it there all the same. Its place is never used again: whatever the
    store carries out late, perhaps of a request given up long ago, concerns this object alone.
    """

    key: str
    users: int = 0
    is_uploaded: bool = False
    lock: asyncio.Lock = attrs.Factory(asyncio.Lock)


class ObjectStorePublisher:
    """A `Publisher` that puts files into a bucket, at signed URLs that expire, and removes them after the match.

    An object is named by its content and is in a folder of its own, whose random name is never used again: no removal,
    be it late or another process's, takes away what a match still needs. Jobs that publish the same file by one
    publisher at the same time share an object, and the last removes it. Give the bucket a rule that deletes what a
    killed process, or a request whose answer was lost, left there.
    """

    def __init__(
        self,
        store: str | SigningStore,
        *,
        config: Mapping[str, str] | None = None,
        expires_in: float = _DEFAULT_EXPIRY_SECONDS,
    ) -> None:
        """Choose where files go.

        Args:
            store: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`, or an obstore `S3Store`,
                `GCSStore` or `AzureStore`, which has its own configuration. The prefix is optional.
            config: with a URL, obstore's configuration, such as `{"region": "us-east-1"}`; what it does not have is
                taken from the environment (`AWS_ACCESS_KEY_ID` and the like), as obstore does.
            expires_in: seconds for which a URL is good, counted from the end of the upload. It must be long enough
                for the server to fetch the file. A URL signed with temporary credentials ends with those.

        Raises:
            InvalidInputError: an argument that cannot be.
            PublishError: obstore does not take the address or its configuration.
            ImportError: obstore is not installed.
        """
        check = InputCheck()
        check.seconds("expires_in", expires_in)
        if not check.problems and expires_in > _MAX_EXPIRY_SECONDS:
            check.add("expires_in", f"must be at most {_MAX_EXPIRY_SECONDS} seconds (7 days), not {expires_in:g}")
        if config is not None and not isinstance(store, str):
            check.add("config", "goes with a URL; a store of obstore's has its own")
        self._store = _open_store(check, store, config)
        check.raise_if_invalid()
        self._label = _strip_credentials(store) if isinstance(store, str) else repr(store)
        self._expires_in = timedelta(seconds=expires_in)
        self._objects: dict[str, _SharedObject] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT_UPLOADS)

    def __repr__(self) -> str:
        return f"ObjectStorePublisher({self._label})"

    @asynccontextmanager
    async def publish(self, path: Path) -> AsyncGenerator[str]:
        """Put a file into the bucket for as long as the block lasts, and give its signed URL.

        Raises:
            PublishError: the file cannot be read, or the store does not take it.
        """
        try:
            name = await content_name(path)
        except OSError as error:
            raise PublishError(f"{path} cannot be read ({error.strerror or type(error).__name__})") from None
        if not self._objects:
            self._slots = asyncio.Semaphore(_CONCURRENT_UPLOADS)  # of the event loop that runs now
        share = self._objects.setdefault(name, _SharedObject(f"{secrets.token_hex(16)}/{name}"))
        share.users += 1
        try:
            async with share.lock:
                if not share.is_uploaded:
                    await self._upload(path, share.key)
                    share.is_uploaded = True
            yield await self._translate_errors(path, _sign_url(self._store, share.key, self._expires_in))
        finally:
            share.users -= 1
            if not share.users:
                del self._objects[name]  # before anything is waited for: who comes now begins another
                await run_to_completion(asyncio.ensure_future(self._remove(share)))

    async def _upload(self, path: Path, place: str) -> None:
        """Put the file there. Cancelled, it first stops in order: a store keeps the parts of an upload cut off."""
        async with self._slots:
            stopped = asyncio.Event()
            work = asyncio.ensure_future(_upload_file(self._store, place, path, stopped))
            try:
                await self._translate_errors(path, asyncio.shield(work))
            except asyncio.CancelledError:
                stopped.set()
                await wait_shielded(work, seconds=_CLEANUP_TIMEOUT)
                if not work.cancel() and not work.cancelled():
                    work.exception()  # of an upload that nobody waits for any more
                raise

    async def _translate_errors(self, path: Path, work: Awaitable[T]) -> T:
        """What the store's work gives; its errors, whose texts hold addresses, end here."""
        try:
            return await work
        except PublishError:
            raise
        except Exception as error:  # noqa: BLE001 - of obstore's kinds and Python's own
            why = _explain(error)
        raise PublishError(f"{path.name} could not be published in {self._label}: {why}")

    async def _remove(self, share: _SharedObject) -> None:
        """Remove an object that nobody wants any more: also after a failed upload, which may have done its work."""
        import obstore  # noqa: PLC0415 - the extra

        try:
            async with asyncio.timeout(_CLEANUP_TIMEOUT):
                await obstore.delete_async(self._store, share.key)
        except FileNotFoundError:
            pass
        except Exception as error:  # noqa: BLE001 - the match is done; what is left must be told
            _logger.warning(
                "%s could not be removed from %s, %s people's data: %s",
                share.key,
                self._label,
                "and holds" if share.is_uploaded else "where it may be after a failed upload, and then holds",
                _explain(error),
            )


def _open_store(check: InputCheck, store: str | SigningStore, config: Mapping[str, str] | None) -> SigningStore | Any:
    """The store itself; a problem is added to `check` where there is none."""
    try:
        from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415 - the extra
    except ImportError:
        raise ImportError("ObjectStorePublisher needs obstore: pip install 'indigo-async[publish]'") from None

    if isinstance(store, (S3Store, GCSStore, AzureStore)):
        return store
    kinds: dict[str, Any] = dict(zip(_SCHEMES, (S3Store, GCSStore, AzureStore), strict=True))
    scheme = urlsplit(store).scheme if isinstance(store, str) else ""  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
    if scheme not in kinds:
        check.add(
            "store",
            "must be a URL such as s3://bucket/prefix (or gs://, az://), or an obstore S3Store, GCSStore or AzureStore",
        )
        return None
    try:
        return kinds[scheme].from_url(store, config=dict(config or {}), retry_config=_RETRY)
    except Exception as error:  # noqa: BLE001 - of obstore's kinds and Python's own
        kind = type(error).__name__
    raise PublishError(f"obstore does not take {_strip_credentials(store)} with this configuration ({kind})")


def _strip_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


async def _sign_url(store: SigningStore, place: str, expires_in: timedelta) -> SecretText:
    import obstore  # noqa: PLC0415 - the extra

    return SecretText(await obstore.sign_async(store, "GET", place, expires_in))


async def _upload_file(store: SigningStore, place: str, path: Path, stopped: asyncio.Event) -> None:
    """Put a file there, a large one in parts from disk. A stopped one leaves no parts."""
    import obstore  # noqa: PLC0415 - the extra

    digest = hashlib.sha256()

    def read() -> bytes:
        part = file.read(_PART_BYTES)
        digest.update(part)
        if len(part) < _PART_BYTES and not place.endswith(f"/{digest.hexdigest()}.csv"):
            raise PublishError(f"{path} changed while it was published; try again when nothing writes it")
        return part

    async def parts(part: bytes) -> AsyncGenerator[bytes]:
        while part:
            if stopped.is_set():
                raise InterruptedError  # at which obstore takes back the parts that were sent
            yield part
            part = await run_in_thread(read)

    with await run_in_thread(partial(path.open, "rb")) as file:
        first = await run_in_thread(read)
        await obstore.put_async(
            store,
            place,
            parts(first) if len(first) == _PART_BYTES else first,
            attributes={"Content-Type": "text/csv"},
            chunk_size=_PART_BYTES,
            max_concurrency=_CONCURRENT_PARTS,
        )


def _explain(error: Exception) -> str:
    """What went wrong and what to do, in words without addresses, which may be signed."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError  # noqa: PLC0415 - the extra

    code = _ERROR_CODE.search(str(error))
    said = code[1] if code is not None else type(error).__name__
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or said == "ExpiredToken":
        return f"it refuses the credentials ({said}); are they valid, and may they write and delete there?"
    if isinstance(error, FileNotFoundError):
        return f"there is no such place ({said}); does the bucket exist, in that region?"
    return f"it could not be reached, or failed ({said}); are its address, region and credentials right?"
