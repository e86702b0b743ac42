"""Journals for tests of the report: written through the real `Journal`, with times of the test's choosing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indigo_async.workflows.events import Stage
from indigo_async.workflows.journal import EntryKind, Journal, JournalJobLog

BEGAN = 1_790_000_000.0
"""Seconds since 1970 at which the journals of the tests begin."""


@contextmanager
def clock_at(seconds: float) -> Generator[None]:
    """What is written in the block is written so many seconds after the beginning."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("indigo_async.workflows.journal.memory.time.time_ns", lambda: int((BEGAN + seconds) * 1e9))
        yield


def mention(memory: JournalJobLog, kind: EntryKind, at: float, **facts: Any) -> None:
    with clock_at(at):
        memory.record_for_report(kind, facts)


async def intend(memory: JournalJobLog, stage: Stage, at: float, **facts: Any) -> None:
    with clock_at(at):
        await memory.record_intent(stage, facts)


async def remember(memory: JournalJobLog, stage: Stage, at: float, **facts: Any) -> None:
    with clock_at(at):
        await memory.record_result(stage, facts)


def outcome(memory: JournalJobLog, at: float, seconds: float, **facts: Any) -> None:
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
    mention(memory, EntryKind.OUTCOME, at, **told | {"seconds": seconds} | facts)


def progress(memory: JournalJobLog, run: float, at: float, *, ended: bool, **facts: Any) -> None:
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
    mention(memory, EntryKind.PROGRESS, at, **told | {"run": int((BEGAN + run) * 1000), "ended": ended} | facts)


async def job(journal: Journal, customer: str, name: str) -> JournalJobLog:
    return await journal.job_log(customer, name, "fingerprint")


async def hostile_journal(path: Path, names: list[str]) -> None:
    """A run in which customers, lists and errors are called what they should not be."""
    async with Journal.open(path) as journal:
        own = await journal.batch_log()
        for number, name in enumerate(names):
            memory = await job(journal, name, name)
            timings = {"upload": 1.0, "match": 2.0}
            error = {"type": name, "message": name} if number % 2 == 0 else None
            outcome(memory, 5.0 + number, 4.0, timings=timings, error=error, stage="lookalike", match=[7, 10])
        progress(own, 0.0, 30.0, ended=True, requests={"GET /audience": 3}, setbacks={names[0]: 1}, stopped=names[0])
