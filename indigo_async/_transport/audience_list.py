"""A list of audiences, read as it comes: of each row only what tells whether something changed.

A list may hold 100,000 rows of which a few are watched, so rows are msgspec views over the bytes: less than 2 µs for a
row of 900 bytes, where decoding it in full takes ten times as long (`benchmarks/polling.py`). The whole body never
stands in memory: joining 90 MB alone would hold up the event loop for 70 ms. It is cut at row boundaries into slices,
which are decoded one by one, between turns of other tasks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import msgspec

from indigo_async._transport import codec
from indigo_async._transport.errors import find_embedded_error
from indigo_async._transport.responses import Endpoint
from indigo_async.errors import ResponseDecodeError
from indigo_async.models import Audience, RecordId

__all__ = ["ExportView", "ListReader", "ListTooLongError", "ListedAudience", "Row", "RowSlice", "UploadView"]

# Decoding 200 watched rows in full, as on a first look, takes some 3 ms.
_SLICE_BYTES = 64 * 1024


class UploadView(msgspec.Struct, gc=False):
    """As `models.UploadedAudienceCsv`."""

    status: str | None = None


class ExportView(msgspec.Struct, gc=False, rename={"download_url": "downloadUrl"}):
    """As `models.CsvExport`."""

    id: RecordId | None = None
    status: str | None = None
    download_url: str | None = None


class _NamedRow(
    msgspec.Struct,
    gc=False,
    rename={
        "second_name": "audienceName",
        "second_id": "audienceId",
        "third_id": "audienceID",
        "customer_id": "customerId",
    },
):
    """A name with its ID, each under any of its keys. An odd value hides no other, so any is taken here."""

    name: Any = None
    second_name: Any = None
    id: Any = None
    second_id: Any = None
    third_id: Any = None
    status: Any = None
    customer_id: Any = None


class ListedAudience(msgspec.Struct, gc=False, frozen=True):
    """What a row says of an audience's identity. `name` is None where the row shows none."""

    id: RecordId
    name: str | None
    status: str


_NULL = msgspec.Raw(b"null")
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_upload = msgspec.json.Decoder(UploadView | None).decode
_decode_exports = msgspec.json.Decoder(list[ExportView] | None).decode


class Row(
    msgspec.Struct,
    gc=False,
    rename={
        "second_id": "audienceId",
        "third_id": "audienceID",
        "customer_id": "customerId",
        "raw_upload": "uploadedAudienceCsv",
        "raw_exports": "csvExports",
    },
):
    """As `models.Audience`. Its inner records are decoded when they are asked for, which few rows are."""

    id: RecordId | None = None
    second_id: RecordId | None = None
    third_id: RecordId | None = None
    status: str | None = None
    customer_id: RecordId | None = None
    raw_upload: msgspec.Raw = _NULL
    raw_exports: msgspec.Raw = _NULL

    @property
    def key(self) -> str:
        """The ID as text, by which IDs are compared; empty where there is none."""
        return next((str(found) for found in (self.id, self.second_id, self.third_id) if found is not None), "")

    @property
    def uploaded_audience_csv(self) -> UploadView | None:
        """None, too, where its shape is odd."""
        try:
            return _decode_upload(self.raw_upload)
        except _DECODE_ERRORS:
            return None

    @property
    def has_no_exports(self) -> bool:
        """Whether the row shows an empty array of exports, rather than none of the kind."""
        return bytes(self.raw_exports) == b"[]"

    @property
    def csv_exports(self) -> Sequence[ExportView]:
        """Empty, too, where their shape is odd."""
        try:
            return _decode_exports(self.raw_exports) or ()
        except _DECODE_ERRORS:
            return ()


@attrs.define
class RowSlice:
    """Some rows of a list, in order. A row whose shape is odd is None: it fails alone."""

    rows: Sequence[Row | None]
    _array: bytes
    _endpoint: str
    _decoded_raw_rows: list[msgspec.Raw] | None = None

    def iter_listed(self, customer_id: str) -> Iterator[ListedAudience]:
        """The rows that have an ID and are not another customer's, as far as they show one."""
        try:
            named: Iterable[_NamedRow] = _NAMED_ROWS.decode(self._array)
        except _DECODE_ERRORS:
            named = (row for row in map(_decode_named_row, self._raw_rows()) if row is not None)
        for row in named:
            audience_id = next((one for one in (row.id, row.second_id, row.third_id) if _is_id(one)), None)
            if audience_id is None or (row.customer_id is not None and str(row.customer_id) != customer_id):
                continue
            name = next((one for one in (row.name, row.second_name) if isinstance(one, str)), None)
            yield ListedAudience(audience_id, name, row.status if isinstance(row.status, str) else "")

    def decode_record(self, index: int) -> Audience:
        """The full record of a row.

        Raises:
            ResponseDecodeError: it has not the documented shape.
        """
        row = bytes(self._raw_rows()[index])
        return codec.decode_audience(codec.decode_document(row, self._endpoint), self._endpoint)

    def _raw_rows(self) -> list[msgspec.Raw]:
        if self._decoded_raw_rows is None:
            try:
                self._decoded_raw_rows = _RAW_ROWS.decode(self._array)
            except _DECODE_ERRORS:  # nested so deeply that it could be read where less of the stack was used
                raise ResponseDecodeError("the answer is no JSON array", endpoint=self._endpoint) from None
        return self._decoded_raw_rows


class ListTooLongError(Exception):
    """A list has more bytes than it is worth. `size` is their number: exact, or what had come until then."""

    def __init__(self, size: int, *, is_exact: bool) -> None:
        self.size: int = size
        self.is_exact = is_exact
        super().__init__(f"the list has {'' if is_exact else 'more than '}{size} bytes")


class _Envelope(msgspec.Struct):
    audiences: msgspec.Raw = msgspec.Raw()


_RAW_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ROWS = msgspec.json.Decoder(list[Row])
_ROW = msgspec.json.Decoder(Row)
_NAMED_ROWS = msgspec.json.Decoder(list[_NamedRow])
_NAMED_ROW = msgspec.json.Decoder(_NamedRow)

# A bare array, or an object that holds one, after nothing but plain values.
_OPENING = re.compile(rb'\s*(?:\{[^{}\[\]]*"audiences"\s*:\s*)?\[')
_BETWEEN_OBJECTS = re.compile(rb"\}\s*,\s*(?=\{)")


class ListReader:
    """Takes the bytes of a list as they come and hands on its rows, slice by slice.

    Args:
        endpoint: the call that is being answered.
        take: is given each slice.
        limit: the most bytes that the list may have.
        token: kept out of errors.
    """

    def __init__(self, endpoint: Endpoint, on_rows: Callable[[RowSlice], None], *, max_bytes: int, token: str) -> None:
        self.size: int = 0
        self._endpoint = endpoint
        self._on_rows = on_rows
        self._max_bytes = max_bytes
        self._token = token
        self._opening = b""
        self._parts: list[bytes] = []
        self._pending_bytes = 0
        self._decode_threshold: float = _SLICE_BYTES

    def begin(self, size: int | None) -> None:
        """Note how many bytes are announced.

        Raises:
            ListTooLongError: more than allowed.
        """
        if size is not None and size > self._max_bytes:
            raise ListTooLongError(size, is_exact=True)

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            ListTooLongError: more came than allowed.
        """
        self.size += len(data)
        if self.size > self._max_bytes:
            raise ListTooLongError(self.size, is_exact=False)
        self._parts.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= self._decode_threshold:
            self._deliver_whole_rows(b"".join(self._parts))

    def finish(self) -> None:
        """Hand on the last rows; the answer has come whole.

        Raises:
            ApiError: it is a refusal after all.
            ResponseDecodeError: it is no list of audiences.
        """
        document = self._opening + b"".join(self._parts)
        rows = self._decode_rows(document if document.lstrip()[:1] == b"[" else self._extract_array(document))
        if rows is None:
            raise ResponseDecodeError("the answer is no JSON array", endpoint=self._endpoint.name)
        self._on_rows(rows)

    def _deliver_whole_rows(self, pending: bytes) -> None:
        """Hand on the whole rows among the pending bytes and keep the rest."""
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
        self._on_rows(rows)

    def _store_pending(self, pending: bytes, *, decode_threshold: float) -> None:
        self._parts, self._pending_bytes, self._decode_threshold = [pending], len(pending), decode_threshold

    def _decode_rows(self, array: bytes) -> RowSlice | None:
        """The rows of a JSON array; None when the bytes are none."""
        try:
            return RowSlice(_ROWS.decode(array), array, self._endpoint.name)
        except msgspec.ValidationError:
            pass  # at least one row is odd: one by one, then
        except _DECODE_ERRORS:
            return None
        try:
            raw = _RAW_ROWS.decode(array)
        except _DECODE_ERRORS:
            return None
        return RowSlice([_decode_row(row) for row in raw], array, self._endpoint.name, raw)

    def _extract_array(self, document: bytes) -> bytes:
        """The array in an object, else the refusal that it is."""
        try:
            array = bytes(_ENVELOPE.decode(document).audiences)
        except _DECODE_ERRORS:
            array = b""
        if array:
            return array
        content = codec.decode_document(document, self._endpoint.name)
        refusal = find_embedded_error(content, self._endpoint, token=self._token)
        raise refusal or ResponseDecodeError("expected an array of audiences", endpoint=self._endpoint.name)


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


def _last_boundary(pending: bytes) -> tuple[int, int]:
    """Where the last whole row ends and the next one begins, (0, 0) when there seems to be no such place.

    Of the places in the tail where an object follows an object, it is the last of the least nested ones. A tail within
    one row, or braces within texts, mislead it, so the caller must decode what is before it: as JSON is read from left
    to right, an array that ends there proves the place.
    """
    counted = len(pending) * 7 // 8
    depth, least = 0, len(pending)
    boundary = (0, 0)
    for between in _BETWEEN_OBJECTS.finditer(pending, counted):
        end = between.start() + 1
        # Counted rather than visited one by one, which took longer than to decode the rows.
        depth += pending.count(b"{", counted, end) - pending.count(b"}", counted, end)
        counted = end
        if depth <= least:
            least, boundary = depth, (end, between.end())
    return boundary
