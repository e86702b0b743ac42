"""The history of one job over all runs, built from its journal records: stages, purchases and outcome.

A later run checks stages that are finished already. Those checks take no time in the history: a stage's time ends in
the run that finished it, and a job's time ends in the run that finished its last stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Literal, NamedTuple, TypeAlias

import attrs

from indigo_async.events import Stage
from indigo_async.models import RecordId
from indigo_async.workflows.journal.rows import EntryKind, PurchaseTotals, sum_purchase_facts
from indigo_async.workflows.journal.scan import ExportFacts, OutcomeFacts

__all__ = ["JobFailure", "JobHistory", "JobHistoryBuilder", "JobState", "StageSpan"]

JobState: TypeAlias = Literal["done", "failed", "unfinished"]

_CLOCK_TOLERANCE = 0.1
"""How much the clocks of journal rows and of outcomes may differ, in seconds."""

_STAGES = [stage.value for stage in Stage]


class StageSpan(NamedTuple):
    """The time that a job spent in a stage, in seconds since 1970."""

    stage: str
    started_at: float
    ended_at: float


@attrs.frozen
class JobFailure:
    """Why a job failed, and in which stage."""

    stage: str
    error_type: str
    message: str


@attrs.frozen(kw_only=True)
class JobHistory:
    """One job over all runs. `state` is the result of its last run, or "unfinished" if none is known.

    `matched` of `rows` people were matched; both are None if the server doesn't show them. `ended_at` is None for an
    unfinished job. `spans` are in order of time, without those in which a run only checked a finished stage.
    `quoted_cents` is the price of the exports that were purchased, and of the one that was priced last; None if none is
    known.
    """

    customer_id: str
    audience_name: str
    state: JobState
    spans: tuple[StageSpan, ...]
    ended_at: float | None
    failure: JobFailure | None
    audience_id: str | int | None
    matched: int | None
    rows: int | None
    lookalike_size: int | None
    quoted_cents: int | None
    purchases: PurchaseTotals
    warnings: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The job's name in messages, as `AudienceJob.key`."""
        return f"{self.customer_id}/{self.audience_name}"

    @property
    def open_stage(self) -> str | None:
        """The stage that the job is in, was canceled in or failed in; None for a done job."""
        if self.failure is not None:
            return self.failure.stage
        return self.spans[-1].stage if self.state == "unfinished" and self.spans else None


@attrs.frozen
class _InterruptedRun:
    """Stages and times of the rows of runs that recorded no outcome, and the start of the next run that did.

    `finished` are the stages that earlier runs had finished.
    """

    rows: list[tuple[str, float]]
    next_start: float
    finished: frozenset[str]


@attrs.define
class JobHistoryBuilder:
    """Collects a job's rows.

    `audience_id`, `match` (people and rows) and `lookalike_size` stay known when a later run doesn't report them.
    """

    customer_id: str
    audience_name: str
    spans: list[StageSpan] = attrs.Factory(list[StageSpan])
    interrupted_runs: list[_InterruptedRun] = attrs.Factory(list[_InterruptedRun])
    rows_since_outcome: list[tuple[str, float]] = attrs.Factory(list[tuple[str, float]])
    """The stages and times of the rows since the last outcome."""
    purchases: list[tuple[EntryKind, str, int]] = attrs.Factory(list[tuple[EntryKind, str, int]])
    """The kind, the export ID and the cents of each row of a purchase."""
    outcome: OutcomeFacts | None = None
    failed_span: StageSpan | None = None
    """Where the last outcome failed, even if an earlier run had finished that stage."""
    ended_at: float | None = None
    done_at: float | None = None
    """When the last run that finished a new stage was done."""
    finished: frozenset[str] = frozenset()
    quote: tuple[str | None, int] | None = None
    """The export that was priced last and its price in cents. Older journals don't have its ID."""
    audience_id: RecordId | None = None
    match: tuple[int | None, int | None] = (None, None)
    lookalike_size: int | None = None

    @property
    def last_written_at(self) -> float:
        """When the last row was written; minus infinity before the first."""
        if self.rows_since_outcome:
            return self.rows_since_outcome[-1][1]
        return -inf if self.ended_at is None else self.ended_at

    def add_stage(self, kind: str, stage: str, at: float, export: ExportFacts | None) -> None:
        """Add a row about a stage. A purchase and a download have an export."""
        self.rows_since_outcome.append((stage, at))
        if export is None:
            return
        export_id = str(export.export_id)
        if stage == Stage.PURCHASE:
            self.purchases.append((EntryKind(kind), export_id, export.cost_cents or 0))
        else:
            self._mark_purchased(export_id)
            self._set_quote(export.export_id, export.cost_cents)

    def _set_quote(self, export_id: object, cents: int | None) -> None:
        if cents is not None:
            self.quote = None if export_id is None else str(export_id), cents

    def add_outcome(self, outcome: OutcomeFacts, at: float) -> None:
        """Add how a run of the job ended."""
        start = at - outcome.seconds
        earlier = [(stage, written) for stage, written in self.rows_since_outcome if written < start - _CLOCK_TOLERANCE]
        if earlier:
            self.interrupted_runs.append(_InterruptedRun(earlier, start, self.finished))
            self.done_at = self._find_first_download(earlier) or self.done_at
            self.finished |= _infer_finished(earlier)
        self.rows_since_outcome.clear()
        self.outcome, self.ended_at = outcome, at
        spans = _spans_from_outcome(outcome, at)
        self.failed_span = None if outcome.error is None else spans[-1]
        self.spans += _drop_finished(spans, self.finished)
        timings = frozenset(outcome.timings)
        if outcome.error is None and (self.done_at is None or timings - self.finished):
            self.done_at = at
        self.finished |= timings
        if outcome.audience_id is not None:
            self.audience_id = outcome.audience_id
        if outcome.match is not None and outcome.match[0] is not None:
            self.match = outcome.match
        if outcome.lookalike_size is not None:
            self.lookalike_size = outcome.lookalike_size
        self._set_quote(outcome.export_id, outcome.quoted_cents)

    def _sum_prices(self) -> int | None:
        """The price of the exports that were purchased, and of the one that was priced last."""
        prices: dict[str | None, int] = {}
        for kind, export_id, cents in self.purchases:
            if kind is EntryKind.INTENT:
                prices.setdefault(export_id, cents)
        if self.quote is not None and (self.quote[0] is not None or not prices):
            prices.setdefault(*self.quote)
        return sum(prices.values()) if prices else None

    def _find_first_download(self, rows: list[tuple[str, float]]) -> float | None:
        """When the job was done for the first time, going by rows without an outcome."""
        downloads = (at for stage, at in rows if stage == Stage.DOWNLOAD)
        return None if Stage.DOWNLOAD in self.finished else next(downloads, None)

    def _mark_purchased(self, export_id: str) -> None:
        """A downloaded export was purchased, even if the run that purchased it was killed."""
        purchases = [(kind, cents) for kind, purchased_id, cents in self.purchases if purchased_id == export_id]
        if purchases and purchases[-1][0] is EntryKind.INTENT:
            self.purchases.append((EntryKind.RESULT, export_id, purchases[-1][1]))

    def build(self, active_until: Callable[[float], float]) -> JobHistory:
        """Build the history. `active_until` returns how long the run that wrote at a given time was active."""
        state, failure, ended_at = self._final_state()
        spans = list(self.spans)
        for run in self.interrupted_runs:
            end = _infer_end(run.rows, active_until, run.next_start)
            spans += _drop_finished(_spans_from_rows(run.rows, end), run.finished)
        if state == "failed" and self.failed_span is not None and self.failed_span not in spans:
            spans.append(self.failed_span)
        spans.sort(key=lambda span: span.started_at)
        if self.rows_since_outcome:
            latest = _spans_from_rows(self.rows_since_outcome, _infer_end(self.rows_since_outcome, active_until))
            spans += _drop_finished(latest, self.finished) if state == "done" else latest
        matched, rows = self.match
        return JobHistory(
            customer_id=self.customer_id,
            audience_name=self.audience_name,
            state=state,
            spans=tuple(spans),
            ended_at=ended_at,
            failure=failure,
            audience_id=self.audience_id,
            matched=matched,
            rows=rows,
            lookalike_size=self.lookalike_size,
            quoted_cents=self._sum_prices(),
            purchases=sum_purchase_facts(self.purchases),
            warnings=() if self.outcome is None else self.outcome.warnings,
        )

    def _final_state(self) -> tuple[JobState, JobFailure | None, float | None]:
        rows = self.rows_since_outcome
        if rows and rows[-1][0] == Stage.DOWNLOAD:
            return "done", None, self._find_first_download(rows) or self.done_at or rows[-1][1]
        if self.outcome is None or rows:  # the last run is in progress, was killed, or recorded no outcomes
            return "unfinished", None, None
        outcome = self.outcome
        if outcome.error is None:
            return "done", None, self.done_at
        failure = JobFailure(outcome.stage, outcome.error.type, outcome.error.message)
        return "failed", failure, self.ended_at


def _drop_finished(spans: Iterable[StageSpan], finished: frozenset[str]) -> Iterable[StageSpan]:
    """Drop spans in which a run only checked a stage that an earlier run had finished."""
    return (span for span in spans if span.stage not in finished)


def _infer_finished(rows: list[tuple[str, float]]) -> frozenset[str]:
    """Return the stages before the last row's, which are finished. A download is written when it is finished."""
    last = rows[-1][0]
    if last not in _STAGES:
        return frozenset()
    return frozenset(_STAGES[: _STAGES.index(last) + (last == Stage.DOWNLOAD)])


def _spans_from_outcome(outcome: OutcomeFacts, at: float) -> list[StageSpan]:
    """Lay an outcome's timings end to end. A failed stage gets the remaining time."""
    spans: list[StageSpan] = []
    end = at - outcome.seconds
    for stage in _STAGES:
        seconds = outcome.timings.get(stage)
        if seconds is not None:
            start, end = end, end + seconds
            spans.append(StageSpan(stage, start, min(end, at)))
    if outcome.error is not None:
        spans.append(StageSpan(outcome.stage, min(end, at), at))
    return spans


def _infer_end(rows: list[tuple[str, float]], active_until: Callable[[float], float], before: float = inf) -> float:
    """Return when a job without an outcome left the stage of its last row. A download is written when it ends."""
    stage, last = rows[-1]
    end = active_until(last)
    return end if stage != Stage.DOWNLOAD and end < before else last


def _spans_from_rows(rows: list[tuple[str, float]], ended_at: float) -> list[StageSpan]:
    """Make a stage last from its first row to the first row of the next stage, and the last stage to the end."""
    spans: list[StageSpan] = []
    ends = [*(at for _, at in rows[1:]), ended_at]
    for (stage, at), end in zip(rows, ends, strict=True):
        if spans and spans[-1].stage == stage:
            spans[-1] = spans[-1]._replace(ended_at=end)
        else:
            spans.append(StageSpan(stage, at, end))
    return spans
