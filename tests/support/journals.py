"""Journals for tests of the report: written through the real `Journal`, with times of the test's choosing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indigo_async.events import Stage
from indigo_async.workflows.journal import EntryKind, Journal, JournalJobLog

STARTED_AT = 1_790_000_000.0
"""Seconds since 1970 at which the journals of the tests begin."""


@contextmanager
def clock_at(seconds: float) -> Generator[None]:
    """What is written in the block is written so many seconds after the beginning."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("indigo_async.workflows.journal.job_log.time.time_ns", lambda: int((STARTED_AT + seconds) * 1e9))
        yield


def record_note(memory: JournalJobLog, kind: EntryKind, at: float, **facts: Any) -> None:
    with clock_at(at):
        memory.record_for_report(kind, facts)


async def record_intent(memory: JournalJobLog, stage: Stage, at: float, **facts: Any) -> None:
    with clock_at(at):
        await memory.record_intent(stage, facts)


async def record_result(memory: JournalJobLog, stage: Stage, at: float, **facts: Any) -> None:
    with clock_at(at):
        await memory.record_result(stage, facts)


def record_outcome(memory: JournalJobLog, at: float, seconds: float, **facts: Any) -> None:
    """How a job ended, after so many seconds."""
    told = {
        "stage": "download",
        "timings": {},
        "audience_id": "aud-1",
        "error": None,
        "quoted_cents": None,
        "match": None,
        "lookalike_size": None,
    }
    record_note(memory, EntryKind.OUTCOME, at, **told | {"seconds": seconds} | facts)


def record_progress(memory: JournalJobLog, run: float, at: float, *, ended: bool, **facts: Any) -> None:
    """What the run told that began at `run`."""
    told = {
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
    record_note(
        memory, EntryKind.PROGRESS, at, **told | {"run": int((STARTED_AT + run) * 1000), "ended": ended} | facts
    )


async def open_job_log(journal: Journal, customer: str, name: str) -> JournalJobLog:
    return await journal.job_log(customer, name, "fingerprint")


async def hostile_journal(path: Path, names: list[str]) -> None:
    """A run in which customers, lists and errors are called what they should not be."""
    async with Journal.open(path) as journal:
        own = await journal.batch_log()
        for number, name in enumerate(names):
            memory = await open_job_log(journal, name, name)
            timings = {"upload": 1.0, "match": 2.0}
            error = {"type": name, "message": name} if number % 2 == 0 else None
            record_outcome(memory, 5.0 + number, 4.0, timings=timings, error=error, stage="lookalike", match=[7, 10])
        record_progress(
            own, 0.0, 30.0, ended=True, requests={"GET /audience": 3}, setbacks={names[0]: 1}, stopped=names[0]
        )
