"""The rows of a journal, put together: each job, and each run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

import attrs

from indigo_async.cli.report.job_history import JobHistory, JobHistoryBuilder
from indigo_async.workflows.journal import EntryKind, JournalRecord

__all__ = ["BatchHistory", "RunHistory", "build_history"]


@attrs.frozen(kw_only=True)
class RunHistory:
    """One run with the journal. `finished` is whether it came to its end; `last_written` is when it last wrote anything.

    `requests` counts by endpoint, `failed_requests` those without a good answer, `reads_saved` the looks without a
    request.
    """

    began: float
    last_written: float
    finished: bool
    done: int
    failed: int
    stopped: str | None
    budget_cents: int | None
    lost_uploads: int
    requests: Mapping[str, int]
    failed_requests: Mapping[str, int]
    reads_saved: int


@attrs.frozen
class BatchHistory:
    """All that a journal tells. `refused` jobs failed before the journal knew them, so they have no rows of their own.

    Each of them stands there once, however many runs refused it, and not if a later run took it on.
    `began` and `finished` are the times of the first and the last row, in seconds since 1970.
    """

    jobs: tuple[JobHistory, ...]
    refused: tuple[JobHistory, ...]
    runs: tuple[RunHistory, ...]
    began: float
    ended: float


def build_history(records: Iterable[JournalRecord]) -> BatchHistory:
    """Put the rows of a journal together, given in the order of writing."""
    growing: dict[tuple[str, str], JobHistoryBuilder] = {}
    runs: dict[int, RunHistory] = {}
    times: list[float] = []
    refused: dict[tuple[str, str], tuple[float, JobHistory]] = {}
    last_written: dict[tuple[str, str], float] = {}
    began = ended = 0.0
    for record in records:
        at = record.at.timestamp()
        began, ended = began or at, max(ended, at)
        if record.kind is EntryKind.PROGRESS:
            runs[record.facts["run"]] = _read_run(record.facts, at)
        elif not record.customer_id:
            name = (record.facts["customer_id"], record.facts["audience_name"])
            job = JobHistoryBuilder(*name)
            job.add_record(record, at)
            refused[name] = at, job.build(lambda at: at)
        else:
            name = (record.customer_id, record.audience_name)
            job = growing.get(name)
            if job is None:
                job = growing[name] = JobHistoryBuilder(*name)
            job.add_record(record, at)
            last_written[name] = at
        times.append(at)
    in_order = _infer_last_written(runs.values(), times)
    begins = [run.began for run in in_order]

    def silent_from(at: float) -> float:
        number = bisect_right(begins, at)
        return max(at, in_order[number - 1].last_written) if number else ended

    def is_refused_still(name: tuple[str, str], at: float) -> bool:
        next_run = next((begin for begin in begins if begin > at), inf if begins else at)
        return last_written.get(name, 0.0) < next_run

    jobs = tuple(job.build(silent_from) for job in growing.values())
    began = min([began, *(job.spans[0].began for job in jobs if job.spans), *(run.began for run in runs.values())])
    still_refused = tuple(job for name, (at, job) in refused.items() if is_refused_still(name, at))
    return BatchHistory(jobs, still_refused, tuple(in_order), began, ended)


def _infer_last_written(runs: Iterable[RunHistory], times: list[float]) -> list[RunHistory]:
    """The runs in order of time: one that never told of its end is heard of in every row before the next run."""
    in_order = sorted(runs, key=lambda run: run.began)
    times = sorted(times)
    next_begins = [*(run.began for run in in_order), inf][1:]
    return [
        run if run.finished else attrs.evolve(run, last_written=times[bisect_left(times, next_began) - 1])
        for run, next_began in zip(in_order, next_begins, strict=True)
    ]


def _read_run(facts: Mapping[str, Any], at: float) -> RunHistory:
    return RunHistory(
        began=facts["run"] / 1000,
        last_written=at,
        finished=facts["ended"],
        done=facts["done"],
        failed=facts["failed"],
        stopped=facts["stopped"],
        budget_cents=facts["budget_cents"],
        lost_uploads=facts["lost_uploads"],
        requests=facts["requests"],
        failed_requests=facts["setbacks"],
        reads_saved=facts["reads_saved"],
    )
