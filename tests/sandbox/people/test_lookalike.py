from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indigo_async.inputs import LookalikeFilters
from indigo_async.sandbox.people import build_lookalike, list_filter_values, sample_voters
from indigo_async.sandbox.people.voters import FILTER_COLUMNS


@pytest.fixture(scope="module")
def base(voters):
    return sample_voters(voters, 1_000, seed=7)


@pytest.fixture(scope="module")
def known(voters):
    return list_filter_values(voters)


def rows(voters, query):
    with voters.cursor() as cursor:
        return cursor.execute(query).fetchall()


def test_it_returns_the_requested_number_best_first(voters, base):
    lookalike = build_lookalike(voters, base, size=3_000, include_base=False, filters=None)
    assert len(lookalike) == len(set(lookalike.voters.tolist())) == 3_000
    assert not set(lookalike.voters.tolist()) & set(base.tolist())
    assert (np.diff(lookalike.scores) <= 0).all()
    assert ((lookalike.scores >= 0) & (lookalike.scores <= 1)).all()


def test_the_base_comes_first_and_counts_when_it_is_included(voters, base):
    lookalike = build_lookalike(voters, base, size=3_000, include_base=True, filters=None)
    assert len(lookalike) == 3_000
    assert set(lookalike.voters[:1_000].tolist()) == set(base.tolist())
    smaller = build_lookalike(voters, base, size=300, include_base=True, filters=None)
    assert smaller.voters.tolist() == lookalike.voters[:300].tolist()


def test_it_returns_fewer_if_there_are_not_enough(voters, base):
    everybody = build_lookalike(voters, base, size=10**6, include_base=True, filters=None)
    rest = build_lookalike(voters, base, size=10**6, include_base=False, filters=None)
    assert len(everybody) == len(voters)
    assert len(rest) == len(voters) - len(base)


def test_lookalikes_are_deterministic(voters, base):
    one, other = (build_lookalike(voters, base, size=500, include_base=False, filters=None, seed=3) for _ in range(2))
    assert one.voters.tolist() == other.voters.tolist()
    assert one.scores.tolist() == other.scores.tolist()


def test_lookalikes_in_threads_give_the_same_result(voters):
    bases = [sample_voters(voters, 500, seed=seed) for seed in range(4)]

    def grow(base):
        return build_lookalike(voters, base, size=200, include_base=False, filters=None).voters.tolist()

    alone = [grow(base) for base in bases]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(grow, bases)) == alone


@pytest.mark.parametrize(
    ("profile", "least_lift"),
    [
        ("gender = 'F' AND dob < DATE '1971-11-01' AND support_democratic > 0.6", 6),
        ("support_republican > 0.6 AND reg_state IN ('PA', 'OH', 'MI', 'WI')", 6),
    ],
)
def test_lookalikes_fit_the_profile_of_the_base_far_more_often_than_the_file_does(voters, profile, least_lift):
    fits = np.array([fit for (fit,) in rows(voters, f"SELECT coalesce({profile}, false) FROM voters ORDER BY voter")])
    rng = np.random.default_rng(0)
    inside = rng.choice(np.flatnonzero(fits), 500, replace=False)
    noise = rng.choice(np.flatnonzero(~fits), 100, replace=False)
    base = np.concatenate([inside, noise]).astype(np.int32)
    rest = np.setdiff1d(np.arange(len(voters)), base)
    lookalike = build_lookalike(voters, base, size=400, include_base=False, filters=None)
    lift = fits[lookalike.voters].mean() / fits[rest].mean()
    assert lift > least_lift, lift


@settings(max_examples=8)
@given(data=st.data())
def test_all_filters_hold_at_once(voters, base, known, data):
    # three people's own places, so that some combinations hold for somebody
    people = data.draw(st.lists(st.integers(0, len(voters) - 1), min_size=1, max_size=3))
    names = data.draw(st.sets(st.sampled_from(sorted(FILTER_COLUMNS)), min_size=1))
    places = rows(voters, f"SELECT {', '.join(FILTER_COLUMNS.values())} FROM voters WHERE voter IN {(*people, -1)}")
    wanted = {
        name: sorted({place[index] for place in places if place[index] is not None}) or known[name][:1]
        for index, name in enumerate(FILTER_COLUMNS)
        if name in names
    }
    include_base = data.draw(st.booleans())
    filters = LookalikeFilters(**wanted)
    lookalike = build_lookalike(voters, base, size=10**6, include_base=include_base, filters=filters)
    everybody = rows(voters, f"SELECT {', '.join(FILTER_COLUMNS.values())} FROM voters ORDER BY voter")
    expected = {
        voter
        for voter, place in enumerate(everybody)
        if all(place[list(FILTER_COLUMNS).index(name)] in values for name, values in wanted.items())
    }
    assert set(lookalike.voters.tolist()) == (expected if include_base else expected - set(base.tolist()))


def test_a_filter_that_nobody_matches_returns_nobody(voters, base):
    assert len(build_lookalike(voters, base, size=5, include_base=True, filters=LookalikeFilters(states=["XX"]))) == 0


def people_in(voters, base, **filters):
    found = build_lookalike(voters, base, size=10**6, include_base=True, filters=LookalikeFilters(**filters))
    return set(found.voters.tolist())


@pytest.mark.parametrize(
    ("filter_name", "code", "name"),
    [
        ("states", "42", "PA"),
        ("counties", "42003", "Allegheny County, PA"),
        ("congressional_districts", "4212", "PA-12"),
        ("congressional_districts", "0602", "CA-02"),
        ("congressional_districts", "5600", "WY-AL"),
        ("upper_state_legislative_districts", "42043", "PA-043"),
        ("lower_state_legislative_districts", "12010", "FL-010"),
    ],
)
def test_a_place_is_given_by_its_name_or_its_fips_code(voters, base, filter_name, code, name):
    by_code, by_name = (people_in(voters, base, **{filter_name: [place]}) for place in (code, name))
    assert by_code == by_name != set()


def test_names_and_fips_codes_can_be_mixed(voters, base):
    assert people_in(voters, base, states=["PA", "34"]) == people_in(voters, base, states=["PA", "NJ"])
    assert people_in(voters, base, states=["42"], counties=["34003"]) == set()


@pytest.mark.parametrize("code", ["", "4", "421", "99", "xx"])
def test_a_code_that_stands_for_no_state_matches_nobody(voters, base, code):
    assert people_in(voters, base, states=[code]) == set()


def test_a_voter_file_may_have_fips_codes_itself(voter_file):
    voters = voter_file(
        [{"first_name": f"A{n}", "last_name": "B", "county": "42003" if n % 2 else ""} for n in range(60)]
    )
    assert len(people_in(voters, np.arange(5, dtype=np.int32), counties=["42003"])) == 30


def test_an_unknown_filter_is_named(voters, base):
    with pytest.raises(ValueError, match="shoeSize"):
        build_lookalike(voters, base, size=5, include_base=True, filters=LookalikeFilters(extra={"shoeSize": ["9"]}))


def test_an_empty_base_is_rejected(voters):
    with pytest.raises(ValueError, match="empty"):
        build_lookalike(voters, np.array([], dtype=np.int32), size=5, include_base=True, filters=None)


def test_a_base_of_everybody_has_only_itself_to_offer(voters):
    everybody = np.arange(len(voters), dtype=np.int32)
    assert len(build_lookalike(voters, everybody, size=10, include_base=True, filters=None)) == 10
    assert len(build_lookalike(voters, everybody, size=10, include_base=False, filters=None)) == 0


def test_a_file_that_says_little_about_people_still_gives_lookalikes(voter_file):
    voters = voter_file([{"first_name": f"A{n}", "last_name": f"B{n}"} for n in range(60)])
    base = np.arange(20, dtype=np.int32)
    assert len(build_lookalike(voters, base, size=30, include_base=False, filters=None)) == 30
