"""Which columns of a local CSV hold what a match needs: a proposal to look at, with a reason for every choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import attrs

from indigo_async.errors import InvalidInputError
from indigo_async.files.candidates import Candidate, Found, found_in
from indigo_async.files.csv_check import HEADLESS, seems_headless, table_problems
from indigo_async.files.csv_head import CsvHead, csv_problem, read_head
from indigo_async.files.spellings import is_about_others
from indigo_async.inputs import CANONICAL_FIELDS, ColumnSelection, ColumnSelections
from indigo_async.transport.shield import in_thread

__all__ = ["ColumnSuggestion", "suggest_columns"]

_CODE_PAGES = ("cp1252", "mac_roman", "cp437")  # given more of them, it takes a few Spanish names for Polish ones
_CLOSE = 0.9
_RARE = 0.5
_MOST_COLUMNS_TOLD = 20
_TELLING = ("last_name", "first_name", "full_name", "phone", "dob", "zip", "city", "state")
"""The fields that can be required, by how well they tell people apart."""
_NAMES = ("first_name", "last_name", "full_name")


@attrs.frozen(kw_only=True)
class ColumnSuggestion:
    """Column selections that a CSV's header and first rows suggest; they obey the API's rules.

    `reasons` says why, by field; `left_out` why not, by column; `warnings` what to look at before using it.
    `encoding` is Python's name for it, `utf-8-sig` being UTF-8 with a byte order mark; `rows_sampled` counts the rows
    that were looked at, the header not among them.
    """

    path: Path
    selections: ColumnSelections
    reasons: Mapping[str, str]
    left_out: Mapping[str, str]
    warnings: tuple[str, ...]
    encoding: str
    delimiter: str
    rows_sampled: int


async def suggest_columns(path: Path | str) -> ColumnSuggestion:
    """Propose column selections for a local CSV, from its header and its first rows (500 at most).

    A column is known by its name, where that is a usual one and the values do not contradict, else by values that can
    be nothing else. Names become required and all else optional; without names, the one field that best tells people
    apart becomes required.

    Raises:
        InvalidInputError: the CSV could not be uploaded (see `check_columns`), or has nothing that could be required.
        ImportError: the file is not Unicode, and what guesses its encoding is missing: the extra `columns`.
    """
    return await in_thread(partial(_suggestion, Path(path)))


def _suggestion(path: Path) -> ColumnSuggestion:
    head = read_head(path, partial(_code_page, path))
    problems = table_problems(head)
    if problems:
        raise InvalidInputError(problems)
    found = found_in(head)
    chosen = _chosen(found)
    required = _required(chosen)
    left_out = found.left_out | _passed_over(found, chosen)
    if not required:
        raise InvalidInputError([csv_problem(path, _nothing_to_require(head, chosen, left_out))])
    return ColumnSuggestion(
        path=path,
        selections=ColumnSelections(
            **{field: ColumnSelection(one.column, required=field in required) for field, one in chosen.items()}
        ),
        reasons={field: one.reason + _why_required(field, required) for field, one in chosen.items()},
        left_out=left_out,
        warnings=(*_warnings_of_file(head), *_warnings_of_choice(found, chosen, required)),
        encoding=head.encoding,
        delimiter=head.delimiter,
        rows_sampled=len(head.rows),
    )


def _code_page(path: Path, data: bytes) -> str:
    """The likeliest encoding of bytes that are not Unicode."""
    try:
        from charset_normalizer import from_bytes  # noqa: PLC0415 - the extra may be missing, and is seldom needed
    except ImportError:
        raise ImportError(
            f"{str(path)!r} is not UTF-8, and charset-normalizer, which finds out what it is, is not installed: "
            "save the file as UTF-8, or pip install 'indigo-async[columns]'",
            name="charset_normalizer",
        ) from None
    best = from_bytes(data, cp_isolation=list(_CODE_PAGES)).best()
    return best.encoding if best is not None else _CODE_PAGES[0]


def _chosen(found: Found) -> dict[str, Candidate]:
    """The best column for each field, in the API's order of fields; `full_name` or its parts, never both."""
    best = {field: ranked[0] for field in CANONICAL_FIELDS if (ranked := found.ranked(field))}
    whole, parts = {"full_name"} & best.keys(), {"first_name", "last_name"} & best.keys()
    dropped = whole if len(parts) > 1 else parts if whole else ()
    return {field: one for field, one in best.items() if field not in dropped}


def _required(chosen: Mapping[str, Candidate]) -> set[str]:
    """The fields to require, `id` among them; none where nothing could be."""
    names = {field for field in _NAMES if field in chosen}
    matching = names or {field for field in _TELLING if field in chosen}
    if not matching:
        return set()
    one = next(field for field in _TELLING if field in matching)
    return (names or {one}) | ({"id"} & chosen.keys())


def _why_required(field: str, required: set[str]) -> str:
    if field == "id":
        return "; must be required, and is not matched by"
    if field == "address":
        return "; must be optional"
    if field in required and field not in _NAMES:
        return "; required, since nothing here tells people apart better"
    return ""


def _passed_over(found: Found, chosen: Mapping[str, Candidate]) -> dict[str, str]:
    """Why columns that could serve do not, by column."""
    reasons: dict[str, str] = {}
    for one in found.candidates:
        taken = chosen.get(one.field)
        if taken is None:
            instead = "first_name and last_name" if one.field == "full_name" else "full_name"
            reasons[one.column] = f"could be {one.field}, but {instead} excludes it and serves better"
        elif taken.column != one.column:
            reasons[one.column] = f"could be {one.field}, too, but {taken.column!r} {_advantage(taken, one)}"
    return reasons


def _advantage(taken: Candidate, other: Candidate) -> str:
    if taken.is_named and not other.is_named:
        return "is named so"
    if other.is_second_choice and not taken.is_second_choice:
        return "is named more plainly"
    if taken.score > other.score:
        return f"serves better: {taken.fill:.0%} of the rows have it there, {other.fill:.0%} here"
    return "serves as well, and comes first"


def _nothing_to_require(head: CsvHead, chosen: Mapping[str, Candidate], left_out: Mapping[str, str]) -> str:
    if seems_headless(head):
        return HEADLESS
    what = f"has no column that a match could require; the API needs at least one of {', '.join(_TELLING)}"
    known = {one.column: f"serves as {field}, which cannot be the required one" for field, one in chosen.items()}
    if not known and not any(map(is_about_others, left_out)):  # the header may be a person, who must not be told
        return what
    told = [f"{name!r} {reason}" for name, reason in (known | dict(left_out)).items()][:_MOST_COLUMNS_TOLD]
    return f"{what}. {'; '.join(told)}"


def _warnings_of_file(head: CsvHead) -> Iterator[str]:
    if not head.encoding.startswith("utf-8"):
        yield f"the file is not UTF-8 but {head.encoding}: save it as UTF-8, so that names with accents are read right"
    if head.delimiter != ",":
        yield f"the file is delimited by {head.delimiter!r}: save it with commas, which every reader of CSVs expects"
    short = sum(len(row.cells) < len(head.columns) for row in head.rows)
    if short:
        yield f"{short} of the first {len(head.rows)} rows are shorter than the header; what they lack counts as empty"


def _warnings_of_choice(found: Found, chosen: Mapping[str, Candidate], required: set[str]) -> Iterator[str]:
    for field, one in chosen.items():
        rivals = [f"{other.column!r}" for other in found.ranked(field)[1:] if other.score >= one.score * _CLOSE]
        if rivals and field != "id":  # by which nobody is matched
            yield f"{field}: {one.column!r} and {', '.join(rivals)} serve about equally well; see which is right"
        if field in required and one.fill < _RARE:
            yield f"{field}: only {one.fill:.0%} of the rows have it; rows without it match nobody while it is required"
    if not chosen.keys() & {"phone", "dob", "zip", "address", "city"}:
        yield "nothing but names or states: many people share these; add a ZIP code, a birth date or a phone number"
    elif not chosen.keys() & {*_NAMES, "phone"}:
        yield "no names and no phone numbers: what is left seldom tells people apart"
