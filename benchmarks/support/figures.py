"""What all parts of the benchmarks share: figures beside their goals, and CPU time taken by turns.

CPU time is compared rather than the clock's: it holds still while other programs run on the machine. Peers are measured
by turns, in many short rounds, and a ratio is the median of the rounds' own ratios, so that what slows the machine down
for a while slows both sides of a ratio.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

__all__ = ["Figure", "measure_interleaved", "ratios", "spread"]


@attrs.frozen(kw_only=True)
class Figure:
    """One measured number. `low` and `high` are its spread over the rounds, `goal` what it should not cross.

    `notes` are the medians behind it, or what else one should know, by name.
    """

    measure: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    notes: Mapping[str, float | str] = attrs.Factory(dict)

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:.4g}"
        return "" if self.at_least is None else f">= {self.at_least:,.4g}"


async def measure_interleaved(
    peers: Mapping[str, Callable[[], Awaitable[object]]], *, rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """The CPU seconds of this process that each peer takes in each round; who begins changes from round to round."""
    taken: dict[str, list[float]] = {name: [] for name in peers}
    names = list(peers)
    for turn in range(rounds + warm_up):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            before = time.process_time()
            await peers[name]()
            if turn >= warm_up:
                taken[name].append(time.process_time() - before)
    return taken


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median, and the middle half of the values, under the names that a `Figure` has for them."""
    if len(values) < 4:
        return {"value": statistics.median(values), "low": min(values), "high": max(values)}
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"value": middle, "low": low, "high": high}
