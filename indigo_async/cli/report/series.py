"""What changes over the time of a batch: jobs in each stage, jobs that end, and how long stages take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import attrs

from indigo_async.cli.report.history import BatchHistory
from indigo_async.cli.report.job_history import JobHistory, StageSpan
from indigo_async.cli.report.statistics import quantile
from indigo_async.cli.report.timescale import ActiveTime
from indigo_async.events import Stage

__all__ = ["StageDurations", "TimeSeries", "build_time_series"]

_OCCUPANCY_BINS = 240
_END_BINS = 80
_DURATION_BINS = 40


@attrs.frozen
class StageDurations:
    """Seconds in a stage, of the jobs that left it in each interval: None where none did. `longest_seconds` is of all."""

    stage: str
    medians: tuple[float | None, ...]
    p90s: tuple[float | None, ...]
    longest_seconds: float


@attrs.frozen
class TimeSeries:
    """Each sequence divides the active `seconds` of a batch into equal intervals.

    `occupancy` is the mean number of jobs in a stage; `done` and `failed` count the jobs that ended.
    """

    seconds: float
    occupancy: dict[str, tuple[float, ...]]
    done: tuple[int, ...]
    failed: tuple[int, ...]
    durations: tuple[StageDurations, ...]


def build_time_series(history: BatchHistory, timescale: ActiveTime) -> TimeSeries:
    """Everything that changes over time, in active seconds."""
    seconds = max(timescale.total_seconds, 0.001)
    spans = [
        StageSpan(span.stage, timescale.seconds_until(span.began), timescale.seconds_until(span.ended))
        for job in history.jobs
        for span in job.spans
    ]
    return TimeSeries(
        seconds=seconds,
        occupancy=_measure_occupancy(spans, seconds),
        done=_count_ends(history.jobs, "done", timescale, seconds),
        failed=_count_ends(history.jobs, "failed", timescale, seconds),
        durations=tuple(_stage_durations(spans, seconds)),
    )


def _measure_occupancy(spans: Iterable[StageSpan], seconds: float) -> dict[str, tuple[float, ...]]:
    """Mean numbers of jobs, by stage: the area under a stage's numbers is the time that jobs spent in it."""
    width = seconds / _OCCUPANCY_BINS
    parts: dict[str, list[float]] = {stage.value: [0.0] * _OCCUPANCY_BINS for stage in Stage}
    changes: dict[str, list[int]] = {stage.value: [0] * (_OCCUPANCY_BINS + 1) for stage in Stage}
    for span in spans:
        if span.stage not in parts:
            continue
        part, change = parts[span.stage], changes[span.stage]
        first = min(_OCCUPANCY_BINS - 1, int(span.began / width))
        last = min(_OCCUPANCY_BINS - 1, int(span.ended / width))
        if first == last:
            part[first] += (span.ended - span.began) / width
            continue
        part[first] += first + 1 - span.began / width
        part[last] += span.ended / width - last
        change[first + 1] += 1
        change[last] -= 1
    occupancy: dict[str, tuple[float, ...]] = {}
    for stage, part in parts.items():
        throughout, means = 0, list[float]()
        for change, partly in zip(changes[stage], part, strict=False):
            throughout += change
            means.append(throughout + partly)
        occupancy[stage] = tuple(means)
    return occupancy


def _count_ends(jobs: Iterable[JobHistory], state: str, timescale: ActiveTime, seconds: float) -> tuple[int, ...]:
    counts = [0] * _END_BINS
    for job in jobs:
        if job.state == state and job.ended is not None:
            counts[min(_END_BINS - 1, int(timescale.seconds_until(job.ended) / seconds * _END_BINS))] += 1
    return tuple(counts)


def _stage_durations(spans: Iterable[StageSpan], seconds: float) -> Iterable[StageDurations]:
    by_stage: defaultdict[str, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for span in spans:
        number = min(_DURATION_BINS - 1, int(span.ended / seconds * _DURATION_BINS))
        by_stage[span.stage][number].append(span.ended - span.began)
    for stage in Stage:
        bins = {number: sorted(values) for number, values in by_stage[stage.value].items()}
        if bins:
            yield StageDurations(
                stage.value,
                tuple(quantile(bins[number], 0.5) if number in bins else None for number in range(_DURATION_BINS)),
                tuple(quantile(bins[number], 0.9) if number in bins else None for number in range(_DURATION_BINS)),
                max(values[-1] for values in bins.values()),
            )
