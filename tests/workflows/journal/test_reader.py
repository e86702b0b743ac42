"""What a batch records for reports, and reading a journal while the batch is running."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.codec import decode_audience
from indigo_async.errors import (
    JournalDamagedError,
    JournalVersionError,
    JournalWriteError,
)
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.workflows import JobOutcome, Stage, run_batch, start_batch
from indigo_async.workflows.batches.journal_reporter import outcome_facts
from indigo_async.workflows.batches.report import match_counts
from indigo_async.workflows.journal import EntryKind, Journal, JournalRecord, read_records
from indigo_async.workflows.journal.files import RowCountFile
from indigo_async.workflows.journal.rows import Entry
from indigo_async.workflows.journal.store import JournalStore
from tests.support.jobs import lite_sandbox, make_client, make_job, make_jobs
from tests.support.journals import spent_cents

WRITER = """
import asyncio, sys
from pathlib import Path
from indigo_async._transport.codec import decode_audience
from indigo_async.events import Stage
from indigo_async.workflows.journal import Journal
from tests.support.journals import spent_cents

async def one(journal, number):
    job_log = await journal.job_log("42", f"List {number}", "fingerprint")
    for turn in range(20):
        await job_log.record_result(Stage.UPLOAD, {"turn": turn, "padding": "x" * 500})

async def main():
    async with Journal.open(Path(sys.argv[1])) as journal:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(one(journal, number))
        print("written", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


def change(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(statement).fetchall()


async def rows_of(path: Path) -> list[JournalRecord]:
    return await run_in_thread(lambda: list(read_records(path)))


async def write_one(path: Path) -> None:
    async with Journal.open(path) as journal:
        job_log = await journal.job_log("42", "Donors", "fingerprint")
        await job_log.record_result(Stage.UPLOAD, {"audience_id": "a-1"})


async def rows_of_kind(path: Path, kind: EntryKind) -> list[JournalRecord]:
    return [record for record in await rows_of(path) if record.kind is kind]


async def test_outcomes_and_progress_are_recorded(tmp_path: Path, path: Path):
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv", times=1))
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audience", times=1, status=503))
        report = await run_batch(client, make_jobs(5, tmp_path), journal=path, budget_cents=10**9)
    outcomes = await rows_of_kind(path, EntryKind.OUTCOME)
    assert {outcome.audience_name for outcome in outcomes} == {f"List {number}" for number in range(5)}
    failed = [outcome.facts for outcome in outcomes if outcome.facts["error"] is not None]
    assert [facts["stage"] for facts in failed] == ["match"]
    assert failed[0]["error"]["type"] == "AudienceFailedError"
    done = [outcome.facts for outcome in outcomes if outcome.facts["error"] is None]
    assert all(set(facts["timings"]) == set(Stage) for facts in done)
    assert all(sum(facts["timings"].values()) <= facts["seconds"] + 0.01 for facts in done)
    assert sum(facts["quoted_cents"] for facts in done) == report.quoted_cents
    assert {facts["lookalike_size"] for facts in done} == {2_000}
    last = (await rows_of_kind(path, EntryKind.PROGRESS))[-1].facts
    assert last["ended"]
    assert (last["done"], last["failed"], last["budget_cents"]) == (4, 1, 10**9)
    assert last["requests"] == report.requests
    assert last["reads_saved"] == report.reads_saved
    assert last["setbacks"] == report.failed_requests


async def test_the_outcome_of_an_unregistered_job_names_it(tmp_path: Path, path: Path):
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        report = await run_batch(client, iter([make_job(1, tmp_path), make_job(1, tmp_path)]), journal=path)
    assert (report.done, report.failed) == (1, 1)
    refused = [record.facts for record in await rows_of_kind(path, EntryKind.OUTCOME) if not record.customer_id]
    assert [(facts["customer_id"], facts["audience_name"]) for facts in refused] == [("42", "List 1")]
    assert refused[0]["error"]["type"] == "InvalidInputError"


async def test_rows_for_reports_change_nothing_in_a_later_run(tmp_path: Path, path: Path):
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        first = await run_batch(client, make_jobs(3, tmp_path), journal=path)
        again = await run_batch(client, make_jobs(3, tmp_path), journal=path)
        assert sandbox.counts().charged_cents == first.spent_cents == again.spent_cents
    assert len(await rows_of_kind(path, EntryKind.OUTCOME)) == 6
    assert len({record.facts["run"] for record in await rows_of_kind(path, EntryKind.PROGRESS)}) == 2


def test_outcomes_contain_no_token_and_no_signature(tmp_path: Path):
    error = OSError("Bearer abc-token could not fetch https://user:word@files.example.org/a.csv?X-Signature=secret")
    outcome = JobOutcome(job=make_job(1, tmp_path), error=error, stage=Stage.DOWNLOAD)
    facts = outcome_facts(outcome, audience=None, quote=None, seconds=1.0)
    words = json.dumps(facts)
    assert "https://files.example.org/a.csv" in words
    assert not any(secret in words for secret in ("abc-token", "X-Signature", "user:word"))


@pytest.mark.parametrize(
    ("extra", "counts"),
    [
        ({"matchedCount": 7, "rowCount": 10}, (7, 10)),
        ({"matchedCount": 0, "rowCount": 0}, (0, 0)),
        ({"matchedCount": 11, "rowCount": 10}, None),
        ({"matchedCount": True, "rowCount": 10}, None),
        ({"matchedCount": "7", "rowCount": 10}, None),
        ({"rowCount": 10}, None),
    ],
)
def test_match_counts_are_recorded_only_if_they_are_plausible(extra: dict[str, Any], counts: object):
    record = decode_audience({"id": "a", "uploadedAudienceCsv": {"id": "b", **extra}}, "GET /audience")
    assert match_counts(record) == counts


async def test_the_report_is_available_after_the_client_was_closed(tmp_path: Path, path: Path):
    async with lite_sandbox() as sandbox:
        async with make_client(sandbox) as client, start_batch(client, make_jobs(2, tmp_path), journal=path) as batch:
            during = [batch.report() async for _ in batch]
        report = batch.report()
    assert (report.done, report.failed) == (2, 0)
    assert report.reads_saved >= during[-1].reads_saved
    assert sum(report.requests.values()) > 0


class TestDeferredWrites:
    @pytest.fixture
    def commits(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """The kinds of the rows of each commit."""
        commits: list[list[str]] = []
        append = JournalStore.append

        def counting(store: JournalStore, entries: Sequence[Entry]) -> Sequence[int]:
            commits.append([entry.kind.value for entry in entries])
            return append(store, entries)

        monkeypatch.setattr(JournalStore, "append", counting)
        return commits

    async def test_an_outcome_shares_the_commit_of_the_next_write(self, path: Path, commits: list[list[str]]):
        async with Journal.open(path) as journal:
            job_log = await journal.job_log("42", "Donors", "fingerprint")
            job_log.record_for_report(EntryKind.OUTCOME, {"number": 1})
            job_log.record_for_report(EntryKind.OUTCOME, {"number": 2})
            await spent_cents(journal)
            assert commits == []
            await job_log.record_result(Stage.UPLOAD, {})
            assert commits == [["result", "outcome", "outcome"]]

    async def test_deferred_rows_are_written_when_the_journal_closes(self, path: Path, commits: list[list[str]]):
        async with Journal.open(path) as journal:
            job_log = await journal.job_log("42", "Donors", "fingerprint")
            job_log.record_for_report(EntryKind.OUTCOME, {"number": 1})
        assert commits == [["outcome"]]
        assert [record.facts for record in await rows_of_kind(path, EntryKind.OUTCOME)] == [{"number": 1}]

    async def test_lost_outcomes_are_logged_once(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        def failing(store: JournalStore, entries: Sequence[Entry]) -> Sequence[int]:
            raise JournalWriteError(f"{store.path}: the disk is full, {len(entries)} rows are lost")

        monkeypatch.setattr(JournalStore, "append", failing)
        async with Journal.open(path) as journal:
            job_log = await journal.job_log("42", "Donors", "fingerprint")
            job_log.record_for_report(EntryKind.OUTCOME, {"number": 1})
            job_log.record_for_report(EntryKind.OUTCOME, {"number": 2})
        await asyncio.sleep(0)
        warnings = [
            record.getMessage() for record in caplog.records if "will lack how jobs ended" in record.getMessage()
        ]
        assert len(warnings) == 1
        assert "2 rows are lost" in warnings[0]


class TestConcurrentReading:
    def test_a_journal_being_written_is_read_completely_and_not_changed(self, path: Path):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            try:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "written\n"
                files = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.name.startswith("run")}
                del files["run.sqlite-shm"]  # where SQLite notes who reads
                records = list(read_records(path))
                assert files == {name: path.with_name(name).read_bytes() for name in files}
                assert writer.poll() is None
            finally:
                writer.kill()
        assert len(records) == 1_000
        assert [one.facts["turn"] for one in records if one.audience_name == "List 7"] == list(range(20))

    async def test_the_journal_of_a_killed_process_is_read_and_not_changed(self, path: Path, tmp_path: Path):
        killed = tmp_path / "killed.sqlite"
        async with Journal.open(path) as journal:
            await (await journal.job_log("42", "Donors", "f")).record_result(Stage.UPLOAD, {"audience_id": "a-1"})
            for suffix in ("", "-wal", ".rows"):
                shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        for _ in range(2):
            assert [record.facts for record in await rows_of(killed)] == [{"audience_id": "a-1"}]
        after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        after.pop("killed.sqlite-shm")
        assert before == after

    async def test_reading_a_closed_journal_changes_and_leaves_nothing(self, path: Path):
        await write_one(path)
        before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
        for _ in range(2):
            assert [record.facts for record in await rows_of(path)] == [{"audience_id": "a-1"}]
        assert before == {file.name: file.read_bytes() for file in path.parent.iterdir()}

    async def test_a_closed_journal_in_a_read_only_folder_is_read(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            await write_one(folder / "run.sqlite")
            for file in folder.iterdir():
                file.chmod(0o444)
            folder.chmod(0o555)
            user = os.geteuid()
            try:
                os.seteuid(65_534 if user == 0 else user)  # root may write everywhere
                records = await rows_of(folder / "run.sqlite")
            finally:
                os.seteuid(user)
                folder.chmod(0o755)
        assert [record.facts for record in records] == [{"audience_id": "a-1"}]

    def test_rows_written_while_it_is_read_are_not_included(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("indigo_async.workflows.journal.store._PAGE_ROWS", 3)

        async def write(numbers: range, padding: str) -> None:
            for number in numbers:
                await job_log.record_result(Stage.UPLOAD, {"number": number, "padding": padding})

        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            journal = runner.run(stack.enter_async_context(Journal.open(path)))
            job_log = runner.run(journal.job_log("42", "Donors", "f"))
            runner.run(write(range(10), ""))
            reading = read_records(path)
            numbers = [next(reading).facts["number"]]
            runner.run(write(range(10, 20), "x" * 1_000_000))  # the log would start over if nobody were reading
            numbers += [record.facts["number"] for record in reading]
            assert numbers == list(range(10))
            assert [record.facts["number"] for record in read_records(path)] == list(range(20))
            runner.run(stack.aclose())

    async def test_the_process_that_has_it_open_can_read_it(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await journal.job_log("42", "Donors", "f")
            for number in range(3):
                await job_log.record_result(Stage.UPLOAD, {"number": number})
                assert [record.facts["number"] for record in await rows_of(path)] == list(range(number + 1))
        assert len(await rows_of(path)) == 3

    def test_a_reader_keeps_no_batch_from_starting_and_ending(self, path: Path):
        asyncio.run(write_one(path))
        reading = read_records(path)
        next(reading)
        asyncio.run(write_one(path))
        assert list(reading) == []
        assert len(list(read_records(path))) == 2
        asyncio.run(write_one(path))
        assert {file.name for file in path.parent.iterdir()} == {"run.sqlite", "run.sqlite.lock", "run.sqlite.rows"}

    def test_a_missing_journal_is_not_created(self, path: Path):
        with pytest.raises(JournalWriteError, match=r"there is no such journal$"):
            list(read_records(path))
        assert list(path.parent.iterdir()) == []

    @pytest.mark.parametrize("steps", [1, 2])
    def test_a_journal_that_is_just_being_created_has_no_rows(self, path: Path, steps: int):
        count = RowCountFile()
        count.open(path)
        count.write(0)
        count.close()
        path.touch()
        if steps > 1:
            change(path, "PRAGMA journal_mode = WAL")
        assert list(read_records(path)) == []

    def test_another_file_is_reported_with_its_path(self, path: Path):
        path.write_text("first_name,last_name\n" * 100)
        with pytest.raises(JournalDamagedError) as caught:
            list(read_records(path))
        assert str(caught.value).startswith(f"{path}: ")

    async def test_lost_rows_are_detected_by_readers_too(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await journal.job_log("42", "Donors", "fingerprint")
            await job_log.record_result(Stage.UPLOAD, {})
        change(path, "DELETE FROM entries")
        with pytest.raises(JournalDamagedError, match="2 were written"):
            await rows_of(path)


class TestOlderVersion:
    @staticmethod
    async def written_by_version_1(path: Path) -> None:
        await write_one(path)
        change(path, "PRAGMA user_version = 1")

    async def test_it_is_upgraded_when_opened(self, path: Path):
        await self.written_by_version_1(path)
        async with Journal.open(path) as journal:
            job_log = await journal.job_log("42", "Donors", "fingerprint")
            assert job_log.result(Stage.UPLOAD) == {"audience_id": "a-1"}
        assert change(path, "PRAGMA user_version") == [(2,)]

    async def test_reading_does_not_change_it(self, path: Path):
        await self.written_by_version_1(path)
        before = path.read_bytes()
        assert [record.facts for record in await rows_of(path)] == [{"audience_id": "a-1"}]
        assert path.read_bytes() == before

    async def test_a_newer_version_is_refused(self, path: Path):
        await self.written_by_version_1(path)
        change(path, "PRAGMA user_version = 3")
        with pytest.raises(JournalVersionError, match="version 3"):
            await rows_of(path)
