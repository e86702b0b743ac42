"""Real places: every residential ZIP code with its city, county, state and districts.

ZIP, city, county and state come from the package `zipcodes`, county names and FIPS codes from `addfips`. ZIPs on whose
county the packages disagree are left out.

No package has district borders, so they are made up: a state's counties are ordered from west to east, their ZIPs from
south to north, and this line is cut into pieces of equal population, one per district. A county is therefore in one
district or a few neighboring ones, and a ZIP in exactly one. The number of districts is real; the borders are not.
"""

from __future__ import annotations

import csv
import functools
import string
import unicodedata
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

import attrs
import numpy as np
import zipcodes
from numpy.typing import NDArray

from indigo_async.sandbox.people.states import STATES

__all__ = ["Geography", "find_place_name", "load_geography", "load_state_names"]

_CELL_DEGREES = 0.25
_DISTRICT_DIGITS = {
    "states": 0,
    "congressional_districts": 2,
    "upper_state_legislative_districts": 3,
    "lower_state_legislative_districts": 3,
}
_AT_LARGE = frozenset({"00", "98"})
"""The numbers of a state's only district and of a delegate's district."""


@attrs.frozen(kw_only=True)
class Geography:
    """Places as parallel arrays, one entry per ZIP code.

    `state` indexes `STATES`. `population` is the share of the national population. `urbanity` grows with the number of
    ZIPs nearby, from 0 in the country to about 1 in a city. Counties look like "Allegheny County, PA", congressional
    districts like "PA-12" ("WY-AL" if a state has one), state legislative districts like "PA-043", or None without such
    a chamber.
    """

    zip: NDArray[np.object_]
    city: NDArray[np.object_]
    county: NDArray[np.object_]
    county_fips: NDArray[np.object_]
    area_code: NDArray[np.object_]
    state: NDArray[np.intp]
    population: NDArray[np.float64]
    urbanity: NDArray[np.float64]
    congressional_district: NDArray[np.object_]
    upper_district: NDArray[np.object_]
    lower_district: NDArray[np.object_]


def _read_addfips(name: str) -> list[dict[str, str]]:
    with (resources.files("addfips") / "data" / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@functools.cache
def load_state_names() -> dict[str, str]:
    """Postal codes by name, including territories: "Pennsylvania" is "PA"."""
    return {row["name"]: row["postal"] for row in _read_addfips("states.csv")}


@functools.cache
def _load_postal_codes() -> dict[str, str]:
    """Postal codes by FIPS code: "42" is "PA"."""
    return {row["fips"]: row["postal"] for row in _read_addfips("states.csv")}


@functools.cache
def _load_county_names() -> dict[str, str]:
    """Counties by FIPS code: "42003" is "Allegheny County, PA"."""
    return {code: f"{name}, {state}" for (state, _), (name, code) in _load_counties().items()}


def find_place_name(filter_name: str, code: str) -> str | None:
    """Return the name of the place that a FIPS code stands for in a lookalike filter. None if it is not a code.

    Districts have the state's code and their number: "4212" is "PA-12", "5600" is "WY-AL", "42043" is "PA-043".
    """
    if filter_name == "counties":
        return _load_county_names().get(code)
    state, number = _load_postal_codes().get(code[:2]), code[2:]
    if state is None or len(number) != _DISTRICT_DIGITS[filter_name]:
        return None
    if filter_name == "congressional_districts" and number in _AT_LARGE:
        number = "AL"
    return f"{state}-{number}" if number else state


@functools.cache
def _fold_letters(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name).upper()
    return "".join(letter for letter in letters if "A" <= letter <= "Z")


def _load_counties() -> dict[tuple[str, str], tuple[str, str]]:
    """The official name and FIPS code of each county, by state and folded name."""
    postal = _load_postal_codes()
    return {
        (postal[row["statefp"]], _fold_letters(row["name"])): (row["name"], row["statefp"] + row["countyfp"])
        for row in _read_addfips("counties_2020.csv")
        if row["statefp"] in postal
    }


def _assign_districts(
    state: NDArray[np.intp], share: NDArray[np.float64], counts: list[int], width: int
) -> NDArray[np.object_]:
    """Cut each state's line of ZIPs into `counts[state]` districts. `share` is a ZIP's midpoint on it, from 0 to 1."""
    states: list[int] = state.tolist()
    numbers: list[int] = (np.floor(share * np.array(counts)[state]) + 1).astype(int).tolist()
    return np.array(
        [
            f"{STATES[where].postal}-{number:0{width}d}" if counts[where] else None
            for where, number in zip(states, numbers, strict=True)
        ],
        dtype=object,
    )


def _assign_congressional_districts(state: NDArray[np.intp], share: NDArray[np.float64]) -> NDArray[np.object_]:
    labels = _assign_districts(state, share, [place.house_seats for place in STATES], width=2)
    at_large = np.array([place.house_seats == 1 for place in STATES])[state]
    postal = np.array([place.postal for place in STATES], dtype=object)[state]
    return np.where(at_large, postal + "-AL", labels)


class _Zip(NamedTuple):
    """A residential ZIP code, with the official name and FIPS code of its county."""

    code: str
    city: str
    county: str
    county_fips: str
    state: str
    area_code: str
    latitude: float
    longitude: float


def _load_zips() -> Iterator[_Zip]:
    """Read the residential ZIPs of the states and the District of Columbia, in ascending order."""
    counties = _load_counties()
    states = {place.postal for place in STATES}
    for digit in string.digits:  # all rows at once would take 60 MiB more
        for row in zipcodes.similar_to(digit):  # pyright: ignore[reportUnknownMemberType]: untyped
            if not row["active"] or row["zip_code_type"] != "STANDARD" or row["state"] not in states:
                continue
            county = counties.get((row["state"], _fold_letters(row["county"])))
            if county is not None:
                yield _Zip(
                    code=row["zip_code"],
                    city=row["city"],
                    county=f"{county[0]}, {row['state']}",
                    county_fips=county[1],
                    state=row["state"],
                    area_code=row["area_codes"][0] if row["area_codes"] else "800",
                    latitude=float(row["lat"]),
                    longitude=float(row["long"]),
                )


def load_geography() -> Geography:
    """Return every residential ZIP of the states and the District of Columbia, in district order."""
    rows = list(_load_zips())
    state_index = {place.postal: index for index, place in enumerate(STATES)}
    state = np.array([state_index[row.state] for row in rows])
    latitude = np.array([row.latitude for row in rows])
    longitude = np.array([row.longitude for row in rows])
    _, county = np.unique(np.array([row.county_fips for row in rows]), return_inverse=True)
    county_longitude = np.bincount(county, longitude) / np.bincount(county)
    order = np.lexsort((latitude, county, county_longitude[county], state))

    cell = np.stack([latitude // _CELL_DEGREES, longitude // _CELL_DEGREES])
    _, which, neighbours = np.unique(cell, axis=1, return_inverse=True, return_counts=True)
    nearby = neighbours[which][order].astype(float)

    state = state[order]
    weight = nearby**0.8  # city ZIPs hold more people than country ones
    state_weight = np.bincount(state, weight)
    population = weight / state_weight[state] * np.array([place.population for place in STATES], dtype=float)[state]
    before = np.cumsum(weight) - weight / 2
    share = (before - (np.cumsum(state_weight) - state_weight)[state]) / state_weight[state]

    def column(values: list[str]) -> NDArray[np.object_]:
        return np.array(values, dtype=object)[order]

    return Geography(
        zip=column([row.code for row in rows]),
        city=column([row.city for row in rows]),
        county=column([row.county for row in rows]),
        county_fips=column([row.county_fips for row in rows]),
        area_code=column([row.area_code for row in rows]),
        state=state,
        population=population / population.sum(),
        urbanity=np.log(nearby) / np.log(nearby.max()),
        congressional_district=_assign_congressional_districts(state, share),
        upper_district=_assign_districts(state, share, [place.upper_districts for place in STATES], width=3),
        lower_district=_assign_districts(state, share, [place.lower_districts for place in STATES], width=3),
    )
