"""What the head of a download's answer says: which bytes come, how they are compressed, when to ask again."""

from __future__ import annotations

import re

import aiohttp
import attrs

from indigo_async.transport.policy import Answer, retry_after_of

__all__ = ["Span", "encoding_of", "length_beyond", "span_of", "wait_of"]

_LONGEST_WAIT = 3_600.0
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_NO_RANGE = re.compile(r"bytes \*/(\d{1,18})")
_NO_COMPRESSION = re.compile(
    r"identity|none|binary|[78]bit|aws-chunked|(?:us-)?ascii|utf-?\d+|iso-?8859-?\d+|latin-?\d|windows-\d+|cp\d+"
)
"""What servers write as `Content-Encoding` over a plain file: mostly the name of a charset."""


@attrs.frozen
class Span:
    """Which bytes of a file an answer holds, from the first to the last, and how many the file has."""

    first: int
    last: int
    total: int | None

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def span_of(response: aiohttp.ClientResponse) -> Span | None:
    """The bytes that an answer says it holds; None where it says nothing that can be read."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        return None
    return Span(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))


def length_beyond(response: aiohttp.ClientResponse) -> int | None:
    """The length of a file within which a range was not found; None where the answer does not say."""
    match = _NO_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return None if match is None else int(match[1])


def encoding_of(response: aiohttp.ClientResponse) -> str:
    """How the body is compressed, which some stores send whatever was accepted; empty where it is not."""
    named = ",".join(response.headers.getall("Content-Encoding", [])).lower().split(",")
    encodings = [name.strip() for name in named if name.strip() and not _NO_COMPRESSION.fullmatch(name.strip())]
    return "gzip" if encodings in (["gzip"], ["x-gzip"]) else ", ".join(encodings)


def wait_of(response: aiohttp.ClientResponse) -> float | None:
    """The seconds that a server asks to wait; None where it does not, or where it asks for more than an hour."""
    seconds = retry_after_of(Answer(response.status, response.headers, b""))
    return None if seconds is None or seconds > _LONGEST_WAIT else seconds
