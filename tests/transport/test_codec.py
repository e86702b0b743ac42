"""Decoding is strict about IDs and tolerant of everything else, and errors never show values."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport import codec
from indigo_async._transport.parameters import encode_body
from indigo_async.errors import ResponseDecodeError
from indigo_async.inputs import ColumnSelection, LookalikeFilters
from indigo_async.models import KNOWN_STATUSES, Audience, CsvExport, UploadedAudienceCsv, normalize_status

ENDPOINT = "GET /audience"
COST_KEYS = (
    "cost",
    "costInCents",
    "costCents",
    "price",
    "priceInCents",
    "priceCents",
    "purchasePrice",
    "totalCost",
    "totalCostInCents",
)
WHOLE = {
    "id": "aud-1",
    "name": "Donors",
    "status": "ACTIVE",
    "customerId": "42",
    "baseAudienceId": "aud-0",
    "uploadedAudienceCsv": {"status": "READY_FOR_COLUMN_SELECTION", "url": "https://example.org/a.csv", "rowCount": 9},
    "csvExports": [
        {
            "id": "exp-1",
            "status": "ACTIVE",
            "cost": 500,
            "costBreakdown": [{"people": 500, "centsPerPerson": 1}],
            "optionalFieldTypes": ["phone"],
            "downloadUrl": "https://example.org/e.csv",
            "audience": {"id": "aud-1", "name": "Donors"},
            "createdAt": "2026-01-01",
        }
    ],
    "createdAt": "2026-01-01",
}


def audience_of(document: object) -> Audience:
    return codec.decode_audience(document, ENDPOINT)


def export_of(document: object) -> CsvExport:
    return codec.decode_export(document, ENDPOINT)


def test_modeled_keys_become_fields_and_others_go_to_extra():
    assert audience_of(WHOLE) == Audience(
        id="aud-1",
        name="Donors",
        status="ACTIVE",
        customer_id="42",
        base_audience_id="aud-0",
        uploaded_audience_csv=UploadedAudienceCsv(
            status="READY_FOR_COLUMN_SELECTION", url="https://example.org/a.csv", row_count=9
        ),
        csv_exports=(
            CsvExport(
                id="exp-1",
                status="ACTIVE",
                cost_cents=500,
                cost_breakdown=[{"people": 500, "centsPerPerson": 1}],
                optional_field_types=("phone",),
                download_url="https://example.org/e.csv",
                audience=Audience(id="aud-1", name="Donors"),
                extra={"createdAt": "2026-01-01"},
            ),
        ),
        extra={"createdAt": "2026-01-01"},
    )


def test_an_audience_needs_only_its_id():
    assert audience_of({"id": 7}) == Audience(id=7)


@pytest.mark.parametrize("key", sorted(WHOLE.keys() - {"id"}))
def test_a_null_counts_as_a_missing_key(key: str):
    with_null, without = WHOLE | {key: None}, {name: value for name, value in WHOLE.items() if name != key}
    if key == "createdAt":
        without |= {key: None}  # not modeled, so it goes to extra
    assert audience_of(with_null) == audience_of(without)


@pytest.mark.parametrize("record_id", ["7", 7, "aud-1", 2**70, "a/b\nc", 0])
def test_an_id_keeps_its_type(record_id: str | int):
    decoded = audience_of({"id": record_id, "baseAudienceId": record_id}), export_of({"id": record_id})
    for got in (decoded[0].id, decoded[0].base_audience_id, decoded[1].id):
        assert got == record_id
        assert type(got) is type(record_id)


@pytest.mark.parametrize("key", ["id", "audienceId", "audienceID"])
def test_the_keys_of_an_audiences_id(key: str):
    assert audience_of({key: 7}) == Audience(id=7)


@pytest.mark.parametrize("key", ["name", "audienceName"])
def test_the_keys_of_an_audiences_name(key: str):
    assert audience_of({"id": 7, key: "Donors"}) == Audience(id=7, name="Donors")


@pytest.mark.parametrize("key", ["id", "exportId"])
def test_the_keys_of_an_exports_id(key: str):
    assert export_of({key: 7}) == CsvExport(id=7)


@pytest.mark.parametrize("key", COST_KEYS)
def test_the_keys_of_a_cost(key: str):
    assert export_of({"id": 7, key: 1250}) == CsvExport(id=7, cost_cents=1250)


def test_an_unused_spelling_goes_to_extra():
    assert audience_of({"id": 7, "audienceName": "B", "name": "A"}).extra == {"audienceName": "B"}
    assert audience_of({"id": 7, "name": "A", "audienceName": "B"}).extra == {"audienceName": "B"}


def test_a_customer_id_is_text_even_if_the_server_sends_a_number():
    assert audience_of({"id": 7, "customerId": 1}).customer_id == "1"


def test_a_list_is_an_array_or_an_object_with_an_array():
    rows = [{"id": 1}, {"id": 2}]
    expected = [Audience(id=1), Audience(id=2)]
    assert codec.decode_audiences(rows, ENDPOINT) == expected
    assert codec.decode_audiences({"audiences": rows, "total": 2}, ENDPOINT) == expected
    assert codec.decode_audiences([], ENDPOINT) == []


@pytest.mark.parametrize("field_types", ["phone", 5, [1], {"phone": True}, [["phone"]]])
def test_unreadable_field_types_are_none_and_go_to_extra(field_types: object):
    export = export_of({"id": 7, "optionalFieldTypes": field_types})
    assert export.optional_field_types is None
    assert export.extra == {"optionalFieldTypes": field_types}


@pytest.mark.parametrize("summary", [{}, {"name": "Donors"}, {"id": None, "name": "Donors"}])
def test_an_audience_nested_in_an_export_needs_no_id(summary: dict[str, Any]):
    export = export_of({"id": 7, "audience": summary})
    assert export.audience is None
    assert export.extra == {"audience": summary}


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"id": None}, "$.id", "a documented key is missing"),
        ({"id": True}, "$.id", "expected an ID (text or integer), got a boolean"),
        ({"id": 1.5}, "$.id", "expected an ID (text or integer), got a number"),
        ({"id": ""}, "$.id", "expected an ID (text or integer), got empty text"),
        ({"id": [7]}, "$.id", "expected an ID (text or integer), got an array"),
        ({"id": None, "audienceId": {}}, "$.audienceId", "expected an ID (text or integer), got an object"),
        ({"id": None, "name": 5, "csvExports": [None]}, "$.id", "a documented key is missing"),
    ],
)
def test_an_unreadable_id_is_an_error_with_its_path(change: dict[str, Any], path: str, message: str):
    with pytest.raises(ResponseDecodeError) as caught:
        audience_of(WHOLE | change)
    assert caught.value.path == path
    assert str(caught.value) == f"{ENDPOINT}: {message} at {path}"


@pytest.mark.parametrize(
    ("key", "odd", "field", "default"),
    [
        ("name", 5, "name", None),
        ("name", {"en": "Donors"}, "name", None),
        ("status", ["ACTIVE"], "status", ""),
        ("status", 5, "status", ""),
        ("customerId", {"id": 1}, "customer_id", None),
        ("baseAudienceId", 1.5, "base_audience_id", None),
        ("uploadedAudienceCsv", "a.csv", "uploaded_audience_csv", None),
        ("csvExports", {}, "csv_exports", ()),
        ("csvExports", "none", "csv_exports", ()),
        ("csvExports", [None], "csv_exports", ()),
        ("csvExports", [{}], "csv_exports", ()),
    ],
)
def test_other_unreadable_fields_get_their_default_and_go_to_extra(key: str, odd: Any, field: str, default: Any):
    audience = audience_of(WHOLE | {key: odd})
    assert getattr(audience, field) == default
    assert audience.extra == {"createdAt": "2026-01-01", key: odd}
    others = attrs.evolve(audience_of(WHOLE), extra=audience.extra, **{field: default})
    assert audience == others


@pytest.mark.parametrize(
    ("key", "odd", "field", "default"),
    [
        ("status", None, "status", ""),
        ("status", 5, "status", ""),
        ("cost", "12.00", "cost_cents", None),
        ("cost", {"amount": 5}, "cost_cents", None),
        ("downloadUrl", 5, "download_url", None),
        ("downloadUrl", "", "download_url", None),
        ("downloadUrl", " ", "download_url", None),
        ("optionalFieldTypes", "phone", "optional_field_types", None),
        ("optionalFieldTypes", [1], "optional_field_types", None),
        ("audience", 5, "audience", None),
    ],
)
def test_an_unreadable_field_of_an_export_changes_no_other_field(key: str, odd: Any, field: str, default: Any):
    whole = WHOLE["csvExports"][0]
    for export in (
        export_of(whole | {key: odd}),
        audience_of({"id": 1, "csvExports": [whole | {key: odd}]}).csv_exports[0],
    ):
        assert getattr(export, field) == default
        assert export.extra == whole_extra(key, odd)
        assert attrs.evolve(export, extra={}, **{field: default}) == attrs.evolve(
            export_of(whole), extra={}, **{field: default}
        )


def whole_extra(key: str, odd: Any) -> dict[str, Any]:
    return {"createdAt": "2026-01-01"} | ({} if odd is None else {key: odd})


def test_readable_exports_are_decoded_and_all_go_to_extra_if_one_is_unreadable():
    exports = [{"id": 1, "cost": 5}, None, {"status": "ACTIVE"}, {"id": 2}]
    audience = audience_of({"id": 7, "csvExports": exports})
    assert [export.id for export in audience.csv_exports] == [1, 2]
    assert audience.extra == {"csvExports": exports}


def test_an_unreadable_part_of_the_csv_goes_to_its_own_extra():
    audience = audience_of({"id": 7, "uploadedAudienceCsv": {"status": 5, "url": "https://example.org/a.csv"}})
    assert audience.uploaded_audience_csv == UploadedAudienceCsv(url="https://example.org/a.csv", extra={"status": 5})


@pytest.mark.parametrize("document", [None, "text", 5, [], [{"id": 1}], True])
def test_a_record_must_be_an_object(document: object):
    with pytest.raises(ResponseDecodeError, match=r"expected an object, got .* at \$$"):
        audience_of(document)


@pytest.mark.parametrize("document", [None, "text", 5, {}, {"audiences": None}, {"audiences": {"id": 1}}])
def test_a_list_must_be_an_array(document: object):
    with pytest.raises(ResponseDecodeError, match=r"expected an array of audiences at \$"):
        codec.decode_audiences(document, ENDPOINT)


def test_rows_without_a_readable_id_are_skipped_and_logged_once(caplog: pytest.LogCaptureFixture):
    rows = [{"id": 1}, None, {"id": 2, "status": 5}, {"name": "secret"}]
    audiences = codec.decode_audiences({"audiences": rows}, ENDPOINT)
    assert [audience.id for audience in audiences] == [1, 2]
    (record,) = caplog.records
    assert record.getMessage() == f"{ENDPOINT}: skipped 2 rows without a readable ID; the first is $.audiences[1]"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{", b'{"id": NaN}', b'{"id": 1e999}', b'"\xff"', b"[" * 100_000, b"9" * 10_000, b'"\\ud800"'],
    ids=["empty", "html", "half", "nan", "huge", "not-utf8", "deep", "long-number", "half-surrogate"],
)
def test_a_body_must_be_json(body: bytes):
    with pytest.raises(ResponseDecodeError, match="the response is not JSON") as caught:
        codec.decode_document(body, ENDPOINT)
    assert caught.value.__cause__ is None


def test_records_nested_too_deeply_are_rejected():
    document: dict[str, Any] = {"id": 1}
    for _ in range(900):
        document = {"id": 1, "csvExports": [{"id": 1, "audience": document}]}
    with pytest.raises(ResponseDecodeError):
        audience_of(document)


def test_an_encoded_body_has_no_parameters_that_are_none():
    body = encode_body({"customerId": None, "audienceId": 7, "optionalFieldTypes": (), "flag": False}, {"more": None})
    assert msgspec.json.decode(body) == {"audienceId": 7, "optionalFieldTypes": [], "flag": False, "more": None}


def test_column_selections_have_the_keys_of_the_reference():
    assert codec.encode_column_selections({"zip": ColumnSelection("ZIP", required=True)}) == {
        "zip": {"column_name": "ZIP", "is_required": True}
    }


def test_filters_are_sent_under_their_keys_and_extra_ones_unchanged():
    filters = LookalikeFilters(
        states=["PA"],
        counties=["42003"],
        congressional_districts=["12"],
        upper_state_legislative_districts=["38"],
        lower_state_legislative_districts=["20"],
        extra={"zipCodes": ["19104"]},
    )
    assert codec.encode_filters(filters) == {
        "states": ["PA"],
        "counties": ["42003"],
        "congressionalDistricts": ["12"],
        "upperStateLegislativeDistricts": ["38"],
        "lowerStateLegislativeDistricts": ["20"],
        "zipCodes": ["19104"],
    }
    assert codec.encode_filters(LookalikeFilters()) == {}


@pytest.mark.parametrize(
    "spelling",
    [
        "READY_FOR_COLUMN_SELECTION",
        "ready for column selection",
        "Ready-For-Column-Selection",
        "readyForColumnSelection",
        " READY_FOR_COLUMN_SELECTION ",
        "READY FOR\u00a0COLUMN SELECTION",
        "READYFORCOLUMNSELECTION",
    ],
)
def test_a_known_status_is_read_in_any_spelling(spelling: str):
    document = WHOLE | {"status": spelling, "uploadedAudienceCsv": {"status": spelling}}
    audience = audience_of(document | {"csvExports": [{"id": 1, "status": spelling}]})
    csv = audience.uploaded_audience_csv
    assert csv is not None
    assert {audience.status, csv.status, audience.csv_exports[0].status} == {"READY_FOR_COLUMN_SELECTION"}


@pytest.mark.parametrize(
    "status", ["MatchComplete", "UNDER_REVIEW ", "INACTIVE", "ACTIVE!", "", " ", "active_2", "A" * 200]
)
def test_an_unknown_status_stays_as_it_is(status: str):
    assert audience_of(WHOLE | {"status": status}).status == status


@given(st.sampled_from(sorted(KNOWN_STATUSES)), st.data())
def test_separators_and_case_never_make_another_status(status: str, data: st.DataObject):
    words = status.split("_")
    cased = [data.draw(st.sampled_from([word, word.lower(), word.title()])) for word in words]
    separator = data.draw(st.sampled_from(["", " ", "-", "_", "  ", " - ", "\t"]))
    assert normalize_status(separator.join(cased) + data.draw(st.sampled_from(["", " ", "\n"]))) == status


@given(st.text(max_size=40))
def test_any_text_is_a_known_status_or_itself(text: str):
    assert normalize_status(text) in {*KNOWN_STATUSES, text}


@pytest.mark.parametrize(
    ("change", "size", "matched", "rate"),
    [
        ({}, None, None, None),
        ({"size": 7}, 7, None, None),
        ({"peopleCount": 0}, 0, None, None),
        ({"size": 7, "audienceSize": 7, "matchedCount": 6}, 7, 6, 6 / 9),
        ({"size": 7, "audienceSize": 8}, None, None, None),
        ({"size": "7"}, None, None, None),
        ({"size": -1, "audienceSize": 7}, 7, None, None),
        ({"size": True, "matchedCount": 9.5}, None, None, None),
        ({"matchedCount": 10}, None, 10, None),
        ({"matchedCount": 9}, None, 9, 1.0),
        ({"uploadedAudienceCsv": {"matchedCount": 5, "rowCount": 9}}, None, 5, 5 / 9),
        ({"uploadedAudienceCsv": {"matchedCount": 5, "rowCount": 0}}, None, 5, None),
        ({"uploadedAudienceCsv": {"matchedCount": 5, "matchedSize": 5}}, None, 5, None),
        ({"uploadedAudienceCsv": {"matchedCount": 5, "matchedSize": 6}}, None, None, None),
        ({"matchedCount": 5, "uploadedAudienceCsv": {"matchedCount": 5, "rowCount": 9}}, None, 5, 5 / 9),
        ({"matchedCount": 6, "uploadedAudienceCsv": {"matchedCount": 5, "rowCount": 9}}, None, None, None),
        ({"uploadedAudienceCsv": {"size": 123_456, "count": 9}}, None, None, None),
        ({"memberCount": 7, "matchedPeople": 6}, 7, 6, 6 / 9),
        ({"voterCount": 7, "memberCount": 8, "numMatched": 6, "matchedRows": 5}, None, None, None),
        ({"uploadedAudienceCsv": {"totalRecords": 8, "matchedVoters": 2}}, None, 2, 2 / 8),
    ],
)
def test_counts_are_read_unless_they_contradict_each_other(
    change: dict[str, Any], size: int | None, matched: int | None, rate: float | None
):
    audience = audience_of(WHOLE | change)
    assert (audience.size, audience.matched_count, audience.match_rate) == (size, matched, rate)
    assert audience.people_count == (matched if size is None else size)


def test_counts_that_are_not_understood_can_be_seen():
    audience = audience_of(WHOLE | {"size": 7, "audienceSize": 8, "matchedCount": "many"})
    assert audience.extra == {"createdAt": "2026-01-01", "size": 7, "audienceSize": 8, "matchedCount": "many"}


def test_a_match_is_described():
    def describe(**changes: object) -> str | None:
        return audience_of(WHOLE | changes).describe_match()

    assert describe() is None
    assert describe(matchedCount=7) == "7 of 9 rows (77.8%)"
    assert describe(matchedCount=1_234) == "1,234 rows"


@pytest.mark.parametrize(
    ("matched", "share"), [(0, "0.0%"), (6, "0.02%"), (29, "0.10%"), (30, "0.1%"), (6_000, "20.1%")]
)
def test_a_tiny_share_of_matched_rows_is_not_shown_as_none(matched: int, share: str):
    audience = audience_of(WHOLE | {"uploadedAudienceCsv": {"rowCount": 29_900, "matchedCount": matched}})
    assert audience.describe_match() == f"{matched:,} of 29,900 rows ({share})"
