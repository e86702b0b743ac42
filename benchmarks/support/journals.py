"""Journals of finished batches, as a run writes them, without a server."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from indigo_async.events import Stage
from indigo_async.workflows.journal.rows import Entry, EntryKind
from indigo_async.workflows.journal.store import JournalStore

__all__ = ["write_journal"]

_START_MS = 1_790_000_000_000
_JOBS_PER_COMMIT = 500
_CUSTOMERS = 40


def write_journal(path: Path, jobs: int) -> int:
    """Write the journal of a batch that ran through all stages. One job in fifty failed. Returns the number of rows."""
    rng = random.Random(11)
    rows = 0
    with closing(JournalStore(path)) as store:
        store.open()
        for first in range(0, jobs, _JOBS_PER_COMMIT):
            numbers = range(first, min(first + _JOBS_PER_COMMIT, jobs))
            keys = [json.dumps([f"customer-{number % _CUSTOMERS}", f"Members {number}"]) for number in numbers]
            stored = store.load_jobs([(key, f"{number:064x}") for key, number in zip(keys, numbers, strict=True)])
            entries = [
                entry for job, number in zip(stored, numbers, strict=True) for entry in _job_rows(rng, job.id, number)
            ]
            store.append(entries)
            rows += len(entries)
        (batch,) = store.load_jobs([(json.dumps(["", ""]), "")])
        end = _START_MS + 2 * jobs + 60_000
        store.append([_entry(batch.id, EntryKind.PROGRESS, "", _progress(jobs), end)])
    return rows + 1


def _job_rows(rng: random.Random, job: int, number: int) -> Iterator[Entry]:
    """The rows of a job: about what it POSTs, what came of it, and how it ended."""
    started_at = at = _START_MS + 2 * number
    inputs = {"server": "1acc2241bbfcf885", "csv": f"{number:016x}", "columns": "d94cb0c7f8ac22c4"}
    made = {"audience_id": f"aud-{number}"}
    export = {"field_types": ["phone"], **made, "export_id": f"exp-{number}"}
    price = {**export, "cost_cents": rng.randrange(5_000, 40_000)}
    saved = {"path": f"/data/exports/{number}.csv", "size_bytes": 10 * number, "sha256": f"{number:064x}"}
    stages: dict[Stage, tuple[Mapping[str, Any] | None, Mapping[str, Any]]] = {
        Stage.UPLOAD: ({}, made),
        Stage.MATCH: (made, made),
        Stage.LOOKALIKE: ({"base_audience_id": f"aud-{number}"}, made),
        Stage.PREVIEW: (export, export),
        Stage.PURCHASE: (price, price),
        Stage.DOWNLOAD: (None, {**price, **saved}),
    }
    failed_at = rng.choice([Stage.MATCH, Stage.LOOKALIKE]) if rng.random() < 0.02 else None
    timings: dict[str, float] = {}
    for stage, (intent, result) in stages.items():
        began = at
        if intent is not None:
            yield _entry(job, EntryKind.INTENT, stage, {**intent, "inputs": inputs}, at)
        at += rng.randrange(100, 5_000)
        if stage is failed_at:
            break
        yield _entry(job, EntryKind.RESULT, stage, {**result, "inputs": inputs}, at)
        timings[stage.value] = (at - began) / 1000
    error = {"type": "AudienceFailedError", "message": f"audience aud-{number} failed: no rows could be matched"}
    outcome = {
        "stage": failed_at or Stage.DOWNLOAD,
        "seconds": (at - started_at) / 1000,
        "timings": timings,
        **made,
        "error": error if failed_at else None,
        "warnings": [],
        "export_id": None if failed_at else f"exp-{number}",
        "quoted_cents": None if failed_at else price["cost_cents"],
        "match": None if failed_at else [rng.randrange(1_000, 5_000), 5_000],
        "lookalike_size": None if failed_at else 8_000,
    }
    yield _entry(job, EntryKind.OUTCOME, "", outcome, at)


def _progress(jobs: int) -> dict[str, Any]:
    return {
        "run": _START_MS,
        "ended": True,
        "seconds": jobs / 500,
        "done": jobs,
        "failed": 0,
        "stopped": None,
        "budget_cents": None,
        "lost_uploads": 0,
        "requests": {"POST /upload_csv": jobs, "GET /audiences": 40},
        "setbacks": {},
        "reads_saved": 100 * jobs,
    }


def _entry(job: int, kind: EntryKind, stage: str, facts: Mapping[str, Any], at_ms: int) -> Entry:
    return Entry(job, kind, str(stage), json.dumps(facts, separators=(",", ":")), at_ms)
