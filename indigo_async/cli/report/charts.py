"""The geometry of the charts, in SVG units. The page's CSS styles them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs

from indigo_async.cli.report.formatting import format_duration
from indigo_async.cli.report.timeline import Pause, StageDurations, TimeSeries

__all__ = [
    "NARROW",
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
_MAX_COUNT_STEPS = 4
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
_LABEL_WIDTH = 110.0


@attrs.frozen
class Tick:
    """A labeled position on an axis."""

    position: float
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
    """A chart of `width` by `height`. The plot area is within `left`, `right`, `top` and `bottom`."""

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

    def x(self, fraction: float) -> float:
        return self.left + fraction * (self.right - self.left)

    def y(self, fraction: float) -> float:
        return self.bottom - fraction * (self.bottom - self.top)


NARROW = Chart(width=340, height=230, left=52, right=332, top=10, bottom=202)
"""An empty chart about as wide as a phone's screen, so text keeps its normal size."""
_WIDE = Chart(width=1000, height=300, left=58, right=992, top=10, bottom=272)
_HALF = Chart(width=520, height=210, left=46, right=512, top=10, bottom=184)


def build_occupancy_chart(series: TimeSeries, pauses: Sequence[Pause], chart: Chart = _WIDE) -> Chart:
    """Stack the number of jobs in each stage over time."""
    bins = len(next(iter(series.occupancy.values())))
    totals = [sum(stage[number] for stage in series.occupancy.values()) for number in range(bins)]
    maximum = _round_up(max(totals) * 0.999)  # ignore rounding errors
    below = [0.0] * bins
    areas: list[Area] = []
    for stage, counts in series.occupancy.items():
        above = [low + count for low, count in zip(below, counts, strict=True)]
        if any(counts):
            areas.append(Area(stage, _stacked_path(chart, below, above, maximum)))
        below = above
    return attrs.evolve(
        chart,
        areas=tuple(areas),
        x_ticks=tuple(_time_ticks(chart, series.seconds)),
        y_ticks=tuple(_count_ticks(chart, maximum)),
        pauses=tuple(_pause_ticks(chart, series.seconds, pauses)),
    )


def build_completion_chart(series: TimeSeries, pauses: Sequence[Pause], chart: Chart = _HALF) -> Chart:
    """Count the jobs that ended in each interval, with failed jobs on top of done ones."""
    bins = len(series.done)
    maximum = _round_up(max(done + failed for done, failed in zip(series.done, series.failed, strict=True)))
    width = (chart.right - chart.left) / bins
    bars: list[Bar] = []
    for number, (done, failed) in enumerate(zip(series.done, series.failed, strict=True)):
        start, end = (format_duration(edge * series.seconds / bins) for edge in (number, number + 1))
        middle, top = chart.y(done / maximum), chart.y((done + failed) / maximum)
        x, wide = chart.x(number / bins) + 0.5, width - 1
        if done:
            bars.append(Bar("done", x, middle, wide, chart.bottom - middle, f"{done:,} done, {start} to {end}"))
        if failed:
            bars.append(Bar("failed", x, top, wide, middle - top, f"{failed:,} failed, {start} to {end}"))
    return attrs.evolve(
        chart,
        bars=tuple(bars),
        x_ticks=tuple(_time_ticks(chart, series.seconds)),
        y_ticks=tuple(_count_ticks(chart, maximum)),
        pauses=tuple(_pause_ticks(chart, series.seconds, pauses)),
    )


def build_duration_chart(durations: StageDurations, seconds: float) -> Chart:
    """Plot how long a stage took over time: the median as a line, the 90th percentile as a band."""
    maximum = max(*(value or 0.0 for value in durations.p90s), 0.001)
    chart = Chart(width=320, height=136, left=8, right=312, top=20, bottom=112)
    middles = [(number + 0.5) / len(durations.p90s) for number in range(len(durations.p90s))]
    known = [
        (at, p90 / maximum, median / maximum)
        for at, p90, median in zip(middles, durations.p90s, durations.medians, strict=True)
        if p90 is not None and median is not None
    ]
    if len(known) == 1:  # a line needs two points
        at, p90, median = known[0]
        known = [(at - 0.02, p90, median), (at + 0.02, p90, median)]
    band = [(at, p90) for at, p90, _ in known] + [(known[-1][0], 0.0), (known[0][0], 0.0)]
    line = [(at, median) for at, _, median in known]
    return attrs.evolve(
        chart,
        areas=(Area("band", _svg_path(chart, band) + "Z"), Area("line", _svg_path(chart, line))),
        x_ticks=(Tick(chart.left, "0 s"), Tick(chart.right, format_duration(seconds))),
        y_ticks=(Tick(chart.top, format_duration(maximum)),),
    )


def build_match_rate_chart(histogram: Sequence[int], chart: Chart = _HALF) -> Chart:
    """Count the lists by match rate, in equal bins from 0% to 100%."""
    maximum = _round_up(max(histogram))
    width = (chart.right - chart.left) / len(histogram)
    bars = tuple(
        Bar(
            "matched",
            chart.x(number / len(histogram)) + 1,
            chart.y(count / maximum),
            width - 2,
            chart.bottom - chart.y(count / maximum),
            f"{count:,} with {number * 100 // len(histogram)}% to {(number + 1) * 100 // len(histogram)}%",
        )
        for number, count in enumerate(histogram)
        if count
    )
    ticks = tuple(Tick(chart.x(part / 4), f"{part * 25}%") for part in range(5))
    return attrs.evolve(chart, bars=bars, x_ticks=ticks, y_ticks=tuple(_count_ticks(chart, maximum)))


def _stacked_path(chart: Chart, below: Sequence[float], above: Sequence[float], maximum: float) -> str:
    middles = [(number + 0.5) / len(above) for number in range(len(above))]
    middles[0], middles[-1] = 0.0, 1.0
    upper = [(at, value / maximum) for at, value in zip(middles, above, strict=True)]
    lower = [(at, value / maximum) for at, value in zip(middles, below, strict=True)]
    return _svg_path(chart, [*upper, *reversed(lower)]) + "Z"


def _svg_path(chart: Chart, points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{chart.x(x):.1f} {chart.y(y):.1f}" for x, y in points)


def _round_up(number: float) -> float:
    """Round up to a round number."""
    if number <= 1:
        return 1
    power = 10 ** math.floor(math.log10(number))
    return next(float(step * power) for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= number)


def _count_ticks(chart: Chart, maximum: float) -> Iterable[Tick]:
    power = 10.0 ** math.floor(math.log10(max(maximum / 2, 1)))
    step = next((each * power for each in _COUNT_STEPS if maximum / (each * power) <= _MAX_COUNT_STEPS), power * 10)
    for number in range(int(maximum / step) + 1):
        yield Tick(chart.y(number * step / maximum), f"{number * step:,.0f}")


def _time_ticks(chart: Chart, seconds: float) -> Iterable[Tick]:
    max_ticks = chart.width / 110
    step: float = next(
        (each for each in _TIME_STEPS if seconds / each <= max_ticks), math.ceil(seconds / max_ticks / 86_400) * 86_400
    )
    if seconds < 2:  # noqa: PLR2004 - whole seconds are too coarse
        step = seconds / 4
    for number in range(int(seconds / step + 0.001) + 1):
        yield Tick(chart.x(number * step / seconds), format_duration(number * step))


def _pause_ticks(chart: Chart, seconds: float, pauses: Iterable[Pause]) -> Iterable[Tick]:
    """Mark each pause, with a label if it does not overlap the previous one."""
    free_from = 0.0
    for pause in pauses:
        x = chart.x(pause.active_seconds / seconds)
        label = f"{format_duration(pause.seconds)} pause" if x >= free_from else ""
        if label:
            free_from = x + _LABEL_WIDTH
        yield Tick(x, label)
