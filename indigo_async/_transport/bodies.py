"""Read bodies that are not plain UTF-8: byte order marks, other encodings, gzip without a header."""

from __future__ import annotations

import codecs
import json
import re
import zlib
from functools import lru_cache

__all__ = ["charset_of", "to_utf8"]

_GZIP = b"\x1f\x8b"
_MAX_BYTES = 256 * 1024 * 1024
_CHARSET = re.compile(r"(?i);\s*charset\s*=\s*\"?([\w.:-]{1,40})")


@lru_cache
def charset_of(content_type: str) -> str | None:
    """Return the declared character set if it is a known one other than UTF-8."""
    declared = _CHARSET.search(content_type)
    try:
        name = codecs.lookup(declared[1]).name if declared else "utf-8"
        "".encode(name)  # some codecs, such as base64, do not encode text
    except (LookupError, ValueError, TypeError):
        return None
    return None if name in {"utf-8", "ascii"} else name


def to_utf8(body: bytes, charset: str | None = None) -> bytes:
    """Return a body as UTF-8 without a byte order mark. Gzip that no header announced is decompressed.

    Valid UTF-8 counts as UTF-8 whatever `charset` was declared: many servers declare a default. A body that can't be
    converted is returned unchanged.
    """
    if body.startswith(_GZIP):
        body = _unpack(body)
    try:
        if body.startswith(codecs.BOM_UTF8):
            return body[len(codecs.BOM_UTF8) :]
        encoding: str = json.detect_encoding(body)
        if encoding in {"utf-8", "utf-8-sig"}:
            if charset is None or _is_utf8(body):
                return body
            encoding = charset
        return body.decode(encoding).encode()
    except UnicodeError:
        return body


def _unpack(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, _MAX_BYTES)
    except zlib.error:
        return body
    return unpacked if unpacker.eof else body


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
