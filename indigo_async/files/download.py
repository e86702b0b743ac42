"""Downloading an export: streamed to a private part file beside the target, verified, hashed, renamed.

A cut is resumed with `Range`, under `If-Range` with a strong validator, so that two versions of a file are never
joined; a server that answers with the whole file instead starts it over. The API's token is never sent here.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import random
import re
from functools import partial
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import aiohttp
import attrs

from indigo_async.errors import DownloadError
from indigo_async.hidden import HiddenText, hidden
from indigo_async.inputs import is_loopback_host, is_private_host
from indigo_async.transport.policy import RetryPolicy, Silence
from indigo_async.transport.session import Transport
from indigo_async.transport.shield import in_thread

__all__ = ["Downloaded", "download"]

_CHUNK_BYTES = 1024 * 1024
_MAX_REDIRECTS = 5
_PRIVATE = 0o600
_PASSING = frozenset({408, 425, 429})


@attrs.frozen
class Downloaded:
    """A whole file on disk: where, how many bytes, and the SHA-256 of its content in hex."""

    path: Path
    size_bytes: int
    sha256: str


@attrs.frozen
class _Interrupted:
    """An attempt that may be made again."""

    why: str


async def download(transport: Transport, url: str, destination: Path, *, retry: RetryPolicy) -> Downloaded:
    """Download a URL to a file that only its owner can read (mode 0600); an existing file is replaced at the end.

    Raises:
        DownloadError: refused, cut too often, or not what was announced; `destination` is as it was. `expired` is
            true where a fresh URL may help.
        OSError: the destination cannot be written.
    """
    url = hidden(url)
    part = _PartFile(destination)
    try:
        return await _fetched(transport, _checked_url(url, sender=transport.base_url), part, retry)
    except DownloadError as error:
        raise error.with_traceback(None) from None  # deeper frames hold the address in the HTTP library's own values
    finally:
        await in_thread(part.discard)


async def _fetched(transport: Transport, url: str, part: _PartFile, retry: RetryPolicy) -> Downloaded:
    """The whole file, however often it is cut, as long as it gets on between cuts."""
    await in_thread(part.open)
    attempt, farthest = 0, 0
    while True:
        attempt += 1
        ended = await _attempt(transport, url, part)
        if ended is None:
            return await in_thread(part.commit)
        if part.size > farthest:
            attempt, farthest = 1, part.size
        if attempt >= retry.attempts:
            raise DownloadError(f"{part.destination.name}: {ended.why}, {attempt} times")
        await asyncio.sleep(retry.backoff(attempt, random.random()))  # noqa: S311 - jitter needs no secrecy


async def _attempt(transport: Transport, url: str, part: _PartFile) -> _Interrupted | None:
    """Fetch what is missing; None when the file is whole."""
    headers = {"Accept": "text/csv, */*;q=0.5", "Accept-Encoding": "identity"}
    if part.size and part.validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    for _ in range(_MAX_REDIRECTS):
        async with transport.open_url(url, headers) as response:
            if isinstance(response, Silence):
                return _Interrupted(response.reason.value)
            if response.status in {301, 302, 303, 307, 308}:
                url = _checked_url(response.headers.get("Location", ""), sender=url)
                continue
            problem = _refusal(response, part)
            if problem is not None:
                return problem
            return await _receive(response, part)
    raise DownloadError(f"{part.destination.name}: more than {_MAX_REDIRECTS} redirects")


def _checked_url(location: str, *, sender: str) -> HiddenText:
    """Where the API or a redirect, at the URL `sender`, sends us: an address that is safe to ask.

    Raises:
        DownloadError: it is not; the message holds nothing of it but scheme and host.
    """
    try:
        from_host = urlsplit(sender).hostname
        url = urljoin(sender, location)
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise DownloadError("the download's address is not a URL") from None
    if parts.scheme not in {"http", "https"}:
        raise DownloadError(f"the download's address has the scheme {parts.scheme!r}; only https is followed")
    if not host:
        raise DownloadError("the download's address names no host")
    if parts.username or parts.password:
        raise DownloadError(f"the download's address at {host} holds a user name or password")
    # This machine may send us around on itself; nobody else may send us to it. A name that resolves to a private
    # address is let pass: a bucket's may, within a cloud, and the certificate shows that the host is the one named.
    if is_loopback_host(from_host) and is_loopback_host(host):
        return HiddenText(url)
    if parts.scheme == "http":
        raise DownloadError(f"the download at {host} is not https; people's data would travel in the clear")
    if is_private_host(host) and not is_private_host(from_host):
        raise DownloadError(f"the download at {host} is in a private network, where {from_host} may not send us")
    return HiddenText(url)


def _refusal(response: aiohttp.ClientResponse, part: _PartFile) -> _Interrupted | None:
    """What is wrong with an answer's head, if anything; the part file is made ready for its body."""
    status = response.status
    where = f"{part.destination.name}: {response.url.host} answered"
    if status in _PASSING or status >= 500:  # noqa: PLR2004 - HTTP's own classes
        return _Interrupted(f"{response.url.host} answered {status}")
    if status == 416:  # noqa: PLR2004 - the range is not there: the file changed
        part.restart()
        return _Interrupted("the file changed meanwhile")
    if status not in {200, 206}:
        raise DownloadError(f"{where} {status}", expired=status in {401, 403, 404, 410})
    if response.content_type in {"text/html", "application/json", "application/xml"}:
        raise DownloadError(f"{where} with {response.content_type} instead of a CSV")
    if status == 200:  # noqa: PLR2004 - the whole file, whatever was asked for
        part.restart()
    elif not _continues(response, part):
        part.restart()
        return _Interrupted("the server sent another range, or of another file, than the one asked for")
    etag = response.headers.get("ETag", "")
    part.validator = etag if etag.startswith('"') and not _is_encoded(response) else None
    return None


def _continues(response: aiohttp.ClientResponse, part: _PartFile) -> bool:
    """Whether a range goes on where the part file ends, in the same version: not every server heeds `If-Range`."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", ""))
    same_version = part.validator is not None and response.headers.get("ETag") == part.validator
    return same_version and match is not None and int(match[1]) == part.size


def _is_encoded(response: aiohttp.ClientResponse) -> bool:
    """Whether lengths and ranges count compressed bytes, which some stores send whatever was accepted."""
    return "Content-Encoding" in response.headers


async def _receive(response: aiohttp.ClientResponse, part: _PartFile) -> _Interrupted | None:
    if response.content_length is None and not response.headers.get("Transfer-Encoding"):
        raise DownloadError(f"{part.destination.name}: {response.url.host} does not say where the file ends")
    announced = None if _is_encoded(response) else response.content_length
    before = part.size
    pending: list[bytes] = []
    pending_bytes = 0
    interrupted = None
    try:
        async for chunk in response.content.iter_any():
            pending.append(chunk)
            pending_bytes += len(chunk)
            if pending_bytes >= _CHUNK_BYTES:
                await in_thread(partial(part.write, pending))
                pending, pending_bytes = [], 0
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        interrupted = _Interrupted(f"the connection broke ({type(error).__name__})")
    await in_thread(partial(part.write, pending))
    if interrupted is None and announced is not None and part.size - before != announced:
        interrupted = _Interrupted(f"{part.size - before} bytes came, {announced} were announced")
    return interrupted


class _PartFile:
    """The bytes so far, in a file of mode 0600 beside the target; hashed as they are written.

    Its name is the same for every download to the target, so that what a killed process left is taken over by the next
    one. A lock, which the kernel releases when its process ends, keeps two downloads out of one file.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.validator: str | None = None
        self.size = 0
        self._path = destination.with_name(f".{destination.name}.part")
        self._descriptor: int | None = None
        self._is_kept = False
        self._hash = hashlib.sha256()

    def open(self) -> None:
        if self.destination.is_dir():
            raise IsADirectoryError(f"{self.destination} is a folder; name a file")
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        while self._descriptor is None:
            self._descriptor = self._locked()
        os.fchmod(self._descriptor, _PRIVATE)
        os.ftruncate(self._descriptor, 0)

    def _locked(self) -> int | None:
        """The part file, open and locked; None when it was taken away meanwhile."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), self._path.lstat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            raise DownloadError(f"{self.destination}: another download writes it at this moment") from None
        os.close(descriptor)
        return None

    @property
    def _opened(self) -> int:
        if self._descriptor is None:
            raise ValueError("the part file is not open")
        return self._descriptor

    def write(self, chunks: list[bytes]) -> None:
        for chunk in chunks:
            self._hash.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._opened, view) :]
            self.size += len(chunk)

    def restart(self) -> None:
        os.lseek(self._opened, 0, os.SEEK_SET)
        os.ftruncate(self._opened, 0)
        self.size = 0
        self.validator = None
        self._hash = hashlib.sha256()

    def commit(self) -> Downloaded:
        os.fsync(self._opened)
        self._path.replace(self.destination)
        self._is_kept = True
        _sync_folder(self.destination.parent)
        return Downloaded(self.destination, self.size, self._hash.hexdigest())

    def discard(self) -> None:
        if self._descriptor is None:
            return
        if not self._is_kept:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
