"""One job, put together from its rows in a journal: its times, its money and its end, over all runs.

A batch that is run again looks again at what is finished. That takes a job no time: a stage's time counts up to the end
of the run that finished it, and a job's up to the run that finished the last of its stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, Literal, TypeAlias

import attrs

from indigo_async.events import Stage
from indigo_async.workflows.journal import EntryKind, JournalRecord, PurchaseTotals, sum_purchases

__all__ = ["JobFailure", "JobHistory", "JobHistoryBuilder", "JobState", "StageSpan"]

JobState: TypeAlias = Literal["done", "failed", "open"]

_CLOCK_TOLERANCE = 0.1
"""What the clocks that rows and outcomes go by may differ by."""

_STICKY_FACTS = ("audience_id", "match", "lookalike_size", "quoted_cents")
_STAGES = [stage.value for stage in Stage]


@attrs.frozen
class StageSpan:
    """A job was in a stage from `began` to `ended_at`, in seconds since 1970."""

    stage: str
    began: float
    ended: float


@attrs.frozen
class JobFailure:
    """Why a job failed, and at which stage."""

    stage: str
    error_type: str
    message: str


@attrs.frozen(kw_only=True)
class JobHistory:
    """One job in all runs. Its `state` is how its last run ended; "open" where none is known to have.

    `matched` of `rows` people were found; both are None where the server does not show it. `ended_at` is None for an
    open job. `spans` are in order of time, those of one run side by side. A later run looks again at what is finished:
    that is in no span, and a job that was done stays so from the run that finished the last of its stages.
    """

    customer_id: str
    audience_name: str
    state: JobState
    spans: tuple[StageSpan, ...]
    ended: float | None
    failure: JobFailure | None
    audience_id: str | int | None
    matched: int | None
    rows: int | None
    lookalike_size: int | None
    quoted_cents: int | None
    bill: PurchaseTotals
    warnings: tuple[str, ...] = ()


@attrs.frozen
class _InterruptedRun:
    """The rows of runs that told of no outcome, as stages and times, and when the run began that told of the next one.

    `finished` are the stages that earlier runs had finished.
    """

    rows: list[tuple[str, float]]
    next_began: float
    finished: frozenset[str]


@attrs.define
class JobHistoryBuilder:
    """A job while its rows are read."""

    customer_id: str
    audience_name: str
    spans: list[StageSpan] = attrs.Factory(list[StageSpan])
    interrupted_runs: list[_InterruptedRun] = attrs.Factory(list[_InterruptedRun])
    rows_since_outcome: list[tuple[str, float]] = attrs.Factory(list[tuple[str, float]])
    """The stages and times of the rows since the last outcome."""
    purchases: list[tuple[EntryKind, Mapping[str, Any]]] = attrs.Factory(list[tuple[EntryKind, Mapping[str, Any]]])
    outcome: Mapping[str, Any] | None = None
    failed_span: StageSpan | None = None
    """Where the last outcome failed, also if that was a look at what had been finished."""
    ended_at: float | None = None
    done_at: float | None = None
    """When a run was done that finished a stage for the first time."""
    finished: frozenset[str] = frozenset()
    latest_facts: dict[str, Any] = attrs.Factory(dict[str, Any])

    def add_record(self, record: JournalRecord, at: float) -> None:
        if record.kind is EntryKind.OUTCOME:
            self._add_outcome(record.facts, at)
            return
        self.rows_since_outcome.append((record.stage, at))
        if record.stage == Stage.PURCHASE:
            self.purchases.append((record.kind, record.facts))
        if record.stage == Stage.DOWNLOAD:
            self._mark_purchased(str(record.facts.get("export_id")))
            self.latest_facts["quoted_cents"] = record.facts.get("cost_cents")

    def _add_outcome(self, facts: Mapping[str, Any], at: float) -> None:
        began = at - facts["seconds"]
        cut_off = [(stage, written) for stage, written in self.rows_since_outcome if written < began - _CLOCK_TOLERANCE]
        if cut_off:
            self.interrupted_runs.append(_InterruptedRun(cut_off, began, self.finished))
            self.done_at = self._find_done_time(cut_off) or self.done_at
            self.finished |= _infer_finished(cut_off)
        self.rows_since_outcome.clear()
        self.outcome, self.ended_at = facts, at
        told = _spans_from_outcome(facts, at)
        self.failed_span = None if facts["error"] is None else told[-1]
        self.spans += _drop_finished(told, self.finished)
        timings = frozenset(facts["timings"])
        if facts["error"] is None and (self.done_at is None or timings - self.finished):
            self.done_at = at
        self.finished |= timings
        # What one run saw, a later one that finds all done need not see again.
        self.latest_facts |= {key: facts[key] for key in _STICKY_FACTS if facts[key] is not None}

    def _find_done_time(self, rows: list[tuple[str, float]]) -> float | None:
        """When rows without an outcome say that the job was done, for the first time."""
        downloads = (at for stage, at in rows if stage == Stage.DOWNLOAD)
        return None if Stage.DOWNLOAD in self.finished else next(downloads, None)

    def _mark_purchased(self, export_id: str) -> None:
        """What can be downloaded was bought, also where the run was killed that bought it."""
        ours = [(kind, facts) for kind, facts in self.purchases if str(facts["export_id"]) == export_id]
        if ours and ours[-1][0] is EntryKind.INTENT:
            self.purchases.append((EntryKind.RESULT, ours[-1][1]))

    def build(self, silent_from: Callable[[float], float]) -> JobHistory:
        """The job. `silent_from` tells until when a run is known to have gone on that wrote at a time."""
        state, failure, ended = self._final_state()
        spans = list(self.spans)
        for cut in self.interrupted_runs:
            silent = _infer_end(cut.rows, silent_from, cut.next_began)
            spans += _drop_finished(_spans_from_rows(cut.rows, silent), cut.finished)
        if state == "failed" and self.failed_span is not None and self.failed_span not in spans:
            spans.append(self.failed_span)
        spans.sort(key=lambda span: span.began)
        if self.rows_since_outcome:
            since = _spans_from_rows(self.rows_since_outcome, _infer_end(self.rows_since_outcome, silent_from))
            spans += _drop_finished(since, self.finished) if state == "done" else since
        matched, rows = self.latest_facts.get("match") or (None, None)
        return JobHistory(
            customer_id=self.customer_id,
            audience_name=self.audience_name,
            state=state,
            spans=tuple(spans),
            ended=ended,
            failure=failure,
            audience_id=self.latest_facts.get("audience_id"),
            matched=matched,
            rows=rows,
            lookalike_size=self.latest_facts.get("lookalike_size"),
            quoted_cents=self.latest_facts.get("quoted_cents"),
            bill=sum_purchases(self.purchases),
            warnings=tuple((self.outcome or {}).get("warnings", ())),
        )

    def _final_state(self) -> tuple[JobState, JobFailure | None, float | None]:
        if self.outcome is None or self.rows_since_outcome:
            # No outcome is known of the last run: it is under way, was cut off, or its SDK wrote none.
            if self.rows_since_outcome and self.rows_since_outcome[-1][0] == Stage.DOWNLOAD:
                return (
                    "done",
                    None,
                    self._find_done_time(self.rows_since_outcome) or self.done_at or self.rows_since_outcome[-1][1],
                )
            return "open", None, None
        error = self.outcome["error"]
        if error is None:
            return "done", None, self.done_at
        return "failed", JobFailure(self.outcome["stage"], error["type"], error["message"]), self.ended_at


def _drop_finished(spans: Iterable[StageSpan], finished: frozenset[str]) -> Iterable[StageSpan]:
    """Without those in which a run only looked again at what an earlier one had finished."""
    return (span for span in spans if span.stage not in finished)


def _infer_finished(rows: list[tuple[str, float]]) -> frozenset[str]:
    """The stages that rows without an outcome show to be finished: those before the last one's; a download, too."""
    last = rows[-1][0]
    if last not in _STAGES:
        return frozenset()
    return frozenset(_STAGES[: _STAGES.index(last) + (last == Stage.DOWNLOAD)])


def _spans_from_outcome(facts: Mapping[str, Any], at: float) -> list[StageSpan]:
    """The stages that an outcome tells the seconds of, one after the other; a failed one has what is left."""
    spans: list[StageSpan] = []
    ends = began = at - facts["seconds"]
    for stage in Stage:
        seconds = facts["timings"].get(stage.value)
        if seconds is not None:
            began, ends = ends, ends + seconds
            spans.append(StageSpan(stage.value, began, min(ends, at)))
    if facts["error"] is not None:
        spans.append(StageSpan(facts["stage"], min(ends, at), at))
    return spans


def _infer_end(rows: list[tuple[str, float]], silent_from: Callable[[float], float], before: float = inf) -> float:
    """Until when a job without an outcome was in the stage of its last row: a download ends when it is written down."""
    stage, last = rows[-1]
    silent = silent_from(last)
    return silent if stage != Stage.DOWNLOAD and silent < before else last


def _spans_from_rows(rows: list[tuple[str, float]], ended: float) -> list[StageSpan]:
    """The stages of a job without an outcome: each row's lasts until the next row, the last one's to the end."""
    spans: list[StageSpan] = []
    ends = [*(at for _, at in rows[1:]), ended]
    for (stage, at), end in zip(rows, ends, strict=True):
        if spans and spans[-1].stage == stage:
            spans[-1] = attrs.evolve(spans[-1], ended=end)
        else:
            spans.append(StageSpan(stage, at, end))
    return spans
