"""`workflows.read_journal`: typed rows of a journal, for users' own reports."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from indigo_async.errors import JournalDamagedError, JournalError, JournalVersionError, JournalWriteError
from indigo_async.events import Stage
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.workflows import (
    EntryKind,
    JournalReader,
    JournalRow,
    OutcomeRow,
    ProgressRow,
    PurchaseTotals,
    StageRow,
    read_journal,
    run_batch,
    start_batch,
    sum_purchases,
)
from indigo_async.workflows.journal import Journal
from tests.support.jobs import lite_sandbox, make_client, make_job, make_jobs
from tests.support.journals import STARTED_AT, open_job_log, record_intent, record_outcome, record_result

PRICE_CENTS = 8_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


async def rows_of(path: Path | str) -> list[JournalRow]:
    return await asyncio.to_thread(list, read_journal(path))


def contents(reader: JournalReader) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in reader.files if file.exists()}


async def test_the_rows_say_what_was_sent_what_it_cost_and_how_each_job_ended(path: Path, tmp_path: Path):
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        report = await run_batch(client, make_jobs(2, tmp_path), journal=path, budget_cents=50_000)
        purchases = sandbox.counts().purchases_by_export
    rows = await rows_of(str(path))
    assert all(row.at.tzinfo is UTC for row in rows)
    stages = [row for row in rows if isinstance(row, StageRow)]
    kinds = Counter((row.stage, row.kind) for row in stages)
    assert kinds["purchase", EntryKind.INTENT] == kinds["purchase", EntryKind.RESULT] == 2
    assert set(Stage) == {row.stage for row in stages}
    bought = [row for row in stages if row.stage == "purchase" and row.kind is EntryKind.RESULT]
    assert {str(row.export_id) for row in bought} == set(purchases)
    assert {(row.cost_cents, row.field_types) for row in bought} == {(PRICE_CENTS, ("phone",))}
    files = {row.path: (row.size_bytes, len(row.sha256 or "")) for row in stages if row.stage == "download"}
    assert files == {path: (path.stat().st_size, 64) for path in (tmp_path / "0.csv", tmp_path / "1.csv")}
    assert sum_purchases(rows) == PurchaseTotals(charged_cents=report.spent_cents, unresolved_cents=0)
    outcomes = [row for row in rows if isinstance(row, OutcomeRow)]
    assert {(row.customer_id, row.audience_name, row.error_type) for row in outcomes} == {
        ("42", "List 0", None),
        ("42", "List 1", None),
    }
    assert all(row.timings.keys() == set(Stage) and row.seconds > 0 for row in outcomes)
    assert all(row.quoted_cents == PRICE_CENTS and row.export_id in purchases for row in outcomes)
    assert all(row.matched is not None and row.rows is not None and row.lookalike_size == 2_000 for row in outcomes)
    last = [row for row in rows if isinstance(row, ProgressRow)][-1]
    assert (last.has_ended, last.done, last.failed, last.budget_cents) == (True, 2, 0, 50_000)
    assert last.requests == report.requests
    assert last.run_started_at <= last.at


async def test_a_failed_and_a_rejected_job_say_why(path: Path, tmp_path: Path):
    rejected = attrs.evolve(make_job(7, tmp_path), audience_name="")
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv", times=1))
        await run_batch(client, iter([make_job(1, tmp_path), rejected]), journal=path)
    outcomes = {row.audience_name: row for row in await rows_of(path) if isinstance(row, OutcomeRow)}
    failed, unstarted = outcomes["List 1"], outcomes[""]
    assert (failed.error_type, failed.stage, failed.was_rejected) == ("AudienceFailedError", "match", False)
    assert f"audience {failed.audience_id} failed" in (failed.error_message or "")
    assert (unstarted.error_type, unstarted.customer_id, unstarted.was_rejected) == ("InvalidInputError", "42", True)


async def test_it_is_read_lazily_while_a_batch_writes_and_changes_no_file(path: Path, tmp_path: Path):
    reader = read_journal(path)
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        async with start_batch(client, make_jobs(3, tmp_path), journal=path) as batch:
            seen = 0
            async for outcome in batch:
                assert outcome.ok
                assert await asyncio.to_thread(reader.is_in_use)
                first = await asyncio.to_thread(lambda: next(iter(reader)))
                assert isinstance(first, (StageRow, ProgressRow))
                rows = await rows_of(path)
                assert len(rows) >= seen
                seen = len(rows)
        assert seen > 0
    before = await asyncio.to_thread(contents, reader)
    assert len(await rows_of(path)) >= seen
    assert await asyncio.to_thread(contents, reader) == before
    assert not await asyncio.to_thread(reader.is_in_use)
    assert {file.name for file in before} == {"run.sqlite", "run.sqlite.rows", "run.sqlite.lock"}


async def test_a_paused_iteration_keeps_no_batch_from_writing(path: Path):
    async with Journal.open(path) as journal:
        job_log = await open_job_log(journal, "42", "Donors")
        await job_log.record_result(Stage.UPLOAD, {"audience_id": "a-1"})

    def read_one() -> None:
        rows = iter(read_journal(path))
        next(rows)
        asyncio.run(write_another())
        assert list(rows) == []

    async def write_another() -> None:
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            await job_log.record_result(Stage.MATCH, {"audience_id": "a-1"})

    await asyncio.to_thread(read_one)
    assert [row.stage for row in await rows_of(path) if isinstance(row, StageRow)] == ["upload", "match"]


async def test_a_purchase_without_a_result_is_unresolved_and_a_withdrawn_one_costs_nothing(path: Path):
    async with Journal.open(path) as journal:
        lost, refused, made = [await open_job_log(journal, "42", name) for name in ("Lost", "Refused", "Made")]
        await record_intent(lost, Stage.PURCHASE, 1.0, export_id=1, cost_cents=500)
        await record_intent(lost, Stage.PURCHASE, 2.0, export_id=1, cost_cents=600)
        await record_intent(refused, Stage.PURCHASE, 3.0, export_id=2, cost_cents=700)
        await refused.cancel_intent(Stage.PURCHASE)
        await record_intent(made, Stage.PURCHASE, 4.0, export_id=3, cost_cents=800)
        await record_result(made, Stage.PURCHASE, 5.0, export_id=3, cost_cents=900)
    rows = await rows_of(path)
    assert sum_purchases(rows) == PurchaseTotals(charged_cents=900, unresolved_cents=600)
    assert rows[0].at == datetime.fromtimestamp(STARTED_AT + 1.0, UTC)


async def test_a_journal_of_an_earlier_version_is_read_and_not_upgraded(path: Path):
    async with Journal.open(path) as journal:
        await record_intent(await open_job_log(journal, "42", "Donors"), Stage.UPLOAD, 1.0)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 1")
    (row,) = await rows_of(path)
    assert isinstance(row, StageRow)
    assert (row.kind, row.audience_id, row.cost_cents, row.path) == (EntryKind.INTENT, None, None, None)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchall() == [(1,)]


async def test_an_outcome_of_an_earlier_version_lacks_only_what_was_not_recorded_then(path: Path):
    async with Journal.open(path) as journal:
        record_outcome(await open_job_log(journal, "42", "Donors"), 5.0, 2.0)
    (row,) = await rows_of(path)
    assert isinstance(row, OutcomeRow)
    assert (row.export_id, row.warnings, row.matched, row.seconds) == (None, (), None, 2.0)


@pytest.mark.parametrize("content", [None, b"", b"first_name,last_name\n" * 100, "folder", "loop of links"])
def test_anything_else_is_a_journal_error_and_is_left_alone(path: Path, content: bytes | str | None):
    if content == "folder":
        path.mkdir()
    elif content == "loop of links":
        path.symlink_to(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(JournalError, match=path.name) as caught:
        list(read_journal(path))
    expected = JournalDamagedError if isinstance(content, bytes) else JournalWriteError
    assert isinstance(caught.value, expected)
    assert list(path.parent.iterdir()) == ([] if content is None else [path])
    assert not isinstance(content, bytes) or path.read_bytes() == content
    assert not read_journal(path).is_in_use()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET at_ms = 5",
        "UPDATE entries SET facts = CAST(x'ff' AS TEXT)",
        "DELETE FROM entries WHERE id = 1",
    ],
)
async def test_a_damaged_journal_is_closed_while_its_error_is_handled(path: Path, damage: str):
    async with Journal.open(path) as journal:
        job_log = await open_job_log(journal, "42", "Donors")
        for stage in (Stage.UPLOAD, Stage.MATCH, Stage.PREVIEW):
            await record_intent(job_log, stage, 1.0)
    with closing(sqlite3.connect(path)) as db:
        db.execute(damage)
        db.commit()
    reader = read_journal(path)
    before = await asyncio.to_thread(contents, reader)
    with pytest.raises(JournalDamagedError) as caught:
        await asyncio.to_thread(list, reader)
    assert await asyncio.to_thread(contents, reader) == before, caught.value


async def test_a_later_version_is_refused(path: Path):
    async with Journal.open(path) as journal:
        await record_intent(await open_job_log(journal, "42", "Donors"), Stage.UPLOAD, 1.0)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 3")
    with pytest.raises(JournalVersionError, match="version 3"):
        await rows_of(path)


async def test_an_outcome_that_cannot_be_understood_is_a_journal_error(path: Path):
    async with Journal.open(path) as journal:
        job_log = await open_job_log(journal, "42", "Donors")
        job_log.record_for_report(EntryKind.OUTCOME, {"stage": "match"})
    with pytest.raises(JournalDamagedError, match=r"run\.sqlite: a row of .* can't be read"):
        await rows_of(path)
