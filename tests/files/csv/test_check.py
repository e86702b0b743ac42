from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.errors import InvalidInputError, Problem
from indigo_async.files import check_columns
from indigo_async.files.csv.check import find_csv_problems
from indigo_async.files.csv.column_names import NO_HEADER_MESSAGE
from indigo_async.inputs import ColumnSelection, ColumnSelections
from indigo_async.sandbox.people import NotACsvError, parse_csv

FIRST = {"first_name": ColumnSelection("First Name", required=True)}
ZIP = {"zip": ColumnSelection("Zip")}
GOOD = "First Name,Zip\r\nZo\u00eb,15213\r\nAnn,15201\r\n"


@pytest.fixture
def write_csv(tmp_path: Path):
    def write(content: bytes | str) -> Path:
        path = tmp_path / "donors.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def messages(path: Path, selections=FIRST) -> list[str]:
    return [str(problem).replace(repr(str(path)), "FILE") for problem in find_csv_problems(path, selections)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
async def test_files_that_spreadsheets_write_are_accepted(write_csv, encoding, delimiter, line_end):
    text = GOOD.replace(",", delimiter).replace("\r\n", line_end)
    await check_columns(write_csv(text.encode(encoding)), FIRST | ZIP)


@pytest.mark.parametrize(
    "text",
    [
        'First Name,Note\nAnn,"two\nlines"\nBob,\n',
        '"First Name","Note, if any"\n"Ann ""Annie""","a;b|c"\n',
        " First Name ,Note\nAnn,x\n",
        "\n\nFirst Name,Note\n\nAnn,x\n",
        "First Name,,\nAnn,unnamed,columns\n",
        "First Name,Note\nAnn\nBob,x,,\n",
        'First Name,Note\nAnn,5" pipe\n',
        "First Name\nAnn\n",
        "[First Name],[Zip]\nAnn,1\n",
        "{First Name}\nAnn\n",
        "First Name,Zip,\nAnn,1,\n",
        'First Name,Nickname\nAnn, "Annie"\n',
        "Q1,Q2\nFirst Name,Zip\nAnn,1\n",
        "First Name,,\nAnn,Phone,Cell\n",
    ],
    ids=[
        "quoted newlines",
        "quotes",
        "blanks",
        "blank lines",
        "empty headers",
        "uneven",
        "a stray quote",
        "one column",
        "brackets",
        "braces",
        "trailing delimiters",
        "a quote after a blank in a row",
        "labels below",
        "a row fuller than the header",
    ],
)
async def test_files_that_servers_can_read_are_accepted(write_csv, text):
    name = next(csv.reader([line for line in text.splitlines() if line.strip()]))[0]
    await check_columns(write_csv(text), {"first_name": ColumnSelection(name, required=True)})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b" \r\n\r\n", "is empty"),
        (b"First Name,Zip\n", "has a header but no rows"),
        (b"First Name,Zip\n,\n,\n", "has a header but no rows"),
        (b"PK\x03\x04...xl/workbook.xml", "is an Excel workbook, not CSV: save it as CSV"),
        (b"PK\x03\x04...[Content_Types].xml", "is an Excel workbook or another Office document"),
        (b"PK\x03\x04...mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "is an OpenDocument spreadsheet"),
        (b"PK\x03\x04...Index/Document.iwa", "is a Numbers document, not CSV: export it as CSV"),
        (b"PK\x03\x04...donors.csv", "is a ZIP archive, not CSV: unpack it first"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel workbook"),
        (b"%PDF-1.7", "is a PDF document"),
        (b"\x1f\x8b\x08", "is a gzip archive, not CSV: unpack it first"),
        (b"PAR1\x15", "is a Parquet file"),
        (b"SQLite format 3\x00", "is a database, not CSV: export the table"),
        (b"\x89PNG\r\n\x1a\n", "is a picture"),
        (b"bplist00\xd1", "is a macOS shortcut or settings file"),
        (b"\x00\x05\x16\x07\x00\x02", "use the file with the same name, but without '._' at its start"),
        (bytes(4096), "contains only zero bytes: it is damaged, or a cloud drive has not downloaded it yet"),
        (b"<!DOCTYPE html><title>Sign in</title>", "is a web page .HTML., not CSV: it may be a login page"),
        (b"\xef\xbb\xbf\r\n<table><tr><td>First", "is a web page .HTML., not CSV"),
        (b'<?xml version="1.0"?>\n<?mso?>\n<Workbook xmlns="urn:x">', "is an Excel workbook in XML"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE plist><plist>', "is a shortcut to a web page"),
        (b'<?xml version="1.0"?><people/>', "is HTML or XML, not CSV"),
        (b"[InternetShortcut]\r\nURL=https://x.example/donors.csv", "is a shortcut to a web page, not CSV"),
        (b'{"url": "https://docs.google.com/open?id=1", "doc_id": "1"}', "is a shortcut to an online document"),
        (b'[{"first": "Ann"}]', "is JSON, not CSV"),
        (b'{"first": "Ann"}\n{"first": "Bob"}\n', "is JSON, not CSV"),
        (rb"{\rtf1\ansi First Name,Zip\line Ann,1}", "is a rich text document .RTF., not CSV: save it as plain text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
        (b"-----BEGIN PGP MESSAGE-----\n\nhQ\n", "is a file encrypted with PGP"),
        (b"BEGIN:VCARD\r\nFN:Ann Lee\r\n", "is a file with contact cards"),
        (b"First Name,Zip\nAnn,1\n\x1a", "ends with Ctrl-Z"),
        (b"First Name,Zip\r\nAnn,1\r\n\x1a\x1a\r\n", "ends with Ctrl-Z"),
        (b"First Name,Zip\n" + b"Ann,1\n" * 20_000 + b"\x1a", "ends with Ctrl-Z"),
        (b"First Name,Zip\nA\x1ann,1\nBob,2\n", "contains the byte 0x1a in line 2: it is binary"),
        (b"sep=;\r\nFirst Name;Zip\r\nAnn;1\r\n", "begins with the line 'sep=;', which only Excel understands"),
        ("\ufeffSEP=\t\nFirst Name\tZip\nAnn\t1\n".encode("utf-16-le"), "begins with the line 'SEP=.t'"),
        (b"Donors 2024\nFirst Name,Zip\nAnn,1\n", "has its header in row 2, but servers use the first row"),
        (b"Donors 2024\nFirst Name;Zip\nAnn;1\n", "has its header in row 2, but servers use the first row"),
        (b"Donors, 2024,\nSpring,,\n\nFirst Name,Zip,City\nAnn,1,Erie\n", "has its header in row 4"),
        (b",,\n,,\nFirst Name,Zip,City\nAnn,1,Erie\n", "has its header in row 3"),
        (b"Person,,Address,\nFirst,Last,Street,City\nAnn,Lee,1 Elm,Erie\n", "has its header in row 2"),
        (b",,\nAnn,Lee,Erie\n", "has no column names in its first row"),
        (b'"First Name", "Zip"\n"Ann", "1"\n', "has a header with spaces outside its quotes"),
        (b'"First Name" ,"Zip"\n"Ann" ,"1"\n', "has a header with spaces outside its quotes"),
        (b' "First Name","Zip, Code"\n"Ann","1"\n', "has a header with spaces outside its quotes"),
        (b"First Name,Zip " * 10_000, "no end of row 1 in its first 64 KiB: does the file have no line ends"),
        (b"First Name\nAnn\nB\x00b\n", "contains the byte 0x00 in line 3: it is binary or damaged"),
        (GOOD.encode("utf-16-le"), "UTF-16 or UTF-32 without a byte order mark: save it as UTF-8"),
        (GOOD.encode("utf-32"), "is UTF-32 text, not CSV: save it as UTF-8"),
        (GOOD.encode("utf-32-le"), "UTF-16 or UTF-32 without a byte order mark: save it as UTF-8"),
        (b'First Name,Zip\nAnn,1\n"Bob,2\nCy,3\n', "opens a quote in row 3 that is never closed"),
        (b'First Name,Zip\n"Bob,2\n' + b"Cy,3\n" * 100_000, "no end of row 2 in its first 64 KiB"),
        (b'"First Name,Zip\n' + b"Cy,3\n" * 100_000, "no end of row 1 in its first 64 KiB"),
        (b'""\r\n', "is empty"),
    ],
)
def test_a_file_that_is_not_a_usable_csv_is_rejected_with_the_reason(write_csv, content, reason):
    path = write_csv(content)
    (problem,) = find_csv_problems(path, {})
    assert problem.where == "csv"
    assert repr(str(path)) in problem.message
    with pytest.raises(InvalidInputError, match=reason):
        raise InvalidInputError([problem])


def test_a_file_that_cannot_be_opened_is_reported_with_the_reason(tmp_path: Path):
    assert messages(tmp_path / "nowhere.csv") == ["csv: there is no file FILE"]
    (tmp_path / ".donors.csv.icloud").touch()
    assert messages(tmp_path / "donors.csv") == [
        "csv: there is no file FILE on this machine yet; it is in iCloud: open it once to download it"
    ]
    assert messages(tmp_path) == ["csv: FILE is a folder"]
    assert messages(tmp_path / "a\0b.csv")[0].startswith("csv: ")
    assert "there is no file" in messages(tmp_path / ("a" * 250))[0]


@pytest.mark.parametrize("text", ["https://files.example.org/donors.csv?sig=s3cr3t", "www.dropbox.com/donors.csv"])
def test_a_url_in_place_of_a_path_is_recognized(text: str):
    (message,) = messages(Path(text))
    assert message.endswith("start a URL with https://, or download the CSV if a local file is required")
    assert "s3cr3t" not in message


def test_checking_a_pipe_does_not_block(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert messages(tmp_path / "pipe.csv") == ["csv: FILE is not a file"]


@pytest.mark.parametrize(
    ("selected", "suggestion"),
    [
        ({"zip": ColumnSelection("Zipcode")}, "Zip Code"),
        ({"zip": ColumnSelection("zip code")}, "Zip Code"),
        ({"first_name": ColumnSelection("Given")}, "FNAME"),
        ({"phone": ColumnSelection("Telephone")}, None),
    ],
)
def test_a_missing_column_is_reported_with_a_suggestion(write_csv, selected, suggestion):
    path = write_csv("FNAME,Zip Code\nAnn,15213\n")
    ((field, selection),) = selected.items()
    hint = f"; did you mean {suggestion!r}?" if suggestion else "."
    columns = "The CSV's columns: 'FNAME', 'Zip Code'"
    assert messages(path, selected) == [
        f"column_selections.{field}.column_name: FILE has no column {selection.column_name!r}{hint} {columns}"
    ]


def test_the_columns_of_a_file_are_shown_once(write_csv):
    selected = {field: ColumnSelection(name) for field, name in {"zip": "ZIP5", "city": "City", "dob": "Born"}.items()}
    assert messages(write_csv("First,Zip,City\nAnn,15213,Erie\n"), selected) == [
        (
            "column_selections.zip.column_name: FILE has no column 'ZIP5'; did you mean 'Zip'? The CSV's columns: "
            "'First', 'Zip', 'City'"
        ),
        "column_selections.dob.column_name: FILE has no column 'Born'",
    ]


@pytest.mark.parametrize(
    ("header", "selected", "suggestion"),
    [
        ("Given,Last Name,Zip", {"first_name": "First Name", "last_name": "Last Name"}, "Given"),
        ("Given,Last Name,Zip", {"last_name": "Last Name", "first_name": "Name"}, "Given"),
        ("Given,Last Name,Zip", {"first_name": "First Name"}, "Given"),
        ("Last Name,Zip", {"first_name": "First Name", "last_name": "Last Name"}, None),
        ("Last Name,Zip", {"first_name": "First Name"}, None),
        ("Name 1,Name 2", {"first_name": "Name", "last_name": "Name 1"}, "Name 2"),
        ("Name 1,Last Name", {"first_name": "Name", "last_name": "Last Name"}, "Name 1"),
        ("Mailing Zip,Zip,City", {"zip": "Zip Code", "city": "City"}, "Zip"),
        ("Home Phone,Cell Phone", {"phone": "Cellphone"}, "Cell Phone"),
    ],
)
def test_a_suggested_column_is_named_after_the_field_and_not_used_for_another(write_csv, header, selected, suggestion):
    path = write_csv(f"{header}\n{','.join('x' for _ in header.split(','))}\n")
    (message,) = messages(path, {field: ColumnSelection(name) for field, name in selected.items()})
    assert ("; did you mean " in message) == (suggestion is not None)
    assert suggestion is None or f"; did you mean {suggestion!r}? The CSV's columns: " in message


def test_no_values_are_shown_if_the_header_is_missing(write_csv):
    (message,) = messages(write_csv("Ann,Lee,15213\nBob,Roe,15201\n"))
    assert message.endswith(f"FILE has no column 'First Name'. The CSV {NO_HEADER_MESSAGE}")
    (message,) = messages(write_csv("Ann,Lee\nBob,Roe\n"))
    assert message.endswith("FILE has no column 'First Name'")


def test_columns_with_the_same_name_are_reported_with_their_numbers(write_csv):
    path = write_csv("First Name,Note,Zip,Note,Note,Zip\nAnn,a,1,b,c,2\n")
    assert messages(path) == [
        "csv: FILE has 3 columns with the same name (columns 2, 4 and 5): rename all but one",
        "csv: FILE has 2 columns named 'Zip' (columns 3 and 6): rename all but one",
    ]


def test_repeated_values_in_place_of_a_header_are_not_shown(write_csv):
    path = write_csv("JOHN,SMITHSON,Springfield,PA,Springfield,OH\nANN,DOE,Erie,PA,York,OH\n")
    shown = "\n".join(messages(path))
    assert "2 columns with the same name (columns 3 and 5)" in shown
    assert not [value for value in ("JOHN", "SMITHSON", "Springfield") if value in shown]


def test_rows_longer_than_the_header_are_reported_by_number(write_csv):
    path = write_csv("First Name,City\nAnn,Erie\n\nBob,Erie, PA\n" + "Cy,Erie,PA\n" * 7 + "Di,Erie\n" * 20)
    found = messages(path)
    assert found[0] == (
        "csv: FILE has 3 values in row 4 but 2 columns: does a value contain the delimiter ',' without being quoted?"
    )
    assert len(found) == 6
    assert found[-1] == "csv: FILE has 3 more such rows in its first 29"


def test_a_required_column_without_values_is_reported(write_csv):
    required = FIRST | {"dob": ColumnSelection("DOB", required=True), "id": ColumnSelection("ID", required=True)}
    path = write_csv("First Name,DOB,ID\nAnn,,\nBob, ,\nCy\n")
    (message,) = messages(path, required)
    assert message.startswith("column_selections.dob: FILE has no values in the required column 'DOB'")
    assert messages(path, FIRST | {"dob": ColumnSelection("DOB")}) == []
    assert messages(write_csv("First Name,DOB,ID\n" + "Ann,,\n" * 600), required) == []


async def test_column_rules_and_the_file_are_checked_together(write_csv):
    path = write_csv("First,Zip\nAnn,15213\n")
    invalid = ColumnSelections(zip=ColumnSelection("ZIP"), id=ColumnSelection("First"))
    with pytest.raises(InvalidInputError) as caught:
        await check_columns(str(path), invalid)
    assert [problem.where for problem in caught.value.problems] == [
        "column_selections",
        "column_selections.id",
        "column_selections.zip.column_name",
    ]


def test_only_the_head_of_a_large_file_is_checked(write_csv):
    path = write_csv(b"First Name,City\n" + "Zo\u00eb,Erie\n".encode() * 200_000 + b"\x00")
    assert messages(path) == []


def test_the_end_of_the_head_may_split_a_character(write_csv):
    for start in range(4):
        assert messages(write_csv(b"First Name,City\n" + b"x" * start + ",Sa\u00e9\u20ac\n".encode() * 20_000)) == []


messy_characters = st.sampled_from('ab1,;\t|"\r\n \u00e9{<@.')
cells = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=6)


STRICTER = ("never closed", "outside its quotes")
"""Reasons to reject a file that the sandbox, but not every CSV reader, reads as intended."""


def _assert_agrees_with_the_sandbox(path: Path, data: bytes) -> None:
    """The check accepts what the sandbox reads, unless the first row isn't a header or CSV readers disagree."""
    path.write_bytes(data)
    problems: list[Problem] = find_csv_problems(path, {})
    try:
        columns, rejection = parse_csv(data).columns, ""
    except NotACsvError as error:
        columns, rejection = (), str(error)
    if rejection:
        assert problems or "isn't a header" in rejection
    else:
        assert problems == [] or any(reason in problems[0].message for reason in STRICTER)
        for name in filter(str.strip, columns):
            assert find_csv_problems(path, {"city": ColumnSelection(name)}) == problems


@given(data=st.binary(max_size=300))
def test_any_bytes_are_checked_as_the_sandbox_reads_them(tmp_path_factory, data):
    _assert_agrees_with_the_sandbox(tmp_path_factory.getbasetemp() / "bytes.csv", data)


@given(
    data=st.text(messy_characters, max_size=60),
    encoding=st.sampled_from(["utf-8", "cp1252"]),
)
def test_any_text_is_checked_as_the_sandbox_reads_it(tmp_path_factory, data, encoding):
    _assert_agrees_with_the_sandbox(tmp_path_factory.getbasetemp() / "text.csv", data.encode(encoding))


@given(
    rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_csv_writer_output_is_checked_as_the_sandbox_reads_it(tmp_path_factory, rows, delimiter, encoding, quoting):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows([("one", "two", "three"), *rows])
    _assert_agrees_with_the_sandbox(tmp_path_factory.getbasetemp() / "written.csv", out.getvalue().encode(encoding))
