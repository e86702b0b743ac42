"""Downloading an export: streamed to a private part file beside the target, verified, hashed, renamed.

A cut is resumed with `Range`, under `If-Range` with a strong validator, so that two versions of a file are never
joined; a server that answers with the whole file instead starts it over. A later call goes on from what an earlier one
left, by the same rule. The API's token is never sent here.
"""

from __future__ import annotations

import asyncio
import random
import re
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

import aiohttp
import attrs

from indigo_async.errors import DownloadError
from indigo_async.files.encoding import Gunzip
from indigo_async.files.part_file import Downloaded, PartFile
from indigo_async.hidden import HiddenText, hidden
from indigo_async.inputs import is_loopback_host, is_private_host
from indigo_async.transport.policy import RetryPolicy, Silence
from indigo_async.transport.session import Transport
from indigo_async.transport.shield import in_thread

__all__ = ["Downloaded", "FreshUrl", "Progress", "download"]

FreshUrl: TypeAlias = Callable[[], Awaitable[str | None]]
"""Gives another URL of the same file, None where there is none."""

Progress: TypeAlias = Callable[[int, int | None], object]
"""Is told the bytes on disk so far, and how many there will be, None where the server does not say."""

_CHUNK_BYTES = 1024 * 1024
_MAX_REDIRECTS = 5
_PASSING = frozenset({408, 425, 429})
_EXPIRED = frozenset({401, 403, 404, 410})
_PAGES = frozenset({"text/html", "application/xhtml+xml", "application/json", "application/xml", "text/xml"})
_PROGRESS_SECONDS = 0.5


@attrs.frozen
class _Interrupted:
    """An attempt that may be made again; with an expired URL, only with a fresh one."""

    why: str
    expired: bool = False


@attrs.define
class _Meter:
    """Tells of progress at the beginning of an attempt and from time to time, not of every chunk."""

    _tell: Progress | None
    _clock: Callable[[], float]
    _told: float = 0.0

    def begin(self, size: int, total: int | None) -> None:
        self._told = self._clock()
        if self._tell is not None:
            self._tell(size, total)

    def note(self, size: int, total: int | None) -> None:
        if self._clock() - self._told >= _PROGRESS_SECONDS:
            self.begin(size, total)


async def download(
    transport: Transport,
    url: str,
    destination: Path,
    *,
    retry: RetryPolicy,
    source: str | None = None,
    fresh_url: FreshUrl | None = None,
    on_progress: Progress | None = None,
) -> Downloaded:
    """Download a URL to a file that only its owner can read (mode 0600); an existing file is replaced at the end.

    A download that fails, is cancelled or killed leaves its bytes in a hidden file of mode 0600 beside `destination`
    if the next call can go on from there, and nothing otherwise.

    Args:
        transport: the open client's.
        url: where the file is.
        destination: where it goes.
        retry: how often an attempt is made again after one that brought nothing.
        source: what is downloaded, whatever its URL, such as an export: only a download of the same goes on from what
            an earlier one left. By default the URL without its query.
        fresh_url: asked when the URL has expired; once, until more bytes have come.
        on_progress: told how far it is, at most twice a second.

    Raises:
        DownloadError: refused, cut too often, or not what was announced; `destination` is as it was. `expired` is
            true where a fresh URL may help.
        OSError: the destination cannot be written.
    """
    url = hidden(url)
    part = PartFile(destination, source if source is not None else url.partition("?")[0].partition("#")[0])
    meter = _Meter(on_progress, asyncio.get_running_loop().time)
    try:
        url = _checked_url(url, sender=transport.base_url)
        return await _fetched(transport, url, part, retry=retry, fresh_url=fresh_url, meter=meter)
    except DownloadError as error:
        raise error.with_traceback(None) from None  # deeper frames hold the address in the HTTP library's own values
    finally:
        await in_thread(part.close)


async def _fetched(
    transport: Transport, url: str, part: PartFile, *, retry: RetryPolicy, fresh_url: FreshUrl | None, meter: _Meter
) -> Downloaded:
    """The whole file, however often it is cut or its URL expires, as long as it gets on in between."""
    await in_thread(part.open)
    name = part.destination.name
    attempt, farthest, renewed_at = 0, part.size, -1
    resumed = part.validator
    while True:
        attempt += 1
        ended = await _attempt(transport, url, part, meter)
        if ended is None:
            return await in_thread(part.commit)
        if ended.expired:
            if fresh_url is None or part.size <= renewed_at:
                raise DownloadError(f"{name}: {ended.why}", expired=True)
            attempt, renewed_at = 0, part.size
            url = _checked_url(await _renewed(fresh_url, name), sender=transport.base_url)
            continue
        if resumed is not None and part.validator != resumed:
            resumed, farthest = None, 0  # what an earlier call left was of another version
        if part.size > farthest:
            attempt, farthest = 1, part.size
        if attempt >= retry.attempts:
            raise DownloadError(f"{name}: {ended.why}, {attempt} times")
        await asyncio.sleep(retry.backoff(attempt, random.random()))  # noqa: S311 - jitter needs no secrecy


async def _renewed(fresh_url: FreshUrl, name: str) -> HiddenText:
    url = await fresh_url()
    if url is None:
        raise DownloadError(f"{name}: the download's URL has expired and the server shows no other")
    return HiddenText(url)


async def _attempt(transport: Transport, url: str, part: PartFile, meter: _Meter) -> _Interrupted | None:
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
            problem = _refusal(response, part) or _begun(response, part)
            if problem is not None:
                return problem
            return await _receive(response, part, meter)
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


def _refusal(response: aiohttp.ClientResponse, part: PartFile) -> _Interrupted | None:
    """What is wrong with an answer's head, if anything.

    Raises:
        DownloadError: what another attempt will not change.
    """
    status = response.status
    where = f"{response.url.host} answered"
    if status in _PASSING or status >= 500:  # noqa: PLR2004 - HTTP's own classes
        return _Interrupted(f"{where} {status}")
    if status in _EXPIRED:
        return _Interrupted(f"{where} {status}", expired=True)
    if status not in {200, 206, 416}:
        raise DownloadError(f"{part.destination.name}: {where} {status}")
    if response.content_type in _PAGES and status != 416:  # noqa: PLR2004 - as above
        return _Interrupted(f"{where} with {response.content_type} instead of a CSV")  # perhaps a proxy's, which passes
    if _encoding(response) not in {"", "gzip"}:
        return _Interrupted(f"{where} with {_encoding(response)[:20]!r} compression, which was not asked for")
    if response.content_length is None and not response.headers.get("Transfer-Encoding"):
        raise DownloadError(f"{part.destination.name}: {response.url.host} does not say where the file ends")
    return None


def _begun(response: aiohttp.ClientResponse, part: PartFile) -> _Interrupted | None:
    """Make the part file ready for an answer's body, or say why it cannot take that."""
    if response.status == 200:  # noqa: PLR2004 - the whole file, whatever was asked for
        part.restart()
        etag = response.headers.get("ETag", "")
        is_strong = etag.startswith('"') and etag.isascii()  # another could be neither noted nor sent
        part.validator = etag if is_strong and not _encoding(response) else None
        return None
    if _continues(response, part):
        return None
    part.restart()
    if response.status == 416:  # noqa: PLR2004 - the range is not there
        return _Interrupted("the file changed meanwhile")
    return _Interrupted("the server sent another range, or of another file, than the one asked for")


def _continues(response: aiohttp.ClientResponse, part: PartFile) -> bool:
    """Whether a range goes on where the part file ends, in the same version: not every server heeds `If-Range`."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", ""))
    same_version = part.validator is not None and response.headers.get("ETag") == part.validator
    return same_version and match is not None and int(match[1]) == part.size and not _encoding(response)


def _encoding(response: aiohttp.ClientResponse) -> str:
    """How the body is compressed, which some stores send whatever was accepted; empty where it is not."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    return {"identity": "", "x-gzip": "gzip"}.get(encoding, encoding)


async def _receive(response: aiohttp.ClientResponse, part: PartFile, meter: _Meter) -> _Interrupted | None:
    """Write a body down as it comes, and see that it came whole."""
    gunzip = Gunzip() if _encoding(response) else None
    announced, came, before = response.content_length, 0, part.size
    total = None if announced is None else before + announced
    pending: list[bytes] = []
    pending_bytes = 0
    meter.begin(before, total)
    try:
        while isinstance(chunk := await _next_chunk(response), bytes) and chunk:
            came += len(chunk)
            pending.append(chunk)
            pending_bytes += len(chunk)
            if pending_bytes >= _CHUNK_BYTES:
                await in_thread(partial(_write, part, gunzip, pending))
                pending, pending_bytes = [], 0
            meter.note(before + came, total)
        await in_thread(partial(_write, part, gunzip, pending))
    except zlib.error:
        return _Interrupted(f"{response.url.host} sent something else than the gzip that it announced")
    if isinstance(chunk, _Interrupted):
        return chunk
    if announced is not None and came != announced:
        return _Interrupted(f"{came} bytes came, {announced} were announced")
    if gunzip is not None and not gunzip.is_whole:
        return _Interrupted("the compressed file ended early")
    return None


async def _next_chunk(response: aiohttp.ClientResponse) -> bytes | _Interrupted:
    """The next bytes of a body; none at its end."""
    try:
        return await response.content.readany()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return _Interrupted(f"the connection broke ({type(error).__name__})")


def _write(part: PartFile, gunzip: Gunzip | None, chunks: list[bytes]) -> None:
    part.write(chunks if gunzip is None else gunzip.pieces(chunks))
