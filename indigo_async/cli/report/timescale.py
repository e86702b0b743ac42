"""Time as a batch spent it: the hours between two runs take no room in a picture."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import attrs

from indigo_async.cli.report.history import History

__all__ = ["Pause", "Timescale", "timescale_of"]

_SHORTEST_PAUSE = 60.0


@attrs.frozen
class Pause:
    """Nothing was done for `seconds`, after `at` active seconds."""

    at: float
    seconds: float


@attrs.frozen
class Timescale:
    """Active seconds since the beginning, for times since 1970. `seconds` is how many there are in all."""

    _begins: tuple[float, ...]
    _lengths: tuple[float, ...]
    _before: tuple[float, ...]
    """Active seconds before each stretch of activity."""

    @property
    def seconds(self) -> float:
        return self._before[-1] + self._lengths[-1]

    def active(self, at: float) -> float:
        """Active seconds until a time."""
        stretch = max(0, bisect_right(self._begins, at) - 1)
        return self._before[stretch] + min(max(0.0, at - self._begins[stretch]), self._lengths[stretch])

    @property
    def pauses(self) -> tuple[Pause, ...]:
        ends = (begin + length for begin, length in zip(self._begins, self._lengths, strict=True))
        gaps = zip(ends, self._begins[1:], self._before[1:], strict=False)
        return tuple(Pause(before, begin - end) for end, begin, before in gaps)


def timescale_of(history: History) -> Timescale:
    """The stretches of time in which a run or a job was under way."""
    runs = ((run.began, run.last_heard) for run in history.runs)
    spans = ((span.began, span.ended) for job in history.jobs for span in job.spans)
    stretches = list(_joined([*runs, *spans])) or [(history.began, history.ended)]
    begins = tuple(began for began, _ in stretches)
    lengths = tuple(ended - began for began, ended in stretches)
    before = tuple(sum(lengths[:number]) for number in range(len(lengths)))
    return Timescale(begins, lengths, before)


def _joined(intervals: Iterable[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """The intervals, those joined that meet or nearly do."""
    began = ended = None
    for begin, end in sorted(intervals):
        if began is None or ended is None:
            began, ended = begin, end
        elif begin > ended + _SHORTEST_PAUSE:
            yield began, ended
            began, ended = begin, end
        else:
            ended = max(ended, end)
    if began is not None and ended is not None:
        yield began, ended
