"""Find the columns of a CSV that may hold each API field, and score how well they fit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

import attrs

from indigo_async.files.csv.cell_patterns import detect_field, look_like_emails, measure_plausibility
from indigo_async.files.csv.head import CsvHead
from indigo_async.files.csv.header_names import is_excluded_header, recognize_field
from indigo_async.files.csv.warnings import find_damage

__all__ = ["Candidate", "ColumnCandidates", "find_candidates"]

_MIN_PLAUSIBILITY = 0.5
_FALLBACK_WEIGHT = 0.7
_UNNAMED_WEIGHT = 0.4
_FIELD_LABELS = {
    "first_name": "first names",
    "last_name": "last names",
    "full_name": "full names",
    "city": "cities",
    "state": "US states",
    "zip": "ZIP codes",
    "phone": "US phone numbers",
    "dob": "dates",
    "address": "street addresses",
}


@attrs.frozen(kw_only=True)
class Candidate:
    """A column that may hold a field.

    `fill_rate` is the share of rows with a value and `plausibility` the share of values that look right, both from 0
    to 1. `is_fallback` marks a second choice by name, such as a mailing address. `has_matching_header` is false if
    only the values suggest the field.
    """

    field: str
    column: str
    fill_rate: float
    plausibility: float
    is_fallback: bool = False
    has_matching_header: bool = True

    @property
    def score(self) -> float:
        """How well the column fits, from 0 to 1."""
        weight = _UNNAMED_WEIGHT if not self.has_matching_header else _FALLBACK_WEIGHT if self.is_fallback else 1.0
        return self.fill_rate * self.plausibility * weight

    @property
    def reason(self) -> str:
        """Why the column may hold the field, in words."""
        if self.field == "id":
            return "named like an ID, with a different value in every row that was checked"
        share = f"{self.plausibility:.0%} of its values"
        fit = (
            f"named like {self.field}; {share} look right"
            if self.has_matching_header
            else f"not named like {self.field}, but {share} are {_FIELD_LABELS[self.field]}"
        )
        return f"{fit}, and {self.fill_rate:.0%} of the rows have one"


@attrs.frozen
class ColumnCandidates:
    """The candidates among a CSV's columns. `left_out` gives the reason for each other column, by column name."""

    candidates: tuple[Candidate, ...]
    left_out: dict[str, str]

    def ranked(self, field: str) -> list[Candidate]:
        """The candidates for a field, best first."""
        return sorted((one for one in self.candidates if one.field == field), key=lambda one: -one.score)


def find_candidates(head: CsvHead) -> ColumnCandidates:
    """Assess every column of a CSV."""
    candidates: list[Candidate] = []
    left_out: dict[str, str] = {}
    for index, name in enumerate(head.columns):
        if not name.strip():
            continue  # a column without a name cannot be selected
        result = _assess_column(name, head.column_cells(index), head.encoding)
        if isinstance(result, Candidate):
            candidates.append(result)
        else:
            left_out[name] = result
    return ColumnCandidates(tuple(candidates), left_out)


def _assess_column(name: str, cells: Sequence[str], encoding: str) -> Candidate | str:
    """Return the field that a column may hold, or the reason why it holds none."""
    values = [cell for cell in cells if cell]
    if not values:
        return "is empty in the rows that were checked"
    if not name.isascii() and not encoding.startswith(("utf", "cp1252")):
        return f"has a name that the server may misread, because the file is {encoding}: save it as UTF-8"
    if look_like_emails(values):
        return "holds email addresses, which the API does not match by"
    fill_rate = len(values) / len(cells)
    by_header = _assess_by_header(name, values, fill_rate)
    if isinstance(by_header, Candidate) or is_excluded_header(name):
        return by_header
    field = detect_field(values, this_year=datetime.now(UTC).year)
    if field is None:
        return by_header
    plausibility = measure_plausibility(field, values)
    return Candidate(
        field=field, column=name, fill_rate=fill_rate, plausibility=plausibility, has_matching_header=False
    )


def _assess_by_header(name: str, values: Sequence[str], fill_rate: float) -> Candidate | str:
    """Return the field that a column's name stands for, unless its values contradict."""
    recognized = recognize_field(name)
    if recognized is None:
        return "has a name that matches no field of the API"
    field, is_fallback = recognized.field, recognized.is_fallback
    if field == "id":
        if fill_rate < 1 or len(set(values)) < len(values):
            return f"is named like an ID, but some rows have no value or share one{_explain_damage(field, values)}"
        return Candidate(field=field, column=name, fill_rate=1.0, plausibility=1.0, is_fallback=is_fallback)
    plausibility = measure_plausibility(field, values)
    if plausibility < _MIN_PLAUSIBILITY:
        return (
            f"is named like {field}, but {plausibility:.0%} of its values look like {_FIELD_LABELS[field]}"
            f"{_explain_damage(field, values)}"
        )
    return Candidate(field=field, column=name, fill_rate=fill_rate, plausibility=plausibility, is_fallback=is_fallback)


def _explain_damage(field: str, values: Sequence[str]) -> str:
    """Say what happened to most values, if that is known."""
    words = (words for count, words in find_damage(field, values) if count * 2 > len(values))
    return "".join(f"; its values are {one}" for one in islice(words, 1))
