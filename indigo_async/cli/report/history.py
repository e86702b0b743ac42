"""The rows of a journal, put together: each job with its times, its money and its end, and each run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, Literal, TypeAlias

import attrs

from indigo_async.workflows.events import Stage
from indigo_async.workflows.journal import Bill, EntryKind, JournalRecord, bill_of

__all__ = ["Failure", "History", "JobHistory", "JobState", "Run", "Span", "history_of"]

JobState: TypeAlias = Literal["done", "failed", "open"]

_CLOCK_SECONDS = 0.1
"""What the clocks that rows and outcomes go by may differ by."""

_KEPT = ("audience_id", "match", "lookalike_size", "quoted_cents")


@attrs.frozen
class Span:
    """A job was in a stage from `began` to `ended`, in seconds since 1970."""

    stage: str
    began: float
    ended: float


@attrs.frozen
class Failure:
    """Why a job failed, and at which stage."""

    stage: str
    error_type: str
    message: str


@attrs.frozen(kw_only=True)
class JobHistory:
    """One job in all runs. Its `state` is how its last run ended; "open" where none is known to have.

    `matched` of `rows` people were found; both are None where the server does not show it. `ended` is None for an open
    job. `spans` are in order of time, those of one run side by side.
    """

    customer_id: str
    audience_name: str
    state: JobState
    spans: tuple[Span, ...]
    ended: float | None
    failure: Failure | None
    audience_id: str | int | None
    matched: int | None
    rows: int | None
    lookalike_size: int | None
    quoted_cents: int | None
    bill: Bill


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
    growing: dict[tuple[str, str], _Growing] = {}
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
            job = _Growing(*name)
            job.add(record, at)
            refused[name] = at, job.grown(lambda at: at)
        else:
            name = (record.customer_id, record.audience_name)
            job = growing.get(name)
            if job is None:
                job = growing[name] = _Growing(*name)
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


@attrs.define
class _Growing:
    """A job while its rows are read."""

    customer_id: str
    audience_name: str
    spans: list[Span] = attrs.Factory(list[Span])
    cut_off: list[tuple[list[tuple[str, float]], float]] = attrs.Factory(list[tuple[list[tuple[str, float]], float]])
    """The rows of runs that told of no outcome, and when the run began that told of the next one."""
    since: list[tuple[str, float]] = attrs.Factory(list[tuple[str, float]])
    """The stages and times of the rows since the last outcome."""
    purchases: list[tuple[EntryKind, Mapping[str, Any]]] = attrs.Factory(list[tuple[EntryKind, Mapping[str, Any]]])
    outcome: Mapping[str, Any] | None = None
    ended: float | None = None
    downloaded: bool = False
    known: dict[str, Any] = attrs.Factory(dict[str, Any])

    def add(self, record: JournalRecord, at: float) -> None:
        if record.kind is EntryKind.OUTCOME:
            self.outcome, self.ended = record.facts, at
            began = at - record.facts["seconds"]
            cut_off = [(stage, written) for stage, written in self.since if written < began - _CLOCK_SECONDS]
            if cut_off:
                self.cut_off.append((cut_off, began))
            self.spans += _spans_told(record.facts, at)
            self.since.clear()
            # What one run saw, a later one that finds all done need not see again.
            self.known |= {key: record.facts[key] for key in _KEPT if record.facts[key] is not None}
            return
        self.since.append((record.stage, at))
        if record.stage == Stage.PURCHASE:
            self.purchases.append((record.kind, record.facts))
        if record.stage == Stage.DOWNLOAD:
            self.downloaded = True
            self._settle(str(record.facts.get("export_id")))
            self.known["quoted_cents"] = record.facts.get("cost_cents")

    def _settle(self, export_id: str) -> None:
        """What can be downloaded was bought, also where the run was killed that bought it."""
        ours = [(kind, facts) for kind, facts in self.purchases if str(facts["export_id"]) == export_id]
        if ours and ours[-1][0] is EntryKind.INTENT:
            self.purchases.append((EntryKind.RESULT, ours[-1][1]))

    def grown(self, silent_from: Callable[[float], float]) -> JobHistory:
        """The job. `silent_from` tells until when a run is known to have gone on that wrote at a time."""
        state, failure, ended = self._end()
        spans = list(self.spans)
        for rows, next_began in self.cut_off:
            last = rows[-1][1]
            silent = silent_from(last)
            spans += _spans_between(rows, silent if silent < next_began else last)
        spans.sort(key=lambda span: span.began)
        if self.since:
            last = self.since[-1][1]
            spans += _spans_between(self.since, last if state == "done" else silent_from(last))
        matched, rows = self.known.get("match") or (None, None)
        return JobHistory(
            customer_id=self.customer_id,
            audience_name=self.audience_name,
            state=state,
            spans=tuple(spans),
            ended=ended,
            failure=failure,
            audience_id=self.known.get("audience_id"),
            matched=matched,
            rows=rows,
            lookalike_size=self.known.get("lookalike_size"),
            quoted_cents=self.known.get("quoted_cents"),
            bill=bill_of(self.purchases),
        )

    def _end(self) -> tuple[JobState, Failure | None, float | None]:
        if self.outcome is None or self.since:
            # No outcome is known of the last run: it is under way, was cut off, or its SDK wrote none.
            is_done = self.downloaded and (not self.since or self.since[-1][0] == Stage.DOWNLOAD)
            return ("done", None, self.since[-1][1]) if is_done and self.since else ("open", None, None)
        error = self.outcome["error"]
        if error is None:
            return "done", None, self.ended
        return "failed", Failure(self.outcome["stage"], error["type"], error["message"]), self.ended


def _spans_told(facts: Mapping[str, Any], at: float) -> list[Span]:
    """The stages that an outcome tells the seconds of, one after the other; a failed one has what is left."""
    spans: list[Span] = []
    ends = began = at - facts["seconds"]
    for stage in Stage:
        seconds = facts["timings"].get(stage.value)
        if seconds is not None:
            began, ends = ends, ends + seconds
            spans.append(Span(stage.value, began, min(ends, at)))
    if facts["error"] is not None:
        spans.append(Span(facts["stage"], min(ends, at), at))
    return spans


def _spans_between(rows: list[tuple[str, float]], ended: float) -> list[Span]:
    """The stages of a job without an outcome: each row's lasts until the next row, the last one's to the end."""
    spans: list[Span] = []
    ends = [*(at for _, at in rows[1:]), ended]
    for (stage, at), end in zip(rows, ends, strict=True):
        if spans and spans[-1].stage == stage:
            spans[-1] = attrs.evolve(spans[-1], ended=end)
        else:
            spans.append(Span(stage, at, end))
    return spans
