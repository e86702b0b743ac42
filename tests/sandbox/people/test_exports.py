from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.inputs import OptionalFieldType
from indigo_async.sandbox.people import export_csv
from indigo_async.sandbox.people.exports import LOOKALIKE_SCORE_HEADER, ROW_ID_HEADER
from indigo_async.sandbox.people.schema import exported_columns

FREE = [
    "TargetSmart voterbase ID",
    "State voter ID",
    "County voter ID",
    "First name",
    "Middle name",
    "Middle initial",
    "Last name",
    "Name suffix",
    "Date of birth",
    "Gender",
    "Ethnicity",
    "Party registration",
    "Registration date",
]
ADDRESS = [
    "Registration address",
    "Registration city",
    "Registration state",
    "Registration ZIP code",
    "Mailing address",
    "Mailing city",
    "Mailing state",
    "Mailing ZIP code",
]


def exported(voters, members, *field_types, row_ids=None, scores=None):
    data = export_csv(
        voters,
        np.array(members, dtype=np.int32),
        optional_field_types=field_types,
        row_ids=row_ids,
        scores=None if scores is None else np.array(scores),
    )
    return list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")))


def test_free_columns_match_the_vendors(voters):
    (row,) = exported(voters, [0])
    assert list(row) == FREE


@given(chosen=st.sets(st.sampled_from([kind for kind in OptionalFieldType if kind != "lookalike_scores"])))
def test_each_paid_field_type_adds_its_columns_and_no_others(voters, chosen):
    (row,) = exported(voters, [0], *chosen)
    added = {column.header for kind in chosen for column in exported_columns(kind)}
    assert set(row) == set(FREE) | added
    assert len(row) == len(FREE) + sum(len(exported_columns(kind)) for kind in chosen)


def test_headers_of_paid_field_types(voters):
    (row,) = exported(voters, [0], *OptionalFieldType)
    assert [name for name in row if name not in FREE][:9] == [*ADDRESS, "Cell phone number"]
    for name in ("Voted in 2024 general", "Abortion issue support score", "Broadcast media score"):
        assert name in row
    for name in ("Democratic support score", "General turnout score", LOOKALIKE_SCORE_HEADER):
        assert name in row


@given(members=st.lists(st.integers(0, 19_999), unique=True, max_size=40), data=st.data())
def test_members_keep_their_order_ids_and_scores(voters, members, data):
    ids = data.draw(st.lists(st.text("ab,\"';\n =", max_size=5), min_size=len(members), max_size=len(members)))
    scores = [round(index / 50, 4) for index in range(len(members))]
    rows = exported(voters, members, "lookalike_scores", row_ids=ids, scores=scores)
    with voters.cursor() as cursor:
        names = dict(cursor.execute("SELECT voter, voterbase_id FROM voters").fetchall())
    assert [row["TargetSmart voterbase ID"] for row in rows] == [names[voter] for voter in members]
    assert [row[ROW_ID_HEADER] for row in rows] == ids
    assert [float(row[LOOKALIKE_SCORE_HEADER]) for row in rows] == scores


def test_an_empty_audience_is_a_header(voters):
    data = export_csv(voters, np.array([], dtype=np.int32), optional_field_types=[], row_ids=None, scores=None)
    assert data.decode().strip().split(",") == FREE


def test_a_matched_audience_has_no_lookalike_scores(voters):
    rows = exported(voters, [1, 2], "lookalike_scores", row_ids=["x", "y"])
    assert [row[LOOKALIKE_SCORE_HEADER] for row in rows] == ["", ""]


def test_names_are_plain_uppercase(voter_file):
    voters = voter_file(
        [
            {"first_name": "Jos\u00e9 2", "middle_name": "d'Arc", "last_name": "de la Cru\u00df", "name_suffix": "Jr."},
            {"first_name": "Ann", "middle_name": "B.", "last_name": "O\u2019Neil-Lee", "dob": "3/5/1960"},
        ]
    )
    jose, ann = exported(voters, [0, 1])
    names = ("First name", "Middle name", "Middle initial", "Last name", "Name suffix")
    assert [jose[name] for name in names] == ["JOSE", "DARC", "D", "DELACRUSS", "JR"]
    assert [ann[name] for name in names] == ["ANN", "", "B", "ONEILLEE", ""]
    assert (jose["Date of birth"], ann["Date of birth"]) == ("", "1960-03-05")


def test_cells_follow_the_contract(voters):
    rows = exported(voters, range(3_000), *OptionalFieldType, scores=[0.5] * 3_000)
    assert {row["Gender"] for row in rows} == {"M", "F", ""}
    assert {row["Ethnicity"] for row in rows} == {"AAPI", "Black", "Latino", "Native American", "White", ""}
    assert {row["Voted in 2024 general"] for row in rows} == {"Y", "N"}
    for row in rows:
        assert row["Middle initial"] == row["Middle name"][:1]
        assert len(row["Date of birth"]) == len("YYYY-MM-DD")
        assert row["Cell phone number"] == "" or len(row["Cell phone number"]) == 10
        assert all(0 <= float(value) <= 1 for name, value in row.items() if name.endswith("score"))


def test_an_unknown_field_type_is_named(voters):
    with pytest.raises(ValueError, match="shoe_size"):
        exported(voters, [0], "shoe_size")
