"""Lookalikes: the voters most similar to a base audience.

Gradient-boosted trees learn to distinguish the base from a sample of other voters by age, gender, ethnicity, party,
place, vote history and scores. They then score every voter who matches the filters, and the highest scores form the
audience. Compared with logistic regression, the lift is 1.3 times higher if the base follows a rule such as "women over
55", and 0.94 times if it follows a smooth slope. Either takes a fraction of a second.
"""

# ruff: noqa: S608
# Queries consist of this package's own names. Outside values are bound.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import duckdb
import numpy as np
from numpy.typing import NDArray

from indigo_async.inputs import LookalikeFilters
from indigo_async.sandbox.people.features import load_features
from indigo_async.sandbox.people.geography import find_place_name
from indigo_async.sandbox.people.voters import FILTER_COLUMNS, VoterFile

__all__ = ["LookalikeResult", "build_lookalike"]

_MAX_SAMPLE = 20_000
"""The maximum number of base voters, and of other voters, that the model learns from."""


@attrs.frozen
class LookalikeResult:
    """The voters of a lookalike. `scores[i]` is the similarity of `voters[i]`, from 0 to 1."""

    voters: NDArray[np.int32]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.voters)


def build_lookalike(
    voters: VoterFile,
    base: NDArray[np.int32],
    *,
    size: int,
    include_base: bool,
    filters: LookalikeFilters | None,
    seed: int = 0,
) -> LookalikeResult:
    """Return the `size` voters most similar to the base, best first, or fewer if not enough match the filters.

    With `include_base`, base members who match the filters come first and count toward `size`. Without it, none of them
    is in the result. Voters must match all filters (API reference: "POST /create_lookalike_audience"). The result is
    deterministic.

    Raises:
        ValueError: the base is empty, or a filter is not one that `LookalikeFilters` names.
    """
    if not len(base):
        raise ValueError("the base audience is empty")
    with voters.cursor() as cursor:
        allowed = _load_filter_mask(cursor, filters)
        features = load_features(cursor)
    in_base = np.zeros(len(voters), dtype=bool)
    in_base[base] = True
    candidates = np.flatnonzero(allowed if include_base else allowed & ~in_base)
    scores = _score_similarity(features, in_base, candidates, seed)
    best = np.lexsort((candidates, -scores, ~in_base[candidates]))[:size]
    return LookalikeResult(candidates[best].astype(np.int32), scores[best])


def _load_filter_mask(cursor: duckdb.DuckDBPyConnection, filters: LookalikeFilters | None) -> NDArray[np.bool_]:
    """Return a mask of the voters who match all filters. Places are named as in the voter file or by FIPS codes."""
    chosen = {} if filters is None else attrs.asdict(filters, recurse=False)
    for key in chosen.pop("extra", {}):
        raise ValueError(f"{key!r} is not a filter; the filters are {', '.join(FILTER_COLUMNS)}")
    wanted = {name: [*values, *_name_places(name, values)] for name, values in chosen.items() if values is not None}
    conditions = [f"coalesce(list_contains(${name}, {FILTER_COLUMNS[name]}), false)" for name in wanted]
    query = f"SELECT {' AND '.join(conditions) or 'true'} AS allowed FROM voters ORDER BY voter"
    return np.asarray(cursor.execute(query, wanted).fetchnumpy()["allowed"], dtype=bool)


def _name_places(filter_name: str, values: Iterable[str]) -> Iterator[str]:
    """The names of the places that are given by their FIPS codes."""
    return filter(None, (find_place_name(filter_name, value) for value in values))


def _draw_sample(rng: np.random.Generator, members: NDArray[np.intp]) -> NDArray[np.intp]:
    return members if len(members) <= _MAX_SAMPLE else np.sort(rng.choice(members, _MAX_SAMPLE, replace=False))


def _score_similarity(
    features: NDArray[np.float32], in_base: NDArray[np.bool_], candidates: NDArray[np.intp], seed: int
) -> NDArray[np.float64]:
    """Return the similarity of each candidate to the base, from 0 to 1."""
    if in_base.all() or not len(candidates):
        return np.ones(len(candidates))
    # imported late, because this takes over a second
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]: there are none
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]: as above

    rng = np.random.default_rng(seed)
    learn = np.concatenate([_draw_sample(rng, np.flatnonzero(side)) for side in (in_base, ~in_base)])
    options: dict[str, Any] = {"max_iter": 40, "max_leaf_nodes": 8, "early_stopping": False, "random_state": seed}
    model: Any = HistGradientBoostingClassifier(**options)
    # one thread per call, because calls that share cores would wait for each other
    with threadpool_limits(limits=1, user_api="openmp"):
        model.fit(features[learn], in_base[learn])
        return np.asarray(model.predict_proba(features[candidates])[:, 1], dtype=np.float64)
