"""Which columns of a local CSV hold what a match needs: a proposal to look at, with a reason for every choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import attrs

from indigo_async._transport.cancellation import run_in_thread
from indigo_async.errors import InvalidInputError
from indigo_async.files.csv.candidates import Candidate, ColumnCandidates, find_candidates
from indigo_async.files.csv.check import NO_HEADER_MESSAGE, find_table_problems, seems_to_lack_header
from indigo_async.files.csv.head import CsvHead, csv_problem, read_head
from indigo_async.files.csv.header_names import is_excluded_header
from indigo_async.inputs import CANONICAL_FIELDS, ColumnSelection, ColumnSelections

__all__ = ["ColumnSuggestion", "suggest_columns", "to_python", "to_yaml"]

_CODE_PAGES = ("cp1252", "mac_roman", "cp437")  # given more of them, it takes a few Spanish names for Polish ones
_CLOSE_SCORE_RATIO = 0.9
_LOW_FILL_RATE = 0.5
_MAX_COLUMNS_SHOWN = 20
_IDENTIFYING_FIELDS = ("last_name", "first_name", "full_name", "phone", "dob", "zip", "city", "state")
"""The fields that can be required, by how well they tell people apart."""
_NAME_FIELDS = ("first_name", "last_name", "full_name")


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
    return await run_in_thread(partial(_suggest, Path(path)))


def _suggest(path: Path) -> ColumnSuggestion:
    head = read_head(path, partial(_detect_encoding, path))
    problems = find_table_problems(head)
    if problems:
        raise InvalidInputError(problems)
    found = find_candidates(head)
    chosen = _choose_columns(found)
    required = _choose_required_fields(chosen)
    left_out = found.left_out | _explain_passed_over(found, chosen)
    if not required:
        raise InvalidInputError([csv_problem(path, _explain_nothing_required(head, chosen, left_out))])
    return ColumnSuggestion(
        path=path,
        selections=ColumnSelections(
            **{field: ColumnSelection(one.column, required=field in required) for field, one in chosen.items()}
        ),
        reasons={field: one.reason + _explain_required(field, required) for field, one in chosen.items()},
        left_out=left_out,
        warnings=(*_file_warnings(head), *_choice_warnings(found, chosen, required)),
        encoding=head.encoding,
        delimiter=head.delimiter,
        rows_sampled=len(head.rows),
    )


def _detect_encoding(path: Path, data: bytes) -> str:
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


def _choose_columns(found: ColumnCandidates) -> dict[str, Candidate]:
    """The best column for each field, in the API's order of fields; `full_name` or its parts, never both."""
    best = {field: ranked[0] for field in CANONICAL_FIELDS if (ranked := found.ranked(field))}
    whole, parts = {"full_name"} & best.keys(), {"first_name", "last_name"} & best.keys()
    dropped = whole if len(parts) > 1 else parts if whole else ()
    return {field: one for field, one in best.items() if field not in dropped}


def _choose_required_fields(chosen: Mapping[str, Candidate]) -> set[str]:
    """The fields to require, `id` among them; none where nothing could be."""
    names = {field for field in _NAME_FIELDS if field in chosen}
    matching = names or {field for field in _IDENTIFYING_FIELDS if field in chosen}
    if not matching:
        return set()
    one = next(field for field in _IDENTIFYING_FIELDS if field in matching)
    return (names or {one}) | ({"id"} & chosen.keys())


def _explain_required(field: str, required: set[str]) -> str:
    if field == "id":
        return "; must be required, and is not matched by"
    if field == "address":
        return "; must be optional"
    if field in required and field not in _NAME_FIELDS:
        return "; required, since nothing here tells people apart better"
    return ""


def _explain_passed_over(found: ColumnCandidates, chosen: Mapping[str, Candidate]) -> dict[str, str]:
    """Why columns that could serve do not, by column."""
    reasons: dict[str, str] = {}
    for one in found.candidates:
        taken = chosen.get(one.field)
        if taken is None:
            instead = "first_name and last_name" if one.field == "full_name" else "full_name"
            reasons[one.column] = f"could be {one.field}, but {instead} excludes it and serves better"
        elif taken.column != one.column:
            reasons[one.column] = f"could be {one.field}, too, but {taken.column!r} {_explain_preference(taken, one)}"
    return reasons


def _explain_preference(taken: Candidate, other: Candidate) -> str:
    if taken.has_matching_header and not other.has_matching_header:
        return "is named so"
    if other.is_fallback and not taken.is_fallback:
        return "is named more plainly"
    if taken.score > other.score:
        return f"serves better: {taken.fill_rate:.0%} of the rows have it there, {other.fill_rate:.0%} here"
    return "serves as well, and comes first"


def _explain_nothing_required(head: CsvHead, chosen: Mapping[str, Candidate], left_out: Mapping[str, str]) -> str:
    if seems_to_lack_header(head):
        return NO_HEADER_MESSAGE
    what = f"has no column that a match could require; the API needs at least one of {', '.join(_IDENTIFYING_FIELDS)}"
    known = {one.column: f"serves as {field}, which cannot be the required one" for field, one in chosen.items()}
    if not known and not any(map(is_excluded_header, left_out)):  # the header may be a person, who must not be told
        return what
    told = [f"{name!r} {reason}" for name, reason in (known | dict(left_out)).items()][:_MAX_COLUMNS_SHOWN]
    return f"{what}. {'; '.join(told)}"


def _file_warnings(head: CsvHead) -> Iterator[str]:
    if not head.encoding.startswith("utf-8"):
        yield f"the file is not UTF-8 but {head.encoding}: save it as UTF-8, so that names with accents are read right"
    if head.delimiter != ",":
        yield f"the file is delimited by {head.delimiter!r}: save it with commas, which every reader of CSVs expects"
    short = sum(len(row.cells) < len(head.columns) for row in head.rows)
    if short:
        yield f"{short} of the first {len(head.rows)} rows are shorter than the header; what they lack counts as empty"


def _choice_warnings(found: ColumnCandidates, chosen: Mapping[str, Candidate], required: set[str]) -> Iterator[str]:
    for field, one in chosen.items():
        rivals = [
            f"{other.column!r}" for other in found.ranked(field)[1:] if other.score >= one.score * _CLOSE_SCORE_RATIO
        ]
        if rivals and field != "id":  # by which nobody is matched
            yield f"{field}: {one.column!r} and {', '.join(rivals)} serve about equally well; see which is right"
        if field in required and one.fill_rate < _LOW_FILL_RATE:
            yield (
                f"{field}: only {one.fill_rate:.0%} of the rows have it; "
                "rows without it match nobody while it is required"
            )
    if not chosen.keys() & {"phone", "dob", "zip", "address", "city"}:
        yield "nothing but names or states: many people share these; add a ZIP code, a birth date or a phone number"
    elif not chosen.keys() & {*_NAME_FIELDS, "phone"}:
        yield "no names and no phone numbers: what is left seldom tells people apart"


def to_python(selections: ColumnSelections) -> str:
    """An assignment that makes the same selections, with the import that it needs."""
    chosen = selections.by_field().items()
    lines = [
        f"    {field}=ColumnSelection({_quote_python(one.column_name)}{', required=True' if one.required else ''}),\n"
        for field, one in chosen
    ]
    start = "from indigo_async import ColumnSelection, ColumnSelections\n\ncolumns = ColumnSelections(\n"
    return f"{start}{''.join(lines)})\n"


def to_yaml(selections: ColumnSelections) -> str:
    """The same under the key `column_selections`, as manifests have it."""
    lines = [
        f"  {field}: {{column_name: {_quote_yaml(one.column_name)}, is_required: {str(one.required).lower()}}}\n"
        for field, one in selections.by_field().items()
    ]
    return f"column_selections:\n{''.join(lines)}"


def _quote_python(text: str) -> str:
    shown = repr(text)
    return f'"{text}"' if shown == f"'{text}'" and '"' not in text else shown


def _quote_yaml(text: str) -> str:
    """A double-quoted scalar: whatever the text is, it is no number, date or `no`."""
    shown = (
        f"\\{character}" if character in '"\\' else character if character.isprintable() else f"\\U{ord(character):08x}"
        for character in text
    )
    return f'"{"".join(shown)}"'
