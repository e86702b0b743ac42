"""What the head of a download's answer says: which bytes come, how they are compressed, when to ask again."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator

import aiohttp
import attrs

from indigo_async._transport.retry import Response, parse_retry_after

__all__ = [
    "ContentRange",
    "GzipDecoder",
    "parse_bounded_retry_after",
    "parse_content_encoding",
    "parse_content_range",
    "parse_unsatisfied_range",
]

_MAX_RETRY_AFTER = 3_600.0
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d{1,18})")
_NOT_AN_ENCODING = re.compile(
    r"identity|none|binary|[78]bit|aws-chunked|(?:us-)?ascii|utf-?\d+|iso-?8859-?\d+|latin-?\d|windows-\d+|cp\d+"
)
"""What servers write as `Content-Encoding` over a plain file: mostly the name of a charset."""
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_CHUNK_BYTES = 1024 * 1024


@attrs.frozen
class ContentRange:
    """Which bytes of a file an answer holds, from the first to the last, and how many the file has."""

    first: int
    last: int
    total: int | None

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def parse_content_range(response: aiohttp.ClientResponse) -> ContentRange | None:
    """The bytes that an answer says it holds; None where it says nothing that can be read."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        return None
    return ContentRange(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))


def parse_unsatisfied_range(response: aiohttp.ClientResponse) -> int | None:
    """The length of a file within which a range was not found; None where the answer does not say."""
    match = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return None if match is None else int(match[1])


def parse_content_encoding(response: aiohttp.ClientResponse) -> str:
    """How the body is compressed, which some stores send whatever was accepted; empty where it is not."""
    named = ",".join(response.headers.getall("Content-Encoding", [])).lower().split(",")
    encodings = [name.strip() for name in named if name.strip() and not _NOT_AN_ENCODING.fullmatch(name.strip())]
    return "gzip" if encodings in (["gzip"], ["x-gzip"]) else ", ".join(encodings)


def parse_bounded_retry_after(response: aiohttp.ClientResponse) -> float | None:
    """The seconds that a server asks to wait; None where it does not, or where it asks for more than an hour."""
    seconds = parse_retry_after(Response(response.status, response.headers, b""))
    return None if seconds is None or seconds > _MAX_RETRY_AFTER else seconds


class GzipDecoder:
    """Turns gzip, of one member or several, into what it was made from, in pieces that fit into memory.

    Raises:
        zlib.error: it is no gzip, or damaged.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WBITS)

    @property
    def is_complete(self) -> bool:
        """Whether what came ends where a member ends, whose checksum was right."""
        return self._member.eof

    def decompress(self, chunks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
        """What further chunks hold."""
        for chunk in chunks:
            rest, piece = memoryview(chunk), memoryview(b"")
            while rest or len(piece) == _CHUNK_BYTES:
                if rest and self._member.eof:
                    self._member = zlib.decompressobj(_GZIP_WBITS)
                piece = memoryview(self._member.decompress(rest, _CHUNK_BYTES))
                rest = memoryview(self._member.unused_data if self._member.eof else self._member.unconsumed_tail)
                yield piece
