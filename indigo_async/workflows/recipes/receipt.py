"""What a bought and downloaded export leaves: the record, the file, and ways to read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from indigo_async.files.downloads.dataframes import read_arrow, read_pandas, read_polars
from indigo_async.models import CsvExport

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["ExportReceipt"]


@attrs.frozen(kw_only=True)
class ExportReceipt:
    """A bought and downloaded export: the record, and its CSV with its size in bytes and its SHA-256 in hex.

    `to_polars`, `to_arrow` and `to_pandas` read the file, whole, when those libraries are installed. Every column is
    text, so that ZIP codes and phone numbers keep their leading zeros; an empty value is an empty text. They block
    while they read: in a coroutine, `await asyncio.to_thread(receipt.to_polars)`.
    """

    export: CsvExport
    path: Path
    size_bytes: int
    sha256: str

    def to_polars(self) -> pl.DataFrame:
        """The people as a Polars data frame, all columns text.

        Raises:
            ImportError: Polars is not installed.
            OSError: the file is no longer there, or cannot be read.
        """
        return read_polars(self.path)

    def to_arrow(self) -> pa.Table:
        """The people as an Arrow table, all columns text.

        Raises:
            ImportError: PyArrow is not installed.
            OSError: the file is no longer there, or cannot be read.
        """
        return read_arrow(self.path)

    def to_pandas(self) -> pd.DataFrame:
        """The people as a pandas data frame, all columns text.

        Raises:
            ImportError: pandas is not installed.
            OSError: the file is no longer there, or cannot be read.
        """
        return read_pandas(self.path)
