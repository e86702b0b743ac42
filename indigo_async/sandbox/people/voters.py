"""The voter file: DuckDB tables of people, indexed by `voter`, from 0.

- `voters`: the columns of `schema.COLUMNS`.
- `keys`: what `matching` compares: normalized values (`first`, `last`, `dob`, ...), each with its weight of evidence
  `<key>_bits`, -log2 of the probability that somebody else has the same value. SMITH is worth little, a rare surname
  much.
- `features`: what `lookalike` learns from.
"""

# ruff: noqa: S608
# Queries consist of this package's own names. Outside values are bound.

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import duckdb

from indigo_async._extras import require_extra
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.sandbox.people.cache import create_database, open_cached_database
from indigo_async.sandbox.people.features import create_features_table
from indigo_async.sandbox.people.normalize import install_macros
from indigo_async.sandbox.people.schema import COLUMNS
from indigo_async.sandbox.people.synthetic import DERIVED_COLUMNS, generate_people

__all__ = ["FILTER_COLUMNS", "VoterFile", "list_filter_values"]

_REQUIRED_COLUMNS = ("first_name", "last_name")

FILTER_COLUMNS = {
    "states": "reg_state",
    "counties": "county",
    "congressional_districts": "congressional_district",
    "upper_state_legislative_districts": "upper_district",
    "lower_state_legislative_districts": "lower_district",
}
"""The column that each filter of `LookalikeFilters` checks."""

_MATCH_KEYS = {
    "first_name": {"first": "given_name(value)", "formal": "formal_name(first)"},
    "last_name": {"last": "family_name(value)"},
    "dob": {"dob": "strftime(value, '%Y%m%d')"},
    "cell_phone": {"phone": "phone_digits(value)"},
    "reg_zip": {"zip": "zip_code(value)"},
    "reg_city": {"city": "city_name(value)"},
    "reg_state": {"state": "state_code(value)"},
    "reg_address": {
        "house": "house_number(value)",
        "street": "street_name(value)",
        "address": "whole_address(house, street)",
    },
}
"""The keys that are made from each column of `voters`, and their expressions. All are NULL if the column is NULL."""

_WEIGHTED_KEYS = ("first", "last", "dob", "phone", "zip", "city", "state", "address")

_UNSEEN_SHARERS = {"phone": 0.02}
"""People off the file per voter who share a value: almost none for a phone, one for a name, a birth date or a ZIP."""

_SMOOTHING_PEOPLE = 1_000
"""Added people with other values, so that a name doesn't seem common just because the file is small."""


class VoterFile:
    """People to match, to find lookalikes among and to export, identified by their index from 0.

    Thread-safe. Call `close` when you no longer need it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Use a database that `_create_tables` filled."""
        self._connection = connection
        self._count = _query_int(connection, "SELECT count(*) FROM voters")

    @classmethod
    def synthetic(cls, count: int = 100_000, *, seed: int = 0) -> VoterFile:
        """Create `count` synthetic people, or open them if they are in the cache. Deterministic for a seed."""
        require_extra("sandbox", "a synthetic voter file")
        load = functools.partial(_load_synthetic, count=count, seed=seed)
        return cls(open_cached_database(f"{count}-{seed}", functools.partial(_create_tables, load_people=load)))

    @classmethod
    def from_file(cls, path: Path) -> VoterFile:
        """Read people from a CSV (with a header) or Parquet file.

        Its columns are named as in `schema.COLUMNS`, in any order and case, with blanks or underscores. `first_name`
        and `last_name` are required. Other columns may be missing, and unknown columns are ignored. `dob` may have any
        format that the macro `birth_date` of `normalize` reads.

        Raises:
            InvalidInputError: the file can't be read, is empty, or lacks a required column.
        """
        load = functools.partial(_load_file, path=path)
        return cls(create_database(":memory:", functools.partial(_create_tables, load_people=load)))

    def __len__(self) -> int:
        return self._count

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Open another connection to the database, for one call in one thread. Close it after use."""
        return self._connection.cursor()

    def close(self) -> None:
        self._connection.close()


def list_filter_values(voters: VoterFile) -> dict[str, list[str]]:
    """Return the values that each lookalike filter can have in this voter file."""
    with voters.cursor() as cursor:
        return {
            name: [
                str(value)
                for (value,) in cursor.execute(
                    f"SELECT DISTINCT {column} AS value FROM voters WHERE value IS NOT NULL ORDER BY value"
                ).fetchall()
            ]
            for name, column in FILTER_COLUMNS.items()
        }


def _query_int(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _create_tables(
    connection: duckdb.DuckDBPyConnection, load_people: Callable[[duckdb.DuckDBPyConnection], None]
) -> None:
    """Create all tables and macros. `load_people` creates the table `voters`."""
    install_macros(connection)
    load_people(connection)
    _create_keys_table(connection)
    create_features_table(connection)


def _create_voters_table(connection: duckdb.DuckDBPyConnection, expressions: dict[str, str]) -> None:
    """Create the table `voters` from the view `people`, with an expression per column."""
    columns = ", ".join(f"({expressions[column.name]})::{column.sql_type} AS {column.name}" for column in COLUMNS)
    connection.execute(
        f"CREATE TABLE voters AS SELECT voter_index::INTEGER AS voter, {columns} FROM people ORDER BY voter"
    )


def _load_synthetic(connection: duckdb.DuckDBPyConnection, *, count: int, seed: int) -> None:
    connection.register("people", generate_people(count, seed=seed))
    _create_voters_table(connection, {column.name: DERIVED_COLUMNS.get(column.name, column.name) for column in COLUMNS})
    connection.unregister("people")


def _load_file(connection: duckdb.DuckDBPyConnection, *, path: Path) -> None:
    reader = (
        "read_parquet($1)" if path.suffix.lower() == ".parquet" else "read_csv($1, all_varchar = true, header = true)"
    )
    try:
        connection.execute(
            f"CREATE TABLE people AS SELECT (row_number() OVER ()) - 1 AS voter_index, * FROM {reader}", [str(path)]
        )
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError([Problem(str(path), f"can't be read as a voter file: {reason}")]) from error
    found = {
        str(name).strip().lower().replace(" ", "_"): f'people."{str(name).replace(chr(34), chr(34) * 2)}"'
        for name, *_ in connection.execute("DESCRIBE people").fetchall()
    }
    problems = [Problem(str(path), f"lacks the column {name}") for name in _REQUIRED_COLUMNS if name not in found]
    if not problems and not _query_int(connection, "SELECT count(*) FROM people"):
        problems = [Problem(str(path), "holds no voters")]
    if problems:
        raise InvalidInputError(problems)
    _create_voters_table(
        connection, {column.name: _column_expression(column.sql_type, found.get(column.name)) for column in COLUMNS}
    )
    connection.execute("DROP TABLE people")


def _column_expression(sql_type: str, source: str | None) -> str:
    """Return the expression that reads a column of a user's file."""
    if source is None:
        return "NULL"
    if sql_type == "DATE":
        return f"try_strptime(birth_date({source}::VARCHAR), '%Y%m%d')"
    if sql_type == "VARCHAR":
        return f"nullif(trim({source}::VARCHAR), '')"
    return f"try_cast({source} AS {sql_type})"


def _create_keys_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table `keys` from the table `voters`."""
    values: list[str] = []
    sources: list[str] = []
    for column, expressions in _MATCH_KEYS.items():
        shown = ", ".join(f"{expression} AS {key}" for key, expression in expressions.items())
        values += [f"of_{column}.{key}" for key in expressions]
        # normalizing is slow, and each distinct value needs it only once
        sources.append(f"""
            LEFT JOIN (SELECT value, {shown} FROM (SELECT DISTINCT {column} AS value FROM voters)) AS of_{column}
            ON voters.{column} = of_{column}.value""")
    connection.execute(f"CREATE TEMP TABLE plain AS SELECT voter, {', '.join(values)} FROM voters {' '.join(sources)}")
    bits: list[str] = []
    joins: list[str] = []
    for key in _WEIGHTED_KEYS:
        sharers = f"count(*) - 1 + {_UNSEEN_SHARERS.get(key, 1)}"
        connection.execute(f"""
            CREATE TEMP TABLE weight_{key} AS
            SELECT {key}, log2(((SELECT count(*) FROM plain) + {_SMOOTHING_PEOPLE}) / ({sharers})) AS {key}_bits
            FROM plain WHERE {key} IS NOT NULL GROUP BY {key}""")
        bits.append(f"{key}_bits")
        joins.append(f"LEFT JOIN weight_{key} USING ({key})")
    connection.execute(f"""
        CREATE TABLE keys AS SELECT plain.*, {", ".join(bits)} FROM plain {" ".join(joins)} ORDER BY voter""")
    for name in ("plain", *(f"weight_{key}" for key in _WEIGHTED_KEYS)):
        connection.execute(f"DROP TABLE {name}")
