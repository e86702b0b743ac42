"""The columns of a CSV that could serve a field, each with how well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import attrs

from indigo_async.files.csv.cell_patterns import detect_field, drop_empty, look_like_emails, measure_plausibility
from indigo_async.files.csv.head import CsvHead
from indigo_async.files.csv.header_names import is_excluded_header, recognize_field

__all__ = ["FIELD_LABELS", "Candidate", "ColumnCandidates", "find_candidates"]

_MIN_PLAUSIBILITY = 0.5
_FALLBACK_WEIGHT = 0.7
_UNNAMED_WEIGHT = 0.4
FIELD_LABELS = {
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
    """A column that could serve a field.

    `fill_rate` is the share of rows that have a value, `plausibility` the share of those that look right, both from 0
    to 1. `is_fallback` says that its name tells of, say, a mailing address; `has_matching_header` is false where its
    values alone speak for it.
    """

    field: str
    column: str
    fill_rate: float
    plausibility: float
    is_fallback: bool = False
    has_matching_header: bool = True

    @property
    def score(self) -> float:
        """How well it serves, from 0 to 1."""
        name = _UNNAMED_WEIGHT if not self.has_matching_header else _FALLBACK_WEIGHT if self.is_fallback else 1.0
        return self.fill_rate * self.plausibility * name

    @property
    def reason(self) -> str:
        """Why it could serve."""
        if self.field == "id":
            return "named so; another value in each row that was looked at"
        share = f"{self.plausibility:.0%} of its values"
        name = (
            f"named so; {share} look right"
            if self.has_matching_header
            else f"not named so, but {share} are {FIELD_LABELS[self.field]}"
        )
        return f"{name}, and {self.fill_rate:.0%} of the rows have one"


@attrs.frozen
class ColumnCandidates:
    """What a CSV's columns could serve; `left_out` has the reason, by column, for those that serve nothing."""

    candidates: tuple[Candidate, ...]
    left_out: dict[str, str]

    def ranked(self, field: str) -> list[Candidate]:
        """The columns that could serve a field, the best first."""
        return sorted((one for one in self.candidates if one.field == field), key=lambda one: -one.score)


def find_candidates(head: CsvHead) -> ColumnCandidates:
    """Look at every column of a CSV."""
    candidates: list[Candidate] = []
    left_out: dict[str, str] = {}
    for place, name in enumerate(head.columns):
        if not name:
            continue  # a column without a name cannot be selected
        found = _assess_column(name, head.column_cells(place), head.encoding)
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            left_out[name] = found
    return ColumnCandidates(tuple(candidates), left_out)


def _assess_column(name: str, cells: Sequence[str], encoding: str) -> Candidate | str:
    """What a column could serve, or why it serves nothing."""
    some = drop_empty(cells)
    if not some:
        return "is empty in the rows that were looked at"
    if not name.isascii() and not encoding.startswith(("utf", "cp1252")):
        return f"has a name that the server may read differently, since the file is {encoding}: save it as UTF-8"
    if look_like_emails(some):
        return "holds e-mail addresses, by which the API matches nobody"
    named = _assess_by_header(name, cells, some)
    field = None if is_excluded_header(name) else detect_field(some, this_year=datetime.now(UTC).year)
    if isinstance(named, Candidate) or field is None:
        return named
    fill = len(some) / len(cells)
    return Candidate(
        field=field,
        column=name,
        fill_rate=fill,
        plausibility=measure_plausibility(field, some),
        has_matching_header=False,
    )


def _assess_by_header(name: str, cells: Sequence[str], some: Sequence[str]) -> Candidate | str:
    """What a column could serve by its name, if its values (`some` are those not empty) do not contradict."""
    spelled = recognize_field(name)
    if spelled is None:
        return "has a name that says no field of the API"
    field, second = spelled.field, spelled.is_fallback
    if field == "id":
        if len(set(some)) < len(cells):
            return "is named like an ID, but some rows have none, or the same"
        return Candidate(field=field, column=name, fill_rate=1.0, plausibility=1.0, is_fallback=second)
    likeness = measure_plausibility(field, some)
    if likeness < _MIN_PLAUSIBILITY:
        return f"is named like {field}, but {likeness:.0%} of its values look like {FIELD_LABELS[field]}"
    fill = len(some) / len(cells)
    return Candidate(field=field, column=name, fill_rate=fill, plausibility=likeness, is_fallback=second)
