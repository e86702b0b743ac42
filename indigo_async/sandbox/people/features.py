"""The table `features`: what lookalikes learn from, as numbers. Unknown values are -1, all others are non-negative."""

# ruff: noqa: S608
# Queries consist of this package's own names.

from __future__ import annotations

import duckdb
import numpy as np
from numpy.typing import NDArray

from indigo_async.sandbox.people.schema import COLUMNS, VOTER_FILE_DATE

__all__ = ["create_features_table", "load_features"]

_CATEGORICAL_FEATURES = ("gender", "ethnicity", "party", "reg_state", "county", "congressional_district")
"""Text features. Each is replaced by the rank of its value, so neighboring districts stay neighbors."""


def create_features_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table `features` from the table `voters`."""
    parts = [
        *(f"of_{name}.rank" for name in _CATEGORICAL_FEATURES),
        *(f"date_diff('year', {name}, DATE '{VOTER_FILE_DATE}')" for name in ("dob", "reg_date")),
        *(column.name for column in COLUMNS if column.sql_type in {"BOOLEAN", "FLOAT"}),
    ]
    columns = ", ".join(f"coalesce(({part})::FLOAT, -1) AS f{index}" for index, part in enumerate(parts))
    ranks = " ".join(
        f"""
        LEFT JOIN (
            SELECT value, row_number() OVER (ORDER BY value) AS rank FROM (SELECT DISTINCT {name} AS value FROM voters)
        ) AS of_{name} ON voters.{name} = of_{name}.value"""
        for name in _CATEGORICAL_FEATURES
    )
    connection.execute(f"CREATE TABLE features AS SELECT voter, {columns} FROM voters {ranks} ORDER BY voter")


def load_features(cursor: duckdb.DuckDBPyConnection) -> NDArray[np.float32]:
    """Return an array of voters x features."""
    return np.column_stack(
        list(cursor.execute("SELECT * EXCLUDE voter FROM features ORDER BY voter").fetchnumpy().values())
    )
