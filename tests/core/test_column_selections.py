"""All rules about column selections (API reference: More details about column selections)."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError
from indigo_async.inputs import CANONICAL_FIELDS, ColumnSelection, ColumnSelections

REQUIRED_FIRST_NAME = {"first_name": ColumnSelection("First", required=True)}
MATCHING_FIELDS = tuple(field for field in CANONICAL_FIELDS if field not in {"id", "address"})


def problems_of(selections: object) -> list[str]:
    check = InputCheck()
    check.column_selections(selections)
    return [str(problem) for problem in check.problems]


def test_the_fields_are_the_ten_of_the_reference():
    assert set(CANONICAL_FIELDS) == {
        "first_name",
        "last_name",
        "full_name",
        "city",
        "state",
        "zip",
        "phone",
        "dob",
        "address",
        "id",
    }


@pytest.mark.parametrize("field", MATCHING_FIELDS)
def test_one_required_matching_field_is_enough(field: str):
    assert problems_of({field: ColumnSelection("Column", required=True)}) == []


def test_a_mapping_of_json_means_the_same_as_the_typed_form():
    as_json = {"zip": {"column_name": "ZIP", "is_required": True}, "city": {"column_name": "Town"}}
    typed = ColumnSelections(zip=ColumnSelection("ZIP", required=True), city=ColumnSelection("Town"))
    assert InputCheck().column_selections(as_json) == InputCheck().column_selections(typed)


def test_at_least_one_field_must_be_required():
    assert problems_of({"first_name": ColumnSelection("First")}) == [
        "column_selections: at least one matching field must be required (id does not match anything)"
    ]


def test_empty_selections_are_rejected():
    assert "at least one matching field" in problems_of({})[0]
    assert "at least one matching field" in problems_of(ColumnSelections())[0]


def test_a_required_id_alone_is_rejected_because_it_matches_nothing():
    assert "at least one matching field" in problems_of({"id": ColumnSelection("ID", required=True)})[0]


@pytest.mark.parametrize("part", ["first_name", "last_name"])
@pytest.mark.parametrize("full_required", [True, False])
def test_full_name_excludes_its_parts_required_or_optional(part: str, *, full_required: bool):
    selections = {
        "city": ColumnSelection("City", required=True),
        "full_name": ColumnSelection("Name", required=full_required),
        part: ColumnSelection("Part"),
    }
    assert problems_of(selections) == [
        "column_selections.full_name: excludes first_name and last_name: give one or the other"
    ]


def test_address_must_be_optional():
    required = REQUIRED_FIRST_NAME | {"address": ColumnSelection("Street", required=True)}
    assert problems_of(required) == [
        "column_selections.address: must be optional: matching on addresses is too unreliable to be required"
    ]


def test_an_optional_address_is_accepted():
    assert problems_of(REQUIRED_FIRST_NAME | {"address": ColumnSelection("Street")}) == []


def test_id_must_be_required():
    assert problems_of(REQUIRED_FIRST_NAME | {"id": ColumnSelection("ID")}) == [
        "column_selections.id: must be required"
    ]


def test_a_required_id_with_a_matching_field_is_accepted():
    assert problems_of(REQUIRED_FIRST_NAME | {"id": ColumnSelection("ID", required=True)}) == []


def test_no_column_is_used_for_two_fields():
    selections = REQUIRED_FIRST_NAME | {"last_name": ColumnSelection("First")}
    assert problems_of(selections) == ["column_selections.last_name: column 'First' is already used for first_name"]


def test_columns_that_differ_in_case_are_two_columns():
    assert problems_of(REQUIRED_FIRST_NAME | {"last_name": ColumnSelection("FIRST")}) == []


def test_the_error_for_an_unknown_field_suggests_the_closest_one():
    (problem,) = problems_of(REQUIRED_FIRST_NAME | {"frist_name": ColumnSelection("F")})
    assert problem.startswith("column_selections.frist_name: is not a field of the API")
    assert problem.endswith("did you mean 'first_name'?")


def test_a_field_must_be_text():
    assert "is not a field of the API" in problems_of(REQUIRED_FIRST_NAME | {5: ColumnSelection("F")})[0]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("", "must not be empty"),
        ("   ", "must not be empty"),
        (None, "must be text, not NoneType"),
        (["First"], "must be text, not list"),
        ({"name": "First"}, "must be text, not dict"),
        ("\ud800", "contains half of a surrogate pair"),
    ],
)
def test_a_column_name_is_text_that_is_not_blank(column: object, message: str):
    (problem,) = problems_of({"first_name": {"column_name": column, "is_required": True}})
    assert problem.startswith(f"column_selections.first_name.column_name: {message}")


@pytest.mark.parametrize("column", [" First", "First\n", "\u00a0First\u00a0"])
def test_a_column_name_may_have_blanks_at_its_ends_as_in_the_csv(column: str):
    assert problems_of({"first_name": {"column_name": column, "is_required": True}}) == []


@pytest.mark.parametrize("flag", [1, 0, "true", None])
def test_is_required_is_a_boolean(flag: object):
    problems = problems_of(REQUIRED_FIRST_NAME | {"city": {"column_name": "City", "is_required": flag}})
    assert problems == [f"column_selections.city.is_required: must be True or False, not {type(flag).__name__}"]


def test_a_selection_needs_a_column_name():
    problems = problems_of(REQUIRED_FIRST_NAME | {"city": {"is_required": False}})
    assert problems == ["column_selections.city: column_name is missing"]


def test_a_selection_has_no_other_keys():
    problems = problems_of(REQUIRED_FIRST_NAME | {"city": {"column_name": "City", "required": True}})
    assert problems == [
        "column_selections.city: unknown key 'required'; the keys are column_name and is_required",
    ]


@pytest.mark.parametrize("value", ["City", 5, None, ["City", True]])
def test_a_selection_of_another_type_is_rejected(value: object):
    assert problems_of(REQUIRED_FIRST_NAME | {"city": value}) == [
        "column_selections.city: must be a ColumnSelection or a mapping with column_name and is_required"
    ]


@pytest.mark.parametrize("value", [None, "first_name", ["first_name"], 5])
def test_selections_of_another_type_are_rejected(value: object):
    assert problems_of(value) == [
        f"column_selections: must be ColumnSelections or a mapping, not {type(value).__name__}"
    ]


def test_all_problems_are_reported_at_once_with_their_places():
    selections = {
        "full_name": ColumnSelection(""),
        "first_name": ColumnSelection("A"),
        "city": ColumnSelection("A"),
        "id": ColumnSelection("ID"),
        "address": ColumnSelection("Street", required=True),
        "nickname": ColumnSelection("Nick"),
    }
    check = InputCheck()
    check.column_selections(selections)
    with pytest.raises(InvalidInputError) as caught:
        check.raise_if_invalid()
    assert {problem.where for problem in caught.value.problems} == {
        "column_selections",
        "column_selections.nickname",
        "column_selections.full_name.column_name",
        "column_selections.full_name",
        "column_selections.address",
        "column_selections.id",
        "column_selections.city",
    }
    assert str(caught.value).startswith("7 problems:\n")


column_names = st.text(min_size=1, max_size=20, alphabet=st.characters(codec="utf-8")).filter(
    lambda name: name == name.strip()
)


@st.composite
def valid_selections(draw: st.DrawFn) -> dict[str, ColumnSelection]:
    """Selections that break no rule, from all that there are."""
    names = draw(st.sampled_from([{"full_name"}, {"first_name", "last_name"}]))
    others = set(CANONICAL_FIELDS) - {"full_name", "first_name", "last_name"}
    allowed = sorted(names | others)
    required_one = draw(st.sampled_from([field for field in allowed if field in MATCHING_FIELDS]))
    fields = sorted({required_one} | draw(st.sets(st.sampled_from(allowed))))
    columns = draw(st.lists(column_names, min_size=len(fields), max_size=len(fields), unique=True))
    forced = {required_one: True, "id": True, "address": False}
    return {
        field: ColumnSelection(column, forced[field] if field in forced else draw(st.booleans()))
        for field, column in zip(fields, columns, strict=True)
    }


@given(valid_selections())
def test_selections_within_the_rules_always_pass_unchanged(selections: dict[str, ColumnSelection]):
    check = InputCheck()
    assert check.column_selections(selections) == selections
    assert check.problems == []
    check.column_selections(ColumnSelections(**selections))
    assert check.problems == []


def _none_required(selections: dict[str, ColumnSelection]) -> dict[str, ColumnSelection]:
    return {field: attrs.evolve(selection, required=field == "id") for field, selection in selections.items()}


def _a_part_beside_the_full_name(selections: dict[str, ColumnSelection]) -> dict[str, ColumnSelection]:
    return selections | {
        "full_name": ColumnSelection("full name of another column"),
        "last_name": ColumnSelection("x" * 30),
    }


def _a_required_address(selections: dict[str, ColumnSelection]) -> dict[str, ColumnSelection]:
    return selections | {"address": ColumnSelection("address of another column", required=True)}


def _an_optional_id(selections: dict[str, ColumnSelection]) -> dict[str, ColumnSelection]:
    return selections | {"id": ColumnSelection("id of another column")}


def _a_column_used_twice(selections: dict[str, ColumnSelection]) -> dict[str, ColumnSelection]:
    used = next(iter(selections.values())).column_name
    unused = next(field for field in MATCHING_FIELDS if field not in selections and "name" not in field)
    return selections | {unused: ColumnSelection(used)}


def _an_unknown_field(selections: dict[str, ColumnSelection]) -> dict[str, ColumnSelection]:
    return selections | {"middle_name": ColumnSelection("middle name of another column")}


@pytest.mark.parametrize(
    "breach",
    [
        _none_required,
        _a_part_beside_the_full_name,
        _a_required_address,
        _an_optional_id,
        _a_column_used_twice,
        _an_unknown_field,
    ],
)
@given(data=st.data())
def test_a_broken_rule_is_reported_whatever_else_is_selected(breach, data: st.DataObject):
    selections = data.draw(
        valid_selections().filter(lambda chosen: breach is not _a_column_used_twice or len(chosen) < 5)
    )
    assert problems_of(breach(selections)) != []


_anything = st.none() | st.integers() | st.booleans() | st.text() | st.lists(st.text())


@given(
    st.dictionaries(
        st.sampled_from(CANONICAL_FIELDS) | st.text() | st.integers(),
        _anything | st.dictionaries(st.sampled_from(["column_name", "is_required", "other"]), _anything),
    )
)
def test_any_input_is_reported_or_can_be_sent(selections: dict[object, object]):
    check = InputCheck()
    chosen = check.column_selections(selections)
    if not check.problems:
        assert chosen.keys() == selections.keys()
        assert all(type(selection.column_name) is str for selection in chosen.values())
        assert all(type(selection.required) is bool for selection in chosen.values())
