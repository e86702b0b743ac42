"""Time as a batch spent it: the time between two runs takes no room in a picture."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import attrs

from indigo_async.cli.report.history import History

__all__ = ["Pause", "Timescale", "timescale_of"]

_SHORTEST_PAUSE = 60.0
"""Between jobs of a journal without runs, where nobody knows whether a shorter one was a pause."""


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

    def between(self, began: float, ended: float) -> float:
        """Active seconds from one time to another."""
        return self.active(ended) - self.active(began)

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
    """The stretches of time in which a run was under way, or a job in a journal that tells of no runs.

    What the server did for a job between two runs is nobody's time: a job's stages reach over the pause.
    """
    runs = ((run.began, run.last_heard) for run in history.runs)
    spans = ((span.began, span.ended) for job in history.jobs for span in job.spans)
    stretches = list(_joined(runs, 0.0) if history.runs else _joined(spans, _SHORTEST_PAUSE))
    stretches = stretches or [(history.began, history.ended)]
    begins = tuple(began for began, _ in stretches)
    lengths = tuple(ended - began for began, ended in stretches)
    before = tuple(sum(lengths[:number]) for number in range(len(lengths)))
    return Timescale(begins, lengths, before)


def _joined(intervals: Iterable[tuple[float, float]], apart: float) -> Iterable[tuple[float, float]]:
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
