"""Time as a batch spent it: the time between two runs takes no room in a picture."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import attrs

from indigo_async.cli.report.history import BatchHistory

__all__ = ["ActiveTime", "Pause", "measure_active_time"]

_MIN_PAUSE_SECONDS = 60.0
"""Between jobs of a journal without runs, where nobody knows whether a shorter one was a pause."""


@attrs.frozen
class Pause:
    """Nothing was done for `total_seconds`, after `at` active seconds."""

    at: float
    seconds: float


@attrs.frozen
class ActiveTime:
    """Active seconds since the beginning, for times since 1970. `total_seconds` is how many there are in all."""

    _begins: tuple[float, ...]
    _lengths: tuple[float, ...]
    _before: tuple[float, ...]
    """Active seconds before each stretch of activity."""

    @property
    def total_seconds(self) -> float:
        return self._before[-1] + self._lengths[-1]

    def seconds_between(self, began: float, ended: float) -> float:
        """Active seconds from one time to another."""
        return self.seconds_until(ended) - self.seconds_until(began)

    def seconds_until(self, at: float) -> float:
        """Active seconds until a time."""
        stretch = max(0, bisect_right(self._begins, at) - 1)
        return self._before[stretch] + min(max(0.0, at - self._begins[stretch]), self._lengths[stretch])

    @property
    def pauses(self) -> tuple[Pause, ...]:
        ends = (begin + length for begin, length in zip(self._begins, self._lengths, strict=True))
        gaps = zip(ends, self._begins[1:], self._before[1:], strict=False)
        return tuple(Pause(before, begin - end) for end, begin, before in gaps)


def measure_active_time(history: BatchHistory) -> ActiveTime:
    """The stretches of time in which a run was under way, or a job in a journal that tells of no runs.

    What the server did for a job between two runs is nobody's time: a job's stages reach over the pause.
    """
    runs = ((run.began, run.last_written) for run in history.runs)
    spans = ((span.began, span.ended) for job in history.jobs for span in job.spans)
    stretches = list(_merge_intervals(runs, 0.0) if history.runs else _merge_intervals(spans, _MIN_PAUSE_SECONDS))
    stretches = stretches or [(history.began, history.ended)]
    begins = tuple(began for began, _ in stretches)
    lengths = tuple(ended - began for began, ended in stretches)
    before = tuple(sum(lengths[:number]) for number in range(len(lengths)))
    return ActiveTime(begins, lengths, before)


def _merge_intervals(intervals: Iterable[tuple[float, float]], apart: float) -> Iterable[tuple[float, float]]:
    """The intervals, those joined that are no further apart."""
    began = ended = None
    for begin, end in sorted(intervals):
        if began is None or ended is None:
            began, ended = begin, end
        elif begin > ended + apart:
            yield began, ended
            began, ended = begin, end
        else:
            ended = max(ended, end)
    if began is not None and ended is not None:
        yield began, ended
