"""What a download server's response means: whether its body can be used, where it goes and how it is compressed."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from http import HTTPStatus

import aiohttp
import attrs

from indigo_async._transport.responses import Response
from indigo_async._transport.retry import parse_retry_after
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.part_file import PartFile

__all__ = [
    "ContentRange",
    "GzipDecoder",
    "RetryableFailure",
    "check_head",
    "is_already_complete",
    "parse_content_encoding",
    "parse_content_range",
    "prepare_part_file",
]

_MAX_RETRY_AFTER = 3_600.0
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d{1,18})")
_NOT_AN_ENCODING = re.compile(
    r"identity|none|binary|[78]bit|aws-chunked|(?:us-)?ascii|utf-?\d+|iso-?8859-?\d+|latin-?\d|windows-\d+|cp\d+"
)
"""`Content-Encoding` values that servers send with uncompressed files, mostly names of charsets."""

_NOT_READY_STATUSES = frozenset({HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})
_TRANSIENT_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_EXPIRED_STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_NON_CSV_TYPES = frozenset({"text/html", "application/xhtml+xml", "application/json", "application/xml", "text/xml"})
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_CHUNK_BYTES = 1024 * 1024


@attrs.frozen
class RetryableFailure:
    """Why an attempt that can be repeated failed. If the URL has expired, only a fresh URL helps.

    `failing_host` is the host that gave no response, a 5xx or a web page.
    """

    reason: str
    url_expired: bool = False
    retry_after: float | None = None
    failing_host: str | None = None


@attrs.frozen
class ContentRange:
    """The bytes of a file that a response holds, `first` to `last` inclusive, and the file's total length if known."""

    first: int
    last: int
    total: int | None

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def parse_content_range(response: aiohttp.ClientResponse) -> ContentRange | None:
    """The range that a response says it holds; None if it says nothing valid."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        return None
    return ContentRange(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))


def parse_content_encoding(response: aiohttp.ClientResponse) -> str:
    """How the body is compressed; empty if it is not. Some stores compress whatever the request accepts."""
    names = ",".join(response.headers.getall("Content-Encoding", [])).lower().split(",")
    encodings = [name.strip() for name in names if name.strip() and not _NOT_AN_ENCODING.fullmatch(name.strip())]
    return "gzip" if encodings in (["gzip"], ["x-gzip"]) else ", ".join(encodings)


def check_head(response: aiohttp.ClientResponse, file_name: str) -> RetryableFailure | None:
    """Check the status and headers of a response. Returns a failure that another attempt may fix.

    Raises:
        DownloadError: another attempt cannot help.
    """
    status, host = response.status, response.url.host
    if status in _TRANSIENT_STATUSES or status in _NOT_READY_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        hint = " (the file is not ready)" if status in _NOT_READY_STATUSES else ""
        failing_host = host if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
        return RetryableFailure(
            f"{host} returned {status}{hint}", retry_after=_parse_retry_after(response), failing_host=failing_host
        )
    if status in _EXPIRED_STATUSES:
        return RetryableFailure(f"{host} returned {status}", url_expired=True)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return None
    if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        raise DownloadError(f"{file_name}: {host} returned {status}")
    if response.content_type in _NON_CSV_TYPES:  # perhaps a proxy's page, which will go away
        failing_host = host if response.content_type == "text/html" else None
        return RetryableFailure(f"{host} returned {response.content_type} instead of a CSV", failing_host=failing_host)
    encoding = parse_content_encoding(response)
    if encoding not in {"", "gzip"}:
        return RetryableFailure(f"{host} returned {encoding[:20]!r} compression, which was not requested")
    has_length = response.content_length is not None or bool(response.headers.get("Transfer-Encoding"))
    if status == HTTPStatus.OK and not has_length:
        raise DownloadError(f"{file_name}: {host} does not say how long the file is")
    return None


def _parse_retry_after(response: aiohttp.ClientResponse) -> float | None:
    """The seconds that a server asks to wait; None if it does not, or asks for more than an hour."""
    seconds = parse_retry_after(Response(response.status, response.headers, b""))
    return None if seconds is None or seconds > _MAX_RETRY_AFTER else seconds


def is_already_complete(response: aiohttp.ClientResponse, part: PartFile, *, follows_slice: bool) -> bool:
    """Whether a 416 response means that nothing is missing, because the requested range begins at the file's end."""
    is_same_version = response.headers.get("ETag", part.validator) == part.validator
    is_unsatisfied = response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    if not is_unsatisfied or not part.size or part.validator is None or not is_same_version:
        return False
    match = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        return follows_slice and part.total is None
    return part.size == int(match[1]) and part.total in {None, part.size}


def prepare_part_file(response: aiohttp.ClientResponse, part: PartFile) -> RetryableFailure | None:
    """Prepare the part file for the body of a response. Returns why the body doesn't fit, if it doesn't."""
    if response.status == HTTPStatus.OK:  # the whole file, whatever was requested
        etag = response.headers.get("ETag", "")
        is_compressed = parse_content_encoding(response) != ""
        # A strong ETag that is ASCII: any other could not be saved or sent back.
        validator = etag if etag.startswith('"') and etag.isascii() and not is_compressed else None
        known_total = part.total if validator is not None and validator == part.validator else None
        part.restart()
        part.validator = validator
        if not is_compressed:
            part.total = known_total if response.content_length is None else response.content_length
        return None
    if _accept_range(response, part):
        return None
    part.restart()
    if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return RetryableFailure("the file changed during the download")
    return RetryableFailure("the server sent a different range or file version than the one requested")


def _accept_range(response: aiohttp.ClientResponse, part: PartFile) -> bool:
    """Whether a range continues the part file in the same version: not every server respects `If-Range`."""
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


class GzipDecoder:
    """Decompress gzip of one or several members, in pieces of at most 1 MiB.

    Raises:
        zlib.error: the data is damaged or not gzip.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WBITS)

    @property
    def is_complete(self) -> bool:
        """Whether the data so far ends with a complete member whose checksum is right."""
        return self._member.eof

    def decompress(self, chunks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
        for chunk in chunks:
            rest, piece = memoryview(chunk), memoryview(b"")
            while rest or len(piece) == _CHUNK_BYTES:
                if rest and self._member.eof:
                    self._member = zlib.decompressobj(_GZIP_WBITS)
                piece = memoryview(self._member.decompress(rest, _CHUNK_BYTES))
                rest = memoryview(self._member.unused_data if self._member.eof else self._member.unconsumed_tail)
                yield piece
