"""The columns of a CSV that could serve a field, each with how well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import attrs

from indigo_async.files.cell_kinds import are_emails, field_of_cells, filled, share_like
from indigo_async.files.csv_head import CsvHead
from indigo_async.files.spellings import field_named, is_about_others

__all__ = ["WORDS", "Candidate", "Found", "found_in"]

_ENOUGH = 0.5
_SECOND_CHOICE = 0.7
_UNNAMED = 0.4
WORDS = {
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

    `fill` is the share of rows that have a value, `likeness` the share of those that look right, both from 0 to 1.
    `is_second_choice` says that its name tells of, say, a mailing address; `is_named` is false where its values alone
    speak for it.
    """

    field: str
    column: str
    fill: float
    likeness: float
    is_second_choice: bool = False
    is_named: bool = True

    @property
    def score(self) -> float:
        """How well it serves, from 0 to 1."""
        name = _UNNAMED if not self.is_named else _SECOND_CHOICE if self.is_second_choice else 1.0
        return self.fill * self.likeness * name

    @property
    def reason(self) -> str:
        """Why it could serve."""
        if self.field == "id":
            return "named so; another value in each row that was looked at"
        share = f"{self.likeness:.0%} of its values"
        name = (
            f"named so; {share} look right" if self.is_named else f"not named so, but {share} are {WORDS[self.field]}"
        )
        return f"{name}, and {self.fill:.0%} of the rows have one"


@attrs.frozen
class Found:
    """What a CSV's columns could serve; `left_out` has the reason, by column, for those that serve nothing."""

    candidates: tuple[Candidate, ...]
    left_out: dict[str, str]

    def ranked(self, field: str) -> list[Candidate]:
        """The columns that could serve a field, the best first."""
        return sorted((one for one in self.candidates if one.field == field), key=lambda one: -one.score)


def found_in(head: CsvHead) -> Found:
    """Look at every column of a CSV."""
    candidates: list[Candidate] = []
    left_out: dict[str, str] = {}
    for place, name in enumerate(head.columns):
        if not name:
            continue  # a column without a name cannot be selected
        found = _serves(name, head.cells(place), head.encoding)
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            left_out[name] = found
    return Found(tuple(candidates), left_out)


def _serves(name: str, cells: Sequence[str], encoding: str) -> Candidate | str:
    """What a column could serve, or why it serves nothing."""
    some = filled(cells)
    if not some:
        return "is empty in the rows that were looked at"
    if not name.isascii() and not encoding.startswith(("utf", "cp1252")):
        return f"has a name that the server may read differently, since the file is {encoding}: save it as UTF-8"
    if are_emails(some):
        return "holds e-mail addresses, by which the API matches nobody"
    named = _by_name(name, cells, some)
    field = None if is_about_others(name) else field_of_cells(some, this_year=datetime.now(UTC).year)
    if isinstance(named, Candidate) or field is None:
        return named
    fill = len(some) / len(cells)
    return Candidate(field=field, column=name, fill=fill, likeness=share_like(field, some), is_named=False)


def _by_name(name: str, cells: Sequence[str], some: Sequence[str]) -> Candidate | str:
    """What a column could serve by its name, if its values (`some` are those not empty) do not contradict."""
    spelled = field_named(name)
    if spelled is None:
        return "has a name that says no field of the API"
    field, second = spelled.field, spelled.is_second_choice
    if field == "id":
        if len(set(some)) < len(cells):
            return "is named like an ID, but some rows have none, or the same"
        return Candidate(field=field, column=name, fill=1.0, likeness=1.0, is_second_choice=second)
    likeness = share_like(field, some)
    if likeness < _ENOUGH:
        return f"is named like {field}, but {likeness:.0%} of its values look like {WORDS[field]}"
    fill = len(some) / len(cells)
    return Candidate(field=field, column=name, fill=fill, likeness=likeness, is_second_choice=second)
