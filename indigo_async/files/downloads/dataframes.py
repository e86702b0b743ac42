"""Read an export's CSV into a data frame, with every value as text.

Type inference is off, so a ZIP code of 01234 keeps its zero and a person named Null keeps their name. An empty value
is an empty string.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["read_arrow", "read_pandas", "read_polars"]


def read_polars(path: Path) -> pl.DataFrame:
    """Read the file into a Polars data frame.

    Raises:
        ImportError: Polars is not installed.
    """
    with _required("polars"):
        import polars as pl  # noqa: PLC0415 - optional
    return pl.read_csv(path, infer_schema=False, glob=False).fill_null("")


def read_arrow(path: Path) -> pa.Table:
    """Read the file into an Arrow table.

    Raises:
        ImportError: PyArrow is not installed.
    """
    with _required("pyarrow"):
        import pyarrow as pa  # noqa: PLC0415 - optional
        from pyarrow import csv  # noqa: PLC0415 - optional
    parse_options = csv.ParseOptions(newlines_in_values=True)
    with csv.open_csv(path, parse_options=parse_options) as reader:
        columns = reader.schema.names
    as_text = csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()))
    return csv.read_csv(path, parse_options=parse_options, convert_options=as_text)


def read_pandas(path: Path) -> pd.DataFrame:
    """Read the file into a pandas data frame.

    Raises:
        ImportError: pandas is not installed.
    """
    with _required("pandas"):
        import pandas as pd  # noqa: PLC0415 - optional
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@contextmanager
def _required(library: str) -> Generator[None]:
    try:
        yield
    except ImportError:
        raise ImportError(f"reading an export as a table needs {library}: pip install {library}") from None
