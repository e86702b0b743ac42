"""Read an export's CSV into a data frame, with every value as text.

Type inference is off, so a ZIP code of 01234 keeps its zero and a person named Null keeps their name. An empty value
is an empty string.
"""

from __future__ import annotations

import csv
from io import BytesIO, StringIO
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from indigo_async._extras import require_packages

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["read_arrow", "read_pandas", "read_polars"]

_FEATURE = "reading an export as a table"


def read_polars(path: Path) -> pl.DataFrame:
    """Read the file into a Polars data frame.

    Raises:
        MissingPackageError: Polars is not installed.
    """
    require_packages(_FEATURE, "polars", "polars")
    import polars as pl  # noqa: PLC0415 - optional

    return pl.read_csv(_without_extra_fields(path), infer_schema=False, glob=False).fill_null("")


def read_arrow(path: Path) -> pa.Table:
    """Read the file into an Arrow table.

    Raises:
        MissingPackageError: PyArrow is not installed.
    """
    require_packages(_FEATURE, "pyarrow", "pyarrow")
    import pyarrow as pa  # noqa: PLC0415 - optional
    from pyarrow import csv as arrow_csv  # noqa: PLC0415 - optional

    parse_options = arrow_csv.ParseOptions(newlines_in_values=True)
    source = _without_extra_fields(path)
    with arrow_csv.open_csv(source, parse_options=parse_options) as reader:
        columns = reader.schema.names
    if isinstance(source, BytesIO):
        source.seek(0)
    as_text = arrow_csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()))
    return arrow_csv.read_csv(source, parse_options=parse_options, convert_options=as_text)


def read_pandas(path: Path) -> pd.DataFrame:
    """Read the file into a pandas data frame.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    require_packages(_FEATURE, "pandas", "pandas")
    import pandas as pd  # noqa: PLC0415 - optional

    # By default, pandas takes the first column for the index if the rows have one field more than the header.
    return pd.read_csv(_without_extra_fields(path), dtype=str, keep_default_na=False, index_col=False)


def _without_extra_fields(path: Path) -> Path | BytesIO:
    """Return the file, or a copy without empty extra fields if its rows have more fields than its header.

    Some programs end every row except the header with a delimiter.

    Raises:
        ValueError: a row has more values than there are columns.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            header, first = islice(chain(csv.reader(file), repeat([], 2)), 2)
        except (UnicodeDecodeError, csv.Error):  # for the library to report
            return path
        if len(first) <= len(header):
            return path
        file.seek(0)
        copy = StringIO(newline="")
        writer, rows = csv.writer(copy), csv.reader(file)
        for row in rows:
            if any(row[len(header) :]):
                raise ValueError(f"line {rows.line_num} of {path} has {len(row)} values for {len(header)} columns")
            writer.writerow(row[: len(header)])
    return BytesIO(copy.getvalue().encode())
