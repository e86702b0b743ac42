"""The progress of a batch, counted from its events."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import attrs

from indigo_async._text import format_dollars
from indigo_async.cli.render.advice import use_option_names
from indigo_async.cli.render.output import format_spending
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

__all__ = ["ProgressSnapshot", "ProgressTracker", "StageCount", "StageWork", "estimate_seconds_left", "planned_stages"]

_FAILURES_SHOWN = 3
_RATE_WINDOW_SECONDS = 30.0
_MIN_RATE_SECONDS = 3.0
_MEASURED_SHARE = 0.5
"""A stage's mean duration counts once this many jobs have finished it, as a share of the jobs in it."""


@attrs.frozen
class StageCount:
    """A stage's jobs: `planned` go through it; of them, some have completed it, are in it, or failed in it."""

    stage: Stage
    planned: int
    completed: int
    in_progress: int
    failed: int


@attrs.frozen(kw_only=True)
class StageWork:
    """A stage's remaining work: jobs `waiting` for it and jobs `in_progress`, which have spent `spent_seconds` in it.

    So far, `finished` jobs took `finished_seconds` in total.
    """

    waiting: int
    in_progress: int
    spent_seconds: float
    finished: int
    finished_seconds: float


def estimate_seconds_left(stages: Sequence[StageWork]) -> float | None:
    """Estimate when the last job ends, from how long the stages took so far and how many jobs are in progress at once.

    None if it is too early: no job is in progress, or too few jobs have finished a stage that others still need.
    """
    in_progress = sum(stage.in_progress for stage in stages)
    needed = [stage for stage in stages if stage.waiting or stage.in_progress]
    if not in_progress or any(
        stage.finished <= _MEASURED_SHARE * stage.in_progress or not stage.finished for stage in needed
    ):
        return None
    job_seconds = 0.0
    for stage in needed:
        mean = stage.finished_seconds / stage.finished
        job_seconds += stage.waiting * mean + max(0.0, stage.in_progress * mean - stage.spent_seconds)
    return job_seconds / in_progress


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
    outage: str | None = None

    @property
    def cost(self) -> str:
        """The money spent and the budget, or the prices if nothing is purchased."""
        if not self.purchase:
            return f"{format_dollars(self.quoted_cents)} quoted, nothing is purchased"
        report = self.report
        pending = f", {format_dollars(report.unresolved_cents)} pending" if report.unresolved_cents else ""
        if report.fence_spent_cents is not None:
            return format_spending(report.fence_spent_cents, report.budget_cents, by=" by all runs with this fence")
        return f"{format_spending(report.spent_cents, report.budget_cents)}{pending}"


def planned_stages(job: AudienceJob, *, purchase: bool) -> tuple[Stage, ...]:
    """The stages of a job."""
    has_export = job.export is not None
    downloads = job.export is not None and job.export.destination is not None
    return _plan_stages(job.lookalike is not None, has_export, has_export and purchase, downloads and purchase)


@cache
def _plan_stages(has_lookalike: bool, has_export: bool, purchases: bool, downloads: bool) -> tuple[Stage, ...]:
    planned = {
        Stage.UPLOAD: True,
        Stage.MATCH: True,
        Stage.LOOKALIKE: has_lookalike,
        Stage.PREVIEW: has_export,
        Stage.PURCHASE: purchases,
        Stage.DOWNLOAD: downloads,
    }
    return tuple(stage for stage in Stage if planned[stage])


@attrs.define
class ProgressTracker:
    """Counts a batch's events and outcomes. `planned` is the number of jobs that go through each stage."""

    name: str
    total: int
    purchase: bool
    planned: Mapping[Stage, int]
    clock: Callable[[], float] = time.monotonic
    retries: int = 0
    quoted_cents: int = 0
    _started: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _finished: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _failed: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _skipped: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _ended: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    """Ended jobs, by the stages that were planned for them."""
    _ended_finished: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    """Ended jobs, by the stages that they finished in this run."""
    _finished_seconds: dict[Stage, float] = attrs.field(factory=lambda: dict.fromkeys(Stage, 0.0), init=False)
    _started_at: dict[Stage, float] = attrs.field(factory=lambda: dict.fromkeys(Stage, 0.0), init=False)
    """The sum of the start times of the jobs in a stage."""
    _failures: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=_FAILURES_SHOWN), init=False)
    _samples: deque[tuple[float, int]] = attrs.field(factory=deque[tuple[float, int]], init=False)

    def on_event(self, event: Event) -> None:
        """Count an event. Called about ten times per job, so it must be fast."""
        match event:
            case StageStarted(stage=stage):
                self._started[stage] += 1
                self._started_at[stage] += self.clock()
            case StageFinished(stage=stage, seconds=seconds):
                self._finished[stage] += 1
                self._finished_seconds[stage] += seconds
                self._started_at[stage] -= self.clock() - seconds
            case StageFailed(stage=stage, seconds=seconds):
                self._failed[stage] += 1
                self._started_at[stage] -= self.clock() - seconds
            case ExportPriced(cost_cents=cents):
                self.quoted_cents += cents or 0
            case RequestRetried():
                self.retries += 1
            case _:
                pass

    def on_outcome(self, outcome: JobOutcome) -> None:
        """Count a job that ended. If it succeeded, it skipped the stages that it didn't need."""
        planned = planned_stages(outcome.job, purchase=self.purchase)
        self._ended.update(planned)
        self._ended_finished.update(outcome.timings.keys())
        if outcome.error is None:
            self._skipped.update(stage for stage in planned if stage not in outcome.timings)
        failure = outcome.failure
        if failure is not None:
            self._failures.append(f"{failure.key}: {use_option_names(failure.message)}")

    def snapshot(self, report: BatchReport, *, outage: str | None = None) -> ProgressSnapshot:
        """The progress now. `report` is the batch's own report; `outage` describes a current outage."""
        return ProgressSnapshot(
            name=self.name,
            total=self.total,
            purchase=self.purchase,
            report=report,
            stages=self._stage_counts(report),
            jobs_per_minute=self._measure_rate(report),
            seconds_left=estimate_seconds_left(self._measure_work()) if outage is None else None,
            quoted_cents=self.quoted_cents,
            retries=self.retries,
            failures=tuple(self._failures),
            outage=outage,
        )

    def _stage_counts(self, report: BatchReport) -> list[StageCount]:
        counts: list[StageCount] = []
        reached_later = 0
        for stage in reversed(Stage):
            planned = self.planned.get(stage, 0)
            if not planned:
                continue
            # A job that reached a later stage has completed this one, perhaps in an earlier run.
            completed = min(planned, max(self._finished[stage] + self._skipped[stage], reached_later))
            in_progress, failed = self._in_progress(stage), report.failed_by_stage.get(stage, 0)
            if planned == self.total:
                reached_later = completed + in_progress + failed
            counts.append(StageCount(stage, planned, completed, in_progress, failed))
        return counts[::-1]

    def _in_progress(self, stage: Stage) -> int:
        return max(0, self._started[stage] - self._finished[stage] - self._failed[stage])

    def _measure_work(self) -> list[StageWork]:
        """The remaining work of each stage for the jobs that have not ended."""
        now, reached_later = self.clock(), 0
        work: list[StageWork] = []
        for stage in reversed(Stage):
            planned = self.planned.get(stage, 0)
            reached = max(reached_later, self._started[stage] - self._failed[stage] - self._ended_finished[stage])
            if planned == self.total:
                reached_later = reached
            in_progress = self._in_progress(stage)
            work.append(
                StageWork(
                    waiting=max(0, planned - self._ended[stage] - reached),
                    in_progress=in_progress,
                    spent_seconds=max(0.0, in_progress * now - self._started_at[stage]),
                    finished=self._finished[stage],
                    finished_seconds=self._finished_seconds[stage],
                )
            )
        return work

    def _measure_rate(self, report: BatchReport) -> float | None:
        """The jobs done per minute, over the last 30 seconds."""
        samples = self._samples
        samples.append((report.seconds, report.done))
        while samples[-1][0] - samples[0][0] > _RATE_WINDOW_SECONDS:
            samples.popleft()
        seconds = samples[-1][0] - samples[0][0]
        return (report.done - samples[0][1]) * 60 / seconds if seconds >= _MIN_RATE_SECONDS else None
