"""Synthetic voters: made-up people at real places, with real name frequencies.

Names follow the 1990 census (package `names`), places and districts come from `geography`. People live in households
that share an address, usually a surname, and a political leaning. Some fathers and sons share their full name, and a
few couples a phone. One latent leaning per person (from state, urbanity, ethnicity, age, gender and household) drives
party, support and issue scores. One latent propensity, which grows with age, drives vote history and turnout scores.

Phone numbers use exchanges from 555 up, so nobody calls a real person by mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from importlib import resources
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from indigo_async.sandbox.people.geography import Geography, load_geography
from indigo_async.sandbox.people.schema import ELECTIONS, ISSUES, MEDIA, VOTER_FILE_DATE
from indigo_async.sandbox.people.states import STATES

__all__ = ["DERIVED_COLUMNS", "ETHNICITIES", "PARTIES", "generate_people"]

FloatArray: TypeAlias = NDArray[np.float64]
IndexArray: TypeAlias = NDArray[np.intp]
BoolArray: TypeAlias = NDArray[np.bool_]
ArraysByColumn: TypeAlias = dict[str, NDArray[Any]]

ETHNICITIES = ("White", "Black", "Latino", "AAPI", "Native American")
PARTIES = ("Democratic", "Republican", "Unaffiliated", "Libertarian", "Green")

_MIN_PARENT_AGE = 42
"""From this age on, further members of a household are its head's adult children."""

_STREETS = (
    "MAIN OAK PINE MAPLE CEDAR ELM WASHINGTON LAKE HILL WALNUT SPRING NORTH RIDGE CHURCH WILLOW MEADOW JEFFERSON PARK "
    "RIVER LINCOLN JACKSON SUNSET FOREST HIGHLAND FRANKLIN CHESTNUT MILL CHERRY DOGWOOD HICKORY SYCAMORE MADISON ADAMS "
    "LOCUST VALLEY COLLEGE POPLAR SPRUCE ASPEN MAGNOLIA BIRCH LAUREL MONROE GRANT CLAY ORCHARD PROSPECT UNION CENTRAL "
    "LIBERTY GARDEN FAIRVIEW BROOKSIDE HAWTHORNE CANYON SUMMIT LAKEVIEW WOODLAND CRESTVIEW HARRISON CLEVELAND"
)
_STREET_TYPES = ("ST", "AVE", "RD", "DR", "LN", "CT", "PL", "BLVD", "CIR", "WAY")

DERIVED_COLUMNS: Mapping[str, str] = {
    "voterbase_id": "reg_state || '-' || lpad(voterbase_number::VARCHAR, 10, '0')",
    "state_voter_id": "lpad(state_number::VARCHAR, 9, '0')",
    "county_voter_id": "county_fips || lpad(state_number::VARCHAR, 9, '0')",
    "dob": "DATE '1970-01-01' + born::INTEGER",
    "reg_date": "DATE '1970-01-01' + registered::INTEGER",
    "reg_address": "concat_ws(' ', house, street, street_type, CASE WHEN unit > 0 THEN 'APT ' || unit END)",
    "mail_address": "CASE WHEN po_box > 0 THEN 'PO BOX ' || po_box ELSE reg_address END",
    "mail_city": "reg_city",
    "mail_state": "reg_state",
    "mail_zip": "reg_zip",
}
"""SQL expressions for columns derived from the arrays of `generate_people`."""


@attrs.frozen
class _NameDistribution:
    values: NDArray[np.object_]
    cumulative: FloatArray

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.object_]:
        return self.values[np.searchsorted(self.cumulative, rng.random(count), side="right")]


def _load_names(file: str) -> _NameDistribution:
    """Read names and frequencies from a census file with lines of name, percent, cumulative percent and rank."""
    words = (resources.files("names") / file).read_text(encoding="ascii").split()
    weight = np.array(words[1::4], dtype=float) + 0.0001  # the file rounds rare names to 0
    return _NameDistribution(np.array(words[0::4], dtype=object), np.cumsum(weight) / weight.sum())


def _days_since_epoch(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _sigmoid(value: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-value))


def _random_bools(rng: np.random.Generator, count: int, probability: float | FloatArray) -> BoolArray:
    return rng.random(count) < probability


def _mask(hidden: BoolArray, values: NDArray[Any]) -> NDArray[np.object_]:
    """Return the values, or None where hidden."""
    shown = values.astype(object)
    shown[hidden] = None
    return shown


def _draw_categories(rng: np.random.Generator, probabilities: FloatArray) -> IndexArray:
    """Draw a category for each row of `probabilities` (people x categories; rows needn't sum to 1)."""
    cumulative = np.cumsum(probabilities, axis=1)
    drawn: IndexArray = (rng.random(len(cumulative))[:, None] * cumulative[:, -1:] > cumulative).sum(axis=1)
    return drawn


@attrs.frozen
class _Households:
    """Assign people to households: each person's household, its head (a person index), and their role."""

    household: IndexArray
    head: IndexArray
    partner: BoolArray
    child: BoolArray
    age: FloatArray
    female: BoolArray
    place: IndexArray


def _generate_households(rng: np.random.Generator, count: int, places: Geography) -> _Households:
    sizes = rng.choice([1, 2, 3, 4], size=count, p=[0.38, 0.42, 0.13, 0.07])
    home = np.repeat(np.arange(count), sizes)[:count]
    head = np.searchsorted(home, home)
    position = np.arange(count) - head
    head_age = (18.5 + 75 * rng.beta(1.6, 1.9, count))[head]
    child = (position > 1) & (head_age > _MIN_PARENT_AGE)
    partner = (position == 1) & _random_bools(rng, count, 0.88)
    age = np.where(position == 0, head_age, np.maximum(18.5, head_age + rng.normal(0, 3, count)))
    age = np.where(child, np.maximum(18.2, head_age - rng.uniform(21, 38, count)), age)
    head_female = _random_bools(rng, count, 0.5)
    female = np.where(partner, head_female[head] ^ _random_bools(rng, count, 0.96), _random_bools(rng, count, 0.53))
    female = np.where(position == 0, head_female, female)
    place = rng.choice(len(places.zip), size=count, p=places.population)[home]
    return _Households(home, head, partner, child, age, female, place)


def _generate_names(rng: np.random.Generator, homes: _Households) -> ArraysByColumn:
    count = len(homes.household)
    surnames = _load_names("dist.all.last").draw(rng, count)
    shares = (homes.partner & _random_bools(rng, count, 0.8)) | (homes.child & _random_bools(rng, count, 0.95))
    female, male = _load_names("dist.female.first"), _load_names("dist.male.first")
    first = np.where(homes.female, female.draw(rng, count), male.draw(rng, count))
    middle = np.where(homes.female, female.draw(rng, count), male.draw(rng, count))
    middle = _mask(_random_bools(rng, count, 0.15), middle)
    namesake = homes.child & shares & ~homes.female & ~homes.female[homes.head] & _random_bools(rng, count, 0.08)
    first = np.where(namesake, first[homes.head], first)
    suffix = np.full(count, None, dtype=object)
    suffix[~homes.female & _random_bools(rng, count, 0.008)] = "III"
    suffix[homes.head[namesake]] = "SR"
    suffix[namesake] = "JR"
    return {
        "first_name": first,
        "middle_name": middle,
        "last_name": np.where(shares, surnames[homes.head], surnames),
        "name_suffix": suffix,
        "gender": _mask(_random_bools(rng, count, 0.01), np.where(homes.female, "F", "M")),
    }


def _generate_addresses(rng: np.random.Generator, homes: _Households, places: Geography) -> ArraysByColumn:
    count = len(homes.household)
    ordinals = [f"{n}TH" for n in range(4, 20)]
    streets = np.array([*_STREETS.split(), *ordinals], dtype=object)
    place, home = homes.place, homes.household
    in_flat = _random_bools(rng, count, 0.4 * places.urbanity[place][homes.head])
    number: ArraysByColumn = {
        "house": np.exp(rng.uniform(np.log(2), np.log(9999), count)).astype(int)[home],
        "street": streets[rng.integers(0, len(streets), count)][home],
        "street_type": np.array(_STREET_TYPES, dtype=object)[rng.integers(0, len(_STREET_TYPES), count)][home],
        "unit": np.where(in_flat, rng.integers(1, 60, count), 0)[home],
        "po_box": np.where(_random_bools(rng, count, 0.06), rng.integers(1, 3000, count), 0)[home],
    }
    return number | {
        "reg_city": places.city[place],
        "reg_state": np.array([state.postal for state in STATES], dtype=object)[places.state[place]],
        "reg_zip": places.zip[place],
        "county": places.county[place],
        "county_fips": places.county_fips[place],
        "congressional_district": places.congressional_district[place],
        "upper_district": places.upper_district[place],
        "lower_district": places.lower_district[place],
    }


def _generate_phones(rng: np.random.Generator, homes: _Households, places: Geography) -> NDArray[np.object_]:
    count = len(homes.household)
    moved = _random_bools(rng, count, 0.12)
    area = places.area_code[np.where(moved, rng.permutation(homes.place), homes.place)]
    order = np.lexsort((rng.permutation(count), area.astype(int)))
    in_order = area[order].astype(int)
    rank = np.arange(count) - np.searchsorted(in_order, in_order)
    number = np.empty(count, dtype=object)
    number[order] = [
        f"{code}{555 + serial // 10_000}{serial * 7919 % 10_000:04d}"  # 7919 is coprime to 10,000, so no number repeats
        for code, serial in zip(in_order, rank, strict=True)
    ]
    shared = homes.partner & _random_bools(rng, count, 0.04)
    number[shared] = number[homes.head[shared]]
    return _mask(_random_bools(rng, count, 0.22), number)


def _generate_ethnicity(rng: np.random.Generator, homes: _Households, places: Geography) -> IndexArray:
    shares = np.array([(s.black, s.latino, s.aapi, s.native) for s in STATES], dtype=float)[places.state]
    shares *= np.stack([0.4 + 1.2 * places.urbanity] * 3 + [np.ones(len(places.zip))], axis=1)
    probabilities = np.column_stack([np.maximum(5, 100 - shares.sum(axis=1)), shares])
    own = _draw_categories(rng, probabilities[homes.place])
    as_head = homes.child | (homes.partner & _random_bools(rng, len(own), 0.88))
    return np.where(as_head, own[homes.head], own)


def _generate_leaning(
    rng: np.random.Generator, homes: _Households, places: Geography, ethnicity: IndexArray
) -> FloatArray:
    """Return the log odds of supporting a Democrat."""
    democratic = np.array([state.democratic for state in STATES])[places.state] / 100
    place = np.log(democratic / (1 - democratic)) + 1.8 * (places.urbanity - 0.5)
    count = len(homes.household)
    leaning: FloatArray = (
        place[homes.place]
        + np.array([-0.7, 1.8, 0.2, 0.3, 0.1])[ethnicity]
        - 0.012 * (homes.age - 50)
        + 0.25 * homes.female
        + rng.normal(0, 0.8, count)[homes.household]
        + rng.normal(0, 0.6, count)
    )
    return leaning


def _generate_party(
    rng: np.random.Generator, leaning: FloatArray, age: FloatArray, place_registers: BoolArray
) -> NDArray[np.object_]:
    """Return the registered party, or None in states without party registration."""
    democratic = _sigmoid(1.5 * leaning)
    unaffiliated = 0.55 * _sigmoid(-0.02 * (age - 45)) / (1 + 0.3 * leaning**2)
    chances = np.column_stack([democratic, 1 - democratic, unaffiliated / (1 - unaffiliated)])
    minor = np.full((len(leaning), 2), [0.008, 0.005])
    party = np.array(PARTIES, dtype=object)[_draw_categories(rng, np.hstack([chances, minor]))]
    return _mask(~place_registers, party)


def _generate_vote_history(
    rng: np.random.Generator, age: FloatArray, registered: IndexArray, leaning: FloatArray
) -> dict[str, BoolArray]:
    propensity = 0.028 * (age - 50) + 0.15 * np.abs(leaning) + rng.normal(0, 1.1, len(age))
    interest = {(2018, "general"): 0.1, (2020, "general"): 1.1, (2022, "general"): 0.0, (2024, "general"): 0.9}
    return {
        f"voted_{year}_{kind}": (registered < _days_since_epoch(date(year, 11 if kind == "general" else 5, 5)))
        & _random_bools(rng, len(age), _sigmoid(propensity + interest.get((year, kind), -1.3)))
        for year, kind in ELECTIONS
    }


def _generate_scores(
    rng: np.random.Generator, homes: _Households, leaning: FloatArray, history: Mapping[str, BoolArray]
) -> ArraysByColumn:
    count = len(leaning)
    decades = (homes.age - 50) / 10

    def score(log_odds: FloatArray, noise: float) -> NDArray[np.float32]:
        return _sigmoid(log_odds + rng.normal(0, noise, count)).round(3).astype(np.float32)

    def voted(kind: str) -> FloatArray:
        share: FloatArray = np.mean([voted for name, voted in history.items() if name.endswith(kind)], axis=0)
        return share

    scores: ArraysByColumn = {}
    supports = dict(zip(ISSUES, (1.0, 1.1, -0.7, 0.9, 0.8, 0.8), strict=True))
    saliences = dict(zip(ISSUES, (-0.2, -0.3, 0.25, 0.3, 0.1, -0.1), strict=True))
    for issue in ISSUES:
        scores[f"support_{issue}"] = score(supports[issue] * leaning, 0.6)
        concern = 0.4 * homes.female if issue in {"abortion", "healthcare"} else 0.0
        scores[f"salience_{issue}"] = score(saliences[issue] * decades + concern - 0.3, 0.7)
    for kind, slope in zip(MEDIA, (0.4, 0.2, -0.5, -0.4), strict=True):
        scores[f"media_{kind}"] = score(slope * decades, 0.6)
    scores["support_democratic"] = score(1.5 * leaning, 0.4)
    scores["support_republican"] = score(-1.5 * leaning, 0.4)
    scores["turnout_general"] = score(4 * voted("general") - 1.6 + 0.1 * decades, 0.3)
    scores["turnout_primary"] = score(5 * voted("primary") - 2.4 + 0.1 * decades, 0.3)
    return scores


def generate_people(count: int, *, seed: int) -> ArraysByColumn:
    """Generate `count` people as columns of equal length. Deterministic. `DERIVED_COLUMNS` adds the rest."""
    rng = np.random.default_rng(seed)
    places = load_geography()
    homes = _generate_households(rng, count, places)
    ethnicity = _generate_ethnicity(rng, homes, places)
    leaning = _generate_leaning(rng, homes, places, ethnicity)
    born = _days_since_epoch(VOTER_FILE_DATE) - (homes.age * 365.25).astype(int)
    adult_days = (homes.age - 18) * 365.25
    registered = _days_since_epoch(VOTER_FILE_DATE) - (adult_days * (1 - rng.random(count) ** 2)).astype(int)
    registers = np.array([state.party_registration for state in STATES])[places.state[homes.place]]
    history = _generate_vote_history(rng, homes.age, registered, leaning)
    known = _mask(_random_bools(rng, count, 0.02), np.array(ETHNICITIES, dtype=object)[ethnicity])
    return {
        "voter_index": np.arange(count, dtype=np.int32),
        "voterbase_number": rng.permutation(count) * 97 + 1_000_003,
        "state_number": rng.permutation(count) * 31 + 100_000_007,
        "born": born,
        "registered": registered,
        "ethnicity": known,
        "party": _generate_party(rng, leaning, homes.age, registers),
        "cell_phone": _generate_phones(rng, homes, places),
        **_generate_names(rng, homes),
        **_generate_addresses(rng, homes, places),
        **history,
        **_generate_scores(rng, homes, leaning, history),
    }
