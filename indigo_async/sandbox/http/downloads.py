"""Serve an export's CSV, or the range that a resumed download requests.

See RFC 9110, sections 13 (conditions) and 14 (ranges).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_hex

from indigo_async.sandbox.errors import ErrorType, HttpError
from indigo_async.sandbox.faults import Fault, FaultKind
from indigo_async.sandbox.http.responses import FileSlice, Response
from indigo_async.sandbox.state.records import CsvFile

__all__ = ["build_csv_response"]

_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def build_csv_response(file: CsvFile, headers: Mapping[str, str], fault: Fault | None) -> Response:
    """Build the response to a request for a CSV.

    Raises:
        HttpError: 416, if the range starts past the end of the file.
    """
    kind = fault.kind if fault is not None else None
    etag = f'"{token_hex(16)}"' if kind is FaultKind.ETAG_CHANGED else file.etag
    if kind is FaultKind.DOWNLOAD_NOT_READY:
        return Response(202, b"", {})
    answer = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "text/csv; charset=utf-8"}
    if kind is FaultKind.INVALID_CONTENT_ENCODING:
        answer["Content-Encoding"] = "UTF-8"
    span = None if kind is FaultKind.RANGE_IGNORED else _parse_range(file.size, etag, headers)
    if span is None:
        return Response(200, FileSlice(file.path, 0, file.size), answer)
    start, stop = span
    if kind is FaultKind.RANGE_SHIFTED:
        start = min(start + 1, stop - 1)
    if kind is FaultKind.RANGE_SHORT:
        stop = start + max(1, (stop - start) // 2)
    answer["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    return Response(206, FileSlice(file.path, start, stop), answer)


def _parse_range(size: int, etag: str, headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the requested bytes, or None for the whole file: no range, several ranges, or another version."""
    asked = _ONE_RANGE.fullmatch(headers.get("Range", "").strip())
    if asked is None or headers.get("If-Range", etag) != etag:
        return None
    first, last = asked.groups()
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    elif last:
        start, stop = max(size - int(last), 0), size
    else:
        return None
    if start >= stop:
        raise HttpError(
            416,
            ErrorType.DOWNLOAD_REFUSED,
            "The range starts past the end of the file.",
            {"Content-Range": f"bytes */{size}"},
        )
    return start, stop
