"""Figures with their goals, and alternating measurements of CPU time.

CPU time is compared instead of wall-clock time, because it is stable while other programs run. Peers are measured
alternately in many short rounds, and a ratio is the median of the rounds' ratios: whatever slows the machine down for a
while then affects both sides of a ratio.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

__all__ = ["Figure", "format_number", "measure_interleaved", "ratios", "spread"]


@attrs.frozen(kw_only=True)
class Figure:
    """One measured number. `low` and `high` are its spread over the rounds; `at_most` or `at_least` is its goal.

    `notes` holds the medians behind it and other details, by name.
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
        """Whether the goal is reached; None without a goal."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"<= {format_number(self.at_most)} {self.unit}".strip()
        return "" if self.at_least is None else f">= {format_number(self.at_least)} {self.unit}".strip()


def format_number(value: float) -> str:
    """A number with three digits, or more if it is large."""
    return f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"


async def measure_interleaved(
    peers: Mapping[str, Callable[[], Awaitable[object]]], *, rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Measure this process's CPU seconds for each peer and round. Each round starts with a different peer."""
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


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """The ratios, round by round."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median and the quartiles, as keyword arguments of `Figure`."""
    if len(values) < 4:
        return {"value": statistics.median(values), "low": min(values), "high": max(values)}
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"value": middle, "low": low, "high": high}
