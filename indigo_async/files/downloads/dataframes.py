"""Reading an export's CSV as a table of one of the usual libraries, each value as the text that it is.

None of them is told or let guess types: a ZIP code of 01234 stays that, and a family named Null stays theirs. An empty
value is an empty text.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["read_arrow", "read_pandas", "read_polars"]


def read_polars(path: Path) -> pl.DataFrame:
    """The file as a Polars data frame.

    Raises:
        ImportError: Polars is not installed.
    """
    try:
        import polars as pl  # noqa: PLC0415 - for those who have it
    except ImportError:
        raise _missing("polars") from None
    return pl.read_csv(path, infer_schema=False, glob=False).fill_null("")


def read_arrow(path: Path) -> pa.Table:
    """The file as an Arrow table.

    Raises:
        ImportError: PyArrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - for those who have it
        from pyarrow import csv  # noqa: PLC0415 - as above
    except ImportError:
        raise _missing("pyarrow") from None
    lines = csv.ParseOptions(newlines_in_values=True)
    with csv.open_csv(path, parse_options=lines) as reader:
        columns = reader.schema.names
    texts = csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()))
    return csv.read_csv(path, parse_options=lines, convert_options=texts)


def read_pandas(path: Path) -> pd.DataFrame:
    """The file as a pandas data frame.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas as pd  # noqa: PLC0415 - for those who have it
    except ImportError:
        raise _missing("pandas") from None
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _missing(library: str) -> ImportError:
    return ImportError(f"reading an export as a table of {library} needs {library}: pip install {library}")
