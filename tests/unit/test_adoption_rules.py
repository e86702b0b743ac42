"""When something that exists is ours: evidence adopts, contradiction stops, and doubt never buys."""

from __future__ import annotations

import traceback
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.errors import ApiError, AudienceExistsError, AudienceFailedError, ExportExistsError
from indigo_async.models import Audience, CsvExport, UploadedAudienceCsv
from indigo_async.workflows.export_rules import ExportState, choose_export, export_state, find_export
from indigo_async.workflows.rules import (
    Likeness,
    StubState,
    adopt_lookalike,
    adopt_matched,
    comparable_url,
    is_certain_refusal,
    likeness,
    name_key,
    people_count,
    prefixes,
    same_id,
    says_already,
    says_taken,
    was_matched,
)

URL = "https://files.example.org/lists/donors.csv"
PHONE = frozenset({"phone"})


def matched(url: str | None = URL, **fields: Any) -> Audience:
    return Audience(**{"id": 1, "name": "Donors", "uploaded_audience_csv": UploadedAudienceCsv(url=url)} | fields)


def lookalike(base_id: Any, **fields: Any) -> Audience:
    return Audience(id=2, name="Donors+", base_audience_id=base_id, **fields)


@pytest.mark.parametrize(
    "csv", [URL, f"{URL}?X-Amz-Signature=1", f"{URL}?X-Amz-Signature=2#top"], ids=["same", "signed", "with a fragment"]
)
def test_the_same_url_is_ours_whatever_its_query(csv: str):
    evidence = adopt_matched(matched(f"{URL}?X-Amz-Signature=9"), csv=csv)
    assert (evidence.found, evidence.is_certain) == ("same name, same CSV URL", True)


def test_the_same_content_is_ours_wherever_a_publisher_put_it():
    evidence = adopt_matched(matched("https://a.example.org/tmp/77/0f3a.csv?sig=1"), csv="0f3a.csv")
    assert (evidence.found, evidence.is_certain) == ("same name, same CSV content", True)


@pytest.mark.parametrize(
    "csv",
    [
        "https://files.example.org/lists/others.csv",
        "https://files.example.org/2025/donors.csv",
        "https://elsewhere.example.org/lists/donors.csv",
        "http://files.example.org/lists/donors.csv",
        "https://files.example.org:8443/lists/donors.csv",
        "0f3a.csv",
    ],
)
def test_another_csv_contradicts(csv: str):
    with pytest.raises(AudienceExistsError, match="audience 1 has the name 'Donors' already and was made from another"):
        adopt_matched(matched(), csv=csv)


@pytest.mark.parametrize("audience", [matched(url=None), matched(uploaded_audience_csv=None)])
def test_a_csv_that_the_server_does_not_show_contradicts_nothing(audience: Audience):
    evidence = adopt_matched(audience, csv=URL)
    assert (evidence.found, evidence.is_certain) == ("same name; the server shows no CSV URL", False)


def test_a_lookalike_is_no_match_of_ours():
    with pytest.raises(AudienceExistsError, match="is a lookalike"):
        adopt_matched(lookalike(1), csv=URL)


@pytest.mark.parametrize("status", ["FAILED", "MATCH_ERROR"])
def test_one_of_ours_that_failed_stops(status: str):
    with pytest.raises(AudienceFailedError, match="choose another name"):
        adopt_matched(matched(status=status), csv=URL)
    with pytest.raises(AudienceFailedError, match="choose another name"):
        adopt_lookalike(lookalike(1, status=status), base_id=1)


def test_a_lookalike_of_our_base_is_ours():
    evidence = adopt_lookalike(lookalike(1), base_id="1")
    assert (evidence.found, evidence.is_certain) == ("same name, same base audience", True)


def test_a_base_that_the_server_does_not_show_contradicts_nothing():
    evidence = adopt_lookalike(lookalike(None), base_id=1)
    assert (evidence.found, evidence.is_certain) == ("same name; the server shows no base audience", False)


def test_a_lookalike_of_another_base_contradicts():
    with pytest.raises(AudienceExistsError, match="is a lookalike of audience 1, not of 7"):
        adopt_lookalike(lookalike(1), base_id=7)


def test_an_audience_matched_from_a_csv_is_no_lookalike():
    with pytest.raises(AudienceExistsError, match="was matched from a CSV"):
        adopt_lookalike(matched(), base_id=1)


def test_a_lookalike_larger_than_requested_contradicts():
    assert adopt_lookalike(lookalike(1, extra={"size": 3_000}), base_id=1, most_people=3_000).is_certain
    assert adopt_lookalike(lookalike(1, extra={"size": 3_000}), base_id=1).is_certain
    with pytest.raises(AudienceExistsError, match="has 3,001 people, more than the 3,000 that were requested"):
        adopt_lookalike(lookalike(1, extra={"size": 3_001}), base_id=1, most_people=3_000)


@pytest.mark.parametrize(
    ("csv", "shown"),
    [
        (f"{URL}?sig=canary", "https://files.example.org/others.csv"),
        ("https://files.example.org/others.csv", f"{URL}?sig=canary"),
    ],
    ids=["ours", "the record's"],
)
def test_an_error_holds_no_signed_url_in_its_frames(csv: str, shown: str):
    arguments = [matched(shown), csv]
    try:
        adopt_matched(arguments[0], csv=arguments.pop())
    except AudienceExistsError as error:
        arguments.clear()
        del csv, shown
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "adopt_matched" in text
    assert "canary" not in text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Files.Example.org/a.csv", "https://files.example.org:443/a.csv?sig=1#top"),
        ("http://127.0.0.1:8000/a.csv", "http://localhost:8000/a.csv"),
        ("http://[::1]:80/a.csv", "http://127.0.0.1/a.csv"),
        ("https://user:word@files.example.org/a%20b.csv", "https://files.example.org./a b.csv"),
        ("https://files.example.org", "https://files.example.org/"),
        ("http://[bad/a.csv?sig=1", "http://[bad/a.csv"),
    ],
)
def test_urls_are_compared_by_what_says_which_file_they_name(one: str, other: str):
    assert comparable_url(one) == comparable_url(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://files.example.org/a.csv", "http://files.example.org/a.csv"),
        ("https://files.example.org/a.csv", "https://files.example.org:8443/a.csv"),
        ("https://files.example.org/a.csv", "https://files.example.org/A.csv"),
        ("http://localhost:1/a.csv", "http://localhost:2/a.csv"),
    ],
)
def test_other_urls_are_others(one: str, other: str):
    assert comparable_url(one) != comparable_url(other)


@pytest.mark.parametrize(
    ("shown", "name", "like"),
    [
        ("Donors", "Donors", Likeness.EXACT),
        ("donors", "Donors", Likeness.NORMALIZED),
        (" Donors\u00a0 2024", "Donors 2024 ", Likeness.NORMALIZED),
        ("Caf\u00e9", "Cafe\u0301", Likeness.NORMALIZED),
        ("STRASSE", "Straße", Likeness.NORMALIZED),
        ("donors of 2024 ", "Donors of 2024 and 2025", None),
        ("donors of 2024 a", "Donors of 2024 and 2025", Likeness.TRUNCATED),
        ("Donors of 2024 and 2025", "donors of 2024 a", None),
        ("Donors of 2025 a", "Donors of 2024 and 2025", None),
        ("", "Donors", None),
    ],
)
def test_names_are_compared_as_a_server_may_have_stored_them(shown: str, name: str, like: Likeness | None):
    assert likeness(shown, name) is like


@given(st.text(max_size=40), st.integers(15, 40))
def test_a_key_is_its_own_key_and_every_long_prefix_of_it_is_looked_up(name: str, longest: int):
    key = name_key(name)
    assert name_key(key) == key
    assert set(prefixes(key, longest=longest)) == {key[:end] for end in range(15, len(key)) if end <= longest}


_CHANGES = ["stub", "named", "alike", "ended", "alike and ended"]
_STUBS = {
    "stub": Audience(id=1, status="PROCESSING"),
    "named": Audience(id=1, status="PROCESSING", name="upload.csv"),
    "alike": Audience(id=1, status="PROCESSING", name="donors"),
    "ended": Audience(id=1, status="ACTIVE"),
    "alike and ended": Audience(id=1, status="FAILED", name="Donors"),
}


@pytest.mark.parametrize(
    ("before", "now", "by_itself", "with_a_request"),
    [
        ("stub", "stub", False, False),
        ("stub", "named", False, True),
        ("stub", "alike", True, True),
        ("stub", "ended", False, True),
        ("stub", "alike and ended", True, True),
        ("named", "named", False, False),
        ("named", "alike", True, True),
        ("ended", "ended", False, False),
        ("ended", "alike and ended", True, True),
        ("alike", "alike", False, False),
        ("alike", "alike and ended", False, True),
        ("alike and ended", "alike and ended", False, False),
    ],
)
def test_only_what_a_match_can_have_changed_shows_that_it_was_carried_out(
    before: str, now: str, *, by_itself: bool, with_a_request: bool
):
    state = StubState.of(_STUBS[before], "Donors")
    assert was_matched(_STUBS[now], "Donors", state, requested=False) is by_itself
    assert was_matched(_STUBS[now], "Donors", state, requested=True) is with_a_request


def test_what_either_record_showed_of_a_stub_counts():
    assert StubState(named=True) | StubState(ended=True) == StubState(named=True, ended=True)
    assert StubState(alike=True) | StubState() == StubState(alike=True)


@pytest.mark.parametrize(
    ("audience", "people"),
    [
        (Audience(id=1), None),
        (Audience(id=1, extra={"size": 7}), 7),
        (Audience(id=1, extra={"size": 0}), 0),
        (Audience(id=1, extra={"size": "7"}), None),
        (Audience(id=1, extra={"size": -1, "matchedCount": 8}), 8),
        (Audience(id=1, extra={"size": True, "peopleCount": 9.5}), None),
        (matched(uploaded_audience_csv=UploadedAudienceCsv(extra={"matchedCount": 5, "rowCount": 9})), 5),
        (matched(uploaded_audience_csv=UploadedAudienceCsv(extra={"size": 123_456, "count": 9})), None),
    ],
)
def test_people_are_counted_where_whole_numbers_are_shown(audience: Audience, people: int | None):
    assert people_count(audience) == people


@pytest.mark.parametrize(
    ("status", "certain"),
    [(400, True), (403, True), (404, True), (422, True), (408, False), (409, False), (425, False)],
)
def test_a_refusal_for_good_is_one_that_time_does_not_mend(status: int, *, certain: bool):
    assert is_certain_refusal(ApiError(status, "no", None, "POST /match_uploaded_csv")) is certain


def test_what_the_servers_own_words_say():
    def refusal(message: str, kind: str | None = None) -> ApiError:
        return ApiError(400, message, kind, "POST /match_uploaded_csv")

    assert says_already(refusal("no", "AudienceAlreadyMatched"))
    assert says_already(refusal("it was matched ALREADY"))
    assert not says_already(refusal("no column Frist"))
    assert says_taken(refusal("no", "AudienceNameTaken"))
    assert not says_taken(refusal("the column Frist does not exist"))


@pytest.mark.parametrize(
    ("one", "other", "same"), [(7, "7", True), ("a", "a", True), (7, 7, True), (7, 8, False), ("07", 7, False)]
)
def test_ids_are_compared_as_text(one: str | int, other: str | int, *, same: bool):
    assert same_id(one, other) is same


@pytest.mark.parametrize(
    ("export", "state"),
    [
        (CsvExport(id=1, download_url="https://x"), ExportState.DOWNLOADABLE),
        (CsvExport(id=1, download_url="https://x", status="IN_PROGRESS"), ExportState.DOWNLOADABLE),
        (CsvExport(id=1, status="IN_PROGRESS"), ExportState.IN_PROGRESS),
        (CsvExport(id=1, status="in_progress"), ExportState.IN_PROGRESS),
        (CsvExport(id=1, status="REQUIRES_PAYMENT"), ExportState.FOR_SALE),
        (CsvExport(id=1, status=""), ExportState.FOR_SALE),
        (CsvExport(id=1, status="ACTIVE"), ExportState.FOR_SALE),
        (CsvExport(id=1, status="FAILED"), ExportState.FAILED),
        (CsvExport(id=1, status="EXPIRED"), ExportState.FAILED),
    ],
)
def test_what_can_be_done_with_an_export_is_read_from_its_url_and_status(export: CsvExport, state: ExportState):
    assert export_state(export) is state


def test_an_export_is_found_by_its_id_as_text():
    exports = [CsvExport(id=7), CsvExport(id="x")]
    assert find_export(exports, "7") is exports[0]
    assert find_export(exports, "y") is None


def bought(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, download_url="https://x", optional_field_types=types)


def for_sale(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, status="REQUIRES_PAYMENT", optional_field_types=types)


def under_way(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, status="IN_PROGRESS", optional_field_types=types)


def failed(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, status="FAILED", optional_field_types=types)


@pytest.mark.parametrize(
    ("exports", "reuse_purchased", "chosen"),
    [
        ([], None, None),
        ([bought(1)], None, 1),
        ([bought(1)], False, 1),
        ([bought(1), bought(2)], None, 2),
        ([bought(1, ("address", "phone"))], None, None),
        ([bought(1, ())], None, None),
        ([for_sale(1)], None, 1),
        ([for_sale(1), for_sale(2)], None, 2),
        ([for_sale(1), bought(2)], None, 2),
        ([bought(1), for_sale(2)], None, 1),
        ([for_sale(1, ())], None, None),
        ([for_sale(1, None)], None, None),
        ([failed(1)], False, None),
        ([failed(1, None)], False, None),
        ([failed(1, ())], None, None),
        ([failed(1), bought(2)], None, 2),
        ([failed(1), under_way(2)], None, "settle first"),
        ([bought(1, None)], True, 1),
        ([bought(1, None)], False, None),
        ([bought(1, None), bought(2)], None, 2),
        ([bought(1, None), for_sale(2)], False, 2),
        ([under_way(1, ())], None, None),
        ([under_way(1)], None, "settle first"),
        ([under_way(1), for_sale(2)], None, "settle first"),
        ([under_way(1, None)], None, "settle first"),
        ([under_way(1, None)], False, None),
        ([under_way(1), bought(2)], None, 2),
    ],
)
def test_the_export_that_serves_is_chosen(
    exports: list[CsvExport], chosen: int | str | None, *, reuse_purchased: bool | None
):
    choice = choose_export("aud-1", exports, PHONE, reuse_purchased=reuse_purchased)
    assert (choice.export.id if choice and choice != "settle first" else choice) == chosen


def test_the_order_of_field_types_makes_no_difference():
    exports = [bought(1, ("phone", "address"))]
    choice = choose_export("aud-1", exports, frozenset({"address", "phone"}), reuse_purchased=None)
    assert choice is not None
    assert choice.export is exports[0]


@pytest.mark.parametrize("exports", [[bought(1, None)], [bought(1, None), for_sale(2)]])
def test_a_purchase_of_unknown_fields_stops_until_the_caller_says(exports: list[CsvExport]):
    with pytest.raises(ExportExistsError, match="export 1 of audience aud-1 was purchased before") as caught:
        choose_export("aud-1", exports, PHONE, reuse_purchased=None)
    assert "reuse_purchased=True to download that one, or False to buy another" in str(caught.value)


@pytest.mark.parametrize("reuse_purchased", [None, True])
def test_an_export_of_unknown_fields_and_status_stops_until_the_caller_says(*, reuse_purchased: bool | None):
    unclear = CsvExport(id=1, status="UNDER_REVIEW", cost_cents=100)
    with pytest.raises(ExportExistsError, match=r"export 1 of audience aud-1 has the status 'UNDER_REVIEW'"):
        choose_export("aud-1", [unclear], PHONE, reuse_purchased=reuse_purchased)
    assert choose_export("aud-1", [unclear], PHONE, reuse_purchased=False) is None
    known = attrs.evolve(unclear, optional_field_types=("phone",))
    assert choose_export("aud-1", [known], PHONE, reuse_purchased=reuse_purchased).export is known
    assert choose_export("aud-1", [attrs.evolve(unclear, cost_cents=0)], PHONE, reuse_purchased=None) is None


@pytest.mark.parametrize("exports", [[failed(1)], [failed(1, None)], [for_sale(2), failed(1)]])
@pytest.mark.parametrize("reuse_purchased", [None, True])
def test_a_failed_export_that_may_have_been_paid_stops_until_the_caller_says(
    exports: list[CsvExport], *, reuse_purchased: bool | None
):
    with pytest.raises(ExportExistsError, match=r"export 1 of audience aud-1 failed \('FAILED'\) and may have been"):
        choose_export("aud-1", exports, PHONE, reuse_purchased=reuse_purchased)


@pytest.mark.parametrize(
    ("export", "wanted"),
    [
        (CsvExport(id=1, status="FAILED", optional_field_types=()), frozenset()),
        (CsvExport(id=1, status="FAILED", optional_field_types=("phone",), cost_cents=0), PHONE),
        (CsvExport(id=1, status="FAILED", cost_cents=0), PHONE),
    ],
)
def test_a_failed_export_that_cost_nothing_is_made_again(export: CsvExport, wanted: frozenset[str]):
    assert choose_export("aud-1", [export], wanted, reuse_purchased=None) is None


_types = st.none() | st.sampled_from([(), ("phone",), ("address",), ("phone", "address")])
_exports = st.builds(
    lambda make, types, number: make(number, types),
    st.sampled_from([bought, for_sale, under_way, failed]),
    _types,
    st.integers(0, 99),
)


@given(st.lists(_exports, max_size=6), st.sampled_from([None, True, False]))
def test_what_is_chosen_holds_the_wanted_fields_unless_the_caller_took_the_doubt(
    exports: list[CsvExport], reuse_purchased: bool | None
):
    try:
        choice = choose_export("aud-1", exports, PHONE, reuse_purchased=reuse_purchased)
    except ExportExistsError:
        assert reuse_purchased is not False
        return
    if choice is None:
        assert not any(export == bought(export.id) for export in exports)
    elif choice != "settle first" and choice.export.optional_field_types != ("phone",):
        assert reuse_purchased
        assert choice.export == bought(choice.export.id, None)
