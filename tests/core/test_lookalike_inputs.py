"""Lookalike filters and the paid field types of an export."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._filters import check_filters, find_unusual_states
from indigo_async._validation import InputCheck
from indigo_async.inputs import LookalikeFilters, OptionalFieldType

FILTERS = (
    "states",
    "counties",
    "congressional_districts",
    "upper_state_legislative_districts",
    "lower_state_legislative_districts",
)
FIELD_TYPES = tuple(option.value for option in OptionalFieldType)

texts = st.text(min_size=1, alphabet=st.characters(codec="utf-8")).filter(lambda text: text == text.strip())


def problems_of_filters(filters: object) -> list[str]:
    check = InputCheck()
    check_filters(check, filters)
    return [str(problem) for problem in check.problems]


def problems_of_field_types(field_types: object) -> list[str]:
    check = InputCheck()
    check.optional_field_types(field_types)
    return [str(problem) for problem in check.problems]


def test_filters_may_be_left_out():
    assert check_filters(InputCheck(), None) is None


@pytest.mark.parametrize("field", FILTERS)
def test_each_filter_of_the_reference_is_known(field: str):
    assert check_filters(InputCheck(), {field: ["PA"]}) == LookalikeFilters(**{field: ("PA",)})


def test_the_typed_form_means_the_same_as_a_mapping():
    assert check_filters(InputCheck(), LookalikeFilters(states=["PA"])) == check_filters(
        InputCheck(), {"states": ["PA"]}
    )


def test_an_unknown_filter_is_sent_unchanged():
    filters = check_filters(InputCheck(), {"zipCodes": ["19104"], "states": ["PA"]})
    assert filters == LookalikeFilters(states=("PA",), extra={"zipCodes": ["19104"]})


@pytest.mark.parametrize("field", FILTERS)
def test_an_empty_filter_is_rejected_because_it_may_mean_nobody_or_everybody(field: str):
    assert problems_of_filters({field: []}) == [f"filters.{field}: must not be empty: leave it out instead"]


@pytest.mark.parametrize("value", ["PA", b"PA", {"PA": True}, 5, True])
def test_a_filter_must_be_a_list(value: object):
    assert problems_of_filters({"states": value}) == ["filters.states: must be a list of text"]


@pytest.mark.parametrize("item", ["", " PA", "PA ", 42, None, True, ["PA"]])
def test_each_item_of_a_filter_is_text_without_whitespace_at_its_ends(item: object):
    (problem,) = problems_of_filters({"states": ["NJ", item]})
    assert problem.startswith("filters.states[1]: must ")


def test_a_filter_names_each_place_once():
    assert problems_of_filters({"states": ["PA", "NJ", "PA"]}) == ["filters.states: names 'PA' more than once"]


@pytest.mark.parametrize("key", ["", " zip", 5])
def test_the_name_of_an_extra_filter_is_text(key: object):
    assert len(problems_of_filters({key: ["19104"]})) == 1


@pytest.mark.parametrize("filters", ["PA", ["PA"], 5])
def test_filters_of_another_type_are_rejected(filters: object):
    assert problems_of_filters(filters) == [
        f"filters: must be LookalikeFilters or a mapping, not {type(filters).__name__}"
    ]


def test_problems_of_several_filters_are_reported_at_once():
    assert [problem.partition(":")[0] for problem in problems_of_filters({"states": [], "counties": "Erie"})] == [
        "filters.states",
        "filters.counties",
    ]


def test_a_one_shot_iterable_is_not_used_up_by_the_check():
    filters = check_filters(InputCheck(), {"states": (state for state in ["PA", "NJ"])})
    assert filters == LookalikeFilters(states=("PA", "NJ"))


@given(st.dictionaries(st.sampled_from(FILTERS), st.lists(texts, min_size=1, unique=True)))
def test_filters_within_the_rules_pass_unchanged(given_filters: dict[str, list[str]]):
    check = InputCheck()
    filters = check_filters(check, given_filters)
    assert check.problems == []
    assert {field: getattr(filters, field) for field in FILTERS} == {
        field: tuple(given_filters[field]) if field in given_filters else None for field in FILTERS
    }


def test_the_field_types_are_the_eight_of_the_reference():
    assert set(FIELD_TYPES) == {
        "phone",
        "address",
        "vote_history",
        "issue_scores",
        "media_scores",
        "support_scores",
        "turnout_scores",
        "lookalike_scores",
    }


@given(st.lists(st.sampled_from(FIELD_TYPES) | st.sampled_from(OptionalFieldType), unique=True))
def test_known_field_types_become_plain_text_in_their_order(field_types: list[str]):
    check = InputCheck()
    assert check.optional_field_types(field_types) == tuple(str(item) for item in field_types)
    assert check.problems == []


def test_the_error_for_an_unknown_field_type_suggests_the_closest_one():
    (problem,) = problems_of_field_types(["phone", "phones"])
    assert problem.startswith("optional_field_types[1]: 'phones' is not a field type; the types are phone, address, ")
    assert problem.endswith("did you mean 'phone'?")


@pytest.mark.parametrize("item", [1, None, True, ["phone"], "", "PHONE", " phone"])
def test_anything_else_is_not_a_field_type(item: object):
    (problem,) = problems_of_field_types([item])
    assert problem.startswith(f"optional_field_types[0]: {item!r} is not a field type")


def test_a_field_type_is_named_once_because_it_is_paid_once():
    assert problems_of_field_types(["phone", "address", "phone"]) == [
        "optional_field_types: names 'phone' more than once"
    ]


@pytest.mark.parametrize("value", ["phone", b"phone", None, 5, {"phone": True}])
def test_field_types_must_be_a_list(value: object):
    assert problems_of_field_types(value) == ["optional_field_types: must be a list of text"]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("state", "states"),
        ("States", "states"),
        ("STATES", "states"),
        ("sates", "states"),
        ("county", "counties"),
        ("congressional_district", "congressional_districts"),
        ("Congressional Districts", "congressional_districts"),
        ("upper_state_legislative_district", "upper_state_legislative_districts"),
    ],
)
def test_a_misspelled_filter_is_rejected(key: str, meant: str):
    assert problems_of_filters({key: ["PA"]}) == [
        f"filters.{key}: is not a filter; did you mean {meant!r}? To send it unchanged, put it in `extra`"
    ]


@pytest.mark.parametrize("key", ["zipCodes", "cities", "ages", "party", "gender", "districts", "states_excluded"])
def test_an_unknown_filter_is_accepted(key: str):
    assert check_filters(InputCheck(), {key: ["PA"]}) == LookalikeFilters(extra={key: ["PA"]})


def test_extra_sends_any_name_as_it_is():
    expected = LookalikeFilters(extra={"state": ["PA"]})
    assert check_filters(InputCheck(), LookalikeFilters(extra={"state": ["PA"]})) == expected
    assert check_filters(InputCheck(), {"extra": {"state": ["PA"]}}) == expected
    assert problems_of_filters(LookalikeFilters(extra={"state": ["PA"]})) == []


def test_filters_may_use_the_apis_keys():
    expected = LookalikeFilters(congressional_districts=("PA-12",))
    assert check_filters(InputCheck(), {"congressionalDistricts": ["PA-12"]}) == expected
    assert check_filters(InputCheck(), LookalikeFilters(extra={"congressionalDistricts": ["PA-12"]})) == expected
    assert problems_of_filters({"congressionalDistricts": "PA-12"}) == [
        "filters.congressionalDistricts: must be a list of text"
    ]


def test_one_filter_under_two_names_is_rejected():
    both = {"congressional_districts": ["PA-12"], "congressionalDistricts": ["PA-13"]}
    assert problems_of_filters(both) == [
        "filters.congressionalDistricts: is given twice: it is the same filter as congressional_districts"
    ]


def test_extra_is_a_mapping():
    assert problems_of_filters({"extra": ["PA"]}) == ["filters.extra: must be a mapping, not list"]


def test_filters_of_an_iterator_can_be_checked_twice():
    filters = LookalikeFilters(states=(state for state in ["PA"]))
    assert [check_filters(InputCheck(), filters) for _ in range(2)] == [LookalikeFilters(states=("PA",))] * 2


@pytest.mark.parametrize("state", ["PA", "DC", "42", "06"])
def test_a_state_is_two_capital_letters_or_a_fips_code(state: str):
    assert list(find_unusual_states(LookalikeFilters(states=[state]))) == []


@pytest.mark.parametrize("state", ["pa", "Pennsylvania", "P.A.", "US-PA", "042", "4"])
def test_any_other_state_is_unusual(state: str):
    assert list(find_unusual_states(LookalikeFilters(states=["NJ", state]))) == [state]
