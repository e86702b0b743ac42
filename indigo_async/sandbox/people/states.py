"""The states, as the synthetic voter file needs them. Names and FIPS codes come from the package `addfips`.

The numbers of districts are public: House seats by the 2020 apportionment, and the districts of each chamber of the
state legislatures, which are fewer than the seats if districts have several members (Arizona's 30 districts elect 60
representatives). Nebraska has one chamber. The District of Columbia elects a delegate and has council wards.
Population, vote and ethnicity are rounded from the 2020 census and the 2020 presidential election.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["STATES", "State"]


class State(NamedTuple):
    """One state: `population` in thousands, shares in whole percent.

    `democratic` is the Democratic share of the two-party vote. `lower_districts` is 0 without a lower chamber.
    `party_registration` says whether voters register with a party.
    """

    postal: str
    population: int
    house_seats: int
    upper_districts: int
    lower_districts: int
    democratic: int
    black: int
    latino: int
    aapi: int
    native: int
    party_registration: bool


_YES, _NO = True, False

STATES: tuple[State, ...] = (
    State("AL", 5024, 7, 35, 105, 37, 26, 4, 2, 1, _NO),
    State("AK", 733, 1, 20, 40, 45, 3, 7, 7, 15, _YES),
    State("AZ", 7152, 9, 30, 30, 50, 5, 31, 4, 5, _YES),
    State("AR", 3012, 4, 35, 100, 36, 15, 8, 2, 1, _NO),
    State("CA", 39538, 52, 40, 80, 65, 6, 39, 16, 1, _YES),
    State("CO", 5774, 8, 35, 65, 57, 4, 22, 4, 1, _YES),
    State("CT", 3606, 5, 36, 151, 60, 11, 17, 5, 0, _YES),
    State("DE", 990, 1, 21, 41, 60, 22, 10, 4, 0, _YES),
    State("DC", 690, 1, 8, 0, 94, 41, 11, 5, 0, _YES),
    State("FL", 21538, 28, 40, 120, 48, 15, 26, 3, 0, _YES),
    State("GA", 10712, 14, 56, 180, 50, 31, 10, 5, 0, _NO),
    State("HI", 1455, 2, 25, 51, 65, 2, 10, 57, 0, _NO),
    State("ID", 1839, 2, 35, 35, 34, 1, 13, 2, 1, _YES),
    State("IL", 12813, 17, 59, 118, 59, 14, 18, 6, 0, _NO),
    State("IN", 6786, 9, 50, 100, 42, 10, 8, 3, 0, _NO),
    State("IA", 3190, 4, 50, 100, 46, 4, 7, 3, 0, _YES),
    State("KS", 2938, 4, 40, 125, 43, 6, 13, 3, 1, _YES),
    State("KY", 4506, 6, 38, 100, 37, 8, 4, 2, 0, _YES),
    State("LA", 4658, 6, 39, 105, 41, 31, 7, 2, 1, _YES),
    State("ME", 1362, 2, 35, 151, 55, 2, 2, 1, 1, _YES),
    State("MD", 6177, 8, 47, 47, 67, 29, 12, 7, 0, _YES),
    State("MA", 7030, 9, 40, 160, 67, 7, 13, 7, 0, _YES),
    State("MI", 10077, 13, 38, 110, 51, 14, 5, 3, 1, _NO),
    State("MN", 5706, 8, 67, 134, 54, 7, 6, 5, 1, _NO),
    State("MS", 2961, 4, 52, 122, 42, 37, 4, 1, 1, _NO),
    State("MO", 6155, 8, 34, 163, 42, 11, 5, 2, 0, _NO),
    State("MT", 1084, 2, 50, 100, 42, 1, 4, 1, 6, _NO),
    State("NE", 1962, 3, 49, 0, 40, 5, 12, 3, 1, _YES),
    State("NV", 3105, 4, 21, 42, 51, 10, 29, 10, 1, _YES),
    State("NH", 1378, 2, 24, 203, 54, 2, 4, 3, 0, _YES),
    State("NJ", 9289, 12, 40, 40, 58, 13, 22, 10, 0, _YES),
    State("NM", 2118, 3, 42, 70, 56, 2, 48, 2, 10, _YES),
    State("NY", 20201, 26, 63, 150, 62, 15, 20, 10, 0, _YES),
    State("NC", 10439, 14, 50, 120, 49, 20, 11, 3, 1, _YES),
    State("ND", 779, 1, 47, 47, 33, 3, 4, 2, 5, _NO),
    State("OH", 11799, 15, 33, 99, 46, 12, 4, 3, 0, _NO),
    State("OK", 3959, 5, 48, 101, 33, 7, 12, 2, 8, _YES),
    State("OR", 4237, 6, 30, 60, 58, 2, 14, 5, 1, _YES),
    State("PA", 13003, 17, 50, 203, 51, 11, 8, 4, 0, _YES),
    State("RI", 1097, 2, 38, 75, 61, 6, 17, 4, 0, _YES),
    State("SC", 5118, 7, 46, 124, 44, 25, 7, 2, 0, _NO),
    State("SD", 887, 1, 35, 35, 37, 2, 4, 2, 8, _YES),
    State("TN", 6911, 9, 33, 99, 38, 16, 7, 2, 0, _NO),
    State("TX", 29146, 38, 31, 150, 47, 12, 39, 6, 0, _NO),
    State("UT", 3272, 4, 29, 75, 39, 1, 15, 3, 1, _YES),
    State("VT", 643, 1, 16, 109, 68, 1, 2, 2, 0, _NO),
    State("VA", 8631, 11, 40, 100, 55, 19, 11, 7, 0, _NO),
    State("WA", 7705, 10, 49, 49, 60, 4, 14, 10, 1, _NO),
    State("WV", 1794, 2, 17, 100, 30, 4, 2, 1, 0, _YES),
    State("WI", 5894, 8, 33, 99, 50, 6, 8, 3, 1, _NO),
    State("WY", 577, 1, 31, 62, 28, 1, 10, 1, 2, _YES),
)
