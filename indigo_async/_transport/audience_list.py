"""Read a list of audiences while it arrives, and of each row only what shows whether something changed.

A list may hold 100,000 rows of which a few are watched, so rows are msgspec views over the bytes: less than 2 µs for a
row of 900 bytes, a tenth of decoding it in full (`benchmarks/polling.py`). The whole body is never in memory: joining
90 MB alone would block the event loop for 70 ms. It is cut between rows into slices, which are decoded one by one while
other tasks run in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import attrs
import msgspec

from indigo_async._redaction import Secrets
from indigo_async._transport import codec
from indigo_async._transport.bodies import to_utf8
from indigo_async._transport.codec import KEYS, LIST_KEYS, find_list
from indigo_async._transport.errors import find_embedded_error
from indigo_async._transport.pages import Page
from indigo_async._transport.responses import Endpoint
from indigo_async.errors import ResponseDecodeError
from indigo_async.models import Audience, CsvExport, RecordId

__all__ = ["ExportView", "ListReader", "ListTooLongError", "ListedAudience", "Row", "RowSlice", "UploadView"]

_SLICE_BYTES = 64 * 1024
"""Decoding 200 watched rows in full, as on the first poll, takes about 3 ms."""

_NO_HEADERS: Mapping[str, str] = {}
_MAX_DEPTH = 4

_AUDIENCE_KEYS = KEYS[Audience]
_ROW_KEYS = {
    "second_id": _AUDIENCE_KEYS["id"][1],
    "third_id": _AUDIENCE_KEYS["id"][2],
    "second_name": _AUDIENCE_KEYS["name"][1],
    "customer_id": _AUDIENCE_KEYS["customer_id"][0],
    "raw_upload": _AUDIENCE_KEYS["uploaded_audience_csv"][0],
    "raw_exports": _AUDIENCE_KEYS["csv_exports"][0],
}


class UploadView(msgspec.Struct, gc=False):
    """The part of `models.UploadedAudienceCsv` that polls compare."""

    status: str | None = None


class ExportView(msgspec.Struct, gc=False, rename={"download_url": KEYS[CsvExport]["download_url"][0]}):
    """The part of `models.CsvExport` that polls compare."""

    id: RecordId | None = None
    status: str | None = None
    download_url: str | None = None


class _NamedRow(msgspec.Struct, gc=False, rename=_ROW_KEYS):
    """A row's name and ID under any of their keys. All types are accepted, so that no odd value hides another."""

    name: Any = None
    second_name: Any = None
    id: Any = None
    second_id: Any = None
    third_id: Any = None
    status: Any = None
    customer_id: Any = None


class ListedAudience(msgspec.Struct, gc=False, frozen=True):
    """An audience's identity as its row shows it. `name` is None if the row shows no name."""

    id: RecordId
    name: str | None
    status: str


_NULL = msgspec.Raw(b"null")
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_upload = msgspec.json.Decoder(UploadView | None).decode
_decode_exports = msgspec.json.Decoder(list[ExportView] | None).decode


class Row(msgspec.Struct, gc=False, rename=_ROW_KEYS):
    """The part of `models.Audience` that polls compare. Its nested records are decoded on access, which is rare."""

    id: RecordId | None = None
    second_id: RecordId | None = None
    third_id: RecordId | None = None
    status: str | None = None
    customer_id: RecordId | None = None
    raw_upload: msgspec.Raw = _NULL
    raw_exports: msgspec.Raw = _NULL

    @property
    def key(self) -> str:
        """The ID as text, as which IDs are compared. Empty if there is none."""
        ids = (self.id, self.second_id, self.third_id)
        return next((str(row_id) for row_id in ids if row_id is not None), "")

    @property
    def uploaded_audience_csv(self) -> UploadView | None:
        """None also if it has another shape."""
        try:
            return _decode_upload(self.raw_upload)
        except _DECODE_ERRORS:
            return None

    @property
    def has_no_exports(self) -> bool:
        """Whether the row shows an empty array of exports, as opposed to no array."""
        return bytes(self.raw_exports) == b"[]"

    @property
    def csv_exports(self) -> Sequence[ExportView]:
        """Empty also if they have another shape."""
        try:
            return _decode_exports(self.raw_exports) or ()
        except _DECODE_ERRORS:
            return ()


@attrs.define
class RowSlice:
    """Consecutive rows of a list. A row that cannot be read is None and spoils no other."""

    rows: Sequence[Row | None]
    _array: bytes
    _endpoint: str
    _decoded_raw_rows: list[msgspec.Raw] | None = None

    def iter_listed(self, customer_id: str) -> Iterator[ListedAudience]:
        """Yield the rows that have an ID. Rows that show another customer are skipped."""
        try:
            named: Iterable[_NamedRow] = _NAMED_ROWS.decode(self._array)
        except _DECODE_ERRORS:
            named = (row for row in map(_decode_named_row, self._raw_rows()) if row is not None)
        for row in named:
            ids = (row.id, row.second_id, row.third_id)
            audience_id = next((row_id for row_id in ids if _is_id(row_id)), None)
            if audience_id is None or (row.customer_id is not None and str(row.customer_id) != customer_id):
                continue
            name = next((name for name in (row.name, row.second_name) if isinstance(name, str)), None)
            yield ListedAudience(audience_id, name, row.status if isinstance(row.status, str) else "")

    def decode_record(self, index: int) -> Audience:
        """Decode a row in full.

        Raises:
            ResponseDecodeError: it is not an audience with a readable ID.
        """
        row = bytes(self._raw_rows()[index])
        return codec.decode_audience(codec.decode_document(row, self._endpoint), self._endpoint)

    def _raw_rows(self) -> list[msgspec.Raw]:
        if self._decoded_raw_rows is None:
            self._decoded_raw_rows = _decode_raw_rows(self._array)
        if self._decoded_raw_rows is None:  # deeply nested: it was read before with less of the stack in use
            raise ResponseDecodeError("the response is not a JSON array", endpoint=self._endpoint)
        return self._decoded_raw_rows


class ListTooLongError(Exception):
    """A list is longer than allowed. `size` is its bytes, or the bytes received so far if it is not exact."""

    def __init__(self, size: int, *, is_exact: bool) -> None:
        self.size: int = size
        self.is_exact = is_exact
        super().__init__(f"the list has {'' if is_exact else 'more than '}{size} bytes")


_RAW_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS = msgspec.json.Decoder(list[Row])
_ROW = msgspec.json.Decoder(Row)
_NAMED_ROWS = msgspec.json.Decoder(list[_NamedRow])
_NAMED_ROW = msgspec.json.Decoder(_NamedRow)

# The start of an array, or of objects with the array after nothing but plain values.
_KEY = "|".join(LIST_KEYS).encode()
_OPENING = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{[^{}\[\]]*"(?:%b)"\s*:\s*){0,2}\[' % _KEY)
_OPENING_KEY = re.compile(rb'"(%b)"\s*:\s*[{\[]' % _KEY)
_BETWEEN_OBJECTS = re.compile(rb"\}\s*,\s*(?=\{)")


class ListReader:
    """A body sink that decodes a list while it arrives.

    Args:
        endpoint: the call whose response this is, for errors.
        on_rows: called with each slice of rows.
        max_bytes: the most bytes that the list may have.
        secrets: redacted in errors.
    """

    def __init__(
        self, endpoint: Endpoint, on_rows: Callable[[RowSlice], None], *, max_bytes: int, secrets: Secrets
    ) -> None:
        self.size: int = 0
        self._endpoint = endpoint
        self._on_rows = on_rows
        self._max_bytes = max_bytes
        self._secrets = secrets
        self._headers: Mapping[str, str] = {}
        self._row_count = 0
        self._first_id: str | None = None
        self._opening = b""
        self._parts: list[bytes] = []
        self._pending_bytes = 0
        self._decode_threshold: float = _SLICE_BYTES

    def begin(self, size: int | None, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """Check the announced number of bytes, None if it is unknown.

        Raises:
            ListTooLongError: it is above the limit.
        """
        if size is not None and size > self._max_bytes:
            raise ListTooLongError(size, is_exact=True)
        self._headers = headers

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            ListTooLongError: there are more than the limit.
        """
        self.size += len(data)
        if self.size > self._max_bytes:
            raise ListTooLongError(self.size, is_exact=False)
        self._parts.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= self._decode_threshold:
            self._deliver_whole_rows(b"".join(self._parts))

    def finish(self) -> Page:
        """Deliver the remaining rows once the response is complete. Returns what it says about further pages.

        Raises:
            ApiError: the response is an error despite its 2xx status.
            ResponseDecodeError: it is not a list of audiences. The error's frames hold the list.
        """
        document = self._opening + b"".join(self._parts)
        rows = self._decode_rows(document)  # usually an array
        envelope: dict[str, Any] = {}
        if rows is None:
            array, envelope = self._extract_array(to_utf8(document))
            rows = self._decode_rows(array)
        if rows is None:
            raise ResponseDecodeError("the response is not a JSON array", endpoint=self._endpoint.name)
        self._deliver(rows)
        return Page(envelope=envelope, headers=self._headers, row_count=self._row_count, first_id=self._first_id)

    def _deliver(self, rows: RowSlice) -> None:
        if self._first_id is None:
            self._first_id = next((row.key for row in rows.rows if row is not None), None)
        self._row_count += len(rows.rows)
        self._on_rows(rows)

    def _deliver_whole_rows(self, pending: bytes) -> None:
        """Deliver the complete rows among the pending bytes and store the rest."""
        if not self._opening:
            opening = _OPENING.match(pending)
            if opening is None:
                self._store_pending(pending, decode_threshold=float("inf"))
                return
            self._opening = opening.group()
            pending = pending[opening.end() :]
        end, next_row = _last_boundary(pending)
        rows = self._decode_rows(b"[" + pending[:end] + b"]") if end else None
        if rows is None:
            self._store_pending(pending, decode_threshold=2 * len(pending))
            return
        self._store_pending(pending[next_row:], decode_threshold=_SLICE_BYTES)
        self._deliver(rows)

    def _store_pending(self, pending: bytes, *, decode_threshold: float) -> None:
        self._parts, self._pending_bytes, self._decode_threshold = [pending], len(pending), decode_threshold

    def _decode_rows(self, array: bytes) -> RowSlice | None:
        """Decode a JSON array. Returns None if the bytes are not one."""
        try:
            return RowSlice(_ROWS.decode(array), array, self._endpoint.name)
        except msgspec.ValidationError:
            pass  # some row is odd: decode them one by one
        except _DECODE_ERRORS:
            return None
        raw = _decode_raw_rows(array)
        return None if raw is None else RowSlice([_decode_row(row) for row in raw], array, self._endpoint.name, raw)

    def _extract_array(self, document: bytes) -> tuple[bytes, dict[str, Any]]:
        """Return the array in a document, and the document with all arrays emptied.

        Raises:
            ApiError, ResponseDecodeError: see `finish`.
        """
        outline = _outline(document)
        keys = find_list(outline)
        opening_keys = tuple(key.decode() for key in _OPENING_KEY.findall(self._opening))
        if keys is None or (self._opening and keys != opening_keys):
            content = codec.decode_document(document, self._endpoint.name)
            error = find_embedded_error(content, self._endpoint, secrets=self._secrets)
            raise error or ResponseDecodeError("expected an array of audiences", endpoint=self._endpoint.name)
        array = document
        for key in keys:
            array = bytes(_RAW_FIELDS.decode(array)[key])
        return array, cast("dict[str, Any]", outline) if isinstance(outline, dict) else {}


def _outline(document: bytes, depth: int = _MAX_DEPTH) -> Any:
    """Decode a document without the contents of its arrays. None if it is not JSON."""
    start = document.lstrip()[:1]
    try:
        if start == b"[":
            return []
        if start == b"{":
            fields = _RAW_FIELDS.decode(document)
            return {key: _outline(bytes(value), depth - 1) for key, value in fields.items()} if depth else {}
        return msgspec.json.decode(document)
    except _DECODE_ERRORS:
        return None


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""


def _decode_named_row(raw: msgspec.Raw) -> _NamedRow | None:
    try:
        return _NAMED_ROW.decode(raw)
    except _DECODE_ERRORS:
        return None


def _decode_row(raw: msgspec.Raw) -> Row | None:
    try:
        return _ROW.decode(raw)
    except _DECODE_ERRORS:
        return None


def _decode_raw_rows(array: bytes) -> list[msgspec.Raw] | None:
    try:
        return _RAW_ROWS.decode(array)
    except _DECODE_ERRORS:
        return None


def _last_boundary(pending: bytes) -> tuple[int, int]:
    """Guess where the last complete row ends and the next one begins; (0, 0) if no place is found.

    The guess is the last of the least nested places in the tail where an object follows an object. It is wrong if the
    tail lies within one row, or if texts hold braces, so the caller must decode the array that ends there: if that
    succeeds, the guess was right.
    """
    counted = len(pending) * 7 // 8
    depth, least = 0, len(pending)
    boundary = (0, 0)
    for between in _BETWEEN_OBJECTS.finditer(pending, counted):
        end = between.start() + 1
        # Counting is faster than visiting each brace, which took longer than decoding the rows.
        depth += pending.count(b"{", counted, end) - pending.count(b"}", counted, end)
        counted = end
        if depth <= least:
            least, boundary = depth, (end, between.end())
    return boundary
