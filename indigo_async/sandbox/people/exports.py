"""Write exported CSVs with the vendor's columns (inferred).

The ID of the uploaded row comes first, if there is one, then the free columns, then those of the paid field types, in
the order of the voter file. Names are uppercase letters with folded accents. Unknown values are empty cells.
"""

# ruff: noqa: S608
# Queries consist of this package's own names. Outside values are bound.

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indigo_async.inputs import OptionalFieldType
from indigo_async.sandbox.people.schema import COLUMNS, Column
from indigo_async.sandbox.people.voters import VoterFile

__all__ = ["LOOKALIKE_SCORE_HEADER", "ROW_ID_HEADER", "export_csv"]

ROW_ID_HEADER = "Uploaded row ID"
LOOKALIKE_SCORE_HEADER = "Lookalike score"
_NAME_COLUMNS = ("first_name", "middle_name", "last_name", "name_suffix")


def export_csv(
    voters: VoterFile,
    members: NDArray[np.int32],
    *,
    optional_field_types: Collection[str],
    row_ids: Sequence[str] | None,
    scores: NDArray[np.float64] | None,
) -> bytes:
    """Return the CSV (UTF-8, commas, header) of an audience, one row per member, in order.

    `row_ids` (of a matched audience) and `scores` (of a lookalike) are parallel to `members`. Without scores, the field
    type `lookalike_scores` is a column of empty cells.

    Raises:
        ValueError: a field type is unknown.
    """
    paid = {OptionalFieldType(name) for name in optional_field_types}
    values: dict[str, NDArray[Any]] = {"place": np.arange(len(members)), "voter": members}
    columns: list[tuple[str, str]] = []
    if row_ids is not None:
        values["row_id"] = np.array(row_ids, dtype=object)
        columns.append((ROW_ID_HEADER, "row_id"))
    columns += [
        pair for column in COLUMNS if column.field_type in {None, *paid} for pair in _export_expressions(column)
    ]
    if OptionalFieldType.LOOKALIKE_SCORES in paid:
        values["score"] = np.full(len(members), np.nan) if scores is None else scores
        columns.append((LOOKALIKE_SCORE_HEADER, "CASE WHEN NOT isnan(score) THEN round(score, 4) END"))
    shown = ", ".join(f'{expression} AS "{header}"' for header, expression in columns)
    with voters.cursor() as cursor, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.csv"
        cursor.register("members", values)
        query = f"SELECT {shown} FROM members JOIN voters USING (voter) ORDER BY place"
        cursor.sql(query).write_csv(str(path), header=True)
        return path.read_bytes()


def _export_expressions(column: Column) -> list[tuple[str, str]]:
    """Return the header and the SQL expression of an exported column."""
    name = column.name
    if column.header is None:
        return []
    if name == "middle_name":
        middle = f"name_letters({name})"
        return [
            (column.header, f"CASE WHEN length({middle}) > 1 THEN {middle} END"),
            ("Middle initial", f"{middle}[1]"),
        ]
    if name in _NAME_COLUMNS:
        return [(column.header, f"name_letters({name})")]
    if column.sql_type == "BOOLEAN":
        return [(column.header, f"CASE WHEN {name} THEN 'Y' WHEN NOT {name} THEN 'N' END")]
    if column.sql_type == "FLOAT":
        return [(column.header, f"round({name}::DOUBLE, 3)")]
    return [(column.header, name)]
