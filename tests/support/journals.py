"""Journals for report tests, written by the real `Journal` at chosen times."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indigo_async.events import Stage
from indigo_async.workflows.journal import EntryKind, Journal, JournalJobLog

STARTED_AT = 1_790_000_000.0
"""When the journals of the tests start, in seconds since 1970."""


@contextmanager
def clock_at(seconds: float) -> Generator[None]:
    """Make everything in the block happen at `seconds` after `STARTED_AT`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("indigo_async.workflows.journal.job_log.time.time_ns", lambda: int((STARTED_AT + seconds) * 1e9))
        yield


def _record(job_log: JournalJobLog, kind: EntryKind, at: float, **facts: Any) -> None:
    with clock_at(at):
        job_log.record_for_report(kind, facts)


async def record_intent(job_log: JournalJobLog, stage: Stage, at: float, **facts: Any) -> None:
    with clock_at(at):
        await job_log.record_intent(stage, facts)


async def record_result(job_log: JournalJobLog, stage: Stage, at: float, **facts: Any) -> None:
    with clock_at(at):
        await job_log.record_result(stage, facts)


def record_outcome(job_log: JournalJobLog, at: float, seconds: float, **facts: Any) -> None:
    """Record a job's outcome at `at`, after `seconds` in this run."""
    defaults = {
        "stage": "download",
        "timings": {},
        "audience_id": "aud-1",
        "error": None,
        "quoted_cents": None,
        "match": None,
        "lookalike_size": None,
    }
    _record(job_log, EntryKind.OUTCOME, at, **defaults | {"seconds": seconds} | facts)


def record_progress(job_log: JournalJobLog, run: float, at: float, *, ended: bool, **facts: Any) -> None:
    """Record the progress at `at` of the run that started at `run`."""
    defaults = {
        "seconds": at - run,
        "done": 0,
        "failed": 0,
        "stopped": None,
        "budget_cents": None,
        "lost_uploads": 0,
        "requests": {},
        "setbacks": {},
        "reads_saved": 0,
    }
    _record(
        job_log, EntryKind.PROGRESS, at, **defaults | {"run": int((STARTED_AT + run) * 1000), "ended": ended} | facts
    )


async def spent_cents(journal: Journal) -> int:
    """What was spent under a journal in all runs."""
    return sum((await journal.spent_by_customer()).values())


async def open_job_log(journal: Journal, customer: str, name: str) -> JournalJobLog:
    return await journal.job_log(customer, name, "fingerprint")


async def hostile_journal(path: Path, names: list[str]) -> None:
    """Write a run whose customers, lists and errors have hostile names."""
    async with Journal.open(path) as journal:
        batch_log = await journal.batch_log()
        for number, name in enumerate(names):
            job_log = await open_job_log(journal, name, name)
            timings = {"upload": 1.0, "match": 2.0}
            error = {"type": name, "message": name} if number % 2 == 0 else None
            record_outcome(job_log, 5.0 + number, 4.0, timings=timings, error=error, stage="lookalike", match=[7, 10])
        record_progress(
            batch_log, 0.0, 30.0, ended=True, requests={"GET /audience": 3}, setbacks={names[0]: 1}, stopped=names[0]
        )
