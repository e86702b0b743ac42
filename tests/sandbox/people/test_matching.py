from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indigo_async.inputs import ColumnSelection
from indigo_async.sandbox.people import MESSY_COLUMNS, export_csv, generate_messy_upload, match, parse_csv

COLUMNS = dict(
    zip(
        ("first_name", "last_name", "address", "city", "state", "zip", "phone", "dob"),
        MESSY_COLUMNS,
        strict=False,
    )
)

ANN = {
    "first_name": "ANN",
    "last_name": "ARROWSMITH",
    "dob": "1960-03-05",
    "reg_address": "12 ELM ST",
    "reg_city": "ERIE",
    "reg_state": "PA",
    "reg_zip": "16501",
    "cell_phone": "8145550101",
}
BOB = ANN | {"first_name": "ROBERT", "dob": "1958-11-30", "cell_phone": "8145550102"}
ZOE = {
    "first_name": "ZO\u00cb",
    "last_name": "DE LA CRUZ",
    "dob": "1991-07-21",
    "reg_address": "7 OAK AVE APT 3",
    "reg_city": "SAINT PAUL",
    "reg_state": "MN",
    "reg_zip": "55101",
    "cell_phone": "6515550103",
}
EVERYTHING = {"first": "Ann", "last": "Arrowsmith", "dob": "3/5/1960", "zip": "16501", "phone": "814-555-0101"}


def selections(required, optional=()):
    """Columns named after their fields, "first" and "last" for short."""
    fields = {"first": "first_name", "last": "last_name"}
    chosen = {fields.get(name, name): ColumnSelection(name, required=True) for name in required}
    return chosen | {fields.get(name, name): ColumnSelection(name) for name in optional}


def matched(voters, table, chosen):
    result = match(voters, table, chosen)
    return dict(zip(result.rows.tolist(), result.voters.tolist(), strict=True))


def messy_selections(required):
    return {field: ColumnSelection(column, field in required) for field, column in COLUMNS.items()}


@pytest.mark.parametrize(
    "row",
    [
        {"first": "Ann", "last": "Arrowsmith", "zip": "16501-1234"},
        {"first": "ann", "last": "ARROWSMITH, Jr.", "zip": "16501"},
        {"first": "Ms. Ann B.", "last": "Arrow-Smith", "zip": "16501"},
        {"first": "Ann", "last": "Arowsmith", "zip": "16501"},
        {"first": "Ann", "last": "Arrowsmith", "zip": "16510"},
        {"first": "Arrowsmith", "last": "Ann", "zip": "16501"},
    ],
)
def test_a_person_is_found_however_they_are_written(voter_file, table, row):
    assert matched(voter_file([ANN, BOB, ZOE]), table([row]), selections(["first", "last", "zip"])) == {0: 0}


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("full_name", "Zoe de la Cruz"),
        ("full_name", "de la Cruz, Zo\u00eb M."),
        ("full_name", "Dr. Zo\u00eb de la Cruz"),
    ],
)
def test_a_full_name_is_split(voter_file, table, field, written):
    upload = table([{field: written, "dob": "21-Jul-91"}])
    assert matched(voter_file([ANN, BOB, ZOE]), upload, selections([field, "dob"])) == {0: 2}


def test_a_nickname_is_a_name(voter_file, table):
    upload = table([{"first": "Bob", "last": "Arrowsmith", "zip": "16501"}])
    assert matched(voter_file([ANN, BOB, ZOE]), upload, selections(["first", "last", "zip"])) == {0: 1}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("first", "Gertrude"),
        ("last", "Underwood"),
        ("dob", "9/9/1977"),
        ("zip", "90210"),
        ("phone", "212-555-0177"),
        *((name, "") for name in EVERYTHING),
    ],
)
def test_a_required_field_must_agree_and_an_optional_one_need_not(voter_file, table, name, wrong):
    voters = voter_file([ANN, BOB, ZOE])
    upload = table([EVERYTHING | {name: wrong}])
    others = [other for other in EVERYTHING if other != name]
    assert matched(voters, upload, selections([name], others)) == {}
    assert matched(voters, upload, selections(others, [name])) == {0: 0}


def test_states_agree_only_exactly(voter_file, table):
    upload = table([EVERYTHING | {"state": state} for state in ("Pennsylvania", "PR", "VA", "")])
    found = matched(voter_file([ANN, BOB, ZOE]), upload, selections(["state"], EVERYTHING))
    assert found == {0: 0}


def test_swapped_day_and_month_are_nearly_the_same_date(voter_file, table):
    upload = table([EVERYTHING | {"dob": "5/3/1960"}, EVERYTHING | {"dob": "6/3/1961"}])
    assert matched(voter_file([ANN, BOB, ZOE]), upload, selections(["dob", "first", "last"])) == {0: 0}


def test_optional_fields_decide_between_namesakes(voter_file, table):
    older, younger = ANN, ANN | {"dob": "1991-02-03", "reg_address": "99 OAK ST"}
    voters = voter_file([older, younger, ZOE])
    row = {"first": "Ann", "last": "Arrowsmith", "zip": "16501"}
    upload = table(
        [
            row | {"dob": "", "address": "12 Elm Street", "phone": ""},
            row | {"dob": "2/3/91", "address": "", "phone": ""},
        ]
    )
    assert matched(voters, upload, selections(["first", "last", "zip"], ["dob", "address"])) == {0: 0, 1: 1}
    assert matched(voters, upload, selections(["first", "last", "zip"])) == {}


def test_a_household_member_off_the_file_is_not_mistaken_for_another(voter_file, table):
    row = {"first": "", "last": "Arrowsmith", "address": "12 Elm St", "city": "Erie", "zip": "16501"}
    upload = table([row, row | {"first": "Gertrude"}])
    chosen = selections(["last"], ["first", "address", "city", "zip"])
    assert matched(voter_file([ANN, ZOE]), upload, chosen) == {}


def test_the_better_then_the_first_of_two_rows_matches_a_voter(voter_file, table):
    voters = voter_file([ANN, BOB, ZOE])
    chosen = selections(["first", "last", "zip"], ["dob"])
    poor, good = EVERYTHING | {"dob": ""}, EVERYTHING
    assert matched(voters, table([poor, good, good]), chosen) == {1: 0}
    assert matched(voters, table([poor, poor]), chosen) == {0: 0}


def test_fields_that_distinguish_nobody_match_nobody(voter_file, table):
    voters = voter_file([ANN, BOB, ZOE])
    upload = table([EVERYTHING | {"state": "PA", "city": "Erie"}])
    assert matched(voters, upload, selections(["state", "city"])) == {}
    assert matched(voters, upload, selections(["phone"])) == {0: 0}


def test_an_address_without_a_number_is_evidence(voter_file, table):
    here, there = ANN | {"reg_address": "Rosehill Court"}, ANN | {"dob": "1991-02-03", "reg_address": "99 OAK ST"}
    upload = table([{"first": "Ann", "last": "Arrowsmith", "zip": "16501", "address": "rose hill ct"}])
    assert matched(voter_file([there, here]), upload, selections(["first", "last", "zip"], ["address"])) == {0: 1}


def test_at_least_one_field_must_be_required(voters, table):
    with pytest.raises(ValueError, match="must be required"):
        match(voters, table([EVERYTHING]), selections([], ["first", "last"]))


def test_rows_are_identified_by_the_id_column_else_by_number(voter_file, table):
    voters = voter_file([ANN, BOB, ZOE])
    rows = [
        {"first": "No", "last": "Body", "zip": ""},
        EVERYTHING,
        {"first": "Bob", "last": "Arrowsmith", "zip": "16501"},
    ]
    chosen = selections(["first", "last", "zip"])
    assert match(voters, table(rows), chosen).row_ids == ("1", "2")
    with_ids = table([row | {"key": key} for row, key in zip(rows, ("a", "b", ""), strict=True)])
    assert match(voters, with_ids, chosen | {"id": ColumnSelection("key", required=True)}).row_ids == ("b", "2")


def test_a_missing_column_is_named(voters, table):
    with pytest.raises(KeyError, match="Surname"):
        match(voters, table([EVERYTHING]), {"last_name": ColumnSelection("Surname", required=True)})


@pytest.fixture(scope="module")
def upload(voters):
    return generate_messy_upload(voters, 2_000, seed=5)


@pytest.mark.parametrize(
    ("required", "least_recall"),
    [
        (("last_name",), 0.96),
        (("first_name", "last_name"), 0.94),
        (("last_name", "zip"), 0.86),
        (("zip",), 0.87),
        (("dob",), 0.83),
    ],
)
def test_messy_uploads_are_matched_with_few_wrong_people(voters, upload, required, least_recall):
    result = match(voters, parse_csv(upload.csv), messy_selections(required))
    right = (upload.truth[result.rows] == result.voters).sum()
    assert right / len(result) >= 0.99
    assert right / (upload.truth >= 0).sum() >= least_recall


@settings(max_examples=10)
@given(
    required=st.sets(st.sampled_from(sorted(COLUMNS.keys() - {"address"})), min_size=1, max_size=3),
    optional=st.sets(st.sampled_from(sorted(COLUMNS))),
)
def test_matches_are_one_to_one_and_agree_where_required(voters, upload, required, optional):
    chosen = {
        field: ColumnSelection(column, field in required)
        for field, column in COLUMNS.items()
        if field in required | optional
    }
    result = match(voters, parse_csv(upload.csv), chosen)
    again = match(voters, parse_csv(upload.csv), chosen)
    assert result.rows.tolist() == sorted(set(result.rows.tolist())) == again.rows.tolist()
    assert len(set(result.voters.tolist())) == len(result) == len(result.row_ids)
    assert result.voters.tolist() == again.voters.tolist()
    table = parse_csv(upload.csv)
    for field in required:
        cells = table.column(COLUMNS[field])
        assert all(cells[row] for row in result.rows.tolist())
    if "state" in required:
        exported = export_csv(voters, result.voters, optional_field_types=["address"], row_ids=None, scores=None)
        states = parse_csv(exported).column("Registration state") if len(result) else ()
        assert [cells.upper() for cells in states] == [
            table.column("State")[row].upper() for row in result.rows.tolist()
        ]


def test_matching_in_threads_gives_the_same_result(voters):
    tables = [parse_csv(generate_messy_upload(voters, 400, seed=seed).csv) for seed in range(6)]
    chosen = messy_selections(("last_name",))
    alone = [match(voters, table, chosen) for table in tables]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda table: match(voters, table, chosen), tables))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.voters, other.voters)
        assert np.array_equal(one.rows, other.rows)
