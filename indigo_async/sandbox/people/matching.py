"""Match the rows of an upload to voters with the method of Fellegi and Sunter (1969).

1. **Normalize** both sides (`normalize`), so only real differences remain.
2. **Block**: compare a row only with voters who share two of its values (or its phone), using several equality joins. A
true
   pair is lost only if every join meets an error.
3. **Compare** each selected field: same, nearly the same (a typo or two, a nickname, swapped day and month), different,
or missing
   on either side. Swapped first and last names count as the same.
4. **Required** fields must be the same or nearly the same. States must be the same. A missing value never agrees.
5. **Weigh**: an agreement adds the evidence of that value in bits (more for rare values), a disagreement subtracts, and
a missing
   value does neither. The evidence becomes the probability that both are the same person, compared with other voters,
   with people in the same household who aren't on the voter file, and with strangers.
6. **Accept** pairs that are probable enough. If several rows match one voter, the most probable row wins, then the
first.

Fields aren't independent. People in a household share surname, ZIP and address, so these only identify the household;
first name, birth date or phone must identify the person. People who move change ZIP, city and address together, so
these count as at most one disagreement.

A row that matches two voters equally matches neither: a wrong person is worse than none.
"""

# ruff: noqa: S608
# Queries consist of this package's own names. Outside values are bound.

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
    """The matches: row `rows[i]` (from 0) of the CSV is voter `voters[i]`.

    Sorted by `rows`, without duplicate rows or voters. `row_ids` holds the values of the ID column, or the row number
    as text if there is no ID column or its cell is empty.
    """

    voters: NDArray[np.int32]
    rows: NDArray[np.int32]
    row_ids: tuple[str, ...] = attrs.field(repr=False)

    def __len__(self) -> int:
        return len(self.voters)


@attrs.frozen
class _Comparison:
    """How the key `key` of an uploaded row `u` is compared with that of a voter `v`.

    `near` is the SQL condition for nearly equal values. `rates` says how often the values of one person are the same,
    nearly the same, and different in real lists. `neighbors` says how many times likelier a nearly equal value is by
    chance than the same value.
    """

    key: str
    near: str
    rates: tuple[float, float, float]
    neighbors: float

    def level_sql(self) -> str:
        """2 for the same, 1 for nearly the same, 0 for different, NULL if a side is missing."""
        mine, theirs = f"u.{self.key}", f"v.{self.key}"
        near = self.near.format(a=mine, b=theirs)
        missing = f"{mine} IS NULL OR {theirs} IS NULL"
        return f"CASE WHEN {missing} THEN NULL WHEN {mine} = {theirs} THEN 2 WHEN {near} THEN 1 ELSE 0 END"

    def evidence_sql(self) -> str:
        """The evidence of a level in bits: positive for the same person, negative against."""
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
"""Other values under which a value is also looked up."""
_SWAPPED_NAMES = "u.first = v.last AND u.last = v.first"

_ON_FILE_PROBABILITY = 0.75
"""The prior probability that an uploaded person is on the voter file."""
_MOVED_PROBABILITY = 0.05
"""The probability that ZIP, city and address all differ for the same person."""
_UNLISTED_HOUSEMATES = 0.3
"""The number of people per voter who share the household, are on no voter file, and may be uploaded."""
_MIN_PROBABILITY = 0.9
"""The minimum probability of a match."""

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
"""The comparisons for each canonical field."""
_KEYS_BY_FIELD = {"first_name": ("first",), "last_name": ("last",), "full_name": ("first", "last")}


def match(voters: VoterFile, table: CsvTable, selections: Mapping[str, ColumnSelection]) -> MatchResult:
    """Find the voters in an uploaded table.

    `selections` holds the column of each canonical field and whether it is required (API reference: "POST
    /match_uploaded_csv"). The field `id` is used for `row_ids` only.

    Raises:
        KeyError: a selected column isn't in the table.
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
    """Create the table `upload` with row numbers and the normalized values of the selected columns."""
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
    """Return the query of all candidate pairs, or none if too few fields are compared to tell people apart."""
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
