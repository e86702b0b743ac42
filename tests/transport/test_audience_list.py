"""Lists are read in slices. Any list, cut anywhere, yields the same rows."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport import audience_list
from indigo_async._transport.audience_list import ListReader, ListTooLongError
from indigo_async._transport.responses import Endpoint
from indigo_async.errors import ApiError, NotFoundError, ResponseDecodeError

LIST = Endpoint("GET", "/audiences")


def read(body, *, chunk=1_000, limit=10**9):
    """Return the slices of a list that arrives in chunks."""
    slices = []
    reader = ListReader(LIST, slices.append, max_bytes=limit, secrets="secret-token")
    reader.begin(None)
    for start in range(0, len(body), chunk):
        reader.feed(body[start : start + chunk])
    reader.finish()
    return slices


def keys_of(slices):
    return [None if row is None else (row.key, row.status) for rows in slices for row in rows.rows]


def row_of(number, **keys):
    return {"id": f"aud_{number}", "status": "PROCESSING", "name": "x" * 400, **keys}


def exports(count):
    breakdown = [{"fieldType": "phone", "cents": 3}, {"fieldType": "address", "cents": 4}]
    return [{"id": number, "status": "ACTIVE", "costBreakdown": breakdown} for number in range(count)]


MANY = [row_of(number, csvExports=exports(number % 5)) for number in range(2_000)]


@pytest.mark.parametrize("chunk", [1_000, 65_536, 10**9])
@pytest.mark.parametrize(
    "body",
    [
        msgspec.json.encode(MANY),
        msgspec.json.encode({"total": 2_000, "audiences": MANY, "next": None}),
        msgspec.json.format(msgspec.json.encode(MANY), indent=2),
        msgspec.json.encode({"status": "success", "data": MANY}),
        msgspec.json.encode({"data": {"count": 1, "audiences": MANY}, "next": None}),
        b"\xef\xbb\xbf" + msgspec.json.encode({"items": MANY}),
        b"\xef\xbb\xbf" + msgspec.json.encode(MANY),
    ],
    ids=["array", "object", "indented", "data", "nested", "marked object", "marked array"],
)
def test_a_long_list_is_complete_and_delivered_in_slices(body, chunk):
    slices = read(body, chunk=chunk)
    assert keys_of(slices) == [(row["id"], row["status"]) for row in MANY]
    if chunk < len(body):
        assert len(slices) > len(body) / (4 * audience_list._SLICE_BYTES)
        assert max(len(rows.rows) for rows in slices) < len(MANY) / 2


def test_rows_decode_to_full_records():
    slices = read(msgspec.json.encode(MANY))
    records = [rows.decode_record(index) for rows in slices for index in range(len(rows.rows))]
    assert [record.id for record in records] == [row["id"] for row in MANY]
    assert [len(record.csv_exports) for record in records] == [len(row["csvExports"]) for row in MANY]


@pytest.mark.parametrize("odd", [5, "row", None, [], {"id": {"no": "id"}}, {"id": "a", "status": 7}, {"id": 1.5}])
def test_an_unreadable_row_spoils_no_other(odd):
    rows = [*MANY[:700], odd, *MANY[700:]]
    found = keys_of(read(msgspec.json.encode(rows)))
    assert found[700] is None
    assert [row for row in found if row is not None] == [(row["id"], row["status"]) for row in MANY]


def test_names_with_braces_do_not_break_the_slicing(monkeypatch):
    rows = [row_of(number, name='}{ {{{ "},{" ]' * 40) for number in range(3_000)]
    tries = []
    boundary = audience_list._last_boundary
    monkeypatch.setattr(audience_list, "_last_boundary", lambda pending: tries.append(1) or boundary(pending))
    assert keys_of(read(msgspec.json.encode(rows))) == [(row["id"], row["status"]) for row in rows]
    assert len(tries) <= 10


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"id": "7"}, "7"),
        ({"id": 7}, "7"),
        ({"id": 0}, "0"),
        ({"audienceId": "a"}, "a"),
        ({"audienceID": "b"}, "b"),
        ({"id": None, "audienceId": 3}, "3"),
        ({}, ""),
    ],
)
def test_ids_are_compared_as_text(row, key):
    ((found,),) = [rows.rows for rows in read(msgspec.json.encode([row]))]
    assert found.key == key


def test_unreadable_nested_records_count_as_missing():
    body = msgspec.json.encode([{"id": 1, "uploadedAudienceCsv": "odd", "csvExports": {"odd": 1}}])
    ((row,),) = [rows.rows for rows in read(body)]
    assert row.uploaded_audience_csv is None
    assert row.csv_exports == ()


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b'{"audiences": []}', b'{"data": {"items": []}}', b"\xef\xbb\xbf[]"])
def test_an_empty_list_has_no_rows(body):
    assert keys_of(read(body, chunk=1)) == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", ResponseDecodeError),
        (b"<html>Bad gateway</html>", ResponseDecodeError),
        (b'{"rows": []}', ResponseDecodeError),
        (b'{"data": [], "items": []}', ResponseDecodeError),
        (b'{"data": {"audiences": []}, "result": {"audiences": []}}', ResponseDecodeError),
        (b'{"data": {"data": {"data": {"data": []}}}}', ResponseDecodeError),
        (msgspec.json.encode({"data": MANY, "audiences": []}), ResponseDecodeError),
        (b'{"audiences": {"id": 1}}', ResponseDecodeError),
        (b"null", NotFoundError),
        (b'{"error": "No, secret-token.", "errorType": "Odd"}', ApiError),
        (msgspec.json.encode(MANY)[:-1], ResponseDecodeError),
        (msgspec.json.encode(MANY)[:-200], ResponseDecodeError),
        (msgspec.json.encode(MANY).replace(b"aud_1500", b"aud_\xff"), ResponseDecodeError),
    ],
)
def test_a_response_that_is_not_a_list_is_rejected(body, error):
    with pytest.raises(error) as caught:
        read(body)
    assert "secret-token" not in str(caught.value)


def test_a_list_announced_as_too_long_is_not_read():
    reader = ListReader(LIST, lambda _: None, max_bytes=1_000, secrets="")
    reader.begin(1_000)
    with pytest.raises(ListTooLongError) as caught:
        reader.begin(1_001)
    assert (caught.value.size, caught.value.is_exact) == (1_001, True)


def test_reading_stops_once_a_list_is_too_long():
    with pytest.raises(ListTooLongError) as caught:
        read(msgspec.json.encode(MANY), limit=200_000, chunk=1_000)
    assert 200_000 < caught.value.size <= 201_000
    assert not caught.value.is_exact


_TEXT = st.text(alphabet='{}[],:"\\ é\n\x00a', max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_ROWS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 99) | _TEXT,
        "status": _TEXT,
        "csvExports": st.lists(st.dictionaries(_TEXT, _VALUES, max_size=3), max_size=3),
        "extra": _VALUES,
    },
)


_SHAPES = {
    "array": lambda rows: rows,
    "object": lambda rows: {"count": 1, "audiences": rows},
    "data": lambda rows: {"data": rows, "links": {"next": None}},
    "nested": lambda rows: {"ok": True, "data": {"page": 1, "items": rows}, "meta": {"tags": [[], {}]}},
}


@given(
    rows=st.lists(_ROWS | _VALUES, max_size=12),
    chunk=st.integers(1, 200),
    slice_bytes=st.integers(1, 300),
    indent=st.sampled_from([-1, 0, 2]),
    shape=st.sampled_from(sorted(_SHAPES)),
)
def test_slicing_anywhere_yields_the_same_rows(rows, chunk, slice_bytes, indent, shape):
    body = msgspec.json.encode(_SHAPES[shape](rows))
    if indent >= 0:
        body = msgspec.json.format(body, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audience_list, "_SLICE_BYTES", slice_bytes)
        slices = read(body, chunk=chunk)
    raw = [bytes(value) for part in slices for value in audience_list._RAW_ROWS.decode(part._array)]
    assert [msgspec.json.decode(value) for value in raw] == rows
    for found, row in zip(keys_of(slices), rows, strict=True):
        if found is not None:
            assert isinstance(row, dict)
            assert found[1] == row.get("status")
