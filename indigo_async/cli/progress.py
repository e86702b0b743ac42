"""How far a batch is: counted from its events, so that a look at any time costs the same."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

import attrs

from indigo_async.cli.output import dollars, for_command, spent_of
from indigo_async.transport.events import Event, RequestRetried
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
from indigo_async.workflows.report import failure_of

__all__ = ["Moment", "Progress", "StageCount", "plan_of"]

_FAILURES_SHOWN = 3
_RATE_SECONDS = 30.0
_SOONEST_FORECAST_SECONDS = 3.0
_PAID_STAGES = {Stage.PURCHASE, Stage.DOWNLOAD}


@attrs.frozen
class StageCount:
    """Jobs by where they are: of `planned`, `passed` are beyond the stage, `now` in it, `failed` ended in it."""

    stage: Stage
    planned: int
    passed: int
    now: int
    failed: int


@attrs.frozen(kw_only=True)
class Moment:
    """What there is to show at one moment. Money is in cents, times are in seconds; None is not known yet."""

    name: str
    total: int
    done: int
    failed: int
    stages: Sequence[StageCount]
    seconds: float
    jobs_a_minute: float | None
    seconds_left: float | None
    purchase: bool
    spent_cents: int
    unsettled_cents: int
    quoted_cents: int
    budget_cents: int | None
    requests: int
    reads_saved: int
    sent_again: int
    failures: Sequence[str]
    warned: int = 0

    @property
    def money(self) -> str:
        """What was spent of what may be, or what the previews cost where nothing is bought."""
        if not self.purchase:
            return f"{dollars(self.quoted_cents)} quoted, nothing is bought"
        under_way = f", {dollars(self.unsettled_cents)} under way" if self.unsettled_cents else ""
        return f"{spent_of(self.spent_cents, self.budget_cents)}{under_way}"


def plan_of(job: AudienceJob, *, purchase: bool) -> tuple[Stage, ...]:
    """The stages that a job goes through."""
    return tuple(
        stage
        for stage in Stage
        if (stage is not Stage.LOOKALIKE or job.lookalike is not None)
        and (stage in {Stage.UPLOAD, Stage.MATCH, Stage.LOOKALIKE} or job.export is not None)
        and (purchase or stage not in _PAID_STAGES)
    )


@attrs.define
class Progress:
    """Listens to a batch. `planned` is how many of its jobs go through each stage."""

    name: str
    total: int
    purchase: bool
    planned: Mapping[Stage, int]
    sent_again: int = 0
    quoted_cents: int = 0
    _begun: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _finished: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _broken: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _skipped: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _given_up: Counter[Stage] = attrs.field(factory=Counter[Stage], init=False)
    _failures: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=_FAILURES_SHOWN), init=False)
    _samples: deque[tuple[float, int, int]] = attrs.field(factory=deque[tuple[float, int, int]], init=False)

    def on_event(self, event: Event) -> None:
        """Count an event; called some ten times for each job."""
        match event:
            case StageStarted(stage=stage):
                self._begun[stage] += 1
            case StageFinished(stage=stage):
                self._finished[stage] += 1
            case StageFailed(stage=stage):
                self._broken[stage] += 1
            case ExportPriced(cost_cents=cents):
                self.quoted_cents += cents or 0
            case RequestRetried():
                self.sent_again += 1
            case _:
                pass

    def on_outcome(self, outcome: JobOutcome) -> None:
        """Count a job that ended: what it did not have to do is passed, or given up."""
        left = [stage for stage in plan_of(outcome.job, purchase=self.purchase) if stage not in outcome.timings]
        (self._skipped if outcome.error is None else self._given_up).update(left)
        if outcome.error is not None:
            failure = failure_of(outcome, outcome.error)
            self._failures.append(f"{failure.key}: {for_command(failure.message)}")

    def at(self, report: BatchReport) -> Moment:
        """What there is to show now."""
        stages = self._stages(report)
        steps = sum(count.passed for count in stages)
        left = sum(self.planned.values()) - self._given_up.total() - steps
        jobs_a_minute, steps_a_second = self._rates(report, steps)
        return Moment(
            name=self.name,
            total=self.total,
            done=report.done,
            failed=report.failed,
            stages=stages,
            seconds=report.seconds,
            jobs_a_minute=jobs_a_minute,
            seconds_left=left / steps_a_second if steps_a_second else None,
            purchase=self.purchase,
            spent_cents=report.spent_cents,
            unsettled_cents=report.unsettled_cents,
            quoted_cents=self.quoted_cents,
            budget_cents=report.budget_cents,
            requests=sum(report.requests.values()),
            reads_saved=report.reads_saved,
            sent_again=self.sent_again,
            failures=tuple(self._failures),
            warned=report.warned,
        )

    def _stages(self, report: BatchReport) -> list[StageCount]:
        counts: list[StageCount] = []
        beyond = 0
        for stage in reversed(Stage):
            planned = self.planned.get(stage, 0)
            if not planned:
                continue
            # Who is beyond a later stage is beyond this one, though it may have been done in an earlier run.
            passed = min(planned, max(self._finished[stage] + self._skipped[stage], beyond))
            beyond = passed if planned == self.total else beyond
            now = max(0, self._begun[stage] - self._finished[stage] - self._broken[stage])
            counts.append(StageCount(stage, planned, passed, now, report.failed_by_stage.get(stage, 0)))
        return counts[::-1]

    def _rates(self, report: BatchReport, steps: int) -> tuple[float | None, float | None]:
        """Jobs done a minute and stages passed a second, over the last half minute."""
        samples = self._samples
        samples.append((report.seconds, steps, report.done))
        while samples[-1][0] - samples[0][0] > _RATE_SECONDS:
            samples.popleft()
        seconds = samples[-1][0] - samples[0][0]
        if seconds < _SOONEST_FORECAST_SECONDS:
            return None, None
        return (report.done - samples[0][2]) * 60 / seconds, (steps - samples[0][1]) / seconds
