"""Messy uploads: realistic lists of people drawn from a voter file, with known matches.

The people follow a profile (they lean Democratic and are over 50 more often than the file), so a lookalike has
something to learn. Some rows are strangers who are on no voter file. A third of them share a voter's household and
surname. The others combine values of several voters.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from datetime import date

import attrs
import numpy as np
from numpy.typing import NDArray

from indigo_async.sandbox.people.normalize import NICKNAMES
from indigo_async.sandbox.people.schema import VOTER_FILE_DATE
from indigo_async.sandbox.people.voters import VoterFile

__all__ = ["MESSY_COLUMNS", "MessyUpload", "generate_messy_csv", "generate_messy_upload", "sample_voters"]

MESSY_COLUMNS = (
    "First Name",
    "Last Name",
    "Street",
    "City",
    "State",
    "Zip Code",
    "Phone",
    "Birth Date",
    "Member ID",
)

_DATE_FORMATS = ("%m/%d/%Y", "%m/%d/%Y", "%Y-%m-%d", "%m/%d/%y", "%Y%m%d", "%B %d, %Y", "%m-%d-%Y", "%d-%b-%Y")
_PHONE_FORMATS = ("({0}) {1}-{2}", "{0}-{1}-{2}", "{0}{1}{2}", "+1 {0} {1} {2}", "1-{0}-{1}-{2}", "{0}.{1}.{2}")
_ACCENTED = {"Jose": "José", "Maria": "María", "Andre": "André", "Rene": "René", "Sofia": "Sofía", "Zoe": "Zoë"}
_STREET_TYPES = {"St": "Street", "Ave": "Avenue", "Rd": "Road", "Dr": "Drive", "Ln": "Lane", "Blvd": "Boulevard"}
_MONTHS = 12
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


@attrs.frozen
class MessyUpload:
    """`csv` is UTF-8 with the columns `MESSY_COLUMNS`. `truth[row]` is the voter in that row, or -1 for a stranger."""

    csv: bytes = attrs.field(repr=False)
    truth: NDArray[np.int32]


def sample_voters(
    voters: VoterFile, count: int, *, seed: int, states: Collection[str] | None = None
) -> NDArray[np.int32]:
    """Draw up to `count` different voters from these states, following the profile.

    A voter's odds grow with the Democratic support score and, from 30 on, with age.
    """
    with voters.cursor() as cursor:
        found = cursor.execute(
            """
            SELECT voter, exp(4 * coalesce(support_democratic, 0.5)
                + 0.05 * greatest(30, coalesce(date_diff('year', dob, $today::DATE), 50))) AS weight
            FROM voters WHERE $states IS NULL OR list_contains($states, reg_state) ORDER BY voter
            """,
            {"states": None if states is None else list(states), "today": VOTER_FILE_DATE},
        ).fetchnumpy()
    rng = np.random.default_rng(seed)
    # the largest keys are a weighted sample without replacement (Efraimidis and Spirakis, 2006)
    keys = rng.exponential(size=len(found["voter"])) / found["weight"]
    return np.asarray(found["voter"], dtype=np.int32)[np.argsort(keys, kind="stable")[:count]]


def generate_messy_csv(
    voters: VoterFile,
    count: int,
    *,
    seed: int,
    stranger_rate: float = 0.15,
    states: Collection[str] | None = None,
) -> bytes:
    """Return the CSV of `generate_messy_upload`."""
    return generate_messy_upload(voters, count, seed=seed, stranger_rate=stranger_rate, states=states).csv


def generate_messy_upload(
    voters: VoterFile,
    count: int,
    *,
    seed: int,
    stranger_rate: float = 0.15,
    states: Collection[str] | None = None,
) -> MessyUpload:
    """Generate up to `count` rows, of which a share of `stranger_rate` (0 to 1) are strangers. Deterministic.

    `states` (postal codes) limits the voters. There are fewer rows if there aren't enough voters.
    """
    rng = np.random.default_rng(seed)
    drawn = sample_voters(voters, count, seed=seed, states=states)
    strangers = round(len(drawn) * stranger_rate)
    known = drawn[: len(drawn) - strangers]
    people: list[tuple[int, _Person]] = list(zip(known.tolist(), _load_people(voters, known), strict=True))
    sources = [_load_people(voters, rng.permutation(drawn)[:strangers]) for _ in range(3)]
    people += [(-1, _make_stranger(rng, *three)) for three in zip(*sources, strict=True)]
    elsewhere = _load_people(voters, rng.permutation(drawn))
    order: list[int] = rng.permutation(len(people)).tolist()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(MESSY_COLUMNS)
    for number, index in enumerate(order):
        writer.writerow([*_garble_person(rng, people[index][1], elsewhere[number]), f"M-{10_000 + number}"])
    return MessyUpload(out.getvalue().encode(), np.array([people[index][0] for index in order], dtype=np.int32))


@attrs.frozen
class _Person:
    first: str
    last: str
    address: str
    city: str
    state: str
    zip: str
    phone: str
    dob: date | None


def _load_people(voters: VoterFile, indexes: NDArray[np.int32]) -> list[_Person]:
    with voters.cursor() as cursor:
        cursor.register("wanted", {"voter": indexes, "place": np.arange(len(indexes))})
        rows = cursor.execute(
            """
            SELECT coalesce(first_name, ''), coalesce(last_name, ''), coalesce(reg_address, ''), coalesce(reg_city, ''),
                coalesce(reg_state, ''), coalesce(reg_zip, ''), coalesce(cell_phone, ''), dob
            FROM wanted JOIN voters USING (voter) ORDER BY place
            """
        ).fetchall()
    return [_Person(*row) for row in rows]


def _make_stranger(rng: np.random.Generator, one: _Person, two: _Person, three: _Person) -> _Person:
    last = one.last if _random_bool(rng, 1 / 3) else three.last
    # 555 is not an area code, so a stranger's phone belongs to nobody
    return attrs.evolve(one, first=two.first, dob=two.dob, last=last, phone=f"555{_random_digits(rng, 7)}")


def _random_bool(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.random() * len(options))]


def _random_digits(rng: np.random.Generator, count: int) -> str:
    return "".join(_choose(rng, _DIGITS) for _ in range(count))


def _add_typo(rng: np.random.Generator, text: str, alphabet: str) -> str:
    """Return a value with one character wrong, missing, doubled or swapped with its neighbor."""
    if not text:
        return text
    at = int(rng.random() * len(text))
    variants = (
        text[:at] + _choose(rng, alphabet) + text[at + 1 :],
        text[:at] + text[at + 1 :],
        text[:at] + text[at] + text[at:],
        text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :],
    )
    return _choose(rng, variants)


def _garble_person(rng: np.random.Generator, person: _Person, elsewhere: _Person) -> list[str]:
    """Return the cells of a person as somebody may have typed them."""
    moved = _random_bool(rng, 0.06)
    home = elsewhere if moved else person
    style = _choose(rng, ("title", "title", "title", "upper", "lower"))
    cells = [
        _garble_first_name(rng, person.first.title()),
        _garble_last_name(rng, person.last.title()),
        "" if _random_bool(rng, 0.08) else _garble_address(rng, home.address.title()),
        "" if _random_bool(rng, 0.03) else _maybe_add_typo(rng, home.city.title(), 0.03),
        "" if _random_bool(rng, 0.02) else home.state,
    ]
    cased = [cell.upper() if style == "upper" else cell.lower() if style == "lower" else cell for cell in cells]
    return [*cased, _garble_zip(rng, home.zip), _garble_phone(rng, person.phone), _garble_birth_date(rng, person.dob)]


def _maybe_add_typo(rng: np.random.Generator, text: str, probability: float, alphabet: str = _LETTERS) -> str:
    return _add_typo(rng, text, alphabet) if _random_bool(rng, probability) else text


def _garble_first_name(rng: np.random.Generator, name: str) -> str:
    if _random_bool(rng, 0.02):
        return ""
    if _random_bool(rng, 0.06) and name.upper() in NICKNAMES:
        return _choose(rng, NICKNAMES[name.upper()].split()).title()
    name = _maybe_add_typo(rng, _ACCENTED.get(name, name), 0.05)
    return f"{name} {_choose(rng, _LETTERS).upper()}." if _random_bool(rng, 0.04) else name


def _garble_last_name(rng: np.random.Generator, name: str) -> str:
    if _random_bool(rng, 0.01):
        return ""
    name = _maybe_add_typo(rng, name, 0.05)
    return f"{name}, Jr." if _random_bool(rng, 0.01) else name


def _garble_address(rng: np.random.Generator, address: str) -> str:
    for short, long in _STREET_TYPES.items():
        if address.endswith(f" {short}") and _random_bool(rng, 0.5):
            address = address.removesuffix(short) + long
    return _maybe_add_typo(rng, address.replace(" Apt ", _choose(rng, (" Apt ", " #", ", Unit "))), 0.04)


def _garble_zip(rng: np.random.Generator, code: str) -> str:
    if not code or _random_bool(rng, 0.03):
        return ""
    code = _maybe_add_typo(rng, code, 0.02, _DIGITS)
    if _random_bool(rng, 0.2):
        return f"{code}-{_random_digits(rng, 4)}"
    return code.lstrip("0") if _random_bool(rng, 0.3) else code


def _garble_phone(rng: np.random.Generator, number: str) -> str:
    if not number or _random_bool(rng, 0.25):
        return ""
    if _random_bool(rng, 0.06):
        number = f"555{_random_digits(rng, 7)}"
    number = _maybe_add_typo(rng, number, 0.02, _DIGITS)
    return _choose(rng, _PHONE_FORMATS).format(number[:3], number[3:6], number[6:])


def _garble_birth_date(rng: np.random.Generator, day: date | None) -> str:
    if day is None or _random_bool(rng, 0.12):
        return ""
    if day.day <= _MONTHS and _random_bool(rng, 0.01):
        day = day.replace(month=day.day, day=day.month)
    return _maybe_add_typo(rng, day.strftime(_choose(rng, _DATE_FORMATS)), 0.02, _DIGITS)
