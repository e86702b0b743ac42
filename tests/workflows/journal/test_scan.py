"""A scan, which reports use, finds what the public reader finds, and the same damage."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from indigo_async.errors import JournalDamagedError, JournalWriteError
from indigo_async.workflows import OutcomeRow, ProgressRow, StageRow, read_journal, run_batch
from indigo_async.workflows.journal.scan import ExportFacts, OutcomeFacts, ProgressFacts, scan_journal
from tests.support.jobs import lite_sandbox, make_client, make_jobs


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "run.sqlite"

    async def run() -> None:
        async with lite_sandbox() as sandbox, make_client(sandbox) as client:
            await run_batch(client, make_jobs(5, tmp_path), journal=path)

    asyncio.run(run())
    return path


def scan_all(path: Path) -> list[tuple[object, ...]]:
    with scan_journal(path) as scan:
        return [(*scan.names[job], kind, stage, at, facts) for job, kind, stage, at, facts in scan.rows]


def test_scan_has_the_rows_of_the_public_reader(journal: Path):
    scanned = scan_all(journal)
    rows = list(read_journal(journal))
    assert len(scanned) == len(rows) > 50
    for row, (customer_id, audience_name, kind, stage, at, facts) in zip(rows, scanned, strict=True):
        assert at == row.at.timestamp()
        match row:
            case StageRow():
                assert (customer_id, audience_name) == (row.customer_id, row.audience_name)
                assert (kind, stage) == (row.kind, row.stage)
                is_sale = stage in {"purchase", "download"}
                assert facts == (ExportFacts(row.export_id, row.cost_cents) if is_sale else None)
            case OutcomeRow():
                assert isinstance(facts, OutcomeFacts)
                assert (facts.stage, facts.seconds, facts.timings) == (row.stage, row.seconds, row.timings)
                assert (facts.export_id, facts.quoted_cents) == (row.export_id, row.quoted_cents)
                assert facts.match == (row.matched, row.rows)
            case ProgressRow():
                assert isinstance(facts, ProgressFacts)
                assert (facts.run / 1000, facts.ended) == (row.run_started_at.timestamp(), row.has_ended)
                assert facts.requests == row.requests


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET facts = replace(facts, '1', '2') WHERE id = 20",
        "UPDATE entries SET at_ms = at_ms + 1 WHERE id = 3",
        "UPDATE entries SET id = 100000 WHERE id = 30",
        "DELETE FROM entries WHERE id = (SELECT max(id) FROM entries)",
        "DELETE FROM jobs WHERE id = 2",
    ],
)
def test_scan_finds_damage(journal: Path, change: str):
    with sqlite3.connect(journal) as db:
        db.execute(change)
    db.close()
    with pytest.raises(JournalDamagedError):
        scan_all(journal)
    with pytest.raises(JournalDamagedError):
        list(read_journal(journal))


def test_scan_of_a_missing_journal(tmp_path: Path):
    with pytest.raises(JournalWriteError, match="there is no such journal"):
        scan_all(tmp_path / "none.sqlite")
