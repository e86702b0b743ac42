"""Downloading an export: streamed to a private part file beside the target, verified, hashed, renamed.

A cut is resumed with `Range`, under `If-Range` with a strong validator, so that two versions of a file are never
joined; a server that answers with the whole file instead starts it over. One that sends the rest in parts is asked for
them until the whole length has come. A later call goes on from what an earlier one left, by the same rule. The API's
token is never sent here.
"""

from __future__ import annotations

import asyncio
import random
import traceback
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import aiohttp
import attrs

from indigo_async._redaction import SecretText, secret
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.retry import NoResponse, RetryPolicy
from indigo_async._transport.transport import Transport
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.part_file import DownloadedFile, PartFile
from indigo_async.files.downloads.responses import (
    GzipDecoder,
    parse_bounded_retry_after,
    parse_content_encoding,
    parse_content_range,
    parse_unsatisfied_range,
)
from indigo_async.files.downloads.urls import validate_url

__all__ = ["DownloadedFile", "ProgressCallback", "UrlRefresher", "download"]

UrlRefresher: TypeAlias = Callable[[], Awaitable[str | None]]
"""Gives another URL of the same file, None where there is none."""

ProgressCallback: TypeAlias = Callable[[int, int | None], object]
"""Is told the bytes on disk so far, and how many there will be, None where the server does not say."""

_CHUNK_BYTES = 1024 * 1024
_MAX_REDIRECTS = 5
_MAX_REQUESTS = 10_000
_TRANSIENT_STATUSES = frozenset({408, 425, 429})
_EXPIRED_STATUSES = frozenset({401, 403, 404, 410})
_NON_CSV_TYPES = frozenset({"text/html", "application/xhtml+xml", "application/json", "application/xml", "text/xml"})
_NOT_READY_STATUSES = frozenset({202, 204})
_PROGRESS_INTERVAL = 0.5


@attrs.frozen
class _RetryableFailure:
    """An attempt that may be made again; with an expired URL, only with a fresh one."""

    reason: str
    url_expired: bool = False
    retry_after: float | None = None


@attrs.frozen
class _PartialContent:
    """A part of the rest came in good order; the next request asks for what follows."""


@attrs.define
class _ProgressThrottle:
    """Tells of progress at the beginning of an attempt and from time to time, not of every chunk."""

    _callback: ProgressCallback | None
    _clock: Callable[[], float]
    _last_call: float = 0.0

    def emit(self, size: int, total: int | None) -> None:
        self._last_call = self._clock()
        if self._callback is not None:
            self._callback(size, total)

    def emit_throttled(self, size: int, total: int | None) -> None:
        if self._clock() - self._last_call >= _PROGRESS_INTERVAL:
            self.emit(size, total)


async def download(
    transport: Transport,
    url: str,
    destination: Path,
    *,
    retry: RetryPolicy,
    source: str | None = None,
    refresh_url: UrlRefresher | None = None,
    on_progress: ProgressCallback | None = None,
) -> DownloadedFile:
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
        refresh_url: asked when the URL has expired; once, until more bytes have come.
        on_progress: told how far it is, at most twice a second.

    Raises:
        DownloadError: refused, cut too often, or not what was announced; `destination` is as it was. `url_expired` is
            true where a fresh URL may help.
        OSError: the destination cannot be written.
    """
    url = secret(url)
    part = PartFile(destination, source if source is not None else url.partition("?")[0].partition("#")[0])
    meter = _ProgressThrottle(on_progress, asyncio.get_running_loop().time)
    try:
        url = validate_url(url, referrer_url=transport.base_url)
        return await _download_with_retries(transport, url, part, retry=retry, fresh_url=refresh_url, meter=meter)
    except BaseException as error:
        _clear_frames(error)
        raise
    finally:
        await run_in_thread(part.close)


def _clear_frames(error: BaseException) -> None:
    """Empty the frames that an error left: their variables hold rows and signed URLs, which some loggers print."""
    if error.__suppress_context__:
        error.__context__ = None
    chained: BaseException | None = error
    cleared: set[int] = set()
    while chained is not None and id(chained) not in cleared:
        cleared.add(id(chained))
        traceback.clear_frames(chained.__traceback__)
        chained = chained.__cause__ or chained.__context__


async def _download_with_retries(
    transport: Transport,
    url: str,
    part: PartFile,
    *,
    retry: RetryPolicy,
    fresh_url: UrlRefresher | None,
    meter: _ProgressThrottle,
) -> DownloadedFile:
    """The whole file, however often it is cut or its URL expires, as long as it gets on in between."""
    await run_in_thread(part.open)
    name = part.destination.name
    attempt, farthest, renewed_at = 0, part.size, -1
    resumed = part.validator
    ended: _RetryableFailure | _PartialContent | None = None
    for _ in range(_MAX_REQUESTS):
        attempt += 1
        ended = await _attempt(transport, url, part, meter, follows_slice=isinstance(ended, _PartialContent))
        if ended is None:
            return await run_in_thread(part.commit)
        if isinstance(ended, _RetryableFailure) and ended.url_expired:
            if fresh_url is None or part.size <= renewed_at:
                raise DownloadError(f"{name}: {ended.reason}", expired=True)
            attempt, renewed_at = 0, part.size
            url = validate_url(await _refresh(fresh_url, name), referrer_url=transport.base_url)
            continue
        if resumed is not None and part.validator != resumed:
            resumed, farthest = None, 0  # what an earlier call left was of another version
        if part.size > farthest:
            attempt, farthest = 1, part.size
        if isinstance(ended, _PartialContent):
            attempt -= 1
            continue
        if attempt >= retry.attempts:
            raise DownloadError(f"{name}: {ended.reason}, {attempt} times")
        delay = retry.backoff(attempt, random.random())  # noqa: S311 - jitter needs no secrecy
        await asyncio.sleep(max(delay, ended.retry_after or 0.0))
    raise DownloadError(f"{name}: not whole after {_MAX_REQUESTS} requests")


async def _refresh(fresh_url: UrlRefresher, name: str) -> SecretText:
    url = await fresh_url()
    if url is None:
        raise DownloadError(f"{name}: the download's URL has expired and the server shows no other")
    return SecretText(url)


async def _attempt(
    transport: Transport, url: str, part: PartFile, meter: _ProgressThrottle, *, follows_slice: bool
) -> _RetryableFailure | _PartialContent | None:
    """Fetch what is missing; None when the file is whole."""
    headers = {"Accept": "text/csv, */*;q=0.5", "Accept-Encoding": "identity"}
    if part.size and part.validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    for _ in range(_MAX_REDIRECTS):
        async with transport.open_url(url, headers) as response:
            if isinstance(response, NoResponse):
                return _RetryableFailure(response.reason.value)
            if response.status in {301, 302, 303, 307, 308}:
                url = validate_url(response.headers.get("Location", ""), referrer_url=url)
                continue
            if _is_already_complete(response, part, follows_slice=follows_slice):
                return None
            problem = _check_response_head(response, part) or _prepare_part_file(response, part)
            if problem is not None:
                return problem
            return await _receive_body(response, part, meter)
    raise DownloadError(f"{part.destination.name}: more than {_MAX_REDIRECTS} redirects")


def _check_response_head(response: aiohttp.ClientResponse, part: PartFile) -> _RetryableFailure | None:
    """What is wrong with an answer's head, if anything.

    Raises:
        DownloadError: what another attempt will not change.
    """
    status = response.status
    where = f"{response.url.host} answered"
    if status in _TRANSIENT_STATUSES or status in _NOT_READY_STATUSES or status >= 500:  # noqa: PLR2004 - HTTP's own classes
        hint = " (the file is not ready)" if status in _NOT_READY_STATUSES else ""
        return _RetryableFailure(f"{where} {status}{hint}", retry_after=parse_bounded_retry_after(response))
    if status in _EXPIRED_STATUSES:
        return _RetryableFailure(f"{where} {status}", url_expired=True)
    if status == 416:  # noqa: PLR2004 - as above
        return None
    if status not in {200, 206}:
        raise DownloadError(f"{part.destination.name}: {where} {status}")
    if response.content_type in _NON_CSV_TYPES:
        return _RetryableFailure(
            f"{where} with {response.content_type} instead of a CSV"
        )  # perhaps a proxy's, which passes
    if parse_content_encoding(response) not in {"", "gzip"}:
        return _RetryableFailure(
            f"{where} with {parse_content_encoding(response)[:20]!r} compression, which was not asked for"
        )
    if status == 200 and response.content_length is None and not response.headers.get("Transfer-Encoding"):  # noqa: PLR2004
        raise DownloadError(f"{part.destination.name}: {response.url.host} does not say where the file ends")
    return None


def _is_already_complete(response: aiohttp.ClientResponse, part: PartFile, *, follows_slice: bool) -> bool:
    """Whether an answer says that nothing is missing: the range that was asked for would begin at the file's end."""
    is_other = response.headers.get("ETag", part.validator) != part.validator
    if response.status != 416 or not part.size or part.validator is None or is_other:  # noqa: PLR2004 - as above
        return False
    length = parse_unsatisfied_range(response)
    if length is None:
        return follows_slice and part.total is None
    return part.size == length and part.total in {None, length}


def _prepare_part_file(response: aiohttp.ClientResponse, part: PartFile) -> _RetryableFailure | None:
    """Make the part file ready for an answer's body, or say why it cannot take that."""
    if response.status == 200:  # noqa: PLR2004 - the whole file, whatever was asked for
        etag = response.headers.get("ETag", "")
        is_strong = etag.startswith('"') and etag.isascii()  # another could be neither noted nor sent
        validator = etag if is_strong and not parse_content_encoding(response) else None
        known = part.total if validator is not None and validator == part.validator else None
        part.restart()
        part.validator = validator
        if not parse_content_encoding(response):
            part.total = known if response.content_length is None else response.content_length
        return None
    if _accept_range(response, part):
        return None
    part.restart()
    if response.status == 416:  # noqa: PLR2004 - the range is not there
        return _RetryableFailure("the file changed meanwhile")
    return _RetryableFailure("the server sent another range, or of another file, than the one asked for")


def _accept_range(response: aiohttp.ClientResponse, part: PartFile) -> bool:
    """Whether a range goes on where the part file ends, in the same version: not every server heeds `If-Range`."""
    span = parse_content_range(response)
    if (
        span is None
        or part.validator is None
        or response.headers.get("ETag") != part.validator
        or parse_content_encoding(response)
    ):
        return False
    total = part.total if span.total is None else span.total
    if span.first != part.size or span.last < span.first or response.content_length not in {None, span.size}:
        return False
    if total is not None and (span.last >= total or part.total not in {None, total}):
        return False
    part.total = total
    return True


async def _receive_body(
    response: aiohttp.ClientResponse, part: PartFile, meter: _ProgressThrottle
) -> _RetryableFailure | _PartialContent | None:
    """Write a body down as it comes, and see that it came whole."""
    gunzip = GzipDecoder() if parse_content_encoding(response) else None
    span = parse_content_range(response) if response.status == 206 else None  # noqa: PLR2004 - as above
    announced = response.content_length if span is None else span.size
    came, before = 0, part.size
    total = announced if part.total is None and span is None else part.total
    pending: list[memoryview] = []  # whose reprs show nothing of people
    pending_bytes = 0
    meter.emit(before, total)
    try:
        while isinstance(chunk := await _next_chunk(response), memoryview) and chunk:
            came += len(chunk)
            if announced is not None and came > announced:
                part.restart()
                return _RetryableFailure(f"more bytes came than the {announced} that were announced")
            pending.append(chunk)
            pending_bytes += len(chunk)
            if pending_bytes >= _CHUNK_BYTES:
                await run_in_thread(partial(_write, part, gunzip, pending))
                pending, pending_bytes = [], 0
            meter.emit_throttled(before + came, total)
        await run_in_thread(partial(_write, part, gunzip, pending))
    except zlib.error:
        return _RetryableFailure(f"{response.url.host} sent something else than the gzip that it announced")
    if isinstance(chunk, _RetryableFailure):
        return chunk
    if announced is not None and came != announced:
        return _RetryableFailure(f"{came} bytes came, {announced} were announced")
    if gunzip is not None and not gunzip.is_complete:
        return _RetryableFailure("the compressed file ended early")
    return _check_length(part, is_slice=span is not None)


def _check_length(part: PartFile, *, is_slice: bool) -> _RetryableFailure | _PartialContent | None:
    """What a body that came in good order leaves to do; None if nothing."""
    if is_slice and part.size != part.total:
        return _PartialContent()
    if part.total not in {None, part.size}:
        return _RetryableFailure(f"{part.size} of {part.total} bytes came")
    return None


async def _next_chunk(response: aiohttp.ClientResponse) -> memoryview | _RetryableFailure:
    """The next bytes of a body; none at its end."""
    try:
        return memoryview(await response.content.readany())
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return _RetryableFailure(f"the connection broke ({type(error).__name__})")


def _write(part: PartFile, gunzip: GzipDecoder | None, chunks: list[memoryview]) -> None:
    part.write(chunks if gunzip is None else gunzip.decompress(chunks))
