"""The history of a batch, built from its journal: each job and each run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path

import attrs

from indigo_async.cli.report.job_history import JobHistory, JobHistoryBuilder
from indigo_async.workflows.journal.scan import ExportFacts, OutcomeFacts, ProgressFacts, scan_journal

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


def build_history(journal: Path) -> BatchHistory:
    """Read the history from a batch's journal.

    Raises:
        JournalError: it can't be read.
    """
    rows = _read_rows(journal)
    times, rejected = rows.times, rows.rejected
    started_at, ended_at = (times[0], max(times)) if times else (0.0, 0.0)
    sorted_runs = _infer_last_written(rows.runs.values(), times)
    run_starts = [run.started_at for run in sorted_runs]

    def active_until(at: float) -> float:
        number = bisect_right(run_starts, at)
        return max(at, sorted_runs[number - 1].last_written_at) if number else ended_at

    def run_number(at: float) -> int:
        return bisect_right(run_starts, at)

    jobs: list[JobHistory] = []
    for builder in rows.builders.values():
        name = builder.customer_id, builder.audience_name
        job = builder.build(active_until)
        rejected_at, rejection = rejected.get(name, (-inf, job))
        if run_number(rejected_at) > run_number(builder.last_written_at):  # this job, and not another of the same name
            del rejected[name]
            job = attrs.evolve(job, state="failed", failure=rejection.failure, ended_at=rejected_at)
        elif run_number(rejected_at) < run_number(builder.last_written_at) or not run_starts:
            rejected.pop(name, None)  # a later run accepted it
        jobs.append(job)
    return BatchHistory(
        jobs=tuple(jobs),
        rejected=tuple(job for _, job in rejected.values()),
        runs=tuple(sorted_runs),
        started_at=min([started_at, *(job.spans[0].started_at for job in jobs if job.spans), *run_starts]),
        ended_at=ended_at,
    )


@attrs.frozen
class _Rows:
    """A journal's rows by job number and by run. `rejected` are jobs by customer and name, with the time."""

    builders: dict[int, JobHistoryBuilder] = attrs.Factory(dict[int, JobHistoryBuilder])
    runs: dict[int, RunHistory] = attrs.Factory(dict[int, RunHistory])
    rejected: dict[tuple[str, str], tuple[float, JobHistory]] = attrs.Factory(
        dict[tuple[str, str], tuple[float, JobHistory]]
    )
    times: list[float] = attrs.Factory(list[float])


def _read_rows(journal: Path) -> _Rows:
    found = _Rows()
    builders, times = found.builders, found.times
    with scan_journal(journal) as scan:

        def start_job(job: int) -> JobHistoryBuilder:
            return builders.setdefault(job, JobHistoryBuilder(*scan.names[job]))

        for job, kind, stage, at, facts in scan.rows:
            times.append(at)
            if facts is None or isinstance(facts, ExportFacts):
                (builders.get(job) or start_job(job)).add_stage(kind, stage, at, facts)
            elif isinstance(facts, ProgressFacts):
                found.runs[facts.run] = _read_run(facts, at)
            elif scan.names[job][0]:
                (builders.get(job) or start_job(job)).add_outcome(facts, at)
            else:  # the batch itself has no customer: it was a job without rows
                found.rejected[facts.customer_id, facts.audience_name] = at, _read_rejection(facts, at)
    return found


def _infer_last_written(runs: Iterable[RunHistory], times: list[float]) -> list[RunHistory]:
    """Sort the runs by time. An unfinished run lasted until the last record before the next run."""
    sorted_runs = sorted(runs, key=lambda run: run.started_at)
    times = sorted(times)
    next_starts = [*(run.started_at for run in sorted_runs), inf][1:]
    return [
        run if run.finished else attrs.evolve(run, last_written_at=times[bisect_left(times, next_start) - 1])
        for run, next_start in zip(sorted_runs, next_starts, strict=True)
    ]


def _read_rejection(outcome: OutcomeFacts, at: float) -> JobHistory:
    builder = JobHistoryBuilder(outcome.customer_id, outcome.audience_name)
    builder.add_outcome(outcome, at)
    return builder.build(lambda at: at)


def _read_run(progress: ProgressFacts, at: float) -> RunHistory:
    return RunHistory(
        started_at=progress.run / 1000,
        last_written_at=at,
        finished=progress.ended,
        stopped=progress.stopped,
        budget_cents=progress.budget_cents,
        lost_uploads=progress.lost_uploads,
        requests=progress.requests,
        failed_requests=progress.setbacks,
        reads_saved=progress.reads_saved,
    )
