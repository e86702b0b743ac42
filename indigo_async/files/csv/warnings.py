"""Warn about a CSV that can be matched. `columns`, `match` and `run` use the same words.

Warnings never show values, which are people's data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from indigo_async.files.csv.column_names import show_exactly, visible_name
from indigo_async.files.csv.head import CsvHead
from indigo_async.files.csv.header_names import find_other_field

__all__ = ["find_column_warnings", "find_damage", "find_file_warnings", "find_name_warnings"]

_ROWS_CHECKED = 200
_DELIMITER_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars"}
_CURLY_QUOTES = "\u201c\u201d\u201e"
_MAX_FOOTER_CELLS = 2
_FOOTER = re.compile(
    r"(?:grand |sub)?totals?\b.*|(?:count|sum|average)\b.*|[\d,]+ (?:rows|records|people|contacts)\b.*|end of .*"
    r"|.*\b(?:generated|exported|printed|prepared) (?:by|on|at|from)\b.*|copyright\b.*|\u00a9.*",
    re.IGNORECASE,
)


@attrs.frozen
class _Damage:
    """Values that a spreadsheet or an export has damaged.

    Each such value contains one of the characters in `clues`. `fields` are the affected fields; empty means all.
    A share of values below `min_share` may be typos.
    """

    pattern: re.Pattern[str]
    words: str
    clues: str = ""
    fields: tuple[str, ...] = ()
    min_share: float = 0.0


_SOME, _MOST = 0.05, 0.5
_NUMBER_FIELDS = ("id", "phone", "zip")
_AS_TEXT = "format the column as text, and export the list again"
_AS_DATE = "format the column as YYYY-MM-DD, and export the list again"
_DAMAGES = (
    _Damage(
        re.compile(r"[+-]?\d(?:[.,]\d+)?E[+-]?\d+", re.IGNORECASE),
        f"in scientific notation, such as 4.2E+11, and have lost digits: go back to the original, {_AS_TEXT}",
        clues="Ee",
        fields=_NUMBER_FIELDS,
    ),
    _Damage(re.compile(r"\d+\.0+"), f"decimals, such as 42.0: {_AS_TEXT}", clues=".", fields=_NUMBER_FIELDS),
    _Damage(
        re.compile(r"\d{3,4}(?:\.0+|-\d{4})?"),
        f"shorter than 5 digits, so a spreadsheet may have dropped leading zeros: {_AS_TEXT}",
        fields=("zip",),
        min_share=_SOME,
    ),
    _Damage(
        re.compile(r"[1-4]\d{4}(?:\.\d+)?"),
        f"spreadsheet day numbers, such as 32874, and not dates: {_AS_DATE}",
        fields=("dob",),
    ),
    _Damage(
        re.compile(r"\d{1,2}([/.-])\d{1,2}\1\d\d"),
        f"dates with two-digit years, whose century is unclear: {_AS_DATE}",
        clues="/.-",
        fields=("dob",),
        min_share=_MOST,
    ),
    _Damage(
        re.compile(r"(?:1[3-9]|2\d|3[01])([/.-])\d{1,2}\1\d{2,4}"),
        f"dates that start with the day, but US dates start with the month: {_AS_DATE}",
        clues="/.-",
        fields=("dob",),
        min_share=_SOME,
    ),
    _Damage(
        re.compile(r"#(?:REF!|N/A|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|SPILL!|CALC!|ERROR!|#+)"),
        "spreadsheet errors, such as #REF! or #N/A: correct or empty these cells, and export the list again",
        clues="#",
    ),
    _Damage(
        re.compile("=.+", re.DOTALL),
        "spreadsheet formulas: paste the column as values, and export the list again",
        clues="=",
    ),
    _Damage(
        re.compile(r"'.*\d.*", re.DOTALL),
        "preceded by an apostrophe, which is part of the value: remove it",
        clues="'",
        fields=(*_NUMBER_FIELDS, "dob"),
    ),
    _Damage(
        re.compile(f"[{_CURLY_QUOTES}].*[{_CURLY_QUOTES}]", re.DOTALL),
        'in curly quotes, which are part of the value: replace them with straight ones (")',
        clues=_CURLY_QUOTES,
    ),
    _Damage(
        re.compile('".*"', re.DOTALL),
        "in quotes that are part of the value: remove them, and any spaces between a delimiter and a quote",
        clues='"',
    ),
    _Damage(
        re.compile(
            ".*(?:\ufffd|[\u00c2\u00c3][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013"
            "\u2014\u2018-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]).*",
            re.DOTALL,
        ),
        "text with garbled accents: export the list again as UTF-8",
        clues="\ufffd\u00c2\u00c3",
    ),
)


def find_file_warnings(head: CsvHead) -> Iterator[str]:
    """Warn about what CSV readers may read differently, and about a last row that is not a person."""
    if not head.encoding.startswith("utf-8"):
        yield "the file is not UTF-8: save it as UTF-8 so that accented names are read correctly"
    if head.delimiter != ",":
        name = _DELIMITER_NAMES[head.delimiter]
        yield f"the file is delimited by {name}: save it with commas, which every CSV reader expects"
    if head.header_row > 1:
        yield "the file has blank lines above its header, which some CSV readers use as the header: delete them"
    yield from _find_uneven_rows(head)
    filled = [cell for cell in head.last_cells if cell]
    if 0 < len(filled) <= _MAX_FOOTER_CELLS < len(head.columns) and _FOOTER.fullmatch(filled[0]):
        yield "the last row seems to be a total or a note, not a person: delete it"


def _find_uneven_rows(head: CsvHead) -> Iterator[str]:
    width, total = len(head.columns), len(head.rows)
    widths = [len(cells) for _, cells in head.rows]
    short = sum(count < width for count in widths if count != width)
    if short:
        yield f"{short} of the first {total} rows are shorter than the header; missing cells count as empty"
    long = sum(count > width for count in widths if count != width)
    if long:
        yield (
            f"{long} of the first {total} rows have more delimiters than the header, which shifts columns in some CSV "
            "readers: remove those at the ends of the rows"
        )


def find_name_warnings(columns: Mapping[str, str]) -> Iterator[str]:
    """Warn about columns of fields that are named after another field, as when two columns were swapped."""
    for field, column in columns.items():
        other = find_other_field(column, field)
        if other is not None:
            yield (
                f"{field}: the column {show_exactly(column)} is named like {other}; check that it is the right column"
            )


def find_column_warnings(head: CsvHead, columns: Mapping[str, str]) -> Iterator[str]:
    """Warn about the columns of fields, by field: names of other fields, confusable names, and damaged values."""
    yield from find_name_warnings(columns)
    sample = attrs.evolve(head, rows=head.rows[:_ROWS_CHECKED])
    visible_names = {name: visible_name(name) for name in head.columns if name.strip()}
    for field, column in columns.items():
        seen = visible_names.get(column)
        similar = [name for name, visible in visible_names.items() if name != column and visible == seen]
        if similar:
            shown = ", ".join(map(show_exactly, similar))
            yield (
                f"{field}: other columns differ from {show_exactly(column)} only in spaces or invisible characters "
                f"({shown}): rename all but one"
            )
        if not set(_CURLY_QUOTES).isdisjoint(column):
            yield f"{field}: the column name {column!r} has curly quotes, which are part of it: use straight ones"
        values = list(filter(None, sample.column_cells(sample.columns.index(column))))
        for count, words in find_damage(field, values):
            yield f"{field}: {count} of the first {len(values)} values of {show_exactly(column)} are {words}"


def find_damage(field: str, values: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Count the damaged values of a field, with words that continue "they are": the damage and what to do."""
    joined = "".join(values)
    for damage in _DAMAGES:
        if damage.fields and field not in damage.fields:
            continue
        if damage.clues and not any(clue in joined for clue in damage.clues):
            continue
        count = sum(map(bool, map(damage.pattern.fullmatch, values)))
        if count and count >= damage.min_share * len(values):
            yield count, damage.words
