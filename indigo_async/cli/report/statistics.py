"""What a report says in numbers, from the history of a batch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from indigo_async.cli.render.advice import WarningGroup, advice_for, group_warnings
from indigo_async.cli.render.output import use_option_names
from indigo_async.cli.report.history import BatchHistory
from indigo_async.cli.report.job_history import JobHistory
from indigo_async.cli.report.timescale import ActiveTime, measure_active_time
from indigo_async.events import Stage

__all__ = [
    "BatchStatistics",
    "CustomerStatistics",
    "FailureGroup",
    "MatchStatistics",
    "RequestStatistics",
    "RunState",
    "StageStatistics",
    "compute_statistics",
    "quantile",
]

RunState: TypeAlias = Literal["ended", "stopped", "under way", "cut off", "unknown"]

_RATE_BUCKETS = 20


@attrs.frozen(kw_only=True)
class StageStatistics:
    """The seconds that each of so many jobs spent in a stage, waiting included, in all runs until it was finished."""

    stage: str
    jobs: int
    median_seconds: float
    p90_seconds: float
    longest_seconds: float


@attrs.frozen(kw_only=True)
class CustomerStatistics:
    """One customer. `unsettled_cents` may or may not have been spent; `matched` of `rows` are sums."""

    customer_id: str
    jobs: int
    done: int
    failed: int
    spent_cents: int
    unsettled_cents: int
    quoted_cents: int
    matched: int
    rows: int


@attrs.frozen(kw_only=True)
class FailureGroup:
    """Jobs that failed at one stage for one kind of reason."""

    error_type: str
    stage: str
    advice: str
    jobs: tuple[JobHistory, ...]

    @property
    def example(self) -> str:
        failure = self.jobs[0].failure
        return use_option_names(failure.message) if failure is not None else ""


@attrs.frozen(kw_only=True)
class MatchStatistics:
    """How many people were found, for the `lists` that show it. `rate_histogram` count lists by rate, in steps of 5 %."""

    lists: int
    matched: int
    rows: int
    median_rate: float
    rate_histogram: tuple[int, ...]


@attrs.frozen(kw_only=True)
class RequestStatistics:
    """What waiting took: `reads` were made, and `reads_saved` more would have been, with one for each look."""

    reads: int
    posts: int
    reads_saved: int
    requests: dict[str, int]
    failed_requests: dict[str, int]


@attrs.frozen(kw_only=True)
class BatchStatistics:
    """A batch in numbers, over all its runs. Money is in cents, times are in seconds; `open` jobs have no known end.

    `budget_cents` is the last run's, which `budget_changed` says others had not; of `cut_off_runs` the last requests
    are unknown.
    """

    state: RunState
    runs: int
    cut_off_runs: int
    stopped: str | None
    began: float
    ended: float
    active_seconds: float
    jobs: int
    done: int
    failed: int
    open: int
    spent_cents: int
    unsettled_cents: int
    quoted_cents: int
    budget_cents: int | None
    budget_changed: bool
    lost_uploads: int
    half_done_seconds: float | None
    stages: tuple[StageStatistics, ...]
    customers: tuple[CustomerStatistics, ...]
    failures: tuple[FailureGroup, ...]
    warned: int
    warnings: tuple[WarningGroup, ...]
    matches: MatchStatistics | None
    polling: RequestStatistics | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; of the jobs, those that failed."""
        document = attrs.asdict(self, filter=lambda attribute, _: attribute.name != "failures")
        document["failures"] = [
            {
                "customer_id": job.customer_id,
                "audience_name": job.audience_name,
                "audience_id": job.audience_id,
                "stage": group.stage,
                "error_type": group.error_type,
                "message": use_option_names(job.failure.message) if job.failure is not None else "",
                "advice": group.advice,
            }
            for group in self.failures
            for job in group.jobs
        ]
        return document


def compute_statistics(history: BatchHistory, *, in_use: bool) -> BatchStatistics:
    """Count it all. `in_use` is whether a living process has the journal open: if not, no run is under way."""
    jobs = history.jobs + history.refused
    states = Counter(job.state for job in jobs)
    timescale = measure_active_time(history)
    state = _run_state(history, in_use=in_use)
    ends = sorted(timescale.seconds_until(job.ended) for job in jobs if job.state == "done" and job.ended is not None)
    last = history.runs[-1] if history.runs else None
    return BatchStatistics(
        state=state,
        runs=len(history.runs),
        cut_off_runs=sum(not run.finished for run in history.runs[:-1]) + (state == "cut off"),
        stopped=use_option_names(last.stopped) if last is not None and last.stopped is not None else None,
        began=history.began,
        ended=history.ended,
        active_seconds=timescale.total_seconds,
        jobs=len(jobs),
        done=states["done"],
        failed=states["failed"],
        open=states["open"],
        spent_cents=sum(job.bill.charged_cents for job in jobs),
        unsettled_cents=sum(job.bill.unresolved_cents for job in jobs),
        quoted_cents=sum(job.quoted_cents or 0 for job in jobs),
        budget_cents=last.budget_cents if last is not None else None,
        budget_changed=len({run.budget_cents for run in history.runs}) > 1,
        lost_uploads=sum(run.lost_uploads for run in history.runs),
        half_done_seconds=quantile(ends, 0.5) if ends else None,
        stages=tuple(_stage_statistics(jobs, timescale)),
        customers=tuple(_customer_statistics(jobs)),
        failures=tuple(_group_failures(jobs)),
        warned=sum(bool(job.warnings) for job in jobs),
        warnings=tuple(
            group_warnings((f"{job.customer_id}/{job.audience_name}", text) for job in jobs for text in job.warnings)
        ),
        matches=_match_statistics(jobs),
        polling=_request_statistics(history),
    )


def quantile(sorted_values: Sequence[float], fraction: float) -> float:
    """The value that a part (0 to 1) of the values do not exceed."""
    return sorted_values[min(len(sorted_values) - 1, int(fraction * len(sorted_values)))]


def _run_state(history: BatchHistory, *, in_use: bool) -> RunState:
    if not history.runs:
        return "unknown"
    last = history.runs[-1]
    if last.finished:
        return "stopped" if last.stopped is not None else "ended"
    return "under way" if in_use else "cut off"


def _stage_statistics(jobs: Iterable[JobHistory], timescale: ActiveTime) -> Iterable[StageStatistics]:
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for job in jobs:
        spent: defaultdict[str, float] = defaultdict(float)
        for span in job.spans:
            spent[span.stage] += timescale.seconds_between(span.began, span.ended)
        for stage, total in spent.items():
            seconds[stage].append(total)
    for stage in Stage:
        ordered = sorted(seconds[stage.value])
        if ordered:
            yield StageStatistics(
                stage=stage.value,
                jobs=len(ordered),
                median_seconds=quantile(ordered, 0.5),
                p90_seconds=quantile(ordered, 0.9),
                longest_seconds=ordered[-1],
            )


def _customer_statistics(jobs: Iterable[JobHistory]) -> list[CustomerStatistics]:
    by_customer: defaultdict[str, list[JobHistory]] = defaultdict(list)
    for job in jobs:
        by_customer[job.customer_id].append(job)
    figures = [
        CustomerStatistics(
            customer_id=customer_id,
            jobs=len(theirs),
            done=sum(job.state == "done" for job in theirs),
            failed=sum(job.state == "failed" for job in theirs),
            spent_cents=sum(job.bill.charged_cents for job in theirs),
            unsettled_cents=sum(job.bill.unresolved_cents for job in theirs),
            quoted_cents=sum(job.quoted_cents or 0 for job in theirs),
            matched=sum(job.matched or 0 for job in theirs),
            rows=sum(job.rows or 0 for job in theirs),
        )
        for customer_id, theirs in by_customer.items()
    ]
    return sorted(figures, key=lambda customer: (-customer.spent_cents, -customer.jobs, customer.customer_id))


def _group_failures(jobs: Iterable[JobHistory]) -> list[FailureGroup]:
    by_kind: defaultdict[tuple[str, str], list[JobHistory]] = defaultdict(list)
    for job in jobs:
        if job.failure is not None:
            by_kind[job.failure.error_type, job.failure.stage].append(job)
    groups = [
        FailureGroup(error_type=error_type, stage=stage, advice=advice_for(error_type), jobs=tuple(failed))
        for (error_type, stage), failed in by_kind.items()
    ]
    return sorted(groups, key=lambda group: (-len(group.jobs), group.error_type, group.stage))


def _match_statistics(jobs: Iterable[JobHistory]) -> MatchStatistics | None:
    counts = [(job.matched, job.rows) for job in jobs if job.matched is not None and job.rows]
    if not counts:
        return None
    rates = sorted(matched / rows for matched, rows in counts)
    classes = Counter(min(_RATE_BUCKETS - 1, int(rate * _RATE_BUCKETS)) for rate in rates)
    return MatchStatistics(
        lists=len(counts),
        matched=sum(matched for matched, _ in counts),
        rows=sum(rows for _, rows in counts),
        median_rate=quantile(rates, 0.5),
        rate_histogram=tuple(classes[number] for number in range(_RATE_BUCKETS)),
    )


def _request_statistics(history: BatchHistory) -> RequestStatistics | None:
    if not history.runs:
        return None
    requests, setbacks = Counter[str](), Counter[str]()
    for run in history.runs:
        requests.update(run.requests)
        setbacks.update(run.failed_requests)
    posts = sum(count for endpoint, count in requests.items() if endpoint.startswith("POST "))
    return RequestStatistics(
        reads=requests.total() - posts,
        posts=posts,
        reads_saved=sum(run.reads_saved for run in history.runs),
        requests=dict(requests.most_common()),
        failed_requests=dict(setbacks.most_common()),
    )
