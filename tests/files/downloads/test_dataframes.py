"""An export's CSV as a data frame: every value is text in all libraries."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from indigo_async import workflows
from indigo_async.models import CsvExport
from indigo_async.sandbox import Sandbox
from indigo_async.sandbox.people import VoterFile
from indigo_async.workflows import ExportReceipt
from tests.support.servers.scripted import SPEED, open_client

ROWS = [
    {"Registration ZIP code": "01234", "Cell phone number": "0055501", "Last name": "NULL", "Middle name": ""},
    {"Registration ZIP code": "00501", "Cell phone number": "", "Last name": "NA", "Middle name": "A\nB"},
    {"Registration ZIP code": "", "Cell phone number": "1e5", "Last name": "TRUE", "Middle name": "NaN"},
]
CSV = (
    b"Registration ZIP code,Cell phone number,Last name,Middle name\r\n"
    b'01234,0055501,NULL,\r\n00501,"",NA,"A\nB"\r\n,1e5,TRUE,NaN\r\n'
)


def receipt_of(path: Path) -> ExportReceipt:
    return ExportReceipt(export=CsvExport(id=1), path=path, size_bytes=path.stat().st_size, sha256="")


@pytest.fixture(params=["donors.csv", "donors [1]*.csv"])
def receipt(request: pytest.FixtureRequest, tmp_path: Path) -> ExportReceipt:
    path = tmp_path / request.param
    path.write_bytes(CSV)
    return receipt_of(path)


def test_polars_reads_text(receipt: ExportReceipt):
    frame = receipt.to_polars()
    assert set(frame.schema.values()) == {pl.String}
    assert frame.to_dicts() == ROWS


def test_arrow_reads_text(receipt: ExportReceipt):
    table = receipt.to_arrow()
    assert set(table.schema.types) == {pa.string()}
    assert table.to_pylist() == ROWS


def test_pandas_reads_text(receipt: ExportReceipt):
    frame = receipt.to_pandas()
    assert frame.to_dict("records") == ROWS


def test_an_empty_export_has_its_columns(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_bytes(CSV.partition(b"\n")[0] + b"\n")
    receipt = receipt_of(path)
    columns = list(ROWS[0])
    assert (receipt.to_polars().columns, receipt.to_polars().height) == (columns, 0)
    assert (receipt.to_arrow().column_names, receipt.to_arrow().num_rows) == (columns, 0)
    assert list(receipt.to_pandas().columns) == columns


READERS = ["to_polars", "to_arrow", "to_pandas"]


def read_rows(path: Path, reader: str) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of a CSV as a reader sees them."""
    table = getattr(receipt_of(path), reader)()
    if isinstance(table, pl.DataFrame):
        return table.columns, [list(row) for row in table.rows()]
    if isinstance(table, pa.Table):
        return table.column_names, [list(row) for row in zip(*table.to_pydict().values(), strict=True)]
    assert list(table.index) == list(range(len(table)))
    return list(table.columns), table.to_numpy().tolist()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"ID,ZIP\n07,01234\n08,\n",
        b"ID,ZIP\n07,01234,\n08,,\n",
        b"ID,ZIP\r\n07,01234,,\r\n08,,,\r\n",
        b"\xef\xbb\xbfID,ZIP\n07,01234,\n08,,\n",
        b'\xef\xbb\xbf"ID",ZIP\n"07",01234\n08,""\n',
    ],
    ids=["plain", "delimiter at the end", "two delimiters at the end", "BOM and delimiter", "BOM"],
)
def test_a_delimiter_at_the_end_of_the_rows_does_not_shift_the_columns(tmp_path: Path, reader: str, content: bytes):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert read_rows(path, reader) == (["ID", "ZIP"], [["07", "01234"], ["08", ""]])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", [b"ID,ZIP\n07,01234,x\n", b"ID,ZIP\n07,01234,\n08,,x\n", b"ID,ZIP\n7,1\n8,2,x\n"])
def test_a_row_with_more_values_than_columns_is_an_error(tmp_path: Path, reader: str, content: bytes):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises((ValueError, pl.exceptions.ComputeError), match=r"line|more fields|Expected 2 columns"):
        read_rows(path, reader)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", ["NA", "None", "null", "NaN", "N/A", "nan", "1.0", "0042", "1e5", "TRUE", " x "])
def test_all_values_are_read_as_text(tmp_path: Path, reader: str, value: str):
    path = tmp_path / "x.csv"
    path.write_text(f"County,First name\n{value},Ada\n,{value}\n")
    assert read_rows(path, reader)[1] == [[value, "Ada"], ["", value]]


@pytest.mark.parametrize("reader", READERS)
def test_columns_with_one_name_are_all_kept(tmp_path: Path, reader: str):
    path = tmp_path / "x.csv"
    path.write_bytes(b"ID,Name,Name\n1,Ada,Lovelace\n")
    table = getattr(receipt_of(path), reader)()
    columns = table.column_names if isinstance(table, pa.Table) else list(table.columns)
    assert columns[:2] == ["ID", "Name"]
    assert (len(columns), table.shape) == (3, (1, 3))


@pytest.mark.parametrize("library", ["polars", "pyarrow", "pandas"])
def test_a_missing_library_is_named(receipt: ExportReceipt, monkeypatch: pytest.MonkeyPatch, library: str):
    monkeypatch.setitem(sys.modules, library, None)
    read = {"polars": receipt.to_polars, "pyarrow": receipt.to_arrow, "pandas": receipt.to_pandas}[library]
    with pytest.raises(ImportError, match=f"needs {library}, which is not installed: pip install {library}$"):
        read()


async def test_a_purchased_export_is_read_in_threads(voters: VoterFile, tmp_path: Path):
    async with Sandbox(voters, speed=SPEED) as sandbox, open_client(sandbox) as client:
        (audience_id,) = await sandbox.seed_audiences(1, "42", size=300)
        receipt = await workflows.export_audience(
            client,
            audience_id,
            customer_id="42",
            destination=tmp_path / "x.csv",
            optional_field_types=["address"],
            max_cost_cents=10_000,
        )
    tables = await asyncio.gather(*map(asyncio.to_thread, [receipt.to_polars, receipt.to_arrow, receipt.to_pandas]))
    polars_rows, arrow_rows = tables[0].to_dicts(), tables[1].to_pylist()
    assert isinstance(tables[2], pd.DataFrame)
    assert polars_rows == arrow_rows == tables[2].to_dict("records")
    assert len(polars_rows) == 300
    assert {len(row["Registration ZIP code"]) for row in polars_rows} == {5}
