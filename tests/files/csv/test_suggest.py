from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

import indigo_async
from indigo_async import workflows
from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError
from indigo_async.files import ColumnSuggestion, check_columns, suggest_columns
from indigo_async.files.csv.check import find_csv_problems
from indigo_async.files.csv.header_names import recognize_field
from indigo_async.files.csv.suggest import read_suggestion, to_python, to_yaml
from indigo_async.files.csv.warnings import find_name_warnings
from indigo_async.inputs import ColumnSelection, ColumnSelections
from indigo_async.sandbox import Sandbox
from indigo_async.sandbox.people import VoterFile, generate_messy_csv, generate_messy_upload
from tests.support.servers.scripted import SPEED, open_client

SPELLINGS = {
    "first_name": "First Name|FNAME|given_name|Voters_FirstName|Donor First Name|firstName|FIRST|vb.tsmart_first_name",
    "last_name": "Last_Name__c|LNAME|surname|Voters_LastName|Family Name|lastName|Last|vb.tsmart_last_name|Apellido",
    "full_name": "Full Name|Name|fullname|Contact Name|Donor Name|Name (First Last)|VOTER_NAME",
    "city": "City|Town|Residence_Addresses_City|Home City|RegCity|vb.vf_reg_city|Mailing City|CITY_NAME",
    "state": "State|ST|State Code|Residence_Addresses_State|Mailing State/Province|state_abbr|vb.vf_reg_state",
    "zip": "Zip Code|ZIP5|zip|Postal Code|Mailing Zip/Postal Code|Residence_Addresses_Zip|mZip5|vb.vf_reg_zip",
    "phone": "Phone|Cell Phone|Mobile|mobile_number|VoterTelephones_CellPhoneFormatted|Home Phone|Tel.|Phone #|phone1",
    "dob": "DOB|Birth Date|date_of_birth|Voters_BirthDate|BIRTHDAY|D.O.B.|born_at|Birth Date (MM/DD/YYYY)",
    "address": "Address|Street|Address 1|Residence_Addresses_AddressLine|Mailing Street|Street Address|RegAddress",
    "id": "ID|Member ID|VANID|Voter File VANID|LALVOTERID|state_voter_id|nationbuilder_id|Contact ID|uuid|Donor Number",
}
OTHERS = "Email|Middle Name|Suffix|Gender|Party|Amount|County|Age|Notes|Birth Year|Zip4|Company Name|Address 2|Tags"
VALUES = {
    "first_name": ["Ann", "Zo\u00eb", "Bob J.", "Mary Jo"],
    "last_name": ["Lee", "O'Neil", "N\u00fa\u00f1ez", "de la Cruz, Jr."],
    "full_name": ["Ann Lee", "O'Neil, Bob", "Dr. Zo\u00eb N\u00fa\u00f1ez", "Mary Jo Smith"],
    "city": ["Erie", "St. Paul", "Coeur d'Alene", "Espa\u00f1ola"],
    "state": ["PA", "ny", "Ohio", "New Jersey"],
    "zip": ["15213", "8540", "02134-1000", "501"],
    "phone": ["(412) 555-0123", "4125550123", "+1 412 555 0123", "412.555.0123 x5"],
    "dob": ["3/5/1960", "1960-03-05", "March 5, 1960", "19600305"],
    "address": ["12 Main St", "5 Oak Ave, Apt 3", "PO Box 7", "123 1/2 N 5th"],
    "id": ["1", "M-2", "ab3", "0004"],
}
MATCHED = {name for name in SPELLINGS if name not in {"id", "address"}}


def write_rows(header: list[str], rows: list[list[str]], delimiter: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([header, *rows])
    return out.getvalue()


@pytest.fixture
def suggest(tmp_path: Path):
    def suggest_for(content: str | bytes) -> ColumnSuggestion:
        path = tmp_path / "donors.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_suggestion(path)

    return suggest_for


def chosen(suggestion: ColumnSuggestion) -> dict[str, str]:
    """The chosen column of each field, with a star if it is required."""
    fields = suggestion.selections.by_field().items()
    return {field: f"{one.column_name}{'*' if one.required else ''}" for field, one in fields}


def test_known_column_names_are_recognized():
    for field, names in SPELLINGS.items():
        for name in names.split("|"):
            assert getattr(recognize_field(name), "field", None) == field, name
            assert getattr(recognize_field(name.upper()), "field", None) == field, name.upper()
    for name in OTHERS.split("|"):
        assert recognize_field(name) is None, name


def test_a_usual_list_is_recognized_by_its_column_names(suggest):
    header = ["VANID", "FNAME", "LNAME", "Street", "City", "ST", "ZIP5", "Cell Phone", "DOB", "Email"]
    rows = [
        ["1", "Ann", "Lee", "12 Main St", "Erie", "PA", "16501", "814-555-0101", "3/5/1960", "a@example.org"],
        ["2", "Bob", "Roe", "", "Erie", "PA", "16502", "", "4/6/1971", "b@example.org"],
    ]
    suggestion = suggest(write_rows(header, rows))
    assert chosen(suggestion) == {
        "first_name": "FNAME*",
        "last_name": "LNAME*",
        "city": "City",
        "state": "ST",
        "zip": "ZIP5",
        "phone": "Cell Phone",
        "dob": "DOB",
        "address": "Street",
        "id": "VANID*",
    }
    assert suggestion.left_out == {"Email": "holds email addresses, which the API does not match by"}
    assert (
        suggestion.reasons["phone"] == "named like phone; 100% of its values look right, and 50% of the rows have one"
    )
    assert (suggestion.encoding, suggestion.delimiter, suggestion.rows_sampled) == ("utf-8", ",", 2)
    assert suggestion.warnings == ()


def test_values_that_contradict_a_column_name_win(suggest):
    rows = [["Ann Lee", str(number), "active", "1960", f"{number}@example.org"] for number in range(9)]
    suggestion = suggest(write_rows(["Name", "Phone", "State", "Birthday", "Cell"], rows))
    assert chosen(suggestion) == {"full_name": "Name*"}
    assert suggestion.left_out == {
        "Phone": "is named like phone, but 0% of its values look like US phone numbers",
        "State": "is named like state, but 0% of its values look like US states",
        "Birthday": "is named like dob, but 0% of its values look like dates",
        "Cell": "holds email addresses, which the API does not match by",
    }


def test_unmistakable_values_are_recognized_without_a_column_name(suggest):
    rows = [
        [
            f"412555{number:04}",
            f"{number % 12 + 1}/5/{1940 + number}",
            f"0213{number % 10}",
            ("PA", "NJ", "OH")[number % 3],
        ]
        for number in range(40)
    ]
    suggestion = suggest(write_rows(["A", "B", "C", "D"], rows))
    assert chosen(suggestion) == {"state": "D", "zip": "C", "phone": "A*", "dob": "B"}
    assert suggestion.reasons["phone"] == (
        "not named like phone, but 100% of its values are US phone numbers, and 100% of the rows have one; required, "
        "because no other column identifies people better"
    )
    others = suggest(
        write_rows(["Emergency Phone", "Signup Date", "Amount", "Name"], [[*row[:3], "Ann Lee"] for row in rows])
    )
    assert chosen(others)["full_name"] == "Name*"
    assert "phone" not in chosen(others)


def test_recent_dates_are_not_taken_for_birth_dates(suggest):
    rows = [["Ann Lee", f"{number + 1}/5/2024"] for number in range(9)]
    assert chosen(suggest(write_rows(["Name", "When"], rows))) == {"full_name": "Name*"}


def test_the_fuller_and_more_plainly_named_column_wins(suggest):
    rows = [
        ["Ann Lee", "412-555-0101", "412-555-0102", "15213", "15201", str(number)]
        if number % 4
        else ["Ann Lee", "", "412-555-0102", "15213", "15201", str(number)]
        for number in range(40)
    ]
    header = ["Name", "Home Phone", "Cell Phone", "Mailing Zip", "Registration Zip", "Member ID"]
    suggestion = suggest(write_rows(header, rows))
    assert chosen(suggestion) == {
        "full_name": "Name*",
        "zip": "Registration Zip",
        "phone": "Cell Phone",
        "id": "Member ID*",
    }
    assert suggestion.left_out == {
        "Home Phone": "could also be phone, but 'Cell Phone' fits better: 100% of the rows have a value there, "
        "75% here",
        "Mailing Zip": "could also be zip, but 'Registration Zip' has a plainer name",
    }
    assert suggestion.warnings == ()


def test_columns_chosen_with_little_confidence_cause_warnings(suggest):
    rows = [["Ann", "Lee", f"{number}0101" if number < 4 else "n/a", f"412-555-010{number}"] for number in range(1, 6)]
    suggestion = suggest(write_rows(["First", "Last", "Zip", "Contact 1"], rows))
    zip_code, phone = suggestion.warnings
    assert zip_code.startswith(
        "zip: 'Zip' is named like zip; 60% of its values look right, and 100% of the rows have one; check"
    )
    assert phone.startswith(
        "phone: 'Contact 1' is not named like phone, but 100% of its values are US phone numbers, and 100%"
    )


def test_columns_that_fit_equally_well_cause_a_warning(suggest):
    rows = [["Ann Lee", "412-555-0101", "412-555-0102"]] * 3
    suggestion = suggest(write_rows(["Name", "Phone", "Mobile"], rows))
    assert chosen(suggestion)["phone"] == "Phone"
    assert suggestion.left_out == {"Mobile": "could also be phone, but 'Phone' fits equally well and comes first"}
    assert suggestion.warnings == ("phone: 'Phone' and 'Mobile' fit about equally well; check which one is right",)


@pytest.mark.parametrize(
    ("header", "row", "fields", "left"),
    [
        (["First", "Last", "Name"], ["Ann", "Lee", "Ann Lee"], {"first_name", "last_name"}, "Name"),
        (["First", "Name"], ["Ann", "Ann Lee"], {"full_name"}, "First"),
        (["Last", "Name"], ["Lee", "Ann Lee"], {"full_name"}, "Last"),
    ],
)
def test_a_full_name_and_its_parts_exclude_each_other(suggest, header, row, fields, left):
    suggestion = suggest(write_rows(header, [row]))
    assert chosen(suggestion).keys() == fields
    assert "excludes it" in suggestion.left_out[left]


def test_an_id_column_that_is_not_unique_is_left_out(suggest):
    rows = [["Ann Lee", str(number // 2), str(number)] for number in range(9)]
    suggestion = suggest(write_rows(["Name", "Household ID", "Receipt ID"], rows))
    assert chosen(suggestion) == {"full_name": "Name*", "id": "Receipt ID*"}
    assert suggestion.left_out == {"Household ID": "is named like an ID, but some rows have no value or share one"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "Street,Email\n12 Main St,a@example.org\n",
            ["at least one of last_name", "'Street' fits address", "email"],
        ),
        ("E-mail,Tags\na@example.org,x\n", ["at least one of last_name", "'E-mail' holds email", "'Tags' has a name"]),
        ("Member ID,Gender\n1,F\n", ["at least one of last_name", "'Member ID' fits id", "'Gender' has a name"]),
        ("Ann,Lee,15213\nBob,Roe,15201\n", ["seems to have no header"]),
        ("Ann,Lee\nBob,Roe\n", ["at least one of last_name"]),
        ("Name,Name\nAnn,Lee\n", ["2 columns named 'Name'"]),
        ("Name,City\nAnn Lee,Erie,PA\n", ["3 values in row 2"]),
        ("", ["is empty"]),
    ],
)
def test_the_error_says_what_is_missing_if_nothing_can_be_suggested(suggest, content, words):
    with pytest.raises(InvalidInputError) as caught:
        suggest(content)
    for word in words:
        assert word in str(caught.value)
    assert "Lee" not in str(caught.value)


async def test_a_path_may_be_text_and_a_missing_file_is_reported(tmp_path: Path):
    path = tmp_path / "donors.csv"
    path.write_text("Last\nLee\n")
    assert await suggest_columns(path) == await suggest_columns(str(path))
    with pytest.raises(InvalidInputError, match=r"there is no file '.*nowhere\.csv'"):
        await suggest_columns(tmp_path / "nowhere.csv")


def test_an_unusual_encoding_delimiter_or_row_length_causes_a_warning(suggest):
    suggestion = suggest("Last Name;First Name;Zip\r\nN\u00fa\u00f1ez;Jos\u00e9;15213\r\nLee;Ann\r\n".encode("cp1252"))
    assert (suggestion.encoding, suggestion.delimiter) == ("cp1252", ";")
    assert suggestion.warnings == (
        "the file is not UTF-8: save it as UTF-8 so that accented names are read correctly",
        "the file is delimited by semicolons: save it with commas, which every CSV reader expects",
        "1 of the first 2 rows are shorter than the header; missing cells count as empty",
    )


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman", "cp437"])
def test_the_code_page_of_a_list_is_detected(suggest, encoding):
    names = [
        ["Jos\u00e9", "N\u00fa\u00f1ez"],
        ["Ren\u00e9e", "M\u00fcller"],
        ["Fran\u00e7ois", "Pe\u00f1a"],
        ["Ann", "Lee"],
    ]
    suggestion = suggest(write_rows(["First", "Last"], names * 20).encode(encoding))
    assert suggestion.encoding == encoding


def test_a_column_name_that_the_server_may_misread_is_left_out(suggest):
    rows = [["Jos\u00e9", "N\u00fa\u00f1ez", "Fran\u00e7ois", "Ren\u00e9e"]] * 20
    suggestion = suggest(write_rows(["Pr\u00e9nom", "Last", "a", "b"], rows).encode("mac_roman"))
    assert chosen(suggestion) == {"last_name": "Last*"}
    assert "save it as UTF-8" in suggestion.left_out["Pr\u00e9nom"]


def test_without_charset_normalizer_the_error_says_what_to_install(suggest, monkeypatch):
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    assert chosen(suggest("Last\nN\u00fa\u00f1ez\n")) == {"last_name": "Last*"}
    with pytest.raises(
        ImportError, match=r"donors\.csv' is not UTF-8.*pip install 'indigo-async\[columns\]'"
    ) as caught:
        suggest("Last\nN\u00fa\u00f1ez\n".encode("cp1252"))
    assert caught.value.name == "charset_normalizer"


def assert_follows_the_rules(suggestion: ColumnSuggestion, path: Path) -> None:
    check = InputCheck()
    selections = check.column_selections(suggestion.selections)
    check.raise_if_invalid()
    assert find_csv_problems(path, selections) == []


@given(data=st.data())
def test_any_combination_of_known_column_names_is_recognized(tmp_path_factory, data):
    """In any order, delimiter and encoding, and among other columns, each field gets its column."""
    fields = set(data.draw(st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, unique=True), "fields"))
    assume(fields & MATCHED)
    if fields & {"first_name", "last_name"}:
        fields -= {"full_name"}
    names = {field: data.draw(st.sampled_from(SPELLINGS[field].split("|")), field) for field in sorted(fields)}
    others = data.draw(st.lists(st.sampled_from(OTHERS.split("|")), unique=True, max_size=3), "others")
    order = data.draw(st.permutations([*names.items(), *((None, name) for name in others)]), "order")
    delimiter = data.draw(st.sampled_from(",;\t|" if len(order) > 1 else ","), "delimiter")
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"]), "encoding")
    rows = [[VALUES[field][row] if field else "x" for field, _ in order] for row in range(4)]
    path = tmp_path_factory.getbasetemp() / "names.csv"
    path.write_bytes(write_rows([name for _, name in order], rows, delimiter).encode(encoding))
    suggestion = read_suggestion(path)
    assert {field: one.column_name for field, one in suggestion.selections.by_field().items()} == names
    assert suggestion.left_out.keys() == set(others)
    assert list(find_name_warnings(names)) == []
    assert suggestion.delimiter == delimiter
    assert_follows_the_rules(suggestion, path)


@given(
    content=st.one_of(st.binary(max_size=300), st.text(st.sampled_from('Name,ZIP;5 213\n"\r\t\u00e9@'), max_size=80))
)
def test_any_bytes_give_a_valid_suggestion_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("cp1252"))
    try:
        suggestion = read_suggestion(path)
    except InvalidInputError:
        return
    assert_follows_the_rules(suggestion, path)


headers = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(names=st.lists(headers, min_size=1, max_size=10), required=st.booleans())
def test_generated_code_makes_the_same_selections(names, required):
    fields = [field for field in SPELLINGS if field != "full_name"]
    given = {field: ColumnSelection(name, required) for field, name in zip(fields, names, strict=False)}
    selections = ColumnSelections(**given)
    made: dict[str, object] = {}
    exec(to_python(selections), made)
    assert made["columns"] == selections
    assert yaml.safe_load(to_yaml(selections)) == {
        "column_selections": {
            field: {"column_name": one.column_name, "is_required": one.required}
            for field, one in selections.by_field().items()
        }
    }


def test_generated_code_looks_hand_written(suggest):
    selections = suggest("First Name,Last Name,Zip\nAnn,Lee,15213\n").selections
    assert to_python(selections) == (
        "from indigo_async import ColumnSelection, ColumnSelections\n\n"
        "columns = ColumnSelections(\n"
        '    first_name=ColumnSelection("First Name", required=True),\n'
        '    last_name=ColumnSelection("Last Name", required=True),\n'
        '    zip=ColumnSelection("Zip"),\n'
        ")\n"
    )
    assert hasattr(indigo_async, "ColumnSelection")
    assert to_yaml(selections).splitlines()[1] == '  first_name: {column_name: "First Name", is_required: true}'


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_messy_list_is_matched_by_the_suggested_columns(voters: VoterFile, tmp_path: Path, seed: int):
    upload = generate_messy_upload(voters, 1_500, seed=seed)
    path = tmp_path / "donors.csv"
    path.write_bytes(upload.csv)
    suggestion = await suggest_columns(path)
    assert suggestion.warnings == ()
    assert suggestion.left_out == {}
    async with Sandbox(voters, speed=SPEED) as sandbox, open_client(sandbox) as client:
        matched = await workflows.upload_and_match(
            client,
            path,
            customer_id="42",
            audience_name="Donors",
            column_selections=suggestion.selections,
            publisher=sandbox.file_host,
        )
    on_file = int((upload.truth >= 0).sum())
    assert 0.8 * on_file < matched.size <= 1_500


async def test_a_messy_list_with_other_column_names_is_recognized(voters: VoterFile, tmp_path: Path):
    header, _, body = generate_messy_csv(voters, 600, seed=3).partition(b"\r\n")
    names = "FNAME,SURNAME,RES_ADDR1,RES_CITY,RES_ST,ZIP5,CELL,DOB,VANID"
    assert header.count(b",") == names.count(",")
    path = tmp_path / "donors.csv"
    path.write_bytes(names.encode() + b"\r\n" + body)
    suggestion = await suggest_columns(path)
    assert list(chosen(suggestion).values()) == [
        "FNAME*",
        "SURNAME*",
        "RES_CITY",
        "RES_ST",
        "ZIP5",
        "CELL",
        "DOB",
        "RES_ADDR1",
        "VANID*",
    ]
    await check_columns(path, suggestion.selections)
