from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError
from indigo_async.inputs import CANONICAL_FIELDS, ColumnSelection
from indigo_async.sandbox.errors import HttpError
from indigo_async.sandbox.http.parameters import check_column_selections
from tests.support.sandbox_http import COLUMNS, SandboxApi


def selection(column: str, *, required: bool) -> dict[str, Any]:
    return {"column_name": column, "is_required": required}


def field(name: str, *, required: bool = True) -> dict[str, Any]:
    return {name: selection(name, required=required)}


BROKEN_SELECTIONS = {
    "nothing selected": {},
    "nothing required": field("phone", required=False),
    "only id required": field("id"),
    "id optional": field("phone") | field("id", required=False),
    "address required": field("phone") | field("address"),
    "full and first name": field("full_name") | field("first_name"),
    "full and last name": field("full_name", required=False) | field("last_name"),
    "one column, two fields": {"phone": selection("x", required=True), "zip": selection("x", required=False)},
}

GOOD_SELECTIONS = {
    "one required": field("phone"),
    "full name alone": field("full_name"),
    "optional address": field("last_name") | field("address", required=False),
    "with id": field("dob") | field("id"),
    "required state": field("state") | field("full_name", required=False),
}


async def match(api: SandboxApi, selections: Any, audience_id: Any = None, **changes: Any) -> Any:
    body = {
        "audienceID": audience_id or await api.uploaded(),
        "customerId": "1",
        "audienceName": "Donors",
        "columnSelections": selections,
    }
    return await api.post("/match_uploaded_csv", **(body | changes))


@pytest.mark.parametrize("selections", BROKEN_SELECTIONS.values(), ids=BROKEN_SELECTIONS)
async def test_invalid_selections_are_rejected_and_change_nothing(api: SandboxApi, selections: Any):
    audience_id = await api.uploaded()
    answer = await match(api, selections, audience_id)
    assert (answer.status, answer.error_type) == (400, "InvalidColumnSelections")
    assert (await match(api, COLUMNS, audience_id)).status == 200


@pytest.mark.parametrize("selections", GOOD_SELECTIONS.values(), ids=GOOD_SELECTIONS)
async def test_valid_selections_are_accepted(api: SandboxApi, selections: Any):
    assert (await match(api, selections)).status == 200


@pytest.mark.parametrize(
    ("selections", "place"),
    [
        ([], "columnSelections"),
        ({"surname": selection("x", required=True)}, "columnSelections.surname"),
        ({"phone": "x"}, "columnSelections.phone"),
        ({"phone": {"is_required": True}}, "columnSelections.phone.column_name"),
        ({"phone": {"column_name": "x"}}, "columnSelections.phone.is_required"),
        ({"phone": {"column_name": "x", "is_required": "yes"}}, "columnSelections.phone.is_required"),
        ({"phone": {"column_name": " ", "is_required": True}}, "columnSelections.phone.column_name"),
        ({"phone": selection("x", required=True) | {"weight": 1}}, "columnSelections.phone.weight"),
    ],
)
async def test_malformed_selections_are_rejected_with_their_path(api: SandboxApi, selections: Any, place: str):
    answer = await match(api, selections)
    assert answer.status == 400
    assert answer.body["error"].startswith(f"{place}: ")


selections_by_field = st.dictionaries(
    st.sampled_from(CANONICAL_FIELDS),
    st.builds(ColumnSelection, st.sampled_from(["A", "B", "C", "D", "E"]), st.booleans()),
    max_size=4,
)


@given(selections_by_field)
def test_the_sandbox_and_the_sdk_apply_the_same_column_rules(selections: dict[str, ColumnSelection]):
    check = InputCheck()
    check.column_selections(selections)

    def is_refused_by_sdk() -> bool:
        try:
            check.raise_if_invalid()
        except InvalidInputError:
            return True
        return False

    def is_refused_by_sandbox() -> bool:
        try:
            check_column_selections(selections, None)
        except HttpError:
            return True
        return False

    assert is_refused_by_sdk() == is_refused_by_sandbox()


@given(selections_by_field, st.sets(st.sampled_from(["A", "B", "C", "D", "E"])))
def test_every_selected_column_must_exist(selections: dict[str, ColumnSelection], columns: set[str]):
    try:
        check_column_selections(selections, tuple(columns))
    except HttpError:
        return
    assert {selection.column_name for selection in selections.values()} <= columns


async def test_matching_waits_for_the_csv(api: SandboxApi):
    stub = await api.post_ok("/upload_csv", customerId="1", url="http://127.0.0.1/people.csv")
    early = await match(api, COLUMNS, stub["id"])
    assert (early.status, early.error_type) == (400, "CsvNotReadyForColumnSelection")
    await api.advance_time()
    assert (await match(api, COLUMNS, stub["id"])).status == 200


async def test_matching_twice_is_rejected(api: SandboxApi):
    audience_id = await api.matched()
    again = await match(api, COLUMNS, audience_id, audienceName="Others")
    assert (again.status, again.error_type) == (400, "AudienceAlreadyMatched")


async def test_a_lookalike_cannot_be_matched(api: SandboxApi):
    base = await api.matched()
    wider = await lookalike(api, base)
    answer = await match(api, COLUMNS, wider.body["id"], audienceName="Others")
    assert answer.error_type == "AudienceAlreadyMatched"


async def lookalike(api: SandboxApi, base: Any, **changes: Any) -> Any:
    body = {"baseAudienceId": base, "customerId": "1", "size": 5_000, "audienceName": "Donors+"}
    return await api.post("/create_lookalike_audience", **(body | changes))


async def test_names_are_unique_per_customer(api: SandboxApi):
    base = await api.matched(name="Donors")
    for answer in (await match(api, COLUMNS), await lookalike(api, base, audienceName="Donors")):
        assert (answer.status, answer.error_type) == (400, "AudienceNameTaken")
    await api.matched("2", name="Donors")
    assert api.sandbox.counts().audiences["1", "Donors"] == 1
    assert api.sandbox.counts().audiences["2", "Donors"] == 1


async def test_a_lookalike_needs_an_active_base(api: SandboxApi):
    audience_id = await api.uploaded()
    await match(api, COLUMNS, audience_id)
    early = await lookalike(api, audience_id)
    assert (early.status, early.error_type) == (400, "AudienceNotActive")
    await api.advance_time()
    assert (await lookalike(api, audience_id)).status == 200


async def test_a_lookalike_of_a_lookalike_is_rejected(api: SandboxApi):
    wider = await lookalike(api, await api.matched())
    await api.advance_time()
    answer = await lookalike(api, wider.body["id"], audienceName="Donors++")
    assert (answer.status, answer.error_type) == (400, "BaseAudienceNotEligible")


@pytest.mark.parametrize(("people", "status"), [(999, 400), (1_000, 200)])
async def test_a_base_needs_a_thousand_matched_people(api: SandboxApi, people: int, status: int):
    (base,) = await api.sandbox.seed_audiences(1, "1", size=people)
    answer = await lookalike(api, base)
    assert answer.status == status
    assert status == 200 or answer.error_type == "BaseAudienceNotEligible"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"size": 0}, "size"),
        ({"size": -1}, "size"),
        ({"size": 1.5}, "size"),
        ({"size": "5000"}, "size"),
        ({"size": True}, "size"),
        ({"size": None}, "size"),
        ({"includeOriginalAudience": "yes"}, "includeOriginalAudience"),
        ({"filters": []}, "filters"),
        ({"filters": {"planets": ["Mars"]}}, "filters.planets"),
        ({"filters": {"states": "PA"}}, "filters.states"),
        ({"filters": {"counties": ["Bucks", 1]}}, "filters.counties[1]"),
        ({"audienceName": ""}, "audienceName"),
    ],
)
async def test_malformed_lookalikes_are_rejected_with_their_path(api: SandboxApi, changes: Any, place: str):
    answer = await lookalike(api, await api.matched(), **changes)
    assert answer.status == 400
    assert answer.body["error"].startswith(f"{place}: ")
    assert api.sandbox.counts().audiences == {("1", "Donors"): 1}


async def test_an_export_needs_an_active_audience(api: SandboxApi):
    audience_id = await api.uploaded()
    answer = await api.post("/create_preview_csv_export", audienceId=audience_id, customerId="1", optionalFieldTypes=[])
    assert (answer.status, answer.error_type) == (400, "AudienceNotActive")


@pytest.mark.parametrize(
    ("given_types", "place"),
    [(None, "optionalFieldTypes"), ("phone", "optionalFieldTypes"), (["phone", "email"], "optionalFieldTypes[1]")],
)
async def test_unknown_field_types_are_rejected(api: SandboxApi, given_types: Any, place: str):
    audience_id = await api.matched()
    answer = await api.post(
        "/create_preview_csv_export", audienceId=audience_id, customerId="1", optionalFieldTypes=given_types
    )
    assert answer.status == 400
    assert answer.body["error"].startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/upload_csv", ["customerId", "url"]),
        ("/match_uploaded_csv", ["audienceID", "customerId", "audienceName", "columnSelections"]),
        ("/create_lookalike_audience", ["baseAudienceId", "customerId", "size", "audienceName"]),
        ("/create_preview_csv_export", ["audienceId", "optionalFieldTypes"]),
        ("/purchase_csv_export", ["exportId"]),
    ],
)
async def test_missing_parameters_are_named(api: SandboxApi, path: str, parameters: list[str]):
    full: dict[str, Any] = {
        "customerId": "1",
        "url": "http://127.0.0.1/people.csv",
        "audienceID": "aud-1",
        "audienceId": "aud-1",
        "baseAudienceId": "aud-1",
        "exportId": "exp-1",
        "audienceName": "Donors",
        "columnSelections": COLUMNS,
        "size": 1,
        "optionalFieldTypes": [],
    }
    for name in parameters:
        spellings = {name, "audienceId"} if name == "audienceID" else {name}
        answer = await api.post(path, **{key: value for key, value in full.items() if key not in spellings})
        assert (answer.status, answer.error_type) == (400, "MissingParameter")
        assert answer.body["error"].startswith(f"{name}: ")


@pytest.mark.parametrize("url", ["people.csv", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://", 7, ""])
async def test_an_upload_needs_a_web_url(api: SandboxApi, url: Any):
    answer = await api.post("/upload_csv", customerId="1", url=url)
    assert answer.status == 400
    assert answer.body["error"].startswith("url: ")
    assert not api.sandbox.counts().audiences
