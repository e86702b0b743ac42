"""Reusing existing audiences: evidence reuses, contradiction stops, doubt never buys."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.errors import ApiError, AudienceExistsError, AudienceFailedError
from indigo_async.models import Audience, UploadedAudienceCsv, same_id
from indigo_async.workflows.recipes.existing_audiences import (
    StubState,
    compare_lookalike,
    compare_matched,
    normalize_url,
    was_matched,
)
from indigo_async.workflows.recipes.name_index import NameSimilarity, compare_names, normalize_name, truncated_keys
from indigo_async.workflows.recipes.reconcile import is_final_refusal, says_already_done, says_name_taken

URL = "https://files.example.org/lists/donors.csv"


def matched(url: str | None = URL, **fields: Any) -> Audience:
    return Audience(**{"id": 1, "name": "Donors", "uploaded_audience_csv": UploadedAudienceCsv(url=url)} | fields)


def lookalike(base_id: Any, **fields: Any) -> Audience:
    return Audience(id=2, name="Donors+", base_audience_id=base_id, **fields)


@pytest.mark.parametrize(
    "csv", [URL, f"{URL}?X-Amz-Signature=1", f"{URL}?X-Amz-Signature=2#top"], ids=["same", "signed", "with a fragment"]
)
def test_the_same_csv_url_with_any_query_is_evidence(csv: str):
    evidence = compare_matched(matched(f"{URL}?X-Amz-Signature=9"), csv=csv)
    assert (evidence.reason, evidence.is_certain) == ("same name, same CSV URL", True)


def test_the_same_content_under_any_publisher_url_is_evidence():
    evidence = compare_matched(matched("https://a.example.org/tmp/77/0f3a.csv?sig=1"), csv="0f3a.csv")
    assert (evidence.reason, evidence.is_certain) == ("same name, same CSV content", True)


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
    with pytest.raises(
        AudienceExistsError, match="audience 1 already has the name 'Donors' and was made from another CSV"
    ):
        compare_matched(matched(), csv=csv)


@pytest.mark.parametrize("audience", [matched(url=None), matched(uploaded_audience_csv=None)])
def test_a_csv_that_the_server_does_not_show_contradicts_nothing(audience: Audience):
    evidence = compare_matched(audience, csv=URL)
    assert (evidence.reason, evidence.is_certain) == ("same name; the server shows no CSV URL", False)


def test_a_lookalike_with_the_name_is_not_a_match():
    with pytest.raises(AudienceExistsError, match="is a lookalike"):
        compare_matched(lookalike(1), csv=URL)


@pytest.mark.parametrize("status", ["FAILED", "MATCH_ERROR"])
def test_a_failed_audience_with_the_same_name_and_csv_stops(status: str):
    with pytest.raises(AudienceFailedError, match="or ask the vendor to delete audience"):
        compare_matched(matched(status=status), csv=URL)
    with pytest.raises(AudienceFailedError, match="or ask the vendor to delete audience"):
        compare_lookalike(lookalike(1, status=status), base_id=1)


def test_the_same_base_is_evidence():
    evidence = compare_lookalike(lookalike(1), base_id="1")
    assert (evidence.reason, evidence.is_certain) == ("same name, same base audience", True)


def test_a_base_that_the_server_does_not_show_contradicts_nothing():
    evidence = compare_lookalike(lookalike(None), base_id=1)
    assert (evidence.reason, evidence.is_certain) == ("same name; the server shows no base audience", False)


def test_another_base_contradicts():
    with pytest.raises(AudienceExistsError, match="is a lookalike of audience 1, not of 7"):
        compare_lookalike(lookalike(1), base_id=7)


def test_an_audience_matched_from_a_csv_is_not_a_lookalike():
    with pytest.raises(AudienceExistsError, match="was matched from a CSV"):
        compare_lookalike(matched(), base_id=1)


def test_a_lookalike_larger_than_requested_contradicts():
    assert compare_lookalike(lookalike(1, size=3_000), base_id=1, max_people=3_000).is_certain
    assert compare_lookalike(lookalike(1, size=3_000), base_id=1).is_certain
    with pytest.raises(AudienceExistsError, match="has 3,001 people, more than the 3,000 that were requested"):
        compare_lookalike(lookalike(1, size=3_001), base_id=1, max_people=3_000)


@pytest.mark.parametrize(
    ("csv", "shown"),
    [
        (f"{URL}?sig=canary", "https://files.example.org/others.csv"),
        ("https://files.example.org/others.csv", f"{URL}?sig=canary"),
    ],
    ids=["the requested URL", "the record's URL"],
)
def test_an_error_holds_no_signed_url_in_its_frames(csv: str, shown: str):
    arguments = [matched(shown), csv]
    try:
        compare_matched(arguments[0], csv=arguments.pop())
    except AudienceExistsError as error:
        arguments.clear()
        del csv, shown
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "compare_matched" in text
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
    assert normalize_url(one) == normalize_url(other)


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
    assert normalize_url(one) != normalize_url(other)


@pytest.mark.parametrize(
    ("shown", "name", "like"),
    [
        ("Donors", "Donors", NameSimilarity.EXACT),
        ("donors", "Donors", NameSimilarity.NORMALIZED),
        (" Donors\u00a0 2024", "Donors 2024 ", NameSimilarity.NORMALIZED),
        ("Caf\u00e9", "Cafe\u0301", NameSimilarity.NORMALIZED),
        ("STRASSE", "Straße", NameSimilarity.NORMALIZED),
        ("donors of 2024 ", "Donors of 2024 and 2025", None),
        ("donors of 2024 a", "Donors of 2024 and 2025", NameSimilarity.TRUNCATED),
        ("Donors of 2024 and 2025", "donors of 2024 a", None),
        ("Donors of 2025 a", "Donors of 2024 and 2025", None),
        ("", "Donors", None),
    ],
)
def test_names_are_compared_as_a_server_may_have_stored_them(shown: str, name: str, like: NameSimilarity | None):
    assert compare_names(shown, name) is like


@given(st.text(max_size=40), st.integers(15, 40))
def test_normalizing_is_idempotent_and_every_long_prefix_is_a_key(name: str, longest: int):
    key = normalize_name(name)
    assert normalize_name(key) == key
    assert set(truncated_keys(key, longest=longest)) == {key[:end] for end in range(15, len(key)) if end <= longest}


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
    assert was_matched(_STUBS[now], "Donors", state, match_requested=False) is by_itself
    assert was_matched(_STUBS[now], "Donors", state, match_requested=True) is with_a_request


def test_what_either_record_showed_of_a_stub_counts():
    assert StubState(named=True) | StubState(ended=True) == StubState(named=True, ended=True)
    assert StubState(alike=True) | StubState() == StubState(alike=True)


@pytest.mark.parametrize(
    ("status", "certain"),
    [(400, True), (403, True), (404, True), (422, True), (408, False), (409, False), (425, False)],
)
def test_a_final_refusal_is_one_that_waiting_does_not_fix(status: int, *, certain: bool):
    assert is_final_refusal(ApiError(status, "no", None, "POST /match_uploaded_csv")) is certain


def test_what_the_servers_own_words_say():
    def refusal(message: str, kind: str | None = None) -> ApiError:
        return ApiError(400, message, kind, "POST /match_uploaded_csv")

    assert says_already_done(refusal("no", "AudienceAlreadyMatched"))
    assert says_already_done(refusal("it was matched ALREADY"))
    assert not says_already_done(refusal("no column Frist"))
    assert says_name_taken(refusal("no", "AudienceNameTaken"))
    assert not says_name_taken(refusal("the column Frist does not exist"))


@pytest.mark.parametrize(
    ("one", "other", "same"), [(7, "7", True), ("a", "a", True), (7, 7, True), (7, 8, False), ("07", 7, False)]
)
def test_ids_are_compared_as_text(one: str | int, other: str | int, *, same: bool):
    assert same_id(one, other) is same
