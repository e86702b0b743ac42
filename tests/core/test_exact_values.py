"""Values of numpy, pandas, Arrow, Polars and the standard library: exact ones become plain, others are rejected."""

from __future__ import annotations

import datetime as dt
import json
import math
import subprocess
import sys
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._exact import to_json, to_list
from indigo_async._filters import check_filters
from indigo_async._transport.codec import encode_json
from indigo_async._validation import InputCheck
from indigo_async.errors import Problem
from indigo_async.inputs import ColumnSelection, LookalikeFilters


class Place(Enum):
    PENNSYLVANIA = "PA"


class PlaceText(str, Enum):  # noqa: UP042 - its str() is not its value
    PENNSYLVANIA = "PA"


class PlaceStrEnum(StrEnum):
    PENNSYLVANIA = "PA"


class Size(IntEnum):
    SMALL = 5


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "loud"


def kind_of(value: object) -> str:
    return type(value).__name__


def checked(method: str, *arguments: object) -> tuple[Any, list[str]]:
    check = InputCheck()
    value = getattr(check, method)(*arguments)
    return value, [str(problem) for problem in check.problems]


def check_states(states: object) -> tuple[Any, list[Problem]]:
    check = InputCheck()
    filters = check_filters(check, {"states": states})
    return None if filters is None else filters.states, check.problems


@pytest.mark.parametrize(
    "states",
    [
        ("PA", "NJ"),
        {"PA": 1, "NJ": 2}.keys(),
        np.array(["PA", "NJ"]),
        np.array(["PA", "NJ"], dtype=object),
        pd.Series(["PA", "NJ"]),
        pd.Series(["PA", "NJ"], dtype="string"),
        pd.Series(["PA", "NJ"], dtype="category"),
        pd.Index(["PA", "NJ"]),
        pd.DataFrame({"state": ["PA", "NJ"]})["state"].unique(),
        pl.Series(["PA", "NJ"]),
        pa.array(["PA", "NJ"]),
        [Place.PENNSYLVANIA, np.str_("NJ")],
        [PlaceText.PENNSYLVANIA, "NJ"],
        [PlaceStrEnum.PENNSYLVANIA, "NJ"],
        (state for state in ("PA", "NJ")),
    ],
    ids=kind_of,
)
def test_a_list_of_text_of_any_library_is_a_filter(states: object):
    found, problems = check_states(states)
    assert (found, problems) == (("PA", "NJ"), [])
    assert {type(state) for state in found} == {str}


def test_a_set_always_becomes_the_same_list():
    assert check_states({"PA", "NJ", "OH"}) == (("NJ", "OH", "PA"), [])


def test_subclasses_of_str_become_plain_text():
    assert checked("text", "audience_name", Loud("Donors")) == ("Donors", [])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (math.nan, "must be text, not NaN (a missing value)"),
        (np.float64("nan"), "must be text, not NaN (a missing value)"),
        (pd.NA, "must be text, not NA (a missing value)"),
        (pd.NaT, "must be text, not NaT (a missing value)"),
        (None, "must be text, not NoneType"),
        (b"PA", "must be text, not bytes"),
        (dt.date(2026, 11, 3), "must be text, not date"),
        (np.datetime64("2026-11-03", "ns"), "must be text, not datetime64"),
        (["PA"], "must be text, not list"),
        (np.array(["PA"]), "must be text, not ndarray"),
        (True, "must be text, not bool"),
        (np.bool_(True), "must be text, not bool"),
        (6037, "must be text, not int: a number loses a FIPS code's leading zeros ('06037')"),
        (np.int64(6037), "must be text, not int: a number loses a FIPS code's leading zeros ('06037')"),
        (6037.0, "must be text, not float: a number loses a FIPS code's leading zeros ('06037')"),
        (Decimal(6037), "must be text, not Decimal 6037"),
    ],
    ids=kind_of,
)
def test_anything_else_in_a_filter_is_refused_with_its_place(item: object, message: str):
    _, problems = check_states(["NJ", item])
    assert problems == [Problem("filters.states[1]", message)]


@pytest.mark.parametrize(
    "states",
    [pd.DataFrame({"state": ["PA"]}), pl.DataFrame({"state": ["PA"]}), pa.table({"state": ["PA"]}), np.array("PA")],
    ids=kind_of,
)
def test_a_table_is_not_a_list_of_its_columns(states: object):
    assert check_states(states)[1] == [Problem("filters.states", "must be a list of text")]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (np.int64(18), b"18"),
        (np.float32(0.5), b"0.5"),
        (np.bool_(True), b"true"),
        (Decimal("50.00"), b"50"),
        (Decimal("0.1"), b"0.1"),
        (Size.SMALL, b"5"),
        (Place.PENNSYLVANIA, b'"PA"'),
        (np.array([1, 2]), b"[1,2]"),
        (np.array([[1], [2]]), b"[[1],[2]]"),
        (pd.Series([1.5, 2]), b"[1.5,2.0]"),
        (pd.array([1, 2], dtype="Int64"), b"[1,2]"),
        (pa.array([1, 2]), b"[1,2]"),
        (range(2), b"[0,1]"),
        ({np.str_("min"): np.int8(18), "max": None}, b'{"min":18,"max":null}'),
        ({3, 1}, b"[1,3]"),
    ],
    ids=kind_of,
)
def test_an_extra_filter_is_sent_as_exact_json(value: object, sent: bytes):
    problems: list[str] = []
    converted = to_json(value, "extra", lambda where, message: problems.append(f"{where}: {message}"))
    assert problems == []
    assert encode_json({"extra": converted}) == b'{"extra":' + sent + b"}"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (math.inf, ""),
        ({"ages": [18, math.nan]}, ".ages[1]"),
        (pd.Series([1, None], dtype="Int64"), "[1]"),
        (np.array(["2026-11-03"], dtype="datetime64[ns]"), "[0]"),
        (pd.to_datetime(pd.Series(["2026-11-03"])), "[0]"),
        (Decimal("0.1234567890123456789"), ""),
        (Decimal("NaN"), ""),
        (Decimal("1e400"), ""),
        (Fraction(1, 3), ""),
        (complex(1), ""),
        (2**63, ""),
        (b"PA", ""),
        ({1: "PA"}, ""),
        ({"min": "\udc80"}, ".min"),
        (object(), ""),
        (pd.DataFrame({"a": [1]}), ""),
    ],
    ids=kind_of,
)
def test_an_extra_filter_without_exact_json_is_refused_with_its_place(value: object, place: str):
    check = InputCheck()
    check_filters(check, {"extra": {"ages": value}})
    assert [problem.where for problem in check.problems] == [f"filters.extra.ages{place}"]


def test_a_filter_that_holds_itself_is_refused():
    endless: list[object] = []
    endless.append(endless)
    check = InputCheck()
    check_filters(check, {"extra": {"ages": endless}})
    assert [problem.message for problem in check.problems] == ["is nested too deeply"]


_NUMBERS = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.recursive(
        st.none() | st.booleans() | _NUMBERS | st.decimals() | st.text(alphabet=st.characters(codec="utf-8")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_accepted_values_survive_a_json_round_trip(value: object):
    problems: list[str] = []
    converted = to_json(value, "extra", lambda where, _: problems.append(where))
    if not problems:
        read = json.loads(encode_json({"extra": [converted]}), parse_float=Decimal)
        assert _with_decimals(read["extra"][0]) == _with_decimals(value)


def _with_decimals(value: Any) -> Any:
    """Numbers as decimals with the digits that JSON shows."""
    if isinstance(value, dict):
        return {key: _with_decimals(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_decimals(item) for item in value]
    return Decimal(repr(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


@pytest.mark.parametrize(
    "size", [50, 50.0, Decimal("50.00"), np.int8(50), np.float64(50), Fraction(50), pa.scalar(50)], ids=kind_of
)
def test_a_whole_number_of_any_type_is_a_size_and_an_amount(size: object):
    for method in ("positive_integer", "cents"):
        number, problems = checked(method, "value", size)
        assert (number, type(number), problems) == (50, int, [])


@pytest.mark.parametrize(
    "size",
    [
        True,
        np.bool_(True),
        50.5,
        Decimal("50.5"),
        np.float64("nan"),
        Decimal("sNaN"),
        math.inf,
        complex(50),
        "50",
        pd.NA,
        None,
        np.array([50, 50]),
    ],
    ids=kind_of,
)
def test_other_numbers_are_rejected_as_sizes_and_amounts(size: object):
    for method in ("positive_integer", "cents"):
        assert len(checked(method, "value", size)[1]) == 1


@pytest.mark.parametrize(
    "seconds", [5, 5.5, np.int64(5), np.float32(5.5), Decimal("5.5"), Fraction(11, 2)], ids=kind_of
)
def test_a_timeout_is_a_number_of_any_type(seconds: Any):
    found, problems = checked("seconds", "timeout", seconds)
    assert (found, problems) == (float(seconds), [])
    assert type(found) in {int, float}


@pytest.mark.parametrize("seconds", [np.float64("nan"), Decimal("NaN"), pd.NA, np.bool_(True), complex(1)], ids=kind_of)
def test_any_other_timeout_is_refused(seconds: object):
    assert len(checked("seconds", "timeout", seconds)[1]) == 1


def test_ids_and_flags_become_plain():
    assert checked("customer_id", np.int64(42)) == ("42", [])
    assert checked("customer_id", np.str_("42")) == ("42", [])
    assert checked("record_id", "audience_id", np.int64(42)) == (42, [])
    assert type(checked("record_id", "audience_id", np.int64(42))[0]) is int
    assert checked("boolean", "allow_empty", np.bool_(True)) == (True, [])
    assert checked("boolean", "allow_empty", pd.NA)[1] == [
        "allow_empty: must be True or False, not NA (a missing value)"
    ]


@pytest.mark.parametrize("value", [42.0, np.float64(42), Decimal(42), pd.NA, math.nan, True], ids=kind_of)
def test_an_id_that_pandas_made_a_float_is_refused(value: object):
    """It may have lost digits, and would name another record."""
    assert len(checked("record_id", "audience_id", value)[1]) == 1
    assert len(checked("customer_id", value)[1]) == 1


def test_columns_of_a_data_frame_are_columns():
    frame = pd.DataFrame({"First": ["Ada"], "ZIP": ["01234"]})
    selections, problems = checked(
        "column_selections",
        {
            np.str_("first_name"): {"column_name": frame.columns[0], "is_required": np.bool_(True)},
            "zip": ColumnSelection(np.str_("ZIP")),
        },
    )
    assert problems == []
    assert selections == {"first_name": ColumnSelection("First", required=True), "zip": ColumnSelection("ZIP")}
    assert [type(selection.column_name) for selection in selections.values()] == [str, str]
    assert [type(field) for field in selections] == [str, str]


def test_the_number_of_a_column_is_not_its_name():
    frame = pd.DataFrame([["Ada"]])
    selection = {"first_name": {"column_name": frame.columns[0], "is_required": True}}
    assert checked("column_selections", selection)[1] == [
        "column_selections.first_name.column_name: must be text, not int"
    ]


def test_checking_filters_takes_linear_time():
    """With 200,000 values, comparing each with each would take many minutes."""
    counties = [f"{number:06}" for number in range(200_000)]
    check = InputCheck()
    filters = check_filters(check, {"counties": [*counties, "000007"]})
    assert check.problems == [Problem("filters.counties", "names '000007' more than once")]
    assert filters == LookalikeFilters(counties=tuple(counties))


def test_text_and_mappings_are_not_lists():
    assert [to_list(value) for value in ("PA", b"PA", bytearray(b"PA"), {"PA": 1}, 5, None)] == [None] * 6


def test_only_secret_text_is_encoded_besides_plain_values():
    with pytest.raises(TypeError, match="Fraction has no exact JSON form"):
        encode_json({"size": Fraction(1, 2)})


def test_the_core_imports_neither_numpy_nor_pandas():
    program = (
        "import sys, indigo_async.client, indigo_async.workflows, indigo_async.files; "
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'polars'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
