"""Lookalikes: the voters most like those of a base audience.

Gradient-boosted trees learn to tell the base from a sample of the other voters by what the file says about a person:
age, gender, ethnicity, party, place, vote history and scores. They then score every voter who passes the filters, and
the highest scores make the audience. (Measured against logistic regression: 1.3 times its lift where the base follows
a rule such as "women over 55", 0.94 times where it follows a smooth slope, and either takes a fraction of a second.)
"""

# ruff: noqa: S608
# Queries are put together from this package's own names; what comes from outside is bound.

from __future__ import annotations

from typing import Any, cast

import attrs
import duckdb
import numpy as np
from numpy.typing import NDArray

from indigo_async.inputs import LookalikeFilters
from indigo_async.sandbox.people.schema import COLUMNS, VOTER_FILE_DATE
from indigo_async.sandbox.people.voters import FILTER_COLUMNS, VoterFile

__all__ = ["LookalikeResult", "build_lookalike"]

_CATEGORICAL_FEATURES = ("gender", "ethnicity", "party", "reg_state", "county", "congressional_district")
"""Text features. Each becomes the rank of its value, so that neighbouring districts stay neighbours."""

_MAX_SAMPLE = 20_000
"""How many of the base and how many others the model learns from, at most."""


@attrs.frozen
class LookalikeResult:
    """The voters of a lookalike; `scores[i]` (0 to 1) says how much `voters[i]` is like the base."""

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
    """The `size` voters most like the base, best first; fewer where not so many pass the filters.

    With `include_base` the members of the base who pass the filters come first and count towards `size`; without it
    none of them is in the result. All filters must hold at once (reference, "POST /create_lookalike_audience").
    Equal arguments give an equal result.

    Raises:
        ValueError: the base is empty, or a filter is not one that `LookalikeFilters` names.
    """
    if not len(base):
        raise ValueError("the base audience is empty")
    with voters.cursor() as cursor:
        allowed = _load_filter_mask(cursor, filters)
        features = _load_features(cursor)
    in_base = np.zeros(len(voters), dtype=bool)
    in_base[base] = True
    candidates = np.flatnonzero(allowed if include_base else allowed & ~in_base)
    scores = _score_similarity(features, in_base, candidates, seed)
    best = np.lexsort((candidates, -scores, ~in_base[candidates]))[:size]
    return LookalikeResult(candidates[best].astype(np.int32), scores[best])


def _load_filter_mask(cursor: duckdb.DuckDBPyConnection, filters: LookalikeFilters | None) -> NDArray[np.bool_]:
    """Who passes all filters, by voter."""
    chosen = {} if filters is None else attrs.asdict(filters, recurse=False)
    for key in chosen.pop("extra", {}):
        raise ValueError(f"{key!r} is no filter of this voter file; the filters are {', '.join(FILTER_COLUMNS)}")
    wanted = {name: list(values) for name, values in chosen.items() if values is not None}
    conditions = [f"coalesce(list_contains(${name}, {FILTER_COLUMNS[name]}), false)" for name in wanted]
    query = f"SELECT {' AND '.join(conditions) or 'true'} AS allowed FROM voters ORDER BY voter"
    return np.asarray(cursor.execute(query, wanted).fetchnumpy()["allowed"], dtype=bool)


def _load_features(cursor: duckdb.DuckDBPyConnection) -> NDArray[np.float32]:
    """Voters x features, none of them negative; -1 where the file does not say."""
    numbers = [column.name for column in COLUMNS if column.sql_type in {"BOOLEAN", "FLOAT"}]
    parts = [
        *(
            f"CASE WHEN {name} IS NOT NULL THEN dense_rank() OVER (ORDER BY {name}) END"
            for name in _CATEGORICAL_FEATURES
        ),
        *(f"date_diff('year', {name}, DATE '{VOTER_FILE_DATE}')" for name in ("dob", "reg_date")),
        *numbers,
    ]
    columns = ", ".join(f"({part})::FLOAT AS f{index}" for index, part in enumerate(parts))
    query = f"SELECT {columns} FROM voters ORDER BY voter"
    found = cast("dict[str, NDArray[np.float32]]", cursor.execute(query).fetchnumpy())
    return np.column_stack([np.ma.filled(column, np.float32(-1)) for column in found.values()])


def _draw_sample(rng: np.random.Generator, members: NDArray[np.intp]) -> NDArray[np.intp]:
    return members if len(members) <= _MAX_SAMPLE else np.sort(rng.choice(members, _MAX_SAMPLE, replace=False))


def _score_similarity(
    features: NDArray[np.float32], in_base: NDArray[np.bool_], candidates: NDArray[np.intp], seed: int
) -> NDArray[np.float64]:
    """How much each candidate is like the base, from 0 to 1."""
    if in_base.all() or not len(candidates):
        return np.ones(len(candidates))
    # imported late: this takes over a second, which only lookalikes should pay
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]: there are none
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]: as above

    rng = np.random.default_rng(seed)
    learn = np.concatenate([_draw_sample(rng, np.flatnonzero(side)) for side in (in_base, ~in_base)])
    options: dict[str, Any] = {"max_iter": 40, "max_leaf_nodes": 8, "early_stopping": False, "random_state": seed}
    model: Any = HistGradientBoostingClassifier(**options)
    # one thread for each call: several that share the cores would spend their time waiting for one another
    with threadpool_limits(limits=1, user_api="openmp"):
        model.fit(features[learn], in_base[learn])
        return np.asarray(model.predict_proba(features[candidates])[:, 1], dtype=np.float64)
