"""The numbers in a report, computed from the history of a batch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from indigo_async.cli.render.advice import use_option_names
from indigo_async.cli.render.failures import FailureGroup, FailureGroups, MessageGroup, group_messages
from indigo_async.cli.report.history import BatchHistory
from indigo_async.cli.report.job_history import JobHistory
from indigo_async.cli.report.timeline import ActiveTime, measure_active_time, quantile
from indigo_async.events import Stage
from indigo_async.workflows.batches.report import CustomerTotals, sort_customers

__all__ = [
    "KILLED_RUN_MESSAGE",
    "BatchStatistics",
    "FailedJobs",
    "MatchStatistics",
    "RequestStatistics",
    "RunState",
    "StageStatistics",
    "compute_statistics",
]

RunState: TypeAlias = Literal["finished", "stopped", "running", "killed", "unknown"]
"""The state of the last run. "stopped": a problem or Ctrl-C ended it early. "unknown": the journal records no runs."""

KILLED_RUN_MESSAGE = (
    "The last run was killed: its process is gone, and the journal has no record of its end. Run the same batch again "
    "with this journal to continue."
)

_MATCH_RATE_BINS = 20


@attrs.frozen(kw_only=True)
class StageStatistics:
    """How long a stage took the `jobs` jobs that finished it, in seconds over all runs, including waits."""

    stage: str
    jobs: int
    median_seconds: float
    p90_seconds: float
    longest_seconds: float


@attrs.frozen(kw_only=True)
class FailedJobs:
    """A kind of failure, and the jobs that failed that way."""

    kind: FailureGroup
    jobs: tuple[JobHistory, ...]


@attrs.frozen(kw_only=True)
class MatchStatistics:
    """Matched people in the `lists` that show them. `rate_histogram` counts lists by match rate, in steps of 5%."""

    lists: int
    matched: int
    rows: int
    median_rate: float
    rate_histogram: tuple[int, ...]


@attrs.frozen(kw_only=True)
class RequestStatistics:
    """Requests by kind and endpoint. `reads_saved` status checks needed no request of their own.

    `failed_requests` counts failed attempts by reason.
    """

    reads: int
    posts: int
    reads_saved: int
    by_endpoint: dict[str, int]
    failed_requests: dict[str, int]


@attrs.frozen(kw_only=True)
class BatchStatistics:
    """A batch over all its runs. `started_at` and `ended_at` are in seconds since 1970.

    `active_seconds` excludes the time between runs; `half_done_seconds` is when half of the done jobs were done.
    `budget_cents` is the last run's budget; `budget_changed` says whether other runs had another. `unresolved_cents`
    are purchases with an unknown outcome. The last requests of `killed_runs` were not counted.
    """

    state: RunState
    runs: int
    killed_runs: int
    stopped: str | None
    started_at: float
    ended_at: float
    active_seconds: float
    jobs: int
    done: int
    failed: int
    unfinished: int
    spent_cents: int
    unresolved_cents: int
    quoted_cents: int
    budget_cents: int | None
    budget_changed: bool
    lost_uploads: int
    half_done_seconds: float | None
    stages: tuple[StageStatistics, ...]
    customers: tuple[tuple[str, CustomerTotals], ...]
    failures: tuple[FailedJobs, ...]
    warned: int
    warnings: tuple[MessageGroup, ...]
    matches: MatchStatistics | None
    requests: RequestStatistics | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`. The only jobs in it are the failed ones."""
        document = attrs.asdict(self, filter=lambda attribute, _: attribute.name not in {"customers", "failures"})
        document["customers"] = [
            {"customer_id": customer_id, **attrs.asdict(totals, filter=attrs.filters.exclude("spent_this_run_cents"))}
            for customer_id, totals in self.customers
        ]
        document["failures"] = [
            {
                "customer_id": job.customer_id,
                "audience_name": job.audience_name,
                "audience_id": job.audience_id,
                "stage": failed.kind.stage,
                "error_type": failed.kind.error_type,
                "message": use_option_names(job.failure.message) if job.failure is not None else "",
                "advice": failed.kind.advice,
            }
            for failed in self.failures
            for job in failed.jobs
        ]
        return document


def compute_statistics(history: BatchHistory, *, in_use: bool) -> BatchStatistics:
    """Compute all statistics. `in_use`: a running process has the journal open."""
    jobs = history.jobs + history.rejected
    states = Counter(job.state for job in jobs)
    active_time = measure_active_time(history)
    state = _run_state(history, in_use=in_use)
    done_seconds = sorted(
        active_time.seconds_until(job.ended_at) for job in jobs if job.state == "done" and job.ended_at is not None
    )
    last = history.runs[-1] if history.runs else None
    return BatchStatistics(
        state=state,
        runs=len(history.runs),
        killed_runs=sum(not run.finished for run in history.runs[:-1]) + (state == "killed"),
        stopped=use_option_names(last.stopped) if last is not None and last.stopped is not None else None,
        started_at=history.started_at,
        ended_at=history.ended_at,
        active_seconds=active_time.total_seconds,
        jobs=len(jobs),
        done=states["done"],
        failed=states["failed"],
        unfinished=states["unfinished"],
        spent_cents=sum(job.purchases.charged_cents for job in jobs),
        unresolved_cents=sum(job.purchases.unresolved_cents for job in jobs),
        quoted_cents=sum(job.quoted_cents or 0 for job in jobs),
        budget_cents=last.budget_cents if last is not None else None,
        budget_changed=len({run.budget_cents for run in history.runs}) > 1,
        lost_uploads=sum(run.lost_uploads for run in history.runs),
        half_done_seconds=quantile(done_seconds, 0.5) if done_seconds else None,
        stages=tuple(_stage_statistics(jobs, active_time)),
        customers=tuple(sort_customers(_customer_totals(jobs))),
        failures=tuple(_group_failures(jobs)),
        warned=sum(bool(job.warnings) for job in jobs),
        warnings=tuple(group_messages((job.key, use_option_names(text)) for job in jobs for text in job.warnings)),
        matches=_match_statistics(jobs),
        requests=_request_statistics(history),
    )


def _run_state(history: BatchHistory, *, in_use: bool) -> RunState:
    if not history.runs:
        return "unknown"
    last = history.runs[-1]
    if last.finished:
        return "stopped" if last.stopped is not None else "finished"
    return "running" if in_use else "killed"


def _stage_statistics(jobs: Iterable[JobHistory], active_time: ActiveTime) -> Iterable[StageStatistics]:
    by_stage: defaultdict[str, list[float]] = defaultdict(list)
    for job in jobs:
        seconds: defaultdict[str, float] = defaultdict(float)
        for span in job.spans:
            seconds[span.stage] += active_time.seconds_between(span.started_at, span.ended_at)
        for stage, total in seconds.items():
            if stage != job.open_stage:
                by_stage[stage].append(total)
    for stage in Stage:
        ordered = sorted(by_stage[stage.value])
        if ordered:
            yield StageStatistics(
                stage=stage.value,
                jobs=len(ordered),
                median_seconds=quantile(ordered, 0.5),
                p90_seconds=quantile(ordered, 0.9),
                longest_seconds=ordered[-1],
            )


def _customer_totals(jobs: Iterable[JobHistory]) -> dict[str, CustomerTotals]:
    by_customer: defaultdict[str, list[JobHistory]] = defaultdict(list)
    for job in jobs:
        by_customer[job.customer_id].append(job)
    return {customer_id: _sum_jobs(theirs) for customer_id, theirs in by_customer.items()}


def _sum_jobs(jobs: Sequence[JobHistory]) -> CustomerTotals:
    states = Counter(job.state for job in jobs)
    return CustomerTotals(
        jobs=len(jobs),
        done=states["done"],
        failed=states["failed"],
        unfinished=states["unfinished"],
        spent_cents=sum(job.purchases.charged_cents for job in jobs),
        unresolved_cents=sum(job.purchases.unresolved_cents for job in jobs),
        quoted_cents=sum(job.quoted_cents or 0 for job in jobs),
        matched=sum(job.matched or 0 for job in jobs),
        rows=sum(job.rows or 0 for job in jobs),
    )


def _group_failures(jobs: Iterable[JobHistory]) -> list[FailedJobs]:
    groups = FailureGroups()
    by_kind: defaultdict[tuple[str, str], list[JobHistory]] = defaultdict(list)
    for job in jobs:
        if job.failure is not None:
            error_type, stage = job.failure.error_type, job.failure.stage
            groups.add(job.key, stage=stage, error_type=error_type, message=job.failure.message)
            by_kind[error_type, stage].append(job)
    return [FailedJobs(kind=group, jobs=tuple(by_kind[group.error_type, group.stage])) for group in groups.groups()]


def _match_statistics(jobs: Iterable[JobHistory]) -> MatchStatistics | None:
    counts = [(job.matched, job.rows) for job in jobs if job.matched is not None and job.rows]
    if not counts:
        return None
    rates = sorted(matched / rows for matched, rows in counts)
    bins = Counter(min(_MATCH_RATE_BINS - 1, int(rate * _MATCH_RATE_BINS)) for rate in rates)
    return MatchStatistics(
        lists=len(counts),
        matched=sum(matched for matched, _ in counts),
        rows=sum(rows for _, rows in counts),
        median_rate=quantile(rates, 0.5),
        rate_histogram=tuple(bins[number] for number in range(_MATCH_RATE_BINS)),
    )


def _request_statistics(history: BatchHistory) -> RequestStatistics | None:
    if not history.runs:
        return None
    requests, failed = Counter[str](), Counter[str]()
    for run in history.runs:
        requests.update(run.requests)
        failed.update(run.failed_requests)
    posts = sum(count for endpoint, count in requests.items() if endpoint.startswith("POST "))
    return RequestStatistics(
        reads=requests.total() - posts,
        posts=posts,
        reads_saved=sum(run.reads_saved for run in history.runs),
        by_endpoint=dict(requests.most_common()),
        failed_requests=dict(failed.most_common()),
    )
