"""Columns that are named like another field than the one that they were selected for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from indigo_async import workflows
from indigo_async.files.csv.check import inspect_csv
from indigo_async.files.csv.header_names import RecognizedField, _patterns, find_other_field
from indigo_async.files.csv.suggest import read_suggestion
from indigo_async.inputs import CANONICAL_FIELDS, ColumnSelection
from indigo_async.workflows import RecipeWarning
from tests.support.recipes import CSV, CUSTOMER
from tests.support.servers.scripted import sandbox_and_client

SWAPPED = {
    "first_name": ColumnSelection("Last Name", required=True),
    "last_name": ColumnSelection("First Name", required=True),
}
SWAPPED_WARNINGS = (
    "first_name: the column 'Last Name' is named like last_name; check that it is the right column",
    "last_name: the column 'First Name' is named like first_name; check that it is the right column",
)


@pytest.mark.parametrize(
    ("field", "columns", "other"),
    [
        ("first_name", "Last Name|LNAME|surname|Voters_LastName|last", "last_name"),
        ("first_name", "City|Home City", "city"),
        ("last_name", "First Name|fname|given_name|Donor First Name|FIRST", "first_name"),
        ("last_name", "Voter ID|Member Number|VANID|id", "id"),
        ("full_name", "First Name|Given Name", "first_name"),
        ("full_name", "Last Name|Apellido", "last_name"),
        ("city", "State|Home State|ST", "state"),
        ("state", "City|Residence City|Town", "city"),
        ("zip", "Phone|Cell Phone|mobile_number", "phone"),
        ("phone", "Zip Code|ZIP5|Postal Code", "zip"),
        ("dob", "Phone", "phone"),
        ("address", "City", "city"),
        ("city", "Street Address|Address 1", "address"),
        ("zip", "Birth Date|DOB|Date_of_Birth__c", "dob"),
    ],
)
def test_a_column_that_is_certainly_named_after_another_field_is_found(field: str, columns: str, other: str):
    for column in columns.split("|"):
        assert find_other_field(column, field) == other, column


@pytest.mark.parametrize(
    ("field", "columns"),
    [
        ("first_name", "Name|Full Name|Contact Name|Donor Name|Name (First Last)|VOTER_NAME|Display Name|Nombre"),
        ("last_name", "Name|Full Name|Last, First|Family|Maiden Name|Apellidos|Spouse Last Name"),
        ("full_name", "Name|Nombre|Supporter|Contact|People|First and Last Name"),
        ("phone", "Cell Phone|Mobile|Home Phone|Work Phone|Landline|Daytime Telephone|Contact Number|Number|Column 7"),
        ("address", "St|Home St|Postal|Mailing Address|Billing Street|Residence|Address Line 1|Domicilio"),
        ("city", "Mailing City|Locality|Municipality|County|Place"),
        ("state", "ST|Region|State/Province|Mailing State|State ID|Estado"),
        ("zip", "Zip4|Postal|Billing Zip|Work ZIP|Mailing Phone"),
        ("dob", "Birthday|Born|Age|Year|Member Since"),
        ("id", "Phone|Email|Last Name|Name|Zip|State Voter ID|Row|DOB"),
    ],
)
def test_a_column_that_may_hold_its_field_is_no_other(field: str, columns: str):
    for column in columns.split("|"):
        for name in (column, column.upper(), column.lower(), column.replace(" ", "_")):
            assert find_other_field(name, field) is None, name


@given(data=st.data(), field=st.sampled_from(CANONICAL_FIELDS), is_fallback=st.booleans())
def test_no_name_of_a_field_is_another_field(data: st.DataObject, field: str, *, is_fallback: bool):
    pattern = _patterns()[RecognizedField(field, is_fallback)]
    name = data.draw(st.from_regex(pattern, fullmatch=True), "name")
    assume(len(name) <= 80)  # the rest of a longer name is not read
    decorate = data.draw(st.sampled_from([str, str.upper, str.title, " {} ".format, "{}__c".format]), "decorate")
    assert find_other_field(decorate(name), field) is None


@given(name=st.text(max_size=100), field=st.sampled_from(CANONICAL_FIELDS))
def test_any_text_can_be_a_name(name: str, field: str):
    assert find_other_field(name, field) in {None, *CANONICAL_FIELDS} - {field}


def test_swapped_columns_of_a_local_csv_are_warned_about(tmp_path: Path):
    path = tmp_path / "donors.csv"
    path.write_text("First Name,Last Name,Zip\nAnn,Lee,16501\n")
    assert inspect_csv(path, SWAPPED).warnings == SWAPPED_WARNINGS
    right = {"first_name": SWAPPED["last_name"], "last_name": SWAPPED["first_name"]}
    assert inspect_csv(path, right).warnings == ()


def test_values_that_are_surer_than_the_name_are_still_worth_a_check(tmp_path: Path):
    path = tmp_path / "donors.csv"
    path.write_text("Last Name,Zip\n" + "".join(f"Lee,412555{number:04}\n" for number in range(40)))
    warnings = read_suggestion(path).warnings
    assert "phone: the column 'Zip' is named like zip; check that it is the right column" in warnings


async def test_swapped_columns_of_a_csv_at_a_url_are_warned_about():
    warnings: list[str] = []
    async with sandbox_and_client() as (_, client):
        await workflows.upload_and_match(
            client,
            CSV,
            customer_id=CUSTOMER,
            audience_name="Donors",
            column_selections=SWAPPED,
            on_event=lambda event: warnings.append(event.message) if isinstance(event, RecipeWarning) else None,
        )
    assert tuple(warnings) == SWAPPED_WARNINGS
