"""The geometry of the pictures: where things stand, in the units of their SVGs. How they look is the page's matter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs

from indigo_async.cli.report.formatting import format_duration
from indigo_async.cli.report.series import StageDurations, TimeSeries
from indigo_async.cli.report.timescale import Pause

__all__ = [
    "Area",
    "Bar",
    "Chart",
    "Tick",
    "build_completion_chart",
    "build_duration_chart",
    "build_match_rate_chart",
    "build_occupancy_chart",
]

_COUNT_STEPS = (1, 2, 5)
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
_LABEL_WIDTH = 110.0


@attrs.frozen
class Tick:
    """A mark on an axis, and what it says."""

    at: float
    text: str


@attrs.frozen
class Area:
    kind: str
    path: str


@attrs.frozen
class Bar:
    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str


@attrs.frozen(kw_only=True)
class Chart:
    """A picture of `width` by `height`, whose plot is within `left`, `right`, `top` and `bottom`."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    pauses: tuple[Tick, ...] = ()
    areas: tuple[Area, ...] = ()
    bars: tuple[Bar, ...] = ()

    def x(self, part: float) -> float:
        return self.left + part * (self.right - self.left)

    def y(self, part: float) -> float:
        return self.bottom - part * (self.bottom - self.top)


def build_occupancy_chart(series: TimeSeries, pauses: Sequence[Pause]) -> Chart:
    """How many jobs were in each stage, one upon the other."""
    bins = len(next(iter(series.occupancy.values())))
    totals = [sum(stage[number] for stage in series.occupancy.values()) for number in range(bins)]
    most = _round_up(max(totals) * 0.999)  # what overlaps by a rounding needs no room
    chart = Chart(width=1000, height=300, left=58, right=992, top=10, bottom=272)
    below = [0.0] * bins
    areas: list[Area] = []
    for stage, counts in series.occupancy.items():
        above = [low + count for low, count in zip(below, counts, strict=True)]
        if any(counts):
            areas.append(Area(stage, _stacked_path(chart, below, above, most)))
        below = above
    return attrs.evolve(
        chart,
        areas=tuple(areas),
        x_ticks=tuple(_time_ticks(chart, series.seconds)),
        y_ticks=tuple(_count_ticks(chart, most)),
        pauses=tuple(_pause_ticks(chart, series.seconds, pauses)),
    )


def build_completion_chart(series: TimeSeries, pauses: Sequence[Pause]) -> Chart:
    """How many jobs ended in each interval: the failed ones stand on top of the others."""
    bins = len(series.done)
    most = _round_up(max(done + failed for done, failed in zip(series.done, series.failed, strict=True)))
    chart = Chart(width=520, height=210, left=46, right=512, top=10, bottom=184)
    width = (chart.right - chart.left) / bins
    bars: list[Bar] = []
    for number, (done, failed) in enumerate(zip(series.done, series.failed, strict=True)):
        begins, ends = (format_duration(edge * series.seconds / bins) for edge in (number, number + 1))
        middle, top = chart.y(done / most), chart.y((done + failed) / most)
        x, wide = chart.x(number / bins) + 0.5, width - 1
        if done:
            bars.append(Bar("done", x, middle, wide, chart.bottom - middle, f"{done:,} done, {begins} to {ends}"))
        if failed:
            bars.append(Bar("failed", x, top, wide, middle - top, f"{failed:,} failed, {begins} to {ends}"))
    return attrs.evolve(
        chart,
        bars=tuple(bars),
        x_ticks=tuple(_time_ticks(chart, series.seconds)),
        y_ticks=tuple(_count_ticks(chart, most)),
        pauses=tuple(_pause_ticks(chart, series.seconds, pauses)),
    )


def build_duration_chart(waits: StageDurations, seconds: float) -> Chart:
    """How long one stage took, over time: a band from nothing to nine in ten jobs, and the middle of all as a line."""
    most = max(*(value or 0.0 for value in waits.p90s), 0.001)
    chart = Chart(width=320, height=136, left=8, right=312, top=20, bottom=112)
    middles = [(number + 0.5) / len(waits.p90s) for number in range(len(waits.p90s))]
    known = [
        (at, p90 / most, median / most)
        for at, p90, median in zip(middles, waits.p90s, waits.medians, strict=True)
        if p90 is not None and median is not None
    ]
    if len(known) == 1:  # a line needs two ends
        at, p90, median = known[0]
        known = [(at - 0.02, p90, median), (at + 0.02, p90, median)]
    band = [(at, p90) for at, p90, _ in known] + [(known[-1][0], 0.0), (known[0][0], 0.0)]
    line = [(at, median) for at, _, median in known]
    return attrs.evolve(
        chart,
        areas=(Area("band", _svg_path(chart, band) + "Z"), Area("line", _svg_path(chart, line))),
        x_ticks=(Tick(chart.left, "0 s"), Tick(chart.right, format_duration(seconds))),
        y_ticks=(Tick(chart.top, format_duration(most)),),
    )


def build_match_rate_chart(classes: Sequence[int]) -> Chart:
    """How many lists have which match rate, in equal classes from 0 to 100 %."""
    most = _round_up(max(classes))
    chart = Chart(width=480, height=200, left=48, right=472, top=10, bottom=172)
    width = (chart.right - chart.left) / len(classes)
    bars = tuple(
        Bar(
            "matched",
            chart.x(number / len(classes)) + 1,
            chart.y(count / most),
            width - 2,
            chart.bottom - chart.y(count / most),
            f"{count:,} with {number * 100 // len(classes)} to {(number + 1) * 100 // len(classes)} %",
        )
        for number, count in enumerate(classes)
        if count
    )
    ticks = tuple(Tick(chart.x(part / 4), f"{part * 25} %") for part in range(5))
    return attrs.evolve(chart, bars=bars, x_ticks=ticks, y_ticks=tuple(_count_ticks(chart, most)))


def _stacked_path(chart: Chart, below: Sequence[float], above: Sequence[float], most: float) -> str:
    middles = [(number + 0.5) / len(above) for number in range(len(above))]
    middles[0], middles[-1] = 0.0, 1.0
    upper = [(at, value / most) for at, value in zip(middles, above, strict=True)]
    lower = [(at, value / most) for at, value in zip(middles, below, strict=True)]
    return _svg_path(chart, [*upper, *reversed(lower)]) + "Z"


def _svg_path(chart: Chart, points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{chart.x(x):.1f} {chart.y(y):.1f}" for x, y in points)


def _round_up(most: float) -> float:
    """A round number that is not below this one."""
    if most <= 1:
        return 1
    power = 10 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= most)


def _count_ticks(chart: Chart, most: float) -> Iterable[Tick]:
    power = 10.0 ** math.floor(math.log10(max(most / 2, 1)))
    step = next((each * power for each in _COUNT_STEPS if most / (each * power) <= 4), power * 10)  # noqa: PLR2004 - that many fit
    for number in range(int(most / step) + 1):
        yield Tick(chart.y(number * step / most), f"{number * step:,.0f}")


def _time_ticks(chart: Chart, seconds: float) -> Iterable[Tick]:
    most = chart.width / 110
    step = next((each for each in _TIME_STEPS if seconds / each <= most), math.ceil(seconds / most / 86_400) * 86_400)
    if seconds < 2:  # noqa: PLR2004 - whole seconds would not do
        step = seconds / 4
    for number in range(int(seconds / step + 0.001) + 1):
        yield Tick(chart.x(number * step / seconds), format_duration(number * step))


def _pause_ticks(chart: Chart, seconds: float, pauses: Iterable[Pause]) -> Iterable[Tick]:
    """A line for each pause, with its words where there is room for them behind the last ones."""
    free = 0.0
    for pause in pauses:
        x = chart.x(pause.at / seconds)
        words = f"{format_duration(pause.seconds)} later" if x >= free else ""
        if words:
            free = x + _LABEL_WIDTH
        yield Tick(x, words)
