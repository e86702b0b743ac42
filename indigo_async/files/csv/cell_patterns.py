"""Recognize fields by their values: dates, ZIP codes, states, phone numbers, names. Cells here are never empty."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from statistics import median

__all__ = ["detect_field", "look_like_emails", "measure_plausibility"]

_STATE_NAMES = (
    "alabama,alaska,arizona,arkansas,california,colorado,connecticut,delaware,district of columbia,florida,georgia,"
    "hawaii,idaho,illinois,indiana,iowa,kansas,kentucky,louisiana,maine,maryland,massachusetts,michigan,minnesota,mississippi,"
    "missouri,montana,nebraska,nevada,new hampshire,new jersey,new mexico,new york,north carolina,north dakota,ohio,"
    "oklahoma,oregon,pennsylvania,puerto rico,rhode island,south carolina,south dakota,tennessee,texas,utah,vermont,"
    "virginia,washington,west virginia,wisconsin,wyoming"
)
_STATE_CODES = (
    "al,ak,az,ar,ca,co,ct,de,dc,fl,ga,hi,id,il,in,ia,ks,ky,la,me,md,ma,mi,mn,ms,mo,mt,ne,nv,nh,nj,nm,ny,nc,nd,oh,ok,or,pa,"
    "pr,ri,sc,sd,tn,tx,ut,vt,va,wa,wv,wi,wy,as,gu,mp,vi,aa,ae,ap"
)
_STATES = frozenset([*_STATE_NAMES.split(","), *_STATE_CODES.split(",")])

_MONTHS = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    rf"(?:\d{{1,2}}([/.-])\d{{1,2}}\1(?:\d{{4}}|\d\d)|\d{{4}}([/.-])\d{{1,2}}\2\d{{1,2}}|\d{{8}}"
    rf"|{_MONTHS}\.? \d{{1,2}},? \d{{4}}|\d{{1,2}}[ -]{_MONTHS}[ -](?:\d{{4}}|\d\d))(?:[T ]\d{{1,2}}:\d\d.*)?",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_ZIP = re.compile(r"\d{3,5}(?:\.0+)?(?:[ -]?\d{4})?")  # spreadsheets drop leading zeros, and some add decimals
_UNMISTAKABLE_ZIP = re.compile(r"0\d{4}|\d{5}-\d{4}")
_PHONE = re.compile(
    r"(?:\+?1[ .-]*)?(?:\([2-9]\d{2}\)|[2-9]\d{2})[ ./-]*\d{3}[ .-]*\d{4}(?:\.0)?(?:,? *(?:x|ext\.?) *\d+)?",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_ADDRESS = re.compile(r"(?=.*\d)(?=.*[^\W\d_]).*", re.DOTALL)
_NAME = re.compile(r"(?=.*[^\W\d_])[^\d@]+", re.DOTALL)
_FULL_NAME = re.compile(r"[^\d@]*[^\W\d_][^\d@]*[ ,][^\d@]*[^\W\d_][^\d@]*")

_MATCHERS: Mapping[str, Callable[[str], object]] = {
    "first_name": _NAME.fullmatch,
    "last_name": _NAME.fullmatch,
    "full_name": _FULL_NAME.fullmatch,
    "city": _NAME.fullmatch,
    "state": lambda cell: cell.lower() in _STATES,
    "zip": _ZIP.fullmatch,
    "phone": _PHONE.fullmatch,
    "dob": _DATE.fullmatch,
    "address": _ADDRESS.fullmatch,
    "id": lambda _: True,
}

_MAX_CELL_LENGTH = 200
_MIN_SHARE = 0.9
_MIN_CELLS = 3
_VOTING_AGE = 18
_MIN_BIRTH_YEAR_SPREAD = 15


def measure_plausibility(field: str, cells: Sequence[str]) -> float:
    """The share of cells that may hold a field, from 0 to 1."""
    matches = _MATCHERS[field]
    return sum(len(cell) <= _MAX_CELL_LENGTH and bool(matches(cell)) for cell in cells) / len(cells)


def detect_field(cells: Sequence[str], *, this_year: int) -> str | None:
    """The field that cells certainly hold, whatever their column's name; None if they may hold something else."""
    if len(cells) < _MIN_CELLS:
        return None
    is_unmistakable = {
        "phone": True,
        "state": len({cell.lower() for cell in cells}) >= _MIN_CELLS,  # OK, IN and OR are words, too
        "zip": any(_UNMISTAKABLE_ZIP.fullmatch(cell) for cell in cells),
        "dob": _look_like_birth_dates(cells, this_year),
    }
    fields = (field for field, is_certain in is_unmistakable.items() if is_certain)
    return next((field for field in fields if measure_plausibility(field, cells) >= _MIN_SHARE), None)


def _look_like_birth_dates(cells: Sequence[str], this_year: int) -> bool:
    """Whether dates are as old and as spread out as adults' birth dates."""
    years = [int(match[0]) for cell in cells if (match := _YEAR.search(cell))]
    if len(years) < len(cells) * _MIN_SHARE:
        return False
    return median(years) <= this_year - _VOTING_AGE and max(years) - min(years) >= _MIN_BIRTH_YEAR_SPREAD


def look_like_emails(cells: Sequence[str]) -> bool:
    return sum(bool(_EMAIL.fullmatch(cell)) for cell in cells) >= len(cells) * _MIN_SHARE
