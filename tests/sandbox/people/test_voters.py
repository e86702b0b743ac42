from __future__ import annotations

from datetime import date

import duckdb
import pytest

from indigo_async.errors import InvalidInputError
from indigo_async.sandbox.people import VoterFile, list_filter_values
from indigo_async.sandbox.people.geography import load_geography
from indigo_async.sandbox.people.schema import COLUMNS
from indigo_async.sandbox.people.states import STATES


@pytest.fixture(scope="module")
def places():
    return load_geography()


def ask(voters, query):
    with voters.cursor() as cursor:
        return cursor.execute(query).fetchall()


def number(voters, query):
    return ask(voters, query)[0][0]


@pytest.mark.usefixtures("no_cache")
def test_people_are_deterministic_for_a_seed():
    files = [VoterFile.synthetic(300, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (ask(file, "SELECT * FROM voters ORDER BY voter") for file in files)
    for file in files:
        file.close()
    assert first == again
    assert len(first) == len(other) == 300
    assert not set(first) & set(other)


def test_voters_are_numbered_from_0_and_their_ids_differ(voters):
    assert len(voters) == number(voters, "SELECT count(DISTINCT voterbase_id) FROM voters") == 20_000
    assert ask(voters, "SELECT min(voter), max(voter), count(DISTINCT voter) FROM voters") == [(0, 19_999, 20_000)]


def test_the_table_has_the_columns_of_the_schema(voters):
    described = ask(voters, "DESCRIBE voters")
    assert [(name, kind) for name, kind, *_ in described[1:]] == [(column.name, column.sql_type) for column in COLUMNS]


def test_the_number_of_districts_is_real(places):
    assert len(STATES) == 51
    assert sum(state.house_seats for state in STATES if state.postal != "DC") == 435
    for labels, count in (
        (places.congressional_district, 436),
        (places.upper_district, sum(state.upper_districts for state in STATES)),
    ):
        assert len({label for label in labels if label is not None}) == count


def test_a_zip_agrees_with_its_city_county_and_state(voters, places):
    real = set(zip(places.zip, places.city, places.county, strict=True))
    rows = ask(voters, "SELECT DISTINCT reg_zip, reg_city, county, reg_state, congressional_district FROM voters")
    assert {row[:3] for row in rows} <= real
    assert all(county.endswith(f", {state}") for _, _, county, state, _ in rows)
    assert all(district.startswith(f"{state}-") for *_, state, district in rows)


def test_a_county_lies_in_few_districts_and_a_zip_in_one(places):
    by_county: dict[str, set[str]] = {}
    for county, district in zip(places.county, places.congressional_district, strict=True):
        by_county.setdefault(county, set()).add(district)
    assert len(set(places.zip)) == len(places.zip)
    assert sum(len(districts) <= 2 for districts in by_county.values()) > 0.97 * len(by_county)
    assert {"WY-AL"} == {
        district for county, several in by_county.items() if county.endswith("WY") for district in several
    }


def test_nebraska_has_no_lower_chamber(voters):
    assert number(voters, "SELECT count(lower_district) FROM voters WHERE reg_state = 'NE'") == 0
    assert number(voters, "SELECT count(upper_district) FROM voters WHERE reg_state = 'NE'") > 0


def test_the_sizes_of_states_are_real(voters):
    shares = dict(ask(voters, "SELECT reg_state, count(*) / (SELECT count(*) FROM voters) FROM voters GROUP BY ALL"))
    people = sum(state.population for state in STATES)
    for state in STATES:
        assert shares.get(state.postal, 0) == pytest.approx(state.population / people, abs=0.01)


def test_people_are_adults_and_registered_as_adults(voters):
    assert number(voters, "SELECT max(dob) FROM voters") <= date(2008, 11, 1)
    assert number(voters, "SELECT count(*) FROM voters WHERE reg_date < dob + INTERVAL 17 YEAR") == 0


def test_households_share_an_address_and_mostly_a_surname(voters):
    shared = (
        "FROM voters a JOIN voters b ON a.voter < b.voter AND a.reg_address = b.reg_address AND a.reg_zip = b.reg_zip"
    )
    pairs = number(voters, f"SELECT count(*) {shared}")
    assert pairs > 5_000
    assert 0.5 < number(voters, f"SELECT avg((a.last_name = b.last_name)::INT) {shared}") < 0.95


def test_some_people_share_their_whole_name(voters):
    namesakes = "SELECT count(*) FROM (SELECT 1 FROM voters GROUP BY first_name, last_name HAVING count(*) > 1)"
    assert number(voters, namesakes) > 100
    fathers = """
        SELECT count(*) FROM voters a JOIN voters b USING (first_name, last_name, reg_address, reg_zip)
        WHERE a.name_suffix = 'SR' AND b.name_suffix = 'JR' AND a.dob < b.dob - INTERVAL 18 YEAR"""
    assert number(voters, fathers) > 5


@pytest.mark.parametrize(
    ("one", "other", "least"),
    [
        ("support_democratic", "(party = 'Democratic')::INT", 0.3),
        ("support_democratic", "support_republican", -0.5),
        ("support_democratic", "support_climate", 0.3),
        ("support_democratic", "(ethnicity = 'Black')::INT", 0.2),
        ("turnout_general", "voted_2024_general::INT", 0.3),
        ("voted_2022_general::INT", "datediff('year', dob, DATE '2026-11-01')", 0.15),
        ("media_social", "datediff('year', dob, DATE '2026-11-01')", -0.3),
    ],
)
def test_attributes_of_people_are_correlated(voters, one, other, least):
    correlation = number(voters, f"SELECT corr({one}, {other}) FROM voters")
    assert correlation > least if least > 0 else correlation < least


def test_first_names_go_with_gender(voters):
    for name, gender in (("MARY", "F"), ("JAMES", "M"), ("LINDA", "F"), ("ROBERT", "M")):
        assert number(voters, f"SELECT avg((gender = '{gender}')::INT) FROM voters WHERE first_name = '{name}'") > 0.9


def test_states_without_party_registration_have_no_parties(voters):
    silent = [state.postal for state in STATES if not state.party_registration]
    parties = dict(ask(voters, "SELECT reg_state, count(party) FROM voters GROUP BY ALL"))
    assert {parties[state] for state in silent if state in parties} == {0}
    assert parties["PA"] > 100


def test_no_two_households_share_a_phone(voters):
    shared = """
        SELECT count(*) FROM voters a JOIN voters b ON a.voter < b.voter AND a.cell_phone = b.cell_phone
        WHERE a.reg_address <> b.reg_address"""
    assert number(voters, shared) == 0
    assert number(voters, "SELECT count(*) FROM voters WHERE cell_phone[4:6] < '555' OR length(cell_phone) <> 10") == 0


def test_filter_values_are_those_of_the_file(voters):
    known = list_filter_values(voters)
    assert set(known["states"]) == {state.postal for state in STATES}
    assert "Allegheny County, PA" in known["counties"]
    assert "PA-12" in known["congressional_districts"]
    assert all(values == sorted(set(values)) for values in known.values())


def test_a_csv_of_voters_is_read_by_column_name(voter_file):
    voters = voter_file(
        [
            {"Last Name": "Lee", "FIRST_NAME": "Ann", "dob": "3/5/1960", "reg_zip": "01234", "shoe size": "9"},
            {"Last Name": "Roe", "FIRST_NAME": " Bob ", "dob": "unknown", "reg_zip": "", "shoe size": ""},
        ]
    )
    assert len(voters) == 2
    assert ask(
        voters, "SELECT first_name, last_name, dob, reg_zip, party, turnout_general FROM voters ORDER BY voter"
    ) == [
        ("Ann", "Lee", date(1960, 3, 5), "01234", None, None),
        ("Bob", "Roe", None, None, None, None),
    ]


def test_a_parquet_file_of_voters_is_read(tmp_path):
    path = tmp_path / "voters.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'Ann' AS first_name, 'Lee' AS last_name, DATE '1960-03-05' AS dob, 0.5 AS turnout_general,"
            f" true AS voted_2024_general) TO '{path}'"
        )
    voters = VoterFile.from_file(path)
    found = ask(voters, "SELECT first_name, dob, turnout_general, voted_2024_general FROM voters")
    voters.close()
    assert found == [("Ann", date(1960, 3, 5), 0.5, True)]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("voters.csv", "first_name,zip\nAnn,01234\n", "lacks the column last_name"),
        ("voters.csv", "name,zip\nAnn,01234\n", "2 problems"),
        ("voters.csv", "first_name,last_name\n", "holds no voters"),
        ("voters.parquet", "first_name,last_name\n", "can't be read"),
    ],
)
def test_an_invalid_voter_file_is_rejected(tmp_path, name, content, problem):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=problem):
        VoterFile.from_file(path)


def test_a_missing_voter_file_is_rejected(tmp_path):
    with pytest.raises(InvalidInputError, match=r"nowhere\.csv: can't be read"):
        VoterFile.from_file(tmp_path / "nowhere.csv")
