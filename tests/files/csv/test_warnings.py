"""Warnings about a CSV that can be matched."""

from __future__ import annotations

from pathlib import Path

import pytest

from indigo_async.errors import InvalidInputError
from indigo_async.files import suggest_columns
from indigo_async.files.csv.check import find_csv_problems, inspect_csv
from indigo_async.files.csv.suggest import read_suggestion
from indigo_async.inputs import ColumnSelection

AS_TEXT = "format the column as text, and export the list again"
AS_DATE = "format the column as YYYY-MM-DD, and export the list again"


@pytest.fixture
def warnings_of(tmp_path: Path):
    def inspect(content: str | bytes, field: str = "last_name", column: str = "Last Name") -> tuple[str, ...]:
        path = tmp_path / "donors.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return inspect_csv(path, {field: ColumnSelection(column, required=True)}).warnings

    return inspect


def test_a_plain_list_has_no_warnings(warnings_of):
    content = "Last Name,Zip\nLee,16501\nN\u00fa\u00f1ez,02134-1000\nO\u2019Neil,501\nJO\u00c3O,16501\n"
    assert warnings_of(content) == ()


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        ("Last Name;Zip\nLee;1\n", "delimited by semicolons: save it with commas, which every CSV reader expects"),
        ("Last Name\tZip\nLee\t1\n", "delimited by tabs: save it with commas, which every CSV reader expects"),
        ("Last Name|Zip\nLee|1\n", "delimited by bars: save it with commas, which every CSV reader expects"),
        ("Last Name,Zip\nJos\u00e9,1\n".encode("cp1252"), "the file is not UTF-8: save it as UTF-8"),
        ("Last Name,Zip\nJos\u00e9,1\n".encode("utf-16"), "the file is not UTF-8: save it as UTF-8"),
        ("\n\nLast Name,Zip\nLee,1\n", "the file has blank lines above its header"),
        ("Last Name,Zip\nLee,1\nRoe\n", "1 of the first 2 rows are shorter than the header"),
        ("Last Name,Zip\nLee,1,\nRoe,2,\n", "2 of the first 2 rows have more delimiters than the header"),
        ("Last Name,Zip,City\nLee,1,Erie\nTotal,1,\n", "the last row seems to be a total"),
        ("Last Name,Zip,City,Age\nLee,1,Erie,2\nGrand total: 1,,,\n", "the last row seems to be a total"),
        ("Last Name,Zip,City\nLee,1,Erie\n1 records\n", "the last row seems to be a total"),
        ("Last Name,Zip,City\n" + "Lee,1,Erie\n" * 20_000 + "Total,20000,\n\n", "the last row seems to be a total"),
        ("Last Name,Zip,City\nLee,1,Erie\nReport generated on 3/5/2024,,\n", "the last row seems to be a total"),
        ("\u201cLast Name\u201d\n\u201cLee\u201d\n", "the column name '\u201cLast Name\u201d' has curly quotes"),
    ],
)
def test_a_file_that_may_be_read_differently_is_warned_about(warnings_of, content, warning):
    column = "\u201cLast Name\u201d" if "\u201c" in warning else "Last Name"
    assert [text for text in warnings_of(content, column=column) if warning in text]


@pytest.mark.parametrize("last", ["Total,Erie,1", "Totals Lee,1,Erie", "Lee,,", ",,", "Count,Basie,1"])
def test_a_person_is_not_mistaken_for_a_footer(warnings_of, last: str):
    assert warnings_of(f"Last Name,City,Zip\nLee,Erie,1\n{last}\n") == ()


@pytest.mark.parametrize(
    ("field", "values", "words"),
    [
        (
            "id",
            ["4.2E+11", "4.2e+11", "7"],
            "2 of the first 3 values of 'X' are in scientific notation, such as 4.2E+11",
        ),
        ("phone", ["8.15E+09", "(814) 555-0101"], "1 of the first 2 values of 'X' are in scientific notation"),
        ("id", ["\u201c42\u201d", "\u201c43\u201d"], "2 of the first 2 values of 'X' are in curly quotes, which are"),
        ("id", ["42.0", "43.0"], f"2 of the first 2 values of 'X' are decimals, such as 42.0: {AS_TEXT}"),
        ("zip", ["8540", "501", "16501", ""], "2 of the first 3 values of 'X' are shorter than 5 digits"),
        ("zip", ["2134-1000", "16501"], "1 of the first 2 values of 'X' are shorter than 5 digits"),
        ("dob", ["32874", "20001.0"], "2 of the first 2 values of 'X' are spreadsheet day numbers"),
        ("dob", ["3/5/60", "4/6/71"], f"dates with two-digit years, whose century is unclear: {AS_DATE}"),
        ("dob", ["13/05/1960", "3/5/1961"], "dates that start with the day, but US dates start with the month"),
        ("city", ["#REF!", "#N/A", "Erie", "########"], "3 of the first 4 values of 'X' are spreadsheet errors"),
        ("zip", ['="02134"', "16501"], "1 of the first 2 values of 'X' are spreadsheet formulas"),
        ("zip", ["'02134", "16501"], "1 of the first 2 values of 'X' are preceded by an apostrophe"),
        (
            "city",
            ["Espa\u00c3\u00b1ola", "Erie"],
            "1 of the first 2 values of 'X' are text with garbled accents",
        ),
        ("city", ["Espa\ufffdola", "Erie"], "1 of the first 2 values of 'X' are text with garbled accents"),
        ("city", [' "Erie"', "York"], "1 of the first 2 values of 'X' are in quotes that are part of the value"),
    ],
)
def test_damaged_values_are_counted_and_never_shown(warnings_of, field, values, words):
    found = warnings_of("X,Note\n" + "".join(f"{value},\n" for value in values), field, "X")
    assert [text for text in found if words in text], found
    private = [value for value in values if value and value not in {"4.2E+11", "42.0", "32874", "#REF!", "#N/A"}]
    assert not [value for value in private for text in found if value in text]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("first_name", ["'Ann", "E1", "1E5", "8540", "32874"]),
        ("last_name", ["d\u2019Arc", "O'Neil", "M\u00fcller", "\u00c3rni", "S\u00c3O"]),
        ("dob", ["1960", "3/5/1960", "1960-03-05", "19600305", "March 5, 1960", "12/11/1960"]),
        ("zip", ["16501", "02134", "02134-1000"]),
        ("phone", ["(814) 555-0101", "814.555.0101"]),
        ("id", ["M-2", "E4", "ab3", "0004", "12E"]),
        ("address", ["#5 Elm St", "12 Main St #4", "1/2 Elm"]),
    ],
)
def test_normal_values_cause_no_warning(warnings_of, field, values):
    assert warnings_of("X,Note\n" + "".join(f'"{value}",\n' for value in values), field, "X") == ()


def test_a_few_typos_in_many_values_cause_no_warning(warnings_of):
    assert warnings_of("X,Note\n" + "16501,\n" * 99 + "8540,\n", "zip", "X") == ()
    assert "10 of the first 100" in warnings_of("X,Note\n" + "16501,\n" * 90 + "8540,\n" * 10, "zip", "X")[0]


async def test_a_column_that_damage_disqualifies_is_explained(tmp_path: Path):
    path = tmp_path / "donors.csv"
    path.write_text("Last,DOB,Phone,Member ID\nLee,32874,8.1E+09,4.2E+11\nRoe,32875,8.1E+09,4.2E+11\n")
    left_out = (await suggest_columns(path)).left_out
    assert "its values are spreadsheet day numbers, such as 32874" in left_out["DOB"]
    assert "its values are in scientific notation" in left_out["Phone"]
    assert "its values are in scientific notation" in left_out["Member ID"]


def test_columns_and_match_use_the_same_words(tmp_path: Path):
    path = tmp_path / "donors.csv"
    path.write_text("Last;Zip;Member ID\nLee;8540;4.2E+11\nRoe;501;4.3E+11\n")
    suggestion = read_suggestion(path)
    inspection = inspect_csv(path, suggestion.selections.by_field())
    assert len(inspection.warnings) == 3
    assert suggestion.warnings == inspection.warnings


def test_columns_and_match_refuse_a_file_in_the_same_words(tmp_path: Path):
    path = tmp_path / "donors.csv"
    path.write_text("sep=;\nLast;Zip\nLee;8540\n")
    with pytest.raises(InvalidInputError) as caught:
        read_suggestion(path)
    assert caught.value.problems == tuple(find_csv_problems(path, {}))
