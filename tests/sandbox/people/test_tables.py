from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.sandbox.people import CsvTable, NotACsvError, parse_csv

NAMES = CsvTable(("Name", "City"), (("Zo\u00eb", "Ana"), ("Erie", "\u00d8rsta")))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_delimiters_and_line_ends_are_detected(delimiter, encoding, line_end):
    lines = [delimiter.join(cells) for cells in (("Name", "City"), ("Zo\u00eb", "Erie"), ("Ana", "\u00d8rsta"))]
    assert parse_csv(line_end.join(lines).encode(encoding)) == NAMES


cells = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8).map(str.strip)


@given(rows=st.lists(st.tuples(cells, cells, st.just("x")), min_size=1, max_size=8))
def test_csv_writer_output_round_trips(rows):
    out = io.StringIO()
    csv.writer(out).writerows([("one", "two", "three"), *rows])
    table = parse_csv(out.getvalue().encode())
    assert table.columns == ("one", "two", "three")
    assert len(table) == len(rows)
    assert list(zip(*table.values, strict=True)) == rows


def test_short_rows_are_padded_and_empty_surplus_is_dropped():
    table = parse_csv(b"a,b\n1\n\n2,3,,\n,\n4,5\n")
    assert table.column("a") == ("1", "2", "", "4")
    assert table.column("b") == ("", "3", "", "5")


def test_a_single_column_is_a_table():
    assert parse_csv(b"phone\n412-555-0123\n").column("phone") == ("412-555-0123",)


def test_an_unknown_column_is_named():
    with pytest.raises(KeyError, match="email"):
        parse_csv(b"phone\n1\n").column("email")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \r\n ", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b'""\r\n', "empty"),
        (b"Name,City\n", "no rows"),
        (b"Name,City\n,\n", "no rows"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b'{"a": 1}', "JSON"),
        (b"[1, 2]", "JSON"),
        (b"PK\x03\x04rest", "Excel"),
        (b"\xd0\xcf\x11\xe0\xa1", "Excel"),
        (b"%PDF-1.7", "PDF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"a,b\n\x00\x01,2\n", "binary"),
        (b"Ann,4125550123\nBob,4125550124\n", "isn't a header"),
        (b"Ann,ann@example.com\nBob,bob@example.com\n", "isn't a header"),
        (b"Ann,3/5/1960\nBob,4/5/1960\n", "isn't a header"),
        (b"Name,Name\nAnn,Lee\n", "two columns|Two columns"),
        (b"Name,Street\nAnn,1 Main St, Erie\n", "Row 1 has 3 values"),
        (b'Name,City\n"Ann' + b"x" * 200_000 + b"\n", "can't be read"),
    ],
)
def test_a_file_that_is_not_a_csv_is_rejected_with_the_reason(data, reason):
    with pytest.raises(NotACsvError, match=reason):
        parse_csv(data)


@given(data=st.binary(max_size=200))
def test_any_bytes_parse_or_are_rejected(data):
    try:
        table = parse_csv(data)
    except NotACsvError:
        return
    assert len(table) > 0
    assert all(len(column) == len(table) for column in table.values)
