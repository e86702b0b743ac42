"""Draw the benchmarks' charts from their JSON: `python -m benchmarks --draw` writes `docs/pictures/bench.*`.

The bars compare the SDK with its peers, measured alternately in one run. The files contain no date, machine name or
random ID, so that the same figures give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

__all__ = ["draw"]

_SDK_COLOR, _PEER_COLOR = "#1f6f5c", "#9aa5b1"


def draw(results: Mapping[str, Any], folder: Path) -> None:
    """Draw the charts for which there are results."""
    mpl.rcParams |= {"svg.hashsalt": "indigo-async", "font.family": "DejaVu Sans", "font.size": 9}
    panels = [
        ("CPU of one get_audience, 50 at once, µs", _notes(results, "calls", 4, "µs of ")),
        ("Requests for a job, whole cookbook", _with_sdk_bar(results, "cookbook", 0)),
        ("CPU of a job, whole cookbook, ms", _notes(results, "cookbook", 1, "ms ")),
        (
            "From done on the server until the client knows, in poll intervals",
            _with_sdk_bar(results, "cookbook", 2, leave_out="the longest"),
        ),
    ]
    drawn = [(title, bars) for title, bars in panels if bars]
    picture = Picture(figsize=(9, 1.7 * len(drawn)), layout="constrained")
    for axes, (title, bars) in zip(picture.subplots(len(drawn), squeeze=False)[:, 0], drawn, strict=True):
        _panel(axes, title, bars)
    folder.mkdir(parents=True, exist_ok=True)
    picture.savefig(folder / "bench.svg", metadata={"Date": None, "Creator": None})
    picture.savefig(folder / "bench.png", dpi=110, metadata={"Software": None})


def _panel(axes: Axes, title: str, bars: Mapping[str, float]) -> None:
    names = list(bars)[::-1]
    drawn = axes.barh(
        names, [bars[name] for name in names], color=[_SDK_COLOR if "indigo" in name else _PEER_COLOR for name in names]
    )
    axes.bar_label(drawn, fmt="%.3g", padding=3)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.margins(x=0.12)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False, left=False)


def _figure(results: Mapping[str, Any], part: str, index: int) -> Mapping[str, Any] | None:
    figures = results["parts"].get(part, {}).get("figures", [])
    return figures[index] if index < len(figures) else None


def _notes(results: Mapping[str, Any], part: str, index: int, prefix: str) -> dict[str, float]:
    """The figures of the peers from the notes, by peer."""
    figure = _figure(results, part, index)
    notes: Mapping[str, float] = figure["notes"] if figure is not None else {}
    return {name.removeprefix(prefix).removeprefix("of "): value for name, value in notes.items()}


def _with_sdk_bar(results: Mapping[str, Any], part: str, index: int, leave_out: str = "") -> dict[str, float]:
    figure = _figure(results, part, index)
    if figure is None:
        return {}
    return {"indigo_async": figure["value"]} | {
        name: value for name, value in figure["notes"].items() if name != leave_out
    }
