"""When something that exists is ours: evidence adopts, contradiction stops, and doubt never buys."""

from __future__ import annotations

from typing import Any

import pytest

from indigo_async.errors import AudienceExistsError, AudienceFailedError
from indigo_async.models import Audience, UploadedAudienceCsv
from indigo_async.workflows.rules import adopt_lookalike, adopt_matched, same_id

URL = "https://files.example.org/lists/donors.csv"


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


@pytest.mark.parametrize(
    ("one", "other", "same"), [(7, "7", True), ("a", "a", True), (7, 7, True), (7, 8, False), ("07", 7, False)]
)
def test_ids_are_compared_as_text(one: str | int, other: str | int, *, same: bool):
    assert same_id(one, other) is same
