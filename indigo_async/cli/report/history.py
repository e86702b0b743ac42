"""The rows of a journal, put together: each job, and each run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

import attrs

from indigo_async.cli.report.job_history import GrowingJob, JobHistory
from indigo_async.workflows.journal import EntryKind, JournalRecord

__all__ = ["History", "Run", "history_of"]


@attrs.frozen(kw_only=True)
class Run:
    """One run with the journal. `ended` is whether it came to its end; `last_heard` is when it last wrote anything.

    `requests` counts by endpoint, `setbacks` those without a good answer, `reads_saved` the looks without a request.
    """

    began: float
    last_heard: float
    ended: bool
    done: int
    failed: int
    stopped: str | None
    budget_cents: int | None
    lost_uploads: int
    requests: Mapping[str, int]
    setbacks: Mapping[str, int]
    reads_saved: int


@attrs.frozen
class History:
    """All that a journal tells. `refused` jobs failed before the journal knew them, so they have no rows of their own.

    Each of them stands there once, however many runs refused it, and not if a later run took it on.
    `began` and `ended` are the times of the first and the last row, in seconds since 1970.
    """

    jobs: tuple[JobHistory, ...]
    refused: tuple[JobHistory, ...]
    runs: tuple[Run, ...]
    began: float
    ended: float


def history_of(records: Iterable[JournalRecord]) -> History:
    """Put the rows of a journal together, given in the order of writing."""
    growing: dict[tuple[str, str], GrowingJob] = {}
    runs: dict[int, Run] = {}
    times: list[float] = []
    refused: dict[tuple[str, str], tuple[float, JobHistory]] = {}
    last_written: dict[tuple[str, str], float] = {}
    began = ended = 0.0
    for record in records:
        at = record.at.timestamp()
        began, ended = began or at, max(ended, at)
        if record.kind is EntryKind.PROGRESS:
            runs[record.facts["run"]] = _run(record.facts, at)
        elif not record.customer_id:
            name = (record.facts["customer_id"], record.facts["audience_name"])
            job = GrowingJob(*name)
            job.add(record, at)
            refused[name] = at, job.grown(lambda at: at)
        else:
            name = (record.customer_id, record.audience_name)
            job = growing.get(name)
            if job is None:
                job = growing[name] = GrowingJob(*name)
            job.add(record, at)
            last_written[name] = at
        times.append(at)
    in_order = _heard(runs.values(), times)
    begins = [run.began for run in in_order]

    def silent_from(at: float) -> float:
        number = bisect_right(begins, at)
        return max(at, in_order[number - 1].last_heard) if number else ended

    def is_refused_still(name: tuple[str, str], at: float) -> bool:
        next_run = next((begin for begin in begins if begin > at), inf if begins else at)
        return last_written.get(name, 0.0) < next_run

    jobs = tuple(job.grown(silent_from) for job in growing.values())
    began = min([began, *(job.spans[0].began for job in jobs if job.spans), *(run.began for run in runs.values())])
    still_refused = tuple(job for name, (at, job) in refused.items() if is_refused_still(name, at))
    return History(jobs, still_refused, tuple(in_order), began, ended)


def _heard(runs: Iterable[Run], times: list[float]) -> list[Run]:
    """The runs in order of time: one that never told of its end is heard of in every row before the next run."""
    in_order = sorted(runs, key=lambda run: run.began)
    times = sorted(times)
    next_begins = [*(run.began for run in in_order), inf][1:]
    return [
        run if run.ended else attrs.evolve(run, last_heard=times[bisect_left(times, next_began) - 1])
        for run, next_began in zip(in_order, next_begins, strict=True)
    ]


def _run(facts: Mapping[str, Any], at: float) -> Run:
    return Run(
        began=facts["run"] / 1000,
        last_heard=at,
        ended=facts["ended"],
        done=facts["done"],
        failed=facts["failed"],
        stopped=facts["stopped"],
        budget_cents=facts["budget_cents"],
        lost_uploads=facts["lost_uploads"],
        requests=facts["requests"],
        setbacks=facts["setbacks"],
        reads_saved=facts["reads_saved"],
    )
