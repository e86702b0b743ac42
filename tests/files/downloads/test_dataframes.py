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


@pytest.mark.parametrize("library", ["polars", "pyarrow", "pandas"])
def test_a_missing_library_is_named(receipt: ExportReceipt, monkeypatch: pytest.MonkeyPatch, library: str):
    monkeypatch.setitem(sys.modules, library, None)
    read = {"polars": receipt.to_polars, "pyarrow": receipt.to_arrow, "pandas": receipt.to_pandas}[library]
    with pytest.raises(ImportError, match=f"needs {library}: pip install {library}$"):
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
