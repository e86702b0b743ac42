"""Download an export: stream it to a private part file beside the destination, verify it, hash it and rename it.

A broken download resumes with `Range`, under `If-Range` with a strong validator so that two versions of a file are
never joined. If the server sends the whole file instead, the download starts over. If it sends the rest in slices, the
download requests them until the file is complete. A later call resumes what an earlier call left, by the same rules.
The API token is never sent to a download server.
"""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import aiohttp
import attrs
from yarl import URL

from indigo_async._redaction import SecretText, secret
from indigo_async._text import without_query
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.responses import NoResponse
from indigo_async._transport.retry import RetryPolicy
from indigo_async._transport.transport import Transport
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.part_file import DownloadedFile, PartFile
from indigo_async.files.downloads.responses import (
    GzipDecoder,
    RetryableFailure,
    check_head,
    is_already_complete,
    parse_content_encoding,
    parse_content_range,
    prepare_part_file,
)
from indigo_async.files.downloads.urls import validate_url

__all__ = ["DownloadedFile", "ProgressCallback", "UrlRefresher", "download"]

UrlRefresher: TypeAlias = Callable[[], Awaitable[str | None]]
"""Returns a fresh URL of the same file, or None if there is none."""

ProgressCallback: TypeAlias = Callable[[int, int | None], object]
"""Receives the bytes downloaded so far and the total, which is None if the server does not say."""

_logger = logging.getLogger("indigo_async")

_CHUNK_BYTES = 1024 * 1024
_MAX_REDIRECTS = 5
_MAX_REQUESTS = 10_000
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_PROGRESS_INTERVAL = 0.5


@attrs.frozen
class _SliceReceived:
    """A slice of the rest arrived intact; the next request asks for what follows."""


@attrs.define
class _ProgressThrottle:
    """Reports progress at the start of an attempt and then at most twice a second."""

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
    read_timeout: float = 60.0,
    source: str | None = None,
    refresh_url: UrlRefresher | None = None,
    on_progress: ProgressCallback | None = None,
) -> DownloadedFile:
    """Download a URL to a file of mode 0600. An existing file is replaced only once the download is complete.

    If a download fails, is canceled or is killed, its bytes stay in a hidden file of mode 0600 beside `destination`
    if the next call can resume there. Otherwise nothing is left.

    Args:
        transport: the transport of the open client.
        url: the URL of the file.
        destination: the path to write.
        retry: how often to repeat an attempt that made no progress.
        read_timeout: seconds without any data after which an attempt ends.
        source: identifies what is downloaded under any URL, such as an export. A download resumes only what an earlier
            one of the same source left. Defaults to the URL without its query.
        refresh_url: called when the URL has expired, and again only after more bytes have arrived.
        on_progress: called with the progress, at most twice a second.

    Raises:
        DownloadError: the server refused, kept breaking off, or sent something else than it announced. `destination`
            is unchanged. If `expired` is true, a fresh URL may help.
        OSError: the destination cannot be written.
    """
    url = secret(url)
    part = PartFile(destination, without_query(url) if source is None else source)
    progress = _ProgressThrottle(on_progress, asyncio.get_running_loop().time)
    try:
        url = validate_url(url, referrer_url=transport.base_url)
        return await _download_with_retries(
            transport, url, part, progress, retry=retry, read_timeout=read_timeout, refresh_url=refresh_url
        )
    except BaseException as error:
        _clear_frames(error)
        raise
    finally:
        if part.is_open:
            await run_in_thread(part.close)


def _clear_frames(error: BaseException) -> None:
    """Clear the frames of an error: their variables hold rows and signed URLs, which some loggers print."""
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
    progress: _ProgressThrottle,
    *,
    retry: RetryPolicy,
    read_timeout: float,
    refresh_url: UrlRefresher | None,
) -> DownloadedFile:
    """Download until the file is complete. Only attempts that make no progress use up the retries.

    A recipe also waits for the end of an outage of the host.
    """
    await run_in_thread(part.open)
    name = part.destination.name
    attempt, largest_size, size_at_refresh = 0, part.size, -1
    clock = asyncio.get_running_loop().time
    failing_since = clock()
    was_outage = False
    resumed_version = part.validator
    outcome: DownloadedFile | RetryableFailure | _SliceReceived | None = None
    for _ in range(_MAX_REQUESTS):
        attempt += 1
        outcome = await _attempt(
            transport, url, part, progress, read_timeout=read_timeout, follows_slice=isinstance(outcome, _SliceReceived)
        )
        if isinstance(outcome, DownloadedFile):
            return outcome
        if isinstance(outcome, RetryableFailure) and outcome.url_expired:
            if refresh_url is None or part.size <= size_at_refresh:
                raise DownloadError(f"{name}: {outcome.reason}", expired=True)
            attempt, size_at_refresh = 0, part.size
            url = validate_url(await _get_fresh_url(refresh_url, name), referrer_url=transport.base_url)
            continue
        if resumed_version is not None and part.validator != resumed_version:
            resumed_version, largest_size = None, 0  # an earlier call left another version of the file
        if part.size > largest_size:
            attempt, largest_size = 1, part.size
        if isinstance(outcome, _SliceReceived):
            attempt -= 1
            continue
        if attempt == 1:
            failing_since = clock()
        is_outage = transport.is_waiting_out_host_outage(outcome.failing_host, failing_since)
        if attempt >= retry.attempts and was_outage and not is_outage:  # it ended after this attempt was sent
            attempt, failing_since = 1, clock()
        await _wait_to_retry(name, outcome, attempt, is_outage=is_outage, transport=transport, retry=retry)
        was_outage = transport.is_waiting_out_host_outage(outcome.failing_host, failing_since)
    raise DownloadError(f"{name}: incomplete after {_MAX_REQUESTS} requests")


async def _wait_to_retry(
    name: str, failure: RetryableFailure, attempt: int, *, is_outage: bool, transport: Transport, retry: RetryPolicy
) -> None:
    """Wait until the next attempt.

    Raises:
        DownloadError: no attempt is left, and the caller may not wait out an outage.
    """
    delay = retry.backoff(attempt, random.random())  # noqa: S311 - jitter needs no secrecy
    if attempt >= retry.attempts:
        if not is_outage:
            raise DownloadError(f"{name}: {failure.reason} (after {attempt} attempts)")
        delay = min(delay, transport.max_probe_interval)
        if attempt == retry.attempts:
            _logger.warning("%s: %s; the download continues when the server responds again", name, failure.reason)
    await asyncio.sleep(max(delay, failure.retry_after or 0.0))


async def _get_fresh_url(refresh_url: UrlRefresher, name: str) -> SecretText:
    url = await refresh_url()
    if url is None:
        raise DownloadError(f"{name}: the download URL has expired and the server returned no other")
    return SecretText(url)


async def _attempt(
    transport: Transport,
    url: str,
    part: PartFile,
    progress: _ProgressThrottle,
    *,
    read_timeout: float,
    follows_slice: bool,
) -> DownloadedFile | RetryableFailure | _SliceReceived:
    """Request the missing bytes."""
    headers = {"Accept": "text/csv, */*;q=0.5", "Accept-Encoding": "identity"}
    if part.size and part.validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    for _ in range(_MAX_REDIRECTS):
        async with transport.http.open_url(url, headers, read_timeout=read_timeout) as response:
            if isinstance(response, NoResponse):
                return RetryableFailure(str(response), failing_host=URL(url, encoded=True).host)
            if response.status in _REDIRECT_STATUSES:
                url = validate_url(response.headers.get("Location", ""), referrer_url=url)
                continue
            if is_already_complete(response, part, follows_slice=follows_slice):
                return await run_in_thread(part.commit)
            failure = check_head(response, part.destination.name) or prepare_part_file(response, part)
            return failure or await _receive_body(response, part, progress)
    raise DownloadError(f"{part.destination.name}: more than {_MAX_REDIRECTS} redirects")


async def _receive_body(
    response: aiohttp.ClientResponse, part: PartFile, progress: _ProgressThrottle
) -> DownloadedFile | RetryableFailure | _SliceReceived:
    """Write a body to the part file as it arrives, verify its length, and commit the file once it is complete."""
    gunzip = GzipDecoder() if parse_content_encoding(response) else None
    span = parse_content_range(response) if response.status == 206 else None  # noqa: PLR2004 - Partial Content
    announced = response.content_length if span is None else span.size
    received, size_before = 0, part.size
    total = announced if part.total is None and span is None else part.total
    pending: list[memoryview] = []  # memoryviews, because their reprs show no rows
    pending_bytes = 0
    progress.emit(size_before, total)
    try:
        while isinstance(chunk := await _next_chunk(response), memoryview) and chunk:
            received += len(chunk)
            if announced is not None and received > announced:
                part.restart()
                return RetryableFailure(f"received more than the {announced} announced bytes")
            pending.append(chunk)
            pending_bytes += len(chunk)
            if pending_bytes >= _CHUNK_BYTES:
                await run_in_thread(partial(_write, part, gunzip, pending))
                pending, pending_bytes = [], 0
            progress.emit_throttled(size_before + received, total)
        if isinstance(chunk, RetryableFailure):
            failure = chunk
        elif announced is not None and received != announced:
            failure = RetryableFailure(f"received {received} of {announced} announced bytes")
        else:
            return await run_in_thread(partial(_write_last, part, gunzip, pending, is_slice=span is not None))
        await run_in_thread(partial(_write, part, gunzip, pending))
    except zlib.error:
        return RetryableFailure(f"{response.url.host} announced gzip but sent something else")
    return failure


async def _next_chunk(response: aiohttp.ClientResponse) -> memoryview | RetryableFailure:
    """The next bytes of a body; empty at its end."""
    try:
        return memoryview(await response.content.readany())
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return RetryableFailure(f"the connection broke ({type(error).__name__})", failing_host=response.url.host)


def _write(part: PartFile, gunzip: GzipDecoder | None, chunks: list[memoryview]) -> None:
    part.write(chunks if gunzip is None else gunzip.decompress(chunks))


def _write_last(
    part: PartFile, gunzip: GzipDecoder | None, chunks: list[memoryview], *, is_slice: bool
) -> DownloadedFile | RetryableFailure | _SliceReceived:
    """Write the end of a body, and commit the file if it is complete: a small file needs no other thread call."""
    _write(part, gunzip, chunks)
    if gunzip is not None and not gunzip.is_complete:
        return RetryableFailure("the compressed file ended early")
    if is_slice and part.size != part.total:
        return _SliceReceived()
    if part.total not in {None, part.size}:
        return RetryableFailure(f"received {part.size} of {part.total} bytes")
    return part.commit()
