"""What a batch did, in numbers. They are counted as jobs end, so that outcomes need not be stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from indigo_async._text import format_dollars
from indigo_async.errors import IndigoError
from indigo_async.events import Stage
from indigo_async.models import Audience
from indigo_async.notebook import fields_html, rows_html
from indigo_async.workflows.batches.jobs import AudienceJob, JobResult
from indigo_async.workflows.recipes.context import RecipeContext

__all__ = [
    "BatchCounters",
    "BatchReport",
    "CustomerTotals",
    "JobFailure",
    "JobOutcome",
    "JobWarning",
    "StageTime",
    "match_counts",
    "sort_customers",
]

_MAX_FAILURES = 1_000
_MAX_WARNINGS = 1_000
_MAX_FAILURES_SHOWN = 20
_MAX_CUSTOMERS_SHOWN = 20


@attrs.frozen(kw_only=True)
class JobFailure:
    """A failed job.

    Attributes:
        key: the job's own name; see `AudienceJob`.
        stage: the stage in which it failed, a value of `Stage`.
        audience_id: the last audience that it worked on; None if it had none.
        error_type: the class of the error.
        message: the message of the error, without secrets.
    """

    key: str
    stage: str
    audience_id: str | int | None
    error_type: str
    message: str


@attrs.frozen(kw_only=True)
class JobWarning:
    """A warning about one job."""

    key: str
    message: str


@attrs.frozen(kw_only=True)
class JobOutcome:
    """How one job ended: with a `result`, or with an `error` at a `stage`.

    Attributes:
        job: the job as it was passed to the batch.
        result: what it produced; None if it failed.
        error: why it failed; None if it succeeded.
        stage: the stage that it reached.
        audience_id: the last audience that it worked on.
        timings: the seconds that it spent in each stage that it finished in this run, including waits.
        warnings: what you should know about it, for example that an existing audience was reused.
        recalled: whether an earlier run had finished the job. Then this run sent nothing for it.
    """

    job: AudienceJob
    result: JobResult | None = None
    error: Exception | None = None
    stage: Stage
    audience_id: str | int | None = None
    timings: Mapping[Stage, float] = attrs.field(factory=dict[Stage, float])
    warnings: tuple[str, ...] = ()
    recalled: bool = False

    @property
    def ok(self) -> bool:
        """Whether the job succeeded."""
        return self.error is None

    @property
    def failure(self) -> JobFailure | None:
        """The error as reports show it; None if the job succeeded."""
        if self.error is None:
            return None
        # The message of any other error may hold secrets or personal data.
        is_safe = isinstance(self.error, (IndigoError, OSError))
        return JobFailure(
            key=self.job.key,
            stage=self.stage.value,
            audience_id=self.audience_id,
            error_type=type(self.error).__name__,
            message=str(self.error) if is_safe else type(self.error).__name__,
        )


@attrs.frozen(kw_only=True)
class StageTime:
    """Seconds that the `jobs` jobs that finished a stage spent in it, including waits."""

    jobs: int
    total_seconds: float
    longest_seconds: float


@attrs.frozen(kw_only=True)
class CustomerTotals:
    """One customer's part of a batch. Money is in cents. Add two of them with `+`.

    Attributes:
        jobs: the jobs that are done, failed or unfinished.
        unfinished: jobs that had started when the batch was interrupted.
        spent_cents: what was spent in all runs with the journal (without a journal: in this run).
        spent_this_run_cents: what was spent in this run, without purchases of earlier runs whose outcome it learned.
        unresolved_cents: the price of purchases whose outcome is unknown.
        quoted_cents: the price of all exports that were priced, or that earlier runs with the journal purchased.
        matched: how many rows were matched, in the lists for which the server shows it.
        rows: how many rows these lists have.
    """

    jobs: int = 0
    done: int = 0
    failed: int = 0
    unfinished: int = 0
    spent_cents: int = 0
    spent_this_run_cents: int = 0
    unresolved_cents: int = 0
    quoted_cents: int = 0
    matched: int = 0
    rows: int = 0

    def __add__(self, other: CustomerTotals) -> CustomerTotals:
        return CustomerTotals(
            jobs=self.jobs + other.jobs,
            done=self.done + other.done,
            failed=self.failed + other.failed,
            unfinished=self.unfinished + other.unfinished,
            spent_cents=self.spent_cents + other.spent_cents,
            spent_this_run_cents=self.spent_this_run_cents + other.spent_this_run_cents,
            unresolved_cents=self.unresolved_cents + other.unresolved_cents,
            quoted_cents=self.quoted_cents + other.quoted_cents,
            matched=self.matched + other.matched,
            rows=self.rows + other.rows,
        )


def sort_customers(by_customer: Mapping[str, CustomerTotals]) -> list[tuple[str, CustomerTotals]]:
    """The customers by what was spent for them, the most first, then by the number of their jobs."""
    return sorted(by_customer.items(), key=lambda item: (-item[1].spent_cents, -item[1].jobs, item[0]))


@attrs.frozen(kw_only=True)
class BatchReport:
    """A batch in numbers. Money is in cents, times are in seconds.

    Attributes:
        done: the jobs that succeeded.
        recalled: how many of them an earlier run had finished, so that this run sent nothing for them.
        failed: the jobs that failed.
        failed_by_stage: the number of failed jobs by stage.
        failed_by_error: the number of failed jobs by the class of the error.
        canceled: jobs that had started, or were taken from an iterator, when the batch was interrupted. They have no
            outcome.
        failures: the first 1,000 failed jobs.
        warned: how many jobs have warnings.
        warnings: the first 1,000 warnings.
        stopped: why no more jobs were started, or why jobs in flight were canceled; None if all jobs ran.
        quoted_cents: the price of all exports that were priced, or that earlier runs with the journal purchased.
        spent_cents: what this batch has spent in all runs with its journal (without a journal: in this run).
        spent_this_run_cents: what it has spent in this run, without purchases of earlier runs whose outcome it learned.
        unresolved_cents: the price of purchases whose outcome is unknown.
        budget_cents: the most that all runs with the fence or the journal may spend; None if there is no budget.
        fence_spent_cents: what all runs with the same fence have spent, and reserved for purchases whose outcome they
            don't know yet, as far as this run has read; None without a fence.
        lost_uploads: uploads whose response was lost. Each may have left an unused audience, which is free.
        requests: the number of requests by endpoint.
        failed_requests: the number of requests without a usable response, by HTTP status or reason.
        reads_saved: status checks that needed no request of their own.
        stages: the times of each stage that any job has finished.
        by_customer: each customer's jobs and costs, by customer ID. A job counts once it has ended or been canceled.
        seconds: how long the batch has taken in this run.
    """

    done: int
    recalled: int = 0
    failed: int
    failed_by_stage: Mapping[str, int]
    failed_by_error: Mapping[str, int]
    failures: tuple[JobFailure, ...]
    canceled: int = 0
    warned: int = 0
    warnings: tuple[JobWarning, ...] = ()
    stopped: str | None
    quoted_cents: int
    spent_cents: int
    spent_this_run_cents: int = 0
    unresolved_cents: int
    budget_cents: int | None
    fence_spent_cents: int | None = None
    lost_uploads: int
    requests: Mapping[str, int]
    failed_requests: Mapping[str, int]
    reads_saved: int
    stages: Mapping[str, StageTime]
    by_customer: Mapping[str, CustomerTotals] = attrs.field(factory=dict[str, CustomerTotals])
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return attrs.asdict(self)

    def _repr_html_(self) -> str:
        budget = "" if self.budget_cents is None else f" of a budget of {format_dollars(self.budget_cents)}"
        facts = {
            "done": f"{self.done:,}",
            "of these by an earlier run": f"{self.recalled:,}" if self.recalled else None,
            "failed": f"{self.failed:,}",
            "interrupted": f"{self.canceled:,}" if self.canceled else None,
            "stopped": self.stopped,
            "jobs with warnings": f"{self.warned:,}" if self.warned else None,
            "spent by this run": format_dollars(self.spent_this_run_cents),
            "spent by all runs with the journal": f"{format_dollars(self.spent_cents)}{budget}",
            "outcome unknown": format_dollars(self.unresolved_cents) if self.unresolved_cents else None,
            "seconds": f"{self.seconds:,.1f}",
            "requests": f"{sum(self.requests.values()):,}",
            "reads saved": f"{self.reads_saved:,}",
        }
        failures: list[dict[str, object]] = [
            {"job": failure.key, "stage": failure.stage, "error": failure.error_type, "message": failure.message}
            for failure in self.failures[:_MAX_FAILURES_SHOWN]
        ]
        customers: list[dict[str, object]] = [
            {
                "customer": customer_id,
                "jobs": f"{totals.jobs:,}",
                "done": f"{totals.done:,}",
                "failed": f"{totals.failed:,}",
                "quoted": format_dollars(totals.quoted_cents),
                "spent by this run": format_dollars(totals.spent_this_run_cents),
                "spent by all runs with the journal": format_dollars(totals.spent_cents),
            }
            for customer_id, totals in sort_customers(self.by_customer)[:_MAX_CUSTOMERS_SHOWN]
        ]
        html = fields_html("Batch", facts)
        if len(customers) > 1:
            html += rows_html(customers, total=len(self.by_customer))
        return html + rows_html(failures, total=self.failed) if failures else html


@attrs.define
class BatchCounters:
    """The numbers of a batch in progress. `by_customer` starts with what earlier runs spent for each customer."""

    by_customer: dict[str, CustomerTotals] = attrs.Factory(dict[str, CustomerTotals])
    quoted_cents: int = attrs.field(
        default=attrs.Factory(
            lambda self: sum(totals.quoted_cents for totals in self.by_customer.values()), takes_self=True
        ),
        init=False,
    )
    spent_before_cents: int = attrs.field(
        default=attrs.Factory(
            lambda self: sum(totals.spent_cents for totals in self.by_customer.values()), takes_self=True
        ),
        init=False,
    )
    done: int = 0
    recalled: int = 0
    canceled: int = 0
    lost_uploads: int = 0
    stopped: str | None = None
    failures: list[JobFailure] = attrs.Factory(list[JobFailure])
    warned: int = 0
    warnings: list[JobWarning] = attrs.Factory(list[JobWarning])
    failed_by_stage: Counter[str] = attrs.Factory(Counter[str])
    failed_by_error: Counter[str] = attrs.Factory(Counter[str])
    _stage_times: dict[Stage, StageTime] = attrs.Factory(dict[Stage, StageTime])

    @property
    def failed(self) -> int:
        return self.failed_by_stage.total()

    def add_canceled(self, context: RecipeContext) -> None:
        """Count a canceled job and what it did before."""
        self.canceled += 1
        self._add(context, CustomerTotals(jobs=1, unfinished=1))

    def add(self, outcome: JobOutcome, context: RecipeContext) -> None:
        """Count a job that ended."""
        matched, rows = match_counts(outcome.result.matched if outcome.result is not None else None) or (0, 0)
        counts = CustomerTotals(jobs=1, done=outcome.ok, failed=not outcome.ok, matched=matched, rows=rows)
        self._add(context, counts)
        for stage, seconds in outcome.timings.items():
            before = self._stage_times.get(stage, StageTime(jobs=0, total_seconds=0.0, longest_seconds=0.0))
            self._stage_times[stage] = StageTime(
                jobs=before.jobs + 1,
                total_seconds=before.total_seconds + seconds,
                longest_seconds=max(before.longest_seconds, seconds),
            )
        if outcome.warnings:
            self.warned += 1
            self.warnings += [JobWarning(key=outcome.job.key, message=message) for message in outcome.warnings]
            del self.warnings[_MAX_WARNINGS:]
        failure = outcome.failure
        if failure is None:
            self.done += 1
            self.recalled += outcome.recalled
            return
        self.failed_by_stage[failure.stage] += 1
        self.failed_by_error[failure.error_type] += 1
        if len(self.failures) < _MAX_FAILURES:
            self.failures.append(failure)

    def _add(self, context: RecipeContext, counts: CustomerTotals) -> None:
        """Add a job's counts and what it cost."""
        self.quoted_cents += context.new_price_cents
        self.lost_uploads += context.lost_uploads
        customer_id, account = context.customer_id or "", context.account
        before = self.by_customer.get(customer_id, CustomerTotals())
        self.by_customer[customer_id] = before + attrs.evolve(
            counts,
            quoted_cents=context.new_price_cents,
            spent_cents=account.spent_cents,
            spent_this_run_cents=account.spent_cents,
            unresolved_cents=account.reserved_cents,
        )

    def stage_times(self) -> dict[str, StageTime]:
        """The times of the stages that any job has finished, in order."""
        return {stage.value: self._stage_times[stage] for stage in Stage if stage in self._stage_times}


def match_counts(audience: Audience | None) -> tuple[int, int] | None:
    """How many rows were matched, and of how many; None if the server doesn't say."""
    if audience is None or audience.uploaded_audience_csv is None:
        return None
    matched, rows = audience.matched_count, audience.uploaded_audience_csv.row_count
    return (matched, rows) if matched is not None and rows is not None and matched <= rows else None
