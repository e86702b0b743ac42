"""Real places: every residential ZIP code with its city, county, state and districts.

ZIP, city, county and state come from the package `zipcodes`, county names and FIPS codes from `addfips`; a ZIP whose
county neither package agrees on is left out, so the four always agree.

District borders are not in any package, so they are drawn here: a state's counties are lined up from west to east,
their ZIPs from south to north, and the line is cut into as many pieces of equal population as the chamber has
districts. A county therefore lies in one district or a few neighbouring ones, and a ZIP in exactly one. The counts are
real, the borders are not.
"""

from __future__ import annotations

import csv
import functools
import unicodedata
from importlib import resources
from typing import Any, cast

import attrs
import numpy as np
import zipcodes
from numpy.typing import NDArray

from indigo_async.sandbox.people.states import STATES

__all__ = ["Geography", "load_geography", "load_state_names"]

_CELL_DEGREES = 0.25


@attrs.frozen(kw_only=True)
class Geography:
    """Places as parallel arrays, one entry for each ZIP code.

    `state` indexes `STATES`. `population` is the share of the country's people. `urbanity` grows with the number of
    ZIPs nearby: 0 in the country, about 1 in a city. Counties read "Allegheny County, PA", congressional districts
    "PA-12" ("WY-AL" where a state has one), state legislative districts "PA-043"; None where there is no such chamber.
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
    """Postal code by name, territories included: "Pennsylvania" gives "PA"."""
    return {row["name"]: row["postal"] for row in _read_addfips("states.csv")}


def _fold_letters(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name).upper()
    return "".join(letter for letter in letters if "A" <= letter <= "Z")


def _load_counties() -> dict[tuple[str, str], tuple[str, str]]:
    """Official name and FIPS code of each county, by state and folded name."""
    postal = {row["fips"]: row["postal"] for row in _read_addfips("states.csv")}
    return {
        (postal[row["statefp"]], _fold_letters(row["name"])): (row["name"], row["statefp"] + row["countyfp"])
        for row in _read_addfips("counties_2020.csv")
        if row["statefp"] in postal
    }


def _assign_districts(
    state: NDArray[np.intp], share: NDArray[np.float64], counts: list[int], width: int
) -> NDArray[np.object_]:
    """Cut each state's line of ZIPs into `counts[state]` districts; `share` is a ZIP's midpoint on it, from 0 to 1."""
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


@functools.cache
def load_geography() -> Geography:
    """Every residential ZIP of the states and the District of Columbia, in district order."""
    counties = _load_counties()
    state_index = {place.postal: index for index, place in enumerate(STATES)}
    everywhere = cast("list[dict[str, Any]]", zipcodes.list_all())  # pyright: ignore[reportUnknownMemberType]: untyped
    rows = [
        row
        for row in everywhere
        if row["zip_code_type"] == "STANDARD"
        and row["active"]
        and row["state"] in state_index
        and (row["state"], _fold_letters(row["county"])) in counties
    ]
    county_names, codes = zip(*(counties[row["state"], _fold_letters(row["county"])] for row in rows), strict=True)
    state = np.array([state_index[row["state"]] for row in rows])
    latitude = np.array([float(row["lat"]) for row in rows])
    longitude = np.array([float(row["long"]) for row in rows])
    fips, county = np.unique(np.array(codes), return_inverse=True)
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
        zip=column([row["zip_code"] for row in rows]),
        city=column([row["city"] for row in rows]),
        county=column([f"{name}, {row['state']}" for name, row in zip(county_names, rows, strict=True)]),
        county_fips=np.array(fips, dtype=object)[county][order],
        area_code=column([row["area_codes"][0] if row["area_codes"] else "800" for row in rows]),
        state=state,
        population=population / population.sum(),
        urbanity=np.log(nearby) / np.log(nearby.max()),
        congressional_district=_assign_congressional_districts(state, share),
        upper_district=_assign_districts(state, share, [place.upper_districts for place in STATES], width=3),
        lower_district=_assign_districts(state, share, [place.lower_districts for place in STATES], width=3),
    )
