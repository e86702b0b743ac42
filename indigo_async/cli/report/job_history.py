"""One job, put together from its rows in a journal: its times, its money and its end, over all runs.

A batch that is run again looks again at what is finished. That takes a job no time: a stage's time counts up to the end
of the run that finished it, and a job's up to the run that finished the last of its stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, Literal, TypeAlias

import attrs

from indigo_async.workflows.events import Stage
from indigo_async.workflows.journal import Bill, EntryKind, JournalRecord, bill_of

__all__ = ["Failure", "GrowingJob", "JobHistory", "JobState", "Span"]

JobState: TypeAlias = Literal["done", "failed", "open"]

_CLOCK_SECONDS = 0.1
"""What the clocks that rows and outcomes go by may differ by."""

_KEPT = ("audience_id", "match", "lookalike_size", "quoted_cents")
_STAGES = [stage.value for stage in Stage]


@attrs.frozen
class Span:
    """A job was in a stage from `began` to `ended`, in seconds since 1970."""

    stage: str
    began: float
    ended: float


@attrs.frozen
class Failure:
    """Why a job failed, and at which stage."""

    stage: str
    error_type: str
    message: str


@attrs.frozen(kw_only=True)
class JobHistory:
    """One job in all runs. Its `state` is how its last run ended; "open" where none is known to have.

    `matched` of `rows` people were found; both are None where the server does not show it. `ended` is None for an open
    job. `spans` are in order of time, those of one run side by side. A later run looks again at what is finished: that
    is in no span, and a job that was done stays so from the run that finished the last of its stages.
    """

    customer_id: str
    audience_name: str
    state: JobState
    spans: tuple[Span, ...]
    ended: float | None
    failure: Failure | None
    audience_id: str | int | None
    matched: int | None
    rows: int | None
    lookalike_size: int | None
    quoted_cents: int | None
    bill: Bill
    warnings: tuple[str, ...] = ()


@attrs.frozen
class _CutOff:
    """The rows of runs that told of no outcome, as stages and times, and when the run began that told of the next one.

    `finished` are the stages that earlier runs had finished.
    """

    rows: list[tuple[str, float]]
    next_began: float
    finished: frozenset[str]


@attrs.define
class GrowingJob:
    """A job while its rows are read."""

    customer_id: str
    audience_name: str
    spans: list[Span] = attrs.Factory(list[Span])
    cut_off: list[_CutOff] = attrs.Factory(list[_CutOff])
    since: list[tuple[str, float]] = attrs.Factory(list[tuple[str, float]])
    """The stages and times of the rows since the last outcome."""
    purchases: list[tuple[EntryKind, Mapping[str, Any]]] = attrs.Factory(list[tuple[EntryKind, Mapping[str, Any]]])
    outcome: Mapping[str, Any] | None = None
    failed_in: Span | None = None
    """Where the last outcome failed, also if that was a look at what had been finished."""
    ended: float | None = None
    done: float | None = None
    """When a run was done that finished a stage for the first time."""
    finished: frozenset[str] = frozenset()
    known: dict[str, Any] = attrs.Factory(dict[str, Any])

    def add(self, record: JournalRecord, at: float) -> None:
        if record.kind is EntryKind.OUTCOME:
            self._add_outcome(record.facts, at)
            return
        self.since.append((record.stage, at))
        if record.stage == Stage.PURCHASE:
            self.purchases.append((record.kind, record.facts))
        if record.stage == Stage.DOWNLOAD:
            self._settle(str(record.facts.get("export_id")))
            self.known["quoted_cents"] = record.facts.get("cost_cents")

    def _add_outcome(self, facts: Mapping[str, Any], at: float) -> None:
        began = at - facts["seconds"]
        cut_off = [(stage, written) for stage, written in self.since if written < began - _CLOCK_SECONDS]
        if cut_off:
            self.cut_off.append(_CutOff(cut_off, began, self.finished))
            self.done = self._done_in(cut_off) or self.done
            self.finished |= _finished_in(cut_off)
        self.since.clear()
        self.outcome, self.ended = facts, at
        told = _spans_told(facts, at)
        self.failed_in = None if facts["error"] is None else told[-1]
        self.spans += _unfinished(told, self.finished)
        timings = frozenset(facts["timings"])
        if facts["error"] is None and (self.done is None or timings - self.finished):
            self.done = at
        self.finished |= timings
        # What one run saw, a later one that finds all done need not see again.
        self.known |= {key: facts[key] for key in _KEPT if facts[key] is not None}

    def _done_in(self, rows: list[tuple[str, float]]) -> float | None:
        """When rows without an outcome say that the job was done, for the first time."""
        downloads = (at for stage, at in rows if stage == Stage.DOWNLOAD)
        return None if Stage.DOWNLOAD in self.finished else next(downloads, None)

    def _settle(self, export_id: str) -> None:
        """What can be downloaded was bought, also where the run was killed that bought it."""
        ours = [(kind, facts) for kind, facts in self.purchases if str(facts["export_id"]) == export_id]
        if ours and ours[-1][0] is EntryKind.INTENT:
            self.purchases.append((EntryKind.RESULT, ours[-1][1]))

    def grown(self, silent_from: Callable[[float], float]) -> JobHistory:
        """The job. `silent_from` tells until when a run is known to have gone on that wrote at a time."""
        state, failure, ended = self._end()
        spans = list(self.spans)
        for cut in self.cut_off:
            silent = _silent_from(cut.rows, silent_from, cut.next_began)
            spans += _unfinished(_spans_between(cut.rows, silent), cut.finished)
        if state == "failed" and self.failed_in is not None and self.failed_in not in spans:
            spans.append(self.failed_in)
        spans.sort(key=lambda span: span.began)
        if self.since:
            since = _spans_between(self.since, _silent_from(self.since, silent_from))
            spans += _unfinished(since, self.finished) if state == "done" else since
        matched, rows = self.known.get("match") or (None, None)
        return JobHistory(
            customer_id=self.customer_id,
            audience_name=self.audience_name,
            state=state,
            spans=tuple(spans),
            ended=ended,
            failure=failure,
            audience_id=self.known.get("audience_id"),
            matched=matched,
            rows=rows,
            lookalike_size=self.known.get("lookalike_size"),
            quoted_cents=self.known.get("quoted_cents"),
            bill=bill_of(self.purchases),
            warnings=tuple((self.outcome or {}).get("warnings", ())),
        )

    def _end(self) -> tuple[JobState, Failure | None, float | None]:
        if self.outcome is None or self.since:
            # No outcome is known of the last run: it is under way, was cut off, or its SDK wrote none.
            if self.since and self.since[-1][0] == Stage.DOWNLOAD:
                return "done", None, self._done_in(self.since) or self.done or self.since[-1][1]
            return "open", None, None
        error = self.outcome["error"]
        if error is None:
            return "done", None, self.done
        return "failed", Failure(self.outcome["stage"], error["type"], error["message"]), self.ended


def _unfinished(spans: Iterable[Span], finished: frozenset[str]) -> Iterable[Span]:
    """Without those in which a run only looked again at what an earlier one had finished."""
    return (span for span in spans if span.stage not in finished)


def _finished_in(rows: list[tuple[str, float]]) -> frozenset[str]:
    """The stages that rows without an outcome show to be finished: those before the last one's; a download, too."""
    last = rows[-1][0]
    if last not in _STAGES:
        return frozenset()
    return frozenset(_STAGES[: _STAGES.index(last) + (last == Stage.DOWNLOAD)])


def _spans_told(facts: Mapping[str, Any], at: float) -> list[Span]:
    """The stages that an outcome tells the seconds of, one after the other; a failed one has what is left."""
    spans: list[Span] = []
    ends = began = at - facts["seconds"]
    for stage in Stage:
        seconds = facts["timings"].get(stage.value)
        if seconds is not None:
            began, ends = ends, ends + seconds
            spans.append(Span(stage.value, began, min(ends, at)))
    if facts["error"] is not None:
        spans.append(Span(facts["stage"], min(ends, at), at))
    return spans


def _silent_from(rows: list[tuple[str, float]], silent_from: Callable[[float], float], before: float = inf) -> float:
    """Until when a job without an outcome was in the stage of its last row: a download ends when it is written down."""
    stage, last = rows[-1]
    silent = silent_from(last)
    return silent if stage != Stage.DOWNLOAD and silent < before else last


def _spans_between(rows: list[tuple[str, float]], ended: float) -> list[Span]:
    """The stages of a job without an outcome: each row's lasts until the next row, the last one's to the end."""
    spans: list[Span] = []
    ends = [*(at for _, at in rows[1:]), ended]
    for (stage, at), end in zip(rows, ends, strict=True):
        if spans and spans[-1].stage == stage:
            spans[-1] = attrs.evolve(spans[-1], ended=end)
        else:
            spans.append(Span(stage, at, end))
    return spans
