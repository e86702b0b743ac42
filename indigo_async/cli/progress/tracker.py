"""The progress of a batch, counted from its events."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

import attrs

from indigo_async._text import format_dollars
from indigo_async.cli.render.output import format_spending, use_option_names
from indigo_async.events import Event, RequestRetried
from indigo_async.workflows import (
    AudienceJob,
    BatchReport,
    ExportPriced,
    JobOutcome,
    Stage,
    StageFailed,
    StageFinished,
    StageStarted,
)

__all__ = ["ProgressSnapshot", "ProgressTracker", "StageCount", "planned_stages"]

_FAILURES_SHOWN = 3
_RATE_WINDOW_SECONDS = 30.0
_MIN_FORECAST_SECONDS = 3.0
_PAID_STAGES = {Stage.PURCHASE, Stage.DOWNLOAD}


@attrs.frozen
class StageCount:
    """A stage's jobs: `planned` go through it; of them, some have completed it, are in it, or failed in it."""

    stage: Stage
    planned: int
    completed: int
    in_progress: int
    failed: int


@attrs.frozen(kw_only=True)
class ProgressSnapshot:
    """Progress at one moment. None means not known yet."""

    name: str
    total: int
    purchase: bool
    report: BatchReport
    stages: Sequence[StageCount]
    jobs_per_minute: float | None
    seconds_left: float | None
    quoted_cents: int
    retries: int
    failures: Sequence[str]

    @property
    def cost(self) -> str:
        """The money spent and the budget, or the prices if nothing is purchased."""
        if not self.purchase:
            return f"{format_dollars(self.quoted_cents)} quoted, nothing is purchased"
        report = self.report
        pending = f", {format_dollars(report.unresolved_cents)} pending" if report.unresolved_cents else ""
        return f"{format_spending(report.spent_cents, report.budget_cents)}{pending}"


def planned_stages(job: AudienceJob, *, purchase: bool) -> tuple[Stage, ...]:
    """The stages of a job."""
    return tuple(
        stage
        for stage in Stage
        if (stage is not Stage.LOOKALIKE or job.lookalike is not None)
        and (stage in {Stage.UPLOAD, Stage.MATCH, Stage.LOOKALIKE} or job.export is not None)
        and (purchase or stage not in _PAID_STAGES)
    )


@attrs.define
class ProgressTracker:
    """Counts a batch's events and outcomes. `planned` is the number of jobs that go through each stage."""

    name: str
    total: int
    purchase: bool
    planned: Mapping[Stage, int]
    retries: int = 0
    quoted_cents: int = 0
    _started: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _finished: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _failed: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _skipped: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _abandoned: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _failures: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=_FAILURES_SHOWN), init=False)
    _samples: deque[tuple[float, int, int]] = attrs.field(factory=deque[tuple[float, int, int]], init=False)

    def on_event(self, event: Event) -> None:
        """Count an event. Called about ten times per job, so it must be fast."""
        match event:
            case StageStarted(stage=stage):
                self._started[stage] += 1
            case StageFinished(stage=stage):
                self._finished[stage] += 1
            case StageFailed(stage=stage):
                self._failed[stage] += 1
            case ExportPriced(cost_cents=cents):
                self.quoted_cents += cents or 0
            case RequestRetried():
                self.retries += 1
            case _:
                pass

    def on_outcome(self, outcome: JobOutcome) -> None:
        """Count a finished job. The stages it didn't need are skipped; after a failure, they are abandoned."""
        planned = planned_stages(outcome.job, purchase=self.purchase)
        unused = [stage for stage in planned if stage not in outcome.timings]
        (self._skipped if outcome.error is None else self._abandoned).update(unused)
        failure = outcome.failure
        if failure is not None:
            self._failures.append(f"{failure.key}: {use_option_names(failure.message)}")

    def snapshot(self, report: BatchReport) -> ProgressSnapshot:
        """The progress now. `report` is the batch's own report."""
        stages = self._stage_counts(report)
        steps = sum(count.completed for count in stages)
        remaining = sum(self.planned.values()) - self._abandoned.total() - steps
        jobs_per_minute, steps_per_second = self._measure_rates(report, steps)
        return ProgressSnapshot(
            name=self.name,
            total=self.total,
            purchase=self.purchase,
            report=report,
            stages=stages,
            jobs_per_minute=jobs_per_minute,
            seconds_left=remaining / steps_per_second if steps_per_second else None,
            quoted_cents=self.quoted_cents,
            retries=self.retries,
            failures=tuple(self._failures),
        )

    def _stage_counts(self, report: BatchReport) -> list[StageCount]:
        counts: list[StageCount] = []
        completed_later = 0
        for stage in reversed(Stage):
            planned = self.planned.get(stage, 0)
            if not planned:
                continue
            # A job that completed a later stage also counts here: an earlier run may have completed this stage.
            completed = min(planned, max(self._finished[stage] + self._skipped[stage], completed_later))
            if planned == self.total:
                completed_later = completed
            in_progress = max(0, self._started[stage] - self._finished[stage] - self._failed[stage])
            counts.append(StageCount(stage, planned, completed, in_progress, report.failed_by_stage.get(stage, 0)))
        return counts[::-1]

    def _measure_rates(self, report: BatchReport, steps: int) -> tuple[float | None, float | None]:
        """Jobs per minute and completed stages per second, over the last 30 seconds."""
        samples = self._samples
        samples.append((report.seconds, steps, report.done))
        while samples[-1][0] - samples[0][0] > _RATE_WINDOW_SECONDS:
            samples.popleft()
        seconds = samples[-1][0] - samples[0][0]
        if seconds < _MIN_FORECAST_SECONDS:
            return None, None
        return (report.done - samples[0][2]) * 60 / seconds, (steps - samples[0][1]) / seconds
