"""What a batch did, in numbers: kept as it goes, so that outcomes need not be kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from indigo_async._text import format_dollars
from indigo_async.errors import IndigoError
from indigo_async.events import Stage
from indigo_async.models import CsvExport
from indigo_async.notebook import fields_html, rows_html
from indigo_async.workflows.batches.jobs import AudienceJob, JobResult

__all__ = ["BatchCounters", "BatchReport", "JobFailure", "JobOutcome", "JobWarning", "StageTime", "summarize_failure"]

_MAX_FAILURES = 1_000
_MAX_WARNINGS = 1_000
_MAX_FAILURES_SHOWN = 20


@attrs.frozen(kw_only=True)
class JobOutcome:
    """How one job ended: with a `result`, or with an `error` at a `stage`. `timings` are seconds by stage.

    `warnings` says what a person should know about it, such as that an existing audience was reused.
    """

    job: AudienceJob
    result: JobResult | None = None
    error: Exception | None = None
    stage: Stage
    audience_id: str | int | None = None
    timings: Mapping[Stage, float] = attrs.field(factory=dict[Stage, float])
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.error is None


@attrs.frozen(kw_only=True)
class JobFailure:
    """A failed job in a report: its key, the stage and audience it came to, and what went wrong."""

    key: str
    stage: str
    audience_id: str | int | None
    error_type: str
    message: str


@attrs.frozen(kw_only=True)
class JobWarning:
    """A warning about one job in a report."""

    key: str
    message: str


@attrs.frozen(kw_only=True)
class StageTime:
    """Seconds that jobs spent in a stage, waiting included."""

    jobs: int
    total_seconds: float
    longest_seconds: float


@attrs.frozen(kw_only=True)
class BatchReport:
    """A batch in numbers. Money is in cents, times are in seconds.

    `quoted_cents` is the price of all exports that were priced or bought; `spent_cents` is what this batch has spent
    in all its runs (without a journal: in this run); `unresolved_cents` belongs to purchases whose outcome is unknown.
    `lost_uploads` counts uploads whose answer was lost: each may have left a stub, which is harmless and free.
    `requests` counts by endpoint, `failed_requests` those of them without a good answer by HTTP status or reason, and
    `reads_saved` is how many looks at audiences needed no request of their own.
    `failures` holds the first 1,000, and so does `warnings`; `warned` counts the jobs that have any.
    `stopped` says why jobs were no longer admitted, if that happened.
    """

    done: int
    failed: int
    failed_by_stage: Mapping[str, int]
    failed_by_error: Mapping[str, int]
    failures: tuple[JobFailure, ...]
    warned: int = 0
    warnings: tuple[JobWarning, ...] = ()
    stopped: str | None
    quoted_cents: int
    spent_cents: int
    unresolved_cents: int
    budget_cents: int | None
    lost_uploads: int
    requests: Mapping[str, int]
    failed_requests: Mapping[str, int]
    reads_saved: int
    stages: Mapping[str, StageTime]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return attrs.asdict(self)

    def _repr_html_(self) -> str:
        return _report_html(self)


def _report_html(report: BatchReport) -> str:
    """A batch in numbers, with its first failures."""
    left = "" if report.budget_cents is None else f" of a budget of {format_dollars(report.budget_cents)}"
    facts = {
        "done": f"{report.done:,}",
        "failed": f"{report.failed:,}",
        "stopped": report.stopped,
        "jobs with warnings": f"{report.warned:,}" if report.warned else None,
        "spent": f"{format_dollars(report.spent_cents)}{left}",
        "unsettled": format_dollars(report.unresolved_cents) if report.unresolved_cents else None,
        "seconds": f"{report.seconds:,.1f}",
        "requests": f"{sum(report.requests.values()):,}",
        "reads saved": f"{report.reads_saved:,}",
    }
    failures: list[dict[str, object]] = [
        {"job": failure.key, "stage": failure.stage, "error": failure.error_type, "message": failure.message}
        for failure in report.failures[:_MAX_FAILURES_SHOWN]
    ]
    html = fields_html("Batch", facts)
    return html + rows_html(failures, total=report.failed) if failures else html


def summarize_failure(outcome: JobOutcome, error: Exception) -> JobFailure:
    """A failed job as reports tell it."""
    # Errors that are not ours may hold anything, so only their kind is told.
    message = str(error) if isinstance(error, (IndigoError, OSError)) else type(error).__name__
    return JobFailure(
        key=outcome.job.key,
        stage=outcome.stage.value,
        audience_id=outcome.audience_id,
        error_type=type(error).__name__,
        message=message,
    )


@attrs.define
class BatchCounters:
    """The numbers of a batch under way."""

    done: int = 0
    quoted_cents: int = 0
    lost_uploads: int = 0
    stopped: str | None = None
    failures: list[JobFailure] = attrs.Factory(list[JobFailure])
    warned: int = 0
    warnings: list[JobWarning] = attrs.Factory(list[JobWarning])
    failed_by_stage: Counter[str] = attrs.Factory(Counter[str])
    failed_by_error: Counter[str] = attrs.Factory(Counter[str])
    _jobs: Counter[Stage] = attrs.Factory(Counter[Stage])
    _total: dict[Stage, float] = attrs.Factory(dict[Stage, float])
    _longest: dict[Stage, float] = attrs.Factory(dict[Stage, float])

    @property
    def failed(self) -> int:
        return self.failed_by_stage.total()

    def add(self, outcome: JobOutcome, *, quote: CsvExport | None, lost_uploads: int) -> None:
        """Count a job, with the export that it priced, if it came so far."""
        self.lost_uploads += lost_uploads
        if quote is not None:
            self.quoted_cents += quote.cost_cents or 0
        for stage, seconds in outcome.timings.items():
            self._jobs[stage] += 1
            self._total[stage] = self._total.get(stage, 0.0) + seconds
            self._longest[stage] = max(self._longest.get(stage, 0.0), seconds)
        if outcome.warnings:
            self.warned += 1
            self.warnings += [JobWarning(key=outcome.job.key, message=message) for message in outcome.warnings]
            del self.warnings[_MAX_WARNINGS:]
        if outcome.error is None:
            self.done += 1
        else:
            self._add_failure(outcome, outcome.error)

    def _add_failure(self, outcome: JobOutcome, error: Exception) -> None:
        self.failed_by_stage[outcome.stage.value] += 1
        self.failed_by_error[type(error).__name__] += 1
        if len(self.failures) < _MAX_FAILURES:
            self.failures.append(summarize_failure(outcome, error))

    def stages(self) -> dict[str, StageTime]:
        return {
            stage.value: StageTime(
                jobs=self._jobs[stage], total_seconds=self._total[stage], longest_seconds=self._longest[stage]
            )
            for stage in Stage
            if stage in self._jobs
        }
