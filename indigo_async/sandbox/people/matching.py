"""Matches the rows of an upload to voters, by the theory of Fellegi and Sunter (1969).

1. **Normalise** both sides (`normalise`), so that only real differences are left.
2. **Block**: a row is compared with the voters who share two of its values (or its phone), by several passes of
   equality joins. A true pair is lost only when every pass meets an error.
3. **Compare** each selected field: the same, nearly the same (a typo or two, a nickname, day and month swapped),
   different, or missing on either side. First and last name entered crosswise count as the same.
4. **Required** fields must be the same or nearly so. States have no near ones, and a value that is missing agrees with
   nothing.
5. **Weigh**: an agreement adds the bits of evidence of the very value (rare values more), a disagreement takes away,
   a missing value does neither. The evidence becomes the probability that the pair is the same person, against the
   other voters who pass, against people who live with them but are on no voter file, and against strangers. Optional
   fields decide here.
6. **Accept** a pair that is probable enough; of several rows for one voter the most probable, then the first.

Fields are not independent, which is seen to twice. People who live together share surname, ZIP and address, so that all
of that only says "one of this household"; first name, birth date or phone must say which one. People who move change
ZIP, city and address at once, so that all of that is at most one disagreement.

A row that fits two voters equally matches neither: a wrong person is worse than none.
"""

# ruff: noqa: S608
# Queries are put together from this package's own names; what comes from outside is bound.

from __future__ import annotations

from collections.abc import Mapping
from math import log2

import attrs
import duckdb
import numpy as np
from numpy.typing import NDArray

from indigo_async.inputs import ColumnSelection
from indigo_async.sandbox.people.csv_table import CsvTable
from indigo_async.sandbox.people.voters import VoterFile

__all__ = ["MatchResult", "match"]


@attrs.frozen
class MatchResult:
    """Who was found. Entry `i` of each says: row `rows[i]` (from 0) of the CSV is voter `voters[i]`.

    In order of `rows`; no row and no voter occurs twice. `row_ids` are the values of the ID column; where there is
    none, or its cell is empty, the row's number as text.
    """

    voters: NDArray[np.int32]
    rows: NDArray[np.int32]
    row_ids: tuple[str, ...] = attrs.field(repr=False)

    def __len__(self) -> int:
        return len(self.voters)


@attrs.frozen
class _Comparison:
    """How the key `key` of an uploaded row `u` is compared with that of a voter `v`.

    `near` is the SQL condition for nearly the same value, `rates` how often the values of one person are the same,
    nearly the same and different in lists that people keep, and `neighbors` how many times likelier it is to meet a
    near value than the very same one by chance.
    """

    key: str
    near: str
    rates: tuple[float, float, float]
    neighbors: float

    def level_sql(self) -> str:
        """2 for the same, 1 for nearly the same, 0 for different, NULL where a side does not say."""
        mine, theirs = f"u.{self.key}", f"v.{self.key}"
        near = self.near.format(a=mine, b=theirs)
        missing = f"{mine} IS NULL OR {theirs} IS NULL"
        return f"CASE WHEN {missing} THEN NULL WHEN {mine} = {theirs} THEN 2 WHEN {near} THEN 1 ELSE 0 END"

    def evidence_sql(self) -> str:
        """The evidence of the level: positive for the same person, negative against."""
        same, near, differ = self.rates
        levels = {2: f"{self.key}_bits + {log2(same)}", 0: f"{log2(differ)}"}
        if near:
            levels[1] = f"greatest({self.key}_bits + {log2(near / self.neighbors)}, {log2(differ)})"
        cases = " ".join(f"WHEN {level} THEN {bits}" for level, bits in levels.items())
        return f"CASE {self.key}_level {cases} ELSE 0 END"


_ONE_EDIT = "damerau_levenshtein({a}, {b}) <= 1"
_NEAR_NAME = "near_name({a}, {b})"
_SWAPPED_DATE = "day_and_month_swapped({a}) = {b}"
_NEAR_ADDRESS = """near_name(u.street, v.street)
    AND (u.house IS NULL OR v.house IS NULL OR damerau_levenshtein(u.house, v.house) <= 1)"""

_COMPARISONS: Mapping[str, _Comparison] = {
    comparison.key: comparison
    for comparison in (
        _Comparison("first", f"u.formal = v.formal OR {_NEAR_NAME}", (0.80, 0.14, 0.06), neighbors=10),
        _Comparison("last", _NEAR_NAME, (0.86, 0.09, 0.05), neighbors=5),
        _Comparison("dob", f"{_ONE_EDIT} OR {_SWAPPED_DATE}", (0.93, 0.045, 0.025), neighbors=40),
        _Comparison("phone", _ONE_EDIT, (0.70, 0.04, 0.26), neighbors=60),
        _Comparison("zip", _ONE_EDIT, (0.85, 0.06, 0.09), neighbors=15),
        _Comparison("city", _NEAR_NAME, (0.85, 0.07, 0.08), neighbors=3),
        _Comparison("state", "false", (0.97, 0.0, 0.03), neighbors=1),
        _Comparison("address", _NEAR_ADDRESS, (0.65, 0.15, 0.20), neighbors=3),
    )
}

_BLOCKING_PASSES: tuple[tuple[str, ...], ...] = (
    ("phone",),
    ("first", "last"),
    ("first", "dob"),
    ("first", "zip"),
    ("first", "address"),
    ("last", "dob"),
    ("last", "zip"),
    ("last", "city"),
    ("last", "address"),
    ("dob", "zip"),
    ("dob", "city"),
    ("dob", "address"),
)
_BLOCKING_KEYS = {"first": "formal"}
"""By what else than itself a value is looked up."""
_SWAPPED_NAMES = "u.first = v.last AND u.last = v.first"

_ON_FILE_PROBABILITY = 0.75
"""How probable it is beforehand that an uploaded person is on the voter file."""
_MOVED_PROBABILITY = 0.05
"""How probable it is that ZIP, city and address all differ for the same person."""
_UNLISTED_HOUSEMATES = 0.3
"""How many people who are on no voter file live with a voter and may be uploaded."""
_MIN_PROBABILITY = 0.9
"""The least probability of an accepted match."""

_KEY_EXPRESSIONS: Mapping[str, Mapping[str, str]] = {
    "first_name": {"first": "given_name({})", "formal": "formal_name(given_name({}))"},
    "last_name": {"last": "family_name({})"},
    "full_name": {
        "first": "given_of_full({})",
        "formal": "formal_name(given_of_full({}))",
        "last": "family_of_full({})",
    },
    "dob": {"dob": "birth_date({})"},
    "phone": {"phone": "phone_digits({})"},
    "zip": {"zip": "zip_code({})"},
    "city": {"city": "city_name({})"},
    "state": {"state": "state_code({})"},
    "address": {
        "house": "house_number({})",
        "street": "street_name({})",
        "address": "whole_address(house_number({}), street_name({}))",
    },
}
"""What each canonical field gives to compare."""
_KEYS_BY_FIELD = {"first_name": ("first",), "last_name": ("last",), "full_name": ("first", "last")}


def match(voters: VoterFile, table: CsvTable, selections: Mapping[str, ColumnSelection]) -> MatchResult:
    """Find the voters who are in an uploaded table.

    `selections` are as in the reference, "POST /match_uploaded_csv": by canonical field, the column of the table and
    whether it is required. The field `id` is for `row_ids` only.

    Raises:
        KeyError: a selected column is not in the table.
        ValueError: no field that can be matched is required.
    """
    chosen = {field: selection for field, selection in selections.items() if field != "id"}
    ids = selections.get("id")
    cells = {field: np.array(table.column(selection.column_name), dtype=object) for field, selection in chosen.items()}
    row_ids = table.column(ids.column_name) if ids else None
    required = [name for field, selection in chosen.items() if selection.required for name in _comparison_keys(field)]
    compared = [name for field in chosen for name in _comparison_keys(field)]
    if not required:
        raise ValueError("at least one field other than id must be required")
    with voters.cursor() as cursor:
        _create_upload_table(cursor, cells)
        found = cursor.execute(_matching_sql(compared, required), {"voters": len(voters)}).fetchnumpy()
    rows = np.asarray(found["row"], dtype=np.int32)
    numbers: list[int] = rows.tolist()
    return MatchResult(
        voters=np.asarray(found["voter"], dtype=np.int32),
        rows=rows,
        row_ids=tuple((row_ids[row] if row_ids else "") or str(row) for row in numbers),
    )


def _comparison_keys(field: str) -> tuple[str, ...]:
    return _KEYS_BY_FIELD.get(field, (field,))


def _create_upload_table(cursor: duckdb.DuckDBPyConnection, cells: Mapping[str, NDArray[np.object_]]) -> None:
    """Make the table `upload`, with a row number and the normalised values of the selected columns."""
    count = len(next(iter(cells.values())))
    cursor.register("cells", {"row": np.arange(count, dtype=np.int32), **cells})
    values = [
        f"{expression.replace('{}', field)} AS {key}"
        for field in cells
        for key, expression in _KEY_EXPRESSIONS[field].items()
    ]
    cursor.execute(f"CREATE TEMP TABLE upload AS SELECT row, {', '.join(values)} FROM cells")
    cursor.unregister("cells")


def _candidates_sql(compared: list[str]) -> str:
    """All pairs that a pass brings together; none where too little is compared to tell people apart."""
    joins = [
        " AND ".join(f"u.{key} = v.{key}" for key in (_BLOCKING_KEYS.get(name, name) for name in names))
        for names in _BLOCKING_PASSES
        if set(names) <= set(compared)
    ]
    if {"first", "last"} <= set(compared):
        joins.append(_SWAPPED_NAMES)
    pairs = [f"SELECT row, voter FROM upload u JOIN keys v ON {join}" for join in joins]
    return " UNION ".join(pairs or ["SELECT row, voter FROM upload, keys WHERE false"])


def _matching_sql(compared: list[str], required: list[str]) -> str:
    crossed = _SWAPPED_NAMES if {"first", "last"} <= set(compared) else "false"
    levels = [
        f"CASE WHEN crossed AND '{name}' IN ('first', 'last') THEN 2 ELSE {_COMPARISONS[name].level_sql()} END"
        f" AS {name}_level, {name}_bits"
        for name in compared
    ]

    def evidence(*names: str) -> str:
        return " + ".join([_COMPARISONS[name].evidence_sql() for name in names if name in compared] or ["0"])

    return f"""
        WITH pairs AS ({_candidates_sql(compared)}),
        compared AS (
            SELECT row, voter, coalesce({crossed}, false) AS crossed, {", ".join(levels)}
            FROM pairs JOIN upload u USING (row) JOIN keys v USING (voter)
        ),
        weighed AS (
            SELECT row, voter,
                greatest({evidence("address", "zip", "city", "state")}, {log2(_MOVED_PROBABILITY)}) AS place_bits,
                {evidence("last")} + place_bits AS household_bits,
                {evidence("first", "dob", "phone")} + household_bits AS bits
            FROM compared WHERE {" AND ".join(f"{name}_level > 0" for name in required)}
        ),
        judged AS (
            SELECT row, voter,
                pow(2, bits) * {_ON_FILE_PROBABILITY} / $voters AS voter_odds,
                pow(2, household_bits) * {_UNLISTED_HOUSEMATES} / $voters AS housemate_odds,
                {1 - _ON_FILE_PROBABILITY} AS stranger_odds,
                voter_odds / (stranger_odds + sum(voter_odds + housemate_odds) OVER (PARTITION BY row)) AS probability
            FROM weighed
        )
        SELECT row, voter FROM judged WHERE probability >= {_MIN_PROBABILITY}
        QUALIFY row_number() OVER (PARTITION BY voter ORDER BY voter_odds DESC, row) = 1
        ORDER BY row
    """
