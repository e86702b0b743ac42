"""The part of a record that matters to a wait: the same from a list's row as from the full record."""

from __future__ import annotations

import msgspec
import pytest

from indigo_async._polling.watchlist import RecordPart, extract_view
from indigo_async._transport import codec
from indigo_async._transport.audience_list import Row


def both(record):
    body = msgspec.json.encode({"id": 1, **record})
    return msgspec.json.decode(body, type=Row), codec.decode_audience(msgspec.json.decode(body), "GET /audience")


def views(record, needs):
    return [extract_view(found, needs) for found in both(record)]


READY = {"status": "READY_FOR_COLUMN_SELECTION"}
WITH_URL = {"id": 5, "status": "ACTIVE", "downloadUrl": "https://a.example/?signed=1"}


@pytest.mark.parametrize(
    ("needs", "record"),
    [
        (RecordPart.STATUS, {"status": "ACTIVE"}),
        (RecordPart.UPLOAD, {"status": "PROCESSING", "uploadedAudienceCsv": READY}),
        (RecordPart.EXPORTS, {"status": "ACTIVE", "csvExports": [{"id": "e", "status": "IN_PROGRESS"}]}),
        (
            RecordPart.EXPORTS,
            {"status": "ACTIVE", "csvExports": [WITH_URL, {"id": 6, "downloadUrl": "https://a.example"}]},
        ),
    ],
)
def test_a_row_shows_what_the_record_shows(needs, record):
    row, full = views(record, needs)
    assert row is not None
    # A missing status is "" in a record and None in a row.
    assert str(row).replace("None", "''") == str(full).replace("None", "''")


@pytest.mark.parametrize(
    ("needs", "record"),
    [
        (RecordPart.STATUS, {}),
        (RecordPart.STATUS, {"status": None}),
        (RecordPart.UPLOAD, {"status": "PROCESSING"}),
        (RecordPart.UPLOAD, {"status": "PROCESSING", "uploadedAudienceCsv": None}),
        (RecordPart.UPLOAD, {"status": "PROCESSING", "uploadedAudienceCsv": {"url": "https://a.example"}}),
        (RecordPart.EXPORTS, {"status": "ACTIVE"}),
        (RecordPart.EXPORTS, {"status": "ACTIVE", "csvExports": []}),
        (RecordPart.EXPORTS, {"status": "ACTIVE", "csvExports": [{"id": "e"}]}),
        (RecordPart.EXPORTS, {"status": "ACTIVE", "csvExports": [{"id": "e", "status": "ACTIVE"}]}),
        (RecordPart.EXPORTS, {"status": "ACTIVE", "csvExports": [{"id": "e", "status": "active"}, WITH_URL]}),
    ],
)
def test_parts_that_are_not_shown_have_no_view(needs, record):
    assert views(record, needs) == [None, None]


def test_a_new_signature_of_a_url_is_not_a_change():
    again = WITH_URL | {"downloadUrl": "https://a.example/?signed=2"}
    assert views({"csvExports": [WITH_URL]}, RecordPart.EXPORTS) == views({"csvExports": [again]}, RecordPart.EXPORTS)


@pytest.mark.parametrize("needs", list(RecordPart))
def test_the_audience_status_is_in_every_view(needs):
    record = {"uploadedAudienceCsv": READY, "csvExports": [WITH_URL]}
    assert views(record | {"status": "PROCESSING"}, needs)[0] != views(record | {"status": "FAILED"}, needs)[0]
