"""Documents that no honest server sends, on every way that an answer is read: one record, a list as it comes, an error.

The bytes are read by hand here; the sockets under them are those of `test_hostile_answers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport import codec
from indigo_async._transport.audience_list import ListReader, RowSlice
from indigo_async._transport.errors import find_embedded_error, make_error
from indigo_async._transport.responses import Endpoint, Response
from indigo_async.errors import ApiError, IndigoError, ResponseDecodeError
from indigo_async.models import Audience, CsvExport
from indigo_async.sandbox import Dialect
from indigo_async.sandbox.http.openapi import build_openapi

AUDIENCE, AUDIENCES = Endpoint("GET", "/audience"), Endpoint("GET", "/audiences")
EXPORT = Endpoint("POST", "/purchase_csv_export")
CANARY = "canary-3f70"


def read_audience(body: bytes) -> object:
    return codec.decode_audience(codec.decode_document(body, AUDIENCE.name), AUDIENCE.name)


def read_audiences(body: bytes) -> object:
    return codec.decode_audiences(codec.decode_document(body, AUDIENCES.name), AUDIENCES.name)


def read_export(body: bytes) -> object:
    return codec.decode_export(codec.decode_document(body, EXPORT.name), EXPORT.name)


def read_error_inside(body: bytes) -> object:
    return find_embedded_error(codec.decode_document(body, AUDIENCE.name), AUDIENCE)


def read_error(body: bytes) -> object:
    return make_error(AUDIENCE, Response(400, {}, body))


def read_list(body: bytes) -> object:
    """As the poller does: every row in short, its name, and its full record."""
    seen: list[object] = []

    def take(rows: RowSlice) -> None:
        seen.extend([*rows.iter_listed("1"), rows.rows])
        for index, view in enumerate(rows.rows):
            if view is not None:
                seen.extend([view.key, view.csv_exports, view.uploaded_audience_csv])
            try:
                seen.append(rows.decode_record(index))
            except ResponseDecodeError as error:
                seen.append(error)

    reader = ListReader(AUDIENCES, take, max_bytes=10_000_000, secrets="")
    for start in range(0, len(body), 100_000):
        reader.feed(body[start : start + 100_000])
    reader.finish()
    return seen


READERS: dict[str, Callable[[bytes], object]] = {
    "an audience": read_audience,
    "audiences": read_audiences,
    "an export": read_export,
    "a refusal": read_error_inside,
    "an error": read_error,
    "a list as it comes": read_list,
}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())


def outcome(read: Callable[[bytes], object], body: bytes) -> object:
    """What a reader returns, or the one kind of exception that it may raise."""
    try:
        return read(body)
    except (ResponseDecodeError, ApiError) as error:
        return error


DEEP = b"[" * 200_000 + b"]" * 200_000
ODD: dict[str, bytes] = {
    "nested": DEEP,
    "nested in an unknown key": b'{"id": 1, "name": "x", "x": ' + DEEP + b"}",
    "nested in the exports": b'{"id": 1, "csvExports": ' + DEEP + b"}",
    "nested in the CSV": b'{"id": 1, "uploadedAudienceCsv": ' + DEEP + b"}",
    "a chain of records": b'{"id": 1, "csvExports": [{"id": 1, "audience": ' * 20_000 + b"null" + b"}]}" * 20_000,
    "a chain with a wrong end": b'{"id": 1, "csvExports": [{"id": 1, "audience": ' * 100 + b"[]" + b"}]}" * 100,
    "an ID of 5,000 digits": b'{"id": ' + b"9" * 5_000 + b"}",
    "a customer of 5,000 digits": b'{"id": 1, "customerId": ' + b"9" * 5_000 + b"}",
    "a number beyond all floats": b'{"id": 1, "csvExports": [{"id": 1, "cost": 1e999}]}',
    "an infinite ID": b'{"id": Infinity}',
    "no number": b'{"id": 1, "csvExports": [{"id": 1, "cost": NaN}]}',
    "half a surrogate pair": b'{"id": "\\ud800"}',
    "no UTF-8": b'{"id": 1, "name": "\xff"}',
    "no UTF-8 in a key": b'{"id": 1, "\xff": 1}',
    "another encoding": '{"id": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"id": 1}',
    "a NUL": b'{"id": 1}\0',
}


@every_reader
@pytest.mark.parametrize("document", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("frame", [b"%s", b"[%s]", b'{"audiences": [%s]}', b'{"error": "no", "detail": %s}'])
def test_an_unusual_document_is_decoded_or_rejected(read, document: bytes, frame: bytes):
    outcome(read, frame % document)


@pytest.mark.parametrize("name", ["nested", "nested in an unknown key", "a chain of records"])
def test_a_list_that_is_too_deep_is_rejected(name: str):
    with pytest.raises(ResponseDecodeError, match="GET /audiences: the response is not a JSON array at"):
        read_list(b"[%s]" % ODD[name])


@every_reader
@given(body=st.binary(max_size=200))
def test_any_bytes_are_decoded_or_rejected(read, body: bytes):
    outcome(read, body)


_KEYS = rb'"id": "name": "csvExports": "audiences": "error": "audience": "cost": "downloadUrl":'
_SCRAPS = rb'{ } [ ] , : " \u null true -0 1e9 99999999999999999999999999 "a"'
_fragments = st.sampled_from([*_KEYS.split(), *_SCRAPS.split(), b"\xc3", b" "])


@every_reader
@given(body=st.lists(_fragments, max_size=25).map(b"".join))
def test_fragments_of_json_are_decoded_or_rejected(read, body: bytes):
    outcome(read, body)


def shapes() -> dict[str, Any]:
    """The schemas of the API's answers."""
    document = msgspec.json.decode(build_openapi("https://example.org", Dialect(), "asynchronous"))
    return document["components"]["schemas"]


SCHEMAS = shapes()
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.just(CANARY) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def documents(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Documents of a schema, any part of which may be missing, or something else that holds the canary."""
    if "$ref" in schema:
        return documents(SCHEMAS[schema["$ref"].rpartition("/")[2]])
    kind = schema.get("type")
    if kind == "object":
        members = {key: documents(value) for key, value in schema["properties"].items()}
        right: st.SearchStrategy[Any] = st.fixed_dictionaries({}, optional=members)
    elif kind == "array":
        right = st.lists(documents(schema["items"]), max_size=2)
    else:
        right = st.integers(0, 10**6) if kind == "integer" else st.sampled_from([*schema.get("enum", []), "text"])
    return st.one_of(right, right, right, _json)


@given(document=documents(SCHEMAS["Audience"]))
def test_an_audience_is_decoded_or_rejected_without_echoing_it(document: Any):
    body = msgspec.json.encode(document)
    for read in (read_audience, lambda body: read_list(b"[" + body + b"]")):
        result = outcome(read, body)
        assert isinstance(result, (Audience, list, IndigoError))
        if isinstance(result, IndigoError):
            assert CANARY not in f"{result} {result!r}"


@given(document=documents(SCHEMAS["ExportWithAudience"]))
def test_an_export_is_decoded_or_rejected_without_echoing_it(document: Any):
    result = outcome(read_export, msgspec.json.encode(document))
    assert isinstance(result, (CsvExport, ResponseDecodeError))
    if isinstance(result, ResponseDecodeError):
        assert CANARY not in f"{result} {result!r}"


@given(rows=st.lists(documents(SCHEMAS["AudienceRow"]), max_size=4))
def test_a_streamed_list_decodes_like_its_single_rows(rows: list[Any]):
    def alone(row: Any) -> object:
        return outcome(read_audience, msgspec.json.encode(row))

    taken: list[RowSlice] = []
    reader = ListReader(AUDIENCES, taken.append, max_bytes=10_000_000, secrets="")
    reader.feed(msgspec.json.encode(rows))
    reader.finish()
    together = [
        outcome(lambda _, rows=part, at=at: rows.decode_record(at), b"")
        for part in taken
        for at in range(len(part.rows))
    ]
    assert [record if isinstance(record, Audience) else None for record in together] == [
        record if isinstance(record, Audience) else None for record in map(alone, rows)
    ]
