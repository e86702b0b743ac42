"""The history of a batch, built from its journal: each job and each run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import inf

import attrs

from indigo_async.cli.report.job_history import JobHistory, JobHistoryBuilder
from indigo_async.workflows import JournalRow, OutcomeRow, ProgressRow

__all__ = ["BatchHistory", "RunHistory", "build_history"]


@attrs.frozen(kw_only=True)
class RunHistory:
    """One run with the journal. Times are in seconds since 1970; `last_written_at` is when the run last wrote to it.

    `finished` is false if the run was killed or is still in progress. `requests` counts requests by endpoint,
    `failed_requests` counts failures by reason, and `reads_saved` counts status checks that needed no request of their
    own.
    """

    started_at: float
    last_written_at: float
    finished: bool
    stopped: str | None
    budget_cents: int | None
    lost_uploads: int
    requests: Mapping[str, int]
    failed_requests: Mapping[str, int]
    reads_saved: int


@attrs.frozen
class BatchHistory:
    """All jobs and runs in a journal. `started_at` and `ended_at` are in seconds since 1970.

    A job that the last run rejected before writing entries for it counts as failed. `rejected` jobs have no entries.
    Each job appears once, however many runs rejected it.
    """

    jobs: tuple[JobHistory, ...]
    rejected: tuple[JobHistory, ...]
    runs: tuple[RunHistory, ...]
    started_at: float
    ended_at: float


def build_history(rows: Iterable[JournalRow]) -> BatchHistory:
    """Build the history from a journal's rows, in the order in which they were written."""
    builders: dict[tuple[str, str], JobHistoryBuilder] = {}
    runs: dict[datetime, RunHistory] = {}
    times: list[float] = []
    rejected: dict[tuple[str, str], tuple[float, JobHistory]] = {}
    last_written: dict[tuple[str, str], float] = {}
    for row in rows:
        at = row.at.timestamp()
        times.append(at)
        if isinstance(row, ProgressRow):
            runs[row.run_started_at] = _read_run(row)
            continue
        name = (row.customer_id, row.audience_name)
        if isinstance(row, OutcomeRow) and row.was_rejected:
            unstarted = JobHistoryBuilder(*name)
            unstarted.add_row(row)
            rejected[name] = at, unstarted.build(lambda at: at)
        else:
            if name not in builders:
                builders[name] = JobHistoryBuilder(*name)
            builders[name].add_row(row)
            last_written[name] = at
    started_at, ended_at = (times[0], max(times)) if times else (0.0, 0.0)
    sorted_runs = _infer_last_written(runs.values(), times)
    run_starts = [run.started_at for run in sorted_runs]

    def active_until(at: float) -> float:
        number = bisect_right(run_starts, at)
        return max(at, sorted_runs[number - 1].last_written_at) if number else ended_at

    def run_number(at: float) -> int:
        return bisect_right(run_starts, at)

    jobs: list[JobHistory] = []
    for name, builder in builders.items():
        job = builder.build(active_until)
        rejected_at, rejection = rejected.get(name, (-inf, job))
        if run_number(rejected_at) > run_number(last_written[name]):  # this job, and not another of the same name
            del rejected[name]
            job = attrs.evolve(job, state="failed", failure=rejection.failure, ended_at=rejected_at)
        elif run_number(rejected_at) < run_number(last_written[name]) or not run_starts:
            rejected.pop(name, None)  # a later run accepted it
        jobs.append(job)
    return BatchHistory(
        jobs=tuple(jobs),
        rejected=tuple(job for _, job in rejected.values()),
        runs=tuple(sorted_runs),
        started_at=min([started_at, *(job.spans[0].started_at for job in jobs if job.spans), *run_starts]),
        ended_at=ended_at,
    )


def _infer_last_written(runs: Iterable[RunHistory], times: list[float]) -> list[RunHistory]:
    """Sort the runs by time. An unfinished run lasted until the last record before the next run."""
    sorted_runs = sorted(runs, key=lambda run: run.started_at)
    times = sorted(times)
    next_starts = [*(run.started_at for run in sorted_runs), inf][1:]
    return [
        run if run.finished else attrs.evolve(run, last_written_at=times[bisect_left(times, next_start) - 1])
        for run, next_start in zip(sorted_runs, next_starts, strict=True)
    ]


def _read_run(row: ProgressRow) -> RunHistory:
    return RunHistory(
        started_at=row.run_started_at.timestamp(),
        last_written_at=row.at.timestamp(),
        finished=row.has_ended,
        stopped=row.stopped,
        budget_cents=row.budget_cents,
        lost_uploads=row.lost_uploads,
        requests=row.requests,
        failed_requests=row.failed_requests,
        reads_saved=row.reads_saved,
    )
