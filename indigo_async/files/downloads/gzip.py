"""Undoing the compression that some stores send with whatever was accepted, and seeing whether it came whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

__all__ = ["GzipDecoder"]

_GZIP_WBITS = 16 + zlib.MAX_WBITS
_CHUNK_BYTES = 1024 * 1024


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
