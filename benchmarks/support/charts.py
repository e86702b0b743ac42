"""Draw the benchmarks' charts from their JSON: `python -m benchmarks --draw` writes `docs/pictures/bench-*.svg`.

In each chart, less is better. The files contain no date, machine name or random ID, so that the same figures give the
same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

__all__ = ["draw"]

_SDK_COLOR, _PEER_COLOR, _MISSED_COLOR = "#1f6f5c", "#9aa5b1", "#b3541e"
_CONCURRENCY = (1, 8, 50)
_PACES = (("ours", _SDK_COLOR, "o"), ("fixed interval", _PEER_COLOR, "s"), ("backoff", _MISSED_COLOR, "^"))
_TITLE: Mapping[str, Any] = {"loc": "left", "fontsize": 10, "fontweight": "bold"}


def draw(results: Mapping[str, Any], folder: Path) -> None:
    """Draw all charts."""
    mpl.rcParams |= {"svg.hashsalt": "indigo-async", "font.family": "DejaVu Sans", "font.size": 9}
    parts: Mapping[str, Any] = results["parts"]
    folder.mkdir(parents=True, exist_ok=True)
    _save(_jobs(parts), folder / "bench-jobs.svg")
    _save(_calls(parts), folder / "bench-calls.svg")
    _save(_waits(parts), folder / "bench-waits.svg")


def _save(picture: Picture, path: Path) -> None:
    picture.savefig(path, metadata={"Date": None, "Creator": None})


def _jobs(parts: Mapping[str, Any]) -> Picture:
    """What a job takes, compared with programs written by hand."""
    figures = parts["cookbook"]["figures"]
    requests = {"indigo_async": figures[0]["value"]} | figures[0]["notes"]
    cpu = _strip(figures[1]["notes"] | figures[2]["notes"], "ms ", "of ")
    picture = Picture(figsize=(9, 3.6), layout="constrained")
    above, below = picture.subplots(2)
    _draw_bars(above, "Requests of a job", requests)
    _draw_bars(below, "CPU of a job in ms", cpu)
    return picture


def _calls(parts: Mapping[str, Any]) -> Picture:
    """What a call takes, at 1, 8 and 50 concurrent calls."""
    picture = Picture(figsize=(9, 2.4), layout="constrained")
    picture.suptitle("CPU of a call in µs", x=0.01, ha="left", fontsize=10, fontweight="bold")
    for axes, concurrency in zip(picture.subplots(1, 3, sharey=True), _CONCURRENCY, strict=True):
        notes: Mapping[str, float] = next(
            figure["notes"] for figure in parts["calls"]["figures"] if f"({concurrency} at once)" in figure["measure"]
        )
        _draw_bars(axes, f"{concurrency} at once", _strip(notes, "µs of "))
    return picture


def _waits(parts: Mapping[str, Any]) -> Picture:
    """Requests and delays of ways to poll, a point for each kind of wait."""
    picture = Picture(figsize=(9, 3.6), layout="constrained")
    axes = picture.subplots()
    simulated = [figure for figure in parts["poll_intervals"]["figures"] if "(simulated)" in figure["measure"]]
    for pace, color, marker in _PACES:
        points = [
            (figure["notes"][f"{pace}: requests"], figure["notes"][f"{pace}: intervals late"])
            for figure in simulated
            if f"{pace}: requests" in figure["notes"]
        ]
        axes.scatter(*zip(*points, strict=True), color=color, marker=marker, label=pace)
    axes.set_xlabel("requests per round of 1,000 customers, less is better")
    axes.set_ylabel("intervals late, less is better")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    axes.set_title("How often waits of nine kinds are polled, and how late their ends are noticed", **_TITLE)
    return picture


def _draw_bars(axes: Axes, title: str, bars: Mapping[str, float]) -> None:
    names = list(bars)[::-1]
    colors = [_SDK_COLOR if "indigo_async" in name else _PEER_COLOR for name in names]
    drawn = axes.barh(names, [bars[name] for name in names], color=colors)
    axes.bar_label(
        drawn, labels=[f"{bars[name]:,.3g}" if bars[name] < 100 else f"{bars[name]:,.0f}" for name in names], padding=3
    )
    _finish(axes, title)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, **_TITLE)
    axes.margins(x=0.2)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False, left=False)


def _strip(notes: Mapping[str, float], *prefixes: str) -> dict[str, float]:
    """The numbers among the notes that start with the first prefix, by the rest of their names."""
    found: dict[str, float] = {}
    for name, value in notes.items():
        if name.startswith(prefixes[0]):
            found.setdefault(functools.reduce(str.removeprefix, prefixes, name), value)
    return found
