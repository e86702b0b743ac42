"""How a batch developed over its active time: the time between runs is left out."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

import attrs

from indigo_async.cli.report.history import BatchHistory
from indigo_async.cli.report.job_history import JobHistory, StageSpan
from indigo_async.events import Stage

__all__ = [
    "ActiveTime",
    "Pause",
    "StageDurations",
    "TimeSeries",
    "build_time_series",
    "measure_active_time",
    "quantile",
]

_OCCUPANCY_BINS = 240
_END_BINS = 80
_DURATION_BINS = 40
_MIN_PAUSE_SECONDS = 60.0
"""A shorter gap between jobs is no pause. Only for journals that don't record their runs."""


@attrs.frozen
class Pause:
    """`seconds` without activity, after `active_seconds` of activity."""

    active_seconds: float
    seconds: float


@attrs.frozen
class ActiveTime:
    """Converts times (in seconds since 1970) to active seconds since the start."""

    _starts: tuple[float, ...]
    _lengths: tuple[float, ...]
    _before: tuple[float, ...]
    """Active seconds before each period of activity."""

    @property
    def total_seconds(self) -> float:
        return self._before[-1] + self._lengths[-1]

    @property
    def pauses(self) -> tuple[Pause, ...]:
        ends = (start + length for start, length in zip(self._starts, self._lengths, strict=True))
        gaps = zip(ends, self._starts[1:], self._before[1:], strict=False)
        return tuple(Pause(before, start - end) for end, start, before in gaps)

    def seconds_between(self, started_at: float, ended_at: float) -> float:
        return self.seconds_until(ended_at) - self.seconds_until(started_at)

    def seconds_until(self, at: float) -> float:
        period = bisect_right(self._starts, at) - 1
        if period < 0:
            return 0.0
        return self._before[period] + min(at - self._starts[period], self._lengths[period])


def measure_active_time(history: BatchHistory) -> ActiveTime:
    """Find the periods in which a run (or, in a journal without runs, a job) was in progress.

    A job's stages may include a pause: what the server does between two runs is not counted.
    """
    runs = ((run.started_at, run.last_written_at) for run in history.runs)
    spans = ((span.started_at, span.ended_at) for job in history.jobs for span in job.spans)
    periods = list(_merge_intervals(runs, 0.0) if history.runs else _merge_intervals(spans, _MIN_PAUSE_SECONDS))
    periods = periods or [(history.started_at, history.ended_at)]
    lengths = tuple(end - start for start, end in periods)
    before = tuple(sum(lengths[:number]) for number in range(len(lengths)))
    return ActiveTime(tuple(start for start, _ in periods), lengths, before)


def _merge_intervals(intervals: Iterable[tuple[float, float]], max_gap: float) -> list[tuple[float, float]]:
    """Merge intervals that overlap or are at most `max_gap` apart."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1] + max_gap:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


@attrs.frozen
class StageDurations:
    """How long a stage took for the jobs that left it in each interval, in seconds (None: no job left it).

    `longest_seconds` is over all jobs.
    """

    stage: str
    medians: tuple[float | None, ...]
    p90s: tuple[float | None, ...]
    longest_seconds: float


@attrs.frozen
class TimeSeries:
    """Each sequence divides a batch's active `seconds` into equal intervals.

    `occupancy` is the mean number of jobs in each stage; `done` and `failed` count the jobs that ended.
    """

    seconds: float
    occupancy: dict[str, tuple[float, ...]]
    done: tuple[int, ...]
    failed: tuple[int, ...]
    durations: tuple[StageDurations, ...]


def build_time_series(history: BatchHistory, active_time: ActiveTime) -> TimeSeries:
    seconds = max(active_time.total_seconds, 0.001)
    spans = [
        StageSpan(span.stage, active_time.seconds_until(span.started_at), active_time.seconds_until(span.ended_at))
        for job in history.jobs
        for span in job.spans
    ]
    return TimeSeries(
        seconds=seconds,
        occupancy=_measure_occupancy(spans, seconds),
        done=_count_ends(history.jobs, "done", active_time, seconds),
        failed=_count_ends(history.jobs, "failed", active_time, seconds),
        durations=tuple(_measure_durations(spans, seconds)),
    )


def _measure_occupancy(spans: Iterable[StageSpan], seconds: float) -> dict[str, tuple[float, ...]]:
    """Return the mean number of jobs per interval, by stage. The area under it is the time that jobs spent there."""
    width = seconds / _OCCUPANCY_BINS
    partial: dict[str, list[float]] = {stage.value: [0.0] * _OCCUPANCY_BINS for stage in Stage}
    changes: dict[str, list[int]] = {stage.value: [0] * (_OCCUPANCY_BINS + 1) for stage in Stage}
    for span in spans:
        if span.stage not in partial:
            continue
        bins, change = partial[span.stage], changes[span.stage]
        first = min(_OCCUPANCY_BINS - 1, int(span.started_at / width))
        last = min(_OCCUPANCY_BINS - 1, int(span.ended_at / width))
        if first == last:
            bins[first] += (span.ended_at - span.started_at) / width
            continue
        bins[first] += first + 1 - span.started_at / width
        bins[last] += span.ended_at / width - last
        change[first + 1] += 1
        change[last] -= 1
    occupancy: dict[str, tuple[float, ...]] = {}
    for stage, bins in partial.items():
        throughout, means = 0, list[float]()
        for entered, partly in zip(changes[stage], bins, strict=False):
            throughout += entered
            means.append(throughout + partly)
        occupancy[stage] = tuple(means)
    return occupancy


def _count_ends(jobs: Iterable[JobHistory], state: str, active_time: ActiveTime, seconds: float) -> tuple[int, ...]:
    counts = [0] * _END_BINS
    for job in jobs:
        if job.state == state and job.ended_at is not None:
            counts[min(_END_BINS - 1, int(active_time.seconds_until(job.ended_at) / seconds * _END_BINS))] += 1
    return tuple(counts)


def _measure_durations(spans: Iterable[StageSpan], seconds: float) -> Iterable[StageDurations]:
    by_stage: defaultdict[str, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for span in spans:
        number = min(_DURATION_BINS - 1, int(span.ended_at / seconds * _DURATION_BINS))
        by_stage[span.stage][number].append(span.ended_at - span.started_at)
    for stage in Stage:
        bins = {number: sorted(values) for number, values in by_stage[stage.value].items()}
        if bins:
            medians, p90s = (
                tuple(quantile(bins[number], part) if number in bins else None for number in range(_DURATION_BINS))
                for part in (0.5, 0.9)
            )
            yield StageDurations(stage.value, medians, p90s, max(values[-1] for values in bins.values()))


def quantile(sorted_values: Sequence[float], fraction: float) -> float:
    """Return the value below which a fraction (0 to 1) of the values lie."""
    return sorted_values[min(len(sorted_values) - 1, int(fraction * len(sorted_values)))]
