from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from indigo_async.errors import (
    IndigoError,
    JournalDamagedError,
    JournalError,
    JournalInUseError,
    JournalMismatchError,
    JournalWriteError,
)
from indigo_async.events import Stage
from indigo_async.workflows.journal import SUFFIXES, EntryKind, Journal, JournalJobLog, is_in_use
from indigo_async.workflows.journal.files import acquire_lock
from indigo_async.workflows.journal.store import JournalStore
from indigo_async.workflows.recipes.context import JobLog
from tests.support.journals import spent_cents


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


INPUTS = {"server": "s", "csv": "c", "columns": "k", "lookalike": "l"}


async def donors(journal: Journal) -> JournalJobLog:
    return await journal.job_log("42", "Donors", "fingerprint")


def purchase(export_id: str, cents: int) -> dict[str, Any]:
    return {"export_id": export_id, "cost_cents": cents}


def files_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def replace_by_text(path: Path) -> None:
    path.write_text("first_name,last_name\n" * 100)


def open_files_in(folder: Path) -> list[str]:
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH118, PTH208 - links
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]  # noqa: PTH115 - a vanished one is fine
    return [target for target in targets if target.startswith(str(folder))]


@attrs.define
class Gate:
    """Blocks one of the store's methods in its thread until the test continues it."""

    opened: threading.Event = attrs.Factory(threading.Event)
    calls: list[int] = attrs.Factory(list)
    entered: asyncio.Event = attrs.Factory(asyncio.Event)

    def around(self, method: Callable[..., Any], loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
        def gated(store: JournalStore, *arguments: Sequence[Any]) -> Any:
            self.calls.append(len(arguments[0]) if arguments else 0)
            loop.call_soon_threadsafe(self.entered.set)
            assert self.opened.wait(30)
            return method(store, *arguments)

        return gated


@pytest.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[str], Gate]]:
    made: list[Gate] = []

    def at(method: str) -> Gate:
        made.append(Gate())
        monkeypatch.setattr(
            JournalStore, method, made[-1].around(getattr(JournalStore, method), asyncio.get_running_loop())
        )
        return made[-1]

    yield at
    for each in made:
        each.opened.set()


class TestRecording:
    async def test_a_result_is_known_in_this_run_and_the_next(self, path: Path):
        async with Journal.open(path) as journal:
            job_log: JobLog = await donors(journal)
            assert job_log.result(Stage.MATCH) is None
            await job_log.record_result(Stage.MATCH, {"audience_id": 7})
            assert job_log.result(Stage.MATCH) == {"audience_id": 7}
        async with Journal.open(path) as journal:
            assert (await donors(journal)).result(Stage.MATCH) == {"audience_id": 7}

    async def test_a_later_result_replaces_an_earlier_one(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            await job_log.record_result(Stage.PREVIEW, {"export_id": "a"})
            await job_log.record_result(Stage.PREVIEW, {"export_id": "b"})
        async with Journal.open(path) as journal:
            assert (await donors(journal)).result(Stage.PREVIEW) == {"export_id": "b"}

    async def test_an_intent_is_open_until_there_is_a_result(self, path: Path):
        async with Journal.open(path) as journal:
            await (await donors(journal)).record_intent(Stage.MATCH, {"audience_id": 7})
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            assert job_log.result(Stage.MATCH) is None
            assert job_log.open_intent(Stage.MATCH) == {"audience_id": 7}
            assert job_log.open_intent(Stage.UPLOAD) is None
            await job_log.record_result(Stage.MATCH, {"audience_id": 7})
            assert job_log.open_intent(Stage.MATCH) is None
        async with Journal.open(path) as journal:
            assert (await donors(journal)).open_intent(Stage.MATCH) is None

    async def test_canceling_withdraws_only_the_last_intent(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            await job_log.record_intent(Stage.PURCHASE, purchase("a", 500))
            await job_log.record_intent(Stage.PURCHASE, purchase("b", 600))
            await job_log.cancel_intent(Stage.PURCHASE)
            assert job_log.open_intent(Stage.PURCHASE) == purchase("a", 500)
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            assert job_log.open_intent(Stage.PURCHASE) == purchase("a", 500)
            await job_log.cancel_intent(Stage.PURCHASE)
            assert job_log.open_intent(Stage.PURCHASE) is None
            await job_log.cancel_intent(Stage.PURCHASE)  # there is no intent to cancel, so nothing is written
            kinds = [record.kind async for record in journal.records()]
        assert kinds == [EntryKind.INTENT, EntryKind.INTENT, EntryKind.WITHDRAWAL, EntryKind.WITHDRAWAL]

    async def test_jobs_are_identified_by_customer_and_name(self, path: Path):
        keys = [("1", "23"), ("12", "3"), ("1", '2","3'), ("1", "a\0b"), ("1", "a\0c"), ("1", "Ä"), ("1", "A\u0308")]
        async with Journal.open(path) as journal:
            for number, (customer, name) in enumerate(keys):
                await (await journal.job_log(customer, name, "f")).record_result(Stage.MATCH, {"audience_id": number})
        async with Journal.open(path) as journal:
            for number, (customer, name) in enumerate(keys):
                assert (await journal.job_log(customer, name, "f")).result(Stage.MATCH) == {"audience_id": number}

    async def test_changed_inputs_under_the_same_name_are_refused(self, path: Path):
        async with Journal.open(path) as journal:
            await (await donors(journal)).record_result(Stage.MATCH, {"audience_id": 7})
            with pytest.raises(
                JournalMismatchError,
                match=r"run\.sqlite: job 'Donors' of customer '42' has changed: .*Nothing was sent",
            ):
                await journal.job_log("42", "Donors", "another fingerprint")
            await (await donors(journal)).record_result(Stage.PREVIEW, {"export_id": 1})  # the others continue
        async with Journal.open(path) as journal:
            with pytest.raises(JournalMismatchError):
                await journal.job_log("42", "Donors", "another fingerprint")

    @pytest.mark.parametrize(
        ("stage", "part", "is_refused"),
        [
            (Stage.UPLOAD, "csv", False),
            (Stage.MATCH, "server", True),
            (Stage.MATCH, "csv", True),
            (Stage.MATCH, "columns", True),
            (Stage.LOOKALIKE, "lookalike", True),
            (Stage.PREVIEW, "lookalike", False),
            (Stage.PURCHASE, "lookalike", True),
        ],
    )
    @pytest.mark.parametrize("is_open", [True, False], ids=["intent", "result"])
    async def test_a_stage_is_bound_to_the_inputs_it_was_made_from(
        self, path: Path, stage: Stage, part: str, *, is_refused: bool, is_open: bool
    ):
        facts = purchase("a", 0) | {"audience_id": 7}
        async with Journal.open(path) as journal:
            job_log = await journal.job_log("42", "Donors", "f", INPUTS)
            await (job_log.record_intent if is_open else job_log.record_result)(stage, facts)
            assert (job_log.open_intent(stage) if is_open else job_log.result(stage)) == facts
            changed = journal.job_log("42", "Donors", "another", INPUTS | {part: "another"})
            if is_refused:
                with pytest.raises(JournalMismatchError, match=r"has changed: an earlier run .*Nothing was sent"):
                    await changed
            else:
                job_log = await changed
                assert (job_log.result(stage), job_log.open_intent(stage)) == (None, None)
            same = await journal.job_log("42", "Donors", "another", dict(INPUTS))
            assert (same.open_intent(stage) if is_open else same.result(stage)) == facts

    @pytest.mark.parametrize(("stage", "part"), [(Stage.UPLOAD, "columns"), (Stage.MATCH, "lookalike")])
    async def test_inputs_that_a_stage_does_not_use_may_change(self, path: Path, stage: Stage, part: str):
        async with Journal.open(path) as journal:
            await (await journal.job_log("42", "Donors", "f", INPUTS)).record_result(stage, {"audience_id": 7})
            job_log = await journal.job_log("42", "Donors", "another", INPUTS | {part: "another"})
            assert job_log.result(stage) == {"audience_id": 7}

    async def test_a_canceled_intent_binds_nothing(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await journal.job_log("42", "Donors", "f", INPUTS)
            await job_log.record_intent(Stage.MATCH, {"audience_id": 7})
            await job_log.cancel_intent(Stage.MATCH)
            await journal.job_log("42", "Donors", "another", INPUTS | {"columns": "another"})

    async def test_rows_of_an_earlier_version_are_bound_to_the_whole_job(self, path: Path):
        async with Journal.open(path) as journal:
            old = await donors(journal)
            await old.record_result(Stage.UPLOAD, {"audience_id": 7})
            changed = await journal.job_log("42", "Donors", "another fingerprint", INPUTS)
            assert changed.result(Stage.UPLOAD) is None
            await old.record_result(Stage.MATCH, {"audience_id": 7})
            same = await journal.job_log("42", "Donors", "fingerprint", INPUTS)
            assert same.result(Stage.MATCH) == {"audience_id": 7}
            with pytest.raises(
                JournalMismatchError, match="matched this audience from another CSV, with other columns"
            ):
                await journal.job_log("42", "Donors", "another fingerprint", INPUTS)

    async def test_changing_returned_facts_changes_no_record(self, path: Path):
        facts = {"field_types": ["phone"]}
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            await job_log.record_result(Stage.PREVIEW, facts)
            facts["field_types"].append("address")
            recalled = job_log.result(Stage.PREVIEW)
            assert recalled == {"field_types": ["phone"]}
            recalled["field_types"].append("address")
            assert job_log.result(Stage.PREVIEW) == {"field_types": ["phone"]}

    async def test_records_are_complete_and_in_order_across_pages(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("indigo_async.workflows.journal.store._PAGE_ROWS", 4)
        before = datetime.now(UTC).replace(microsecond=0)
        async with Journal.open(path) as journal:
            for number in range(10):
                job_log = await journal.job_log(str(number % 3), "Donors", "f")
                await job_log.record_result(Stage.UPLOAD, {"audience_id": number})
            records = [record async for record in journal.records()]
        assert [(record.customer_id, record.facts["audience_id"]) for record in records] == [
            (str(number % 3), number) for number in range(10)
        ]
        assert {(record.audience_name, record.kind, record.stage) for record in records} == {
            ("Donors", EntryKind.RESULT, Stage.UPLOAD)
        }
        assert all(before <= record.at <= datetime.now(UTC) for record in records)

    @pytest.mark.parametrize(
        "facts",
        [
            {"url": "https://bucket/donors.csv?X-Amz-Signature=abc"},
            {"nested": [{"url": "see https://bucket/a?b"}]},
            {"url": "https://user:password@host/a"},
            {"price": float("nan")},
            {"path": Path("/data/donors.csv")},
            {"types": ("phone", "address")},
            {1: "a key that is no text"},
            {"name": "\ud800"},
        ],
    )
    async def test_invalid_facts_are_refused_and_not_written(self, path: Path, facts: dict[str, Any]):
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            with pytest.raises(ValueError, match=r"facts|surrogates"):
                await job_log.record_result(Stage.UPLOAD, facts)
            await job_log.record_result(Stage.DOWNLOAD, {"path": "/data/why?.csv", "url": "https://bucket/donors.csv"})
            assert [record.stage async for record in journal.records()] == [Stage.DOWNLOAD]

    @pytest.mark.parametrize("facts", [{"export_id": 1}, {"cost_cents": 1}, purchase("a", -1), purchase("a", 1.5)])  # type: ignore[arg-type]
    async def test_a_purchase_needs_an_export_and_a_price(self, path: Path, facts: dict[str, Any]):
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            with pytest.raises(ValueError, match="export_id and cost_cents"):
                await job_log.record_intent(Stage.PURCHASE, facts)


class TestMoney:
    async def spent(self, path: Path, *steps: tuple[str, str, int]) -> int:
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            for step, export_id, cents in steps:
                match step:
                    case "intend":
                        await job_log.record_intent(Stage.PURCHASE, purchase(export_id, cents))
                    case "remember":
                        await job_log.record_result(Stage.PURCHASE, purchase(export_id, cents))
                    case _:
                        await job_log.cancel_intent(Stage.PURCHASE)
            now = await spent_cents(journal)
        async with Journal.open(path) as journal:
            assert await spent_cents(journal) == now
        return now

    @pytest.mark.parametrize(
        ("steps", "cents"),
        [
            ([], 0),
            ([("intend", "a", 500)], 500),
            ([("intend", "a", 500), ("remember", "a", 500)], 500),
            ([("intend", "a", 500), ("intend", "a", 500)], 500),
            ([("intend", "a", 500), ("intend", "a", 400)], 500),
            ([("intend", "a", 500), ("intend", "a", 400), ("remember", "a", 400)], 400),
            ([("intend", "a", 500), ("withdraw", "", 0)], 0),
            ([("intend", "a", 500), ("intend", "a", 600), ("withdraw", "", 0)], 500),
            ([("intend", "a", 500), ("remember", "a", 0)], 0),
            ([("intend", "a", 500), ("remember", "a", 0), ("intend", "a", 500)], 500),
            ([("remember", "a", 500), ("intend", "a", 500)], 500),
            ([("intend", "a", 500), ("intend", "b", 200), ("remember", "b", 200)], 700),
            ([("remember", "a", 500), ("remember", "b", 200)], 700),
        ],
    )
    async def test_each_export_counts_once_even_if_its_outcome_is_unknown(
        self, path: Path, steps: list[tuple[str, str, int]], cents: int
    ):
        assert await self.spent(path, *steps) == cents

    async def test_spending_is_the_sum_of_all_jobs_purchases(self, path: Path):
        async with Journal.open(path) as journal:
            for number in range(20):
                job_log = await journal.job_log("42", f"audience {number}", "f")
                await job_log.record_result(Stage.PREVIEW, purchase(f"export {number}", 10_000))
                await job_log.record_intent(Stage.PURCHASE, purchase(f"export {number}", number))
                if number % 2:
                    await job_log.record_result(Stage.PURCHASE, purchase(f"export {number}", number))
                await job_log.record_result(Stage.DOWNLOAD, purchase(f"export {number}", number))
            assert await spent_cents(journal) == sum(range(20))


class TestSharedCommits:
    async def test_simultaneous_writes_share_a_commit(self, path: Path, gate: Callable[[str], Gate]):
        appends, loads = gate("append"), gate("load_jobs")
        appends.opened.set()
        loads.opened.set()
        async with Journal.open(path) as journal:
            job_logs = await asyncio.gather(*(journal.job_log("42", f"job {n}", "f") for n in range(2_000)))
            await asyncio.gather(
                *(job_log.record_result(Stage.UPLOAD, {"id": n}) for n, job_log in enumerate(job_logs))
            )
        assert loads.calls == [2_000]
        assert appends.calls == [2_000]

    async def test_writes_during_a_commit_share_the_next(self, path: Path, gate: Callable[[str], Gate]):
        appends = gate("append")
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            async with asyncio.TaskGroup() as group:
                first = group.create_task(job_log.record_result(Stage.UPLOAD, {"id": 0}))
                await appends.entered.wait()  # the event loop is free while the commit is blocked
                later = [group.create_task(job_log.record_result(Stage.MATCH, {"id": n})) for n in range(1, 50)]
                await asyncio.sleep(0)
                assert not first.done()
                assert not any(task.done() for task in later)
                appends.opened.set()
        assert appends.calls == [1, 49]

    async def test_no_task_runs_while_nothing_is_written(self, path: Path):
        before = asyncio.all_tasks()
        async with Journal.open(path) as journal:
            await (await donors(journal)).record_result(Stage.UPLOAD, {})
            assert asyncio.all_tasks() == before

    async def test_a_canceled_write_does_not_affect_others(self, path: Path, gate: Callable[[str], Gate]):
        appends = gate("append")
        async with Journal.open(path) as journal:
            job_logs = [await journal.job_log("42", f"job {n}", "f") for n in range(4)]
            tasks = [asyncio.create_task(job_logs[0].record_result(Stage.MATCH, {"id": 0}))]
            await appends.entered.wait()
            tasks += [asyncio.create_task(job_logs[n].record_result(Stage.MATCH, {"id": n})) for n in range(1, 4)]
            await asyncio.sleep(0)
            tasks[0].cancel()  # its commit is in progress
            tasks[2].cancel()  # it waits for the next
            await asyncio.sleep(0)
            assert [task.cancelled() for task in tasks] == [True, False, True, False]
            appends.opened.set()
            await asyncio.gather(tasks[1], tasks[3])
        async with Journal.open(path) as journal:
            records = {record.audience_name: record.facts async for record in journal.records()}
        assert records.keys() >= {"job 1", "job 3"}
        assert all(facts == {"id": int(name[-1])} for name, facts in records.items())


class TestFailures:
    """After the first failure nothing more is written."""

    async def fill_the_disk(self, journal: Journal) -> None:
        """Make SQLite refuse to grow the file, as on a full disk."""

        def limit() -> None:
            (pages,) = journal._store._db.execute("PRAGMA page_count").fetchone()
            journal._store._db.execute(f"PRAGMA max_page_count = {pages}")

        await journal._run_in_thread(limit)

    async def test_a_full_disk_fails_this_write_and_all_later_ones(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            await job_log.record_result(Stage.UPLOAD, {"audience_id": 1})
            await self.fill_the_disk(journal)
            with pytest.raises(JournalWriteError, match=r"run\.sqlite: .*full"):
                await job_log.record_intent(Stage.MATCH, {"text": "x" * 100_000})
            assert job_log.open_intent(Stage.MATCH) is None
            for attempt in range(2):
                with pytest.raises(JournalWriteError, match="full"):
                    await job_log.record_intent(Stage.PURCHASE, purchase("a", attempt))
                with pytest.raises(JournalWriteError, match="full"):
                    await journal.job_log("42", "Another", "f")
            assert await spent_cents(journal) == 0  # what is on disk can still be read
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            assert job_log.result(Stage.UPLOAD) == {"audience_id": 1}
            assert job_log.open_intent(Stage.MATCH) is None
            await job_log.record_intent(Stage.MATCH, {"text": "x" * 100_000})

    async def test_each_write_of_a_failed_commit_gets_its_own_error(self, path: Path):
        async with Journal.open(path) as journal:
            job_logs = [await journal.job_log("42", f"job {n}", "f") for n in range(5)]
            await self.fill_the_disk(journal)
            large = {"text": "x" * 100_000}
            errors = await asyncio.gather(
                *(job_log.record_intent(Stage.UPLOAD, large) for job_log in job_logs), return_exceptions=True
            )
            assert [type(error) for error in errors] == [JournalWriteError] * 5
            assert len({id(error) for error in errors}) == 5
            assert [record async for record in journal.records()] == []

    async def test_damage_found_while_open_stops_all_writes(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            await job_log.record_result(Stage.UPLOAD, {"audience_id": 1})

            def spoil() -> None:
                with journal._store._db as db:
                    db.execute("UPDATE entries SET facts = '{' WHERE id = 1")

            await journal._run_in_thread(spoil)
            with pytest.raises(JournalDamagedError, match="row 1 is not as it was written"):
                await donors(journal)
            with pytest.raises(JournalDamagedError, match="row 1"):
                await job_log.record_intent(Stage.PURCHASE, purchase("a", 1))
            with pytest.raises(JournalDamagedError, match="row 1"):
                _ = [record async for record in journal.records()]

    async def test_a_row_deleted_while_open_is_detected(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            for number in range(5):
                await job_log.record_result(Stage.UPLOAD, {"audience_id": number})

            def spoil(row: int) -> None:
                with journal._store._db as db:
                    db.execute("DELETE FROM entries WHERE id = ?", (row,))

            await journal._run_in_thread(lambda: spoil(5))
            with pytest.raises(JournalDamagedError, match="missing"):
                _ = [record async for record in journal.records()]
        with pytest.raises(JournalDamagedError, match="holds 5 rows, and 6 were written"):
            async with Journal.open(path):
                pass

    async def test_all_errors_are_journal_errors(self):
        for kind in (JournalDamagedError, JournalInUseError, JournalMismatchError, JournalWriteError):
            assert issubclass(kind, JournalError)
            assert issubclass(kind, IndigoError)


class TestOpeningAndClosing:
    async def test_opening_it_twice_is_refused_at_once(self, path: Path, tmp_path: Path):
        link = tmp_path / "link.sqlite"
        async with Journal.open(path) as journal:
            link.symlink_to(path)
            for name in (path, link, path.parent / "." / path.name):
                with pytest.raises(JournalInUseError, match=r"run\.sqlite: another run is using this journal"):
                    async with Journal.open(name):
                        pass
            await (await donors(journal)).record_result(Stage.UPLOAD, {})
        async with Journal.open(link) as journal:
            assert (await donors(journal)).result(Stage.UPLOAD) == {}

    async def test_is_in_use_keeps_nobody_out(self, path: Path):
        async with Journal.open(path):
            assert await asyncio.to_thread(is_in_use, path)
        assert not await asyncio.to_thread(is_in_use, path)
        check = await asyncio.to_thread(acquire_lock, path)  # another process checks at the same moment
        asyncio.get_running_loop().call_later(0.03, check.release)
        assert not await asyncio.to_thread(is_in_use, path)
        check = await asyncio.to_thread(acquire_lock, path)
        asyncio.get_running_loop().call_later(0.03, check.release)
        async with Journal.open(path):
            assert await asyncio.to_thread(is_in_use, path)

    async def test_is_in_use_creates_no_file(self, path: Path):
        path.touch()
        assert not await asyncio.to_thread(is_in_use, path)
        assert files_in(path.parent) == {"run.sqlite"}

    async def test_a_hard_link_to_an_open_journal_is_refused(self, path: Path, tmp_path: Path):
        other = tmp_path / "other.sqlite"
        async with Journal.open(path):
            other.hardlink_to(path)
            with pytest.raises(JournalInUseError):
                async with Journal.open(other):
                    pass

    async def test_other_programs_can_read_but_not_write(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            for number in range(3):
                await job_log.record_result(Stage.UPLOAD, {"audience_id": number})
                with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
                    assert other.execute("SELECT count(*) FROM entries").fetchall() == [(number + 1,)]
                    for statement in ("DELETE FROM entries", "PRAGMA journal_mode = DELETE", "VACUUM"):
                        with pytest.raises(sqlite3.OperationalError, match="locked"):
                            other.execute(statement)

    async def test_a_journal_locked_by_another_program_is_refused(self, path: Path):
        async with Journal.open(path):
            pass
        other = sqlite3.connect(path)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalInUseError, match="another program"):
                async with Journal.open(path):
                    pass
        finally:
            other.close()
        async with Journal.open(path):
            pass

    async def test_no_file_or_thread_is_left_open(self, path: Path, tmp_path: Path):
        async with Journal.open(path) as journal:
            await (await donors(journal)).record_result(Stage.UPLOAD, {})
            assert len(open_files_in(tmp_path)) == 5
            assert any(thread.name.startswith("indigo-journal") for thread in threading.enumerate())
        with pytest.raises(RuntimeError, match="boom"):
            async with Journal.open(path):
                raise RuntimeError("boom")
        replace_by_text(path)
        with pytest.raises(JournalDamagedError):
            async with Journal.open(path):
                pass
        assert open_files_in(tmp_path) == []
        assert not any(thread.name.startswith("indigo-journal") for thread in threading.enumerate())
        assert files_in(tmp_path) == {"run.sqlite", "run.sqlite.lock", "run.sqlite.rows"}

    @pytest.mark.parametrize("content", ["first_name,last_name\n" * 100, ""])
    async def test_no_file_is_left_beside_a_refused_one(self, path: Path, tmp_path: Path, content: str):
        path.write_text(content)
        with pytest.raises(JournalDamagedError):
            async with Journal.open(path):
                pass
        assert files_in(tmp_path) == {"run.sqlite"}

    async def test_a_closed_journal_refuses_everything(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
        with pytest.raises(JournalWriteError, match="closed"):
            await job_log.record_intent(Stage.UPLOAD, {})
        with pytest.raises(JournalWriteError, match="closed"):
            await donors(journal)
        with pytest.raises(JournalWriteError, match="closed"):
            await spent_cents(journal)
        with pytest.raises(JournalWriteError, match="closed"):
            _ = [record async for record in journal.records()]

    async def test_closing_writes_everything_accepted(self, path: Path, gate: Callable[[str], Gate]):
        appends = gate("append")
        async with Journal.open(path) as journal:
            job_log = await donors(journal)
            tasks = [asyncio.create_task(job_log.record_result(Stage.UPLOAD, {"id": 0}))]
            await appends.entered.wait()
            tasks += [asyncio.create_task(job_log.record_result(Stage.MATCH, {"id": n})) for n in range(1, 20)]
            asked = asyncio.create_task(journal.job_log("42", "Voters", "f"))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(appends.opened.set)  # when closing has started
        await asyncio.gather(*tasks, asked)
        async with Journal.open(path) as journal:
            assert [record.facts["id"] async for record in journal.records()] == list(range(20))

    async def test_closing_completes_before_a_cancellation_propagates(self, path: Path, gate: Callable[[str], Gate]):
        closing = gate("close")

        async def run() -> None:
            async with Journal.open(path) as journal:
                await (await donors(journal)).record_result(Stage.UPLOAD, {})

        task = asyncio.create_task(run())
        await closing.entered.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        closing.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with Journal.open(path) as journal:
            assert (await donors(journal)).result(Stage.UPLOAD) == {}

    async def test_canceled_opening_leaves_no_lock(self, path: Path, gate: Callable[[str], Gate]):
        opening = gate("open")

        @asynccontextmanager
        async def never() -> AsyncIterator[None]:
            async with Journal.open(path):
                raise AssertionError("it was cancelled")
                yield

        task = asyncio.create_task(never().__aenter__())
        await opening.entered.wait()
        task.cancel()
        await asyncio.sleep(0)
        opening.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with Journal.open(path) as journal:
            await (await donors(journal)).record_result(Stage.UPLOAD, {})


@pytest.fixture
def lax_umask() -> Any:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("lax_umask")
class TestPrivacy:
    def modes(self, folder: Path) -> dict[str, int]:
        return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}

    async def test_only_the_owner_can_access_the_files(self, path: Path, tmp_path: Path):
        async with Journal.open(path) as journal:
            assert set(self.modes(tmp_path).values()) == {0o600}
            await (await donors(journal)).record_result(Stage.UPLOAD, {})
            assert self.modes(tmp_path) == dict.fromkeys((f"run.sqlite{suffix}" for suffix in SUFFIXES), 0o600)
        assert self.modes(tmp_path) == {"run.sqlite": 0o600, "run.sqlite.lock": 0o600, "run.sqlite.rows": 0o600}

    async def test_existing_files_are_made_private(self, path: Path, tmp_path: Path):
        async with Journal.open(path):
            pass
        for name in files_in(tmp_path):
            (tmp_path / name).chmod(0o666)
        async with Journal.open(path) as journal:
            assert set(self.modes(tmp_path).values()) == {0o600}
            await (await donors(journal)).record_result(Stage.UPLOAD, {})
            assert set(self.modes(tmp_path).values()) == {0o600}

    @pytest.mark.parametrize("suffix", [".lock", ".rows"])
    async def test_links_beside_the_journal_are_not_followed(self, path: Path, tmp_path: Path, suffix: str):
        path.with_name(f"run.sqlite{suffix}").symlink_to(tmp_path / "victim")
        with pytest.raises(JournalWriteError):
            async with Journal.open(path):
                pass
        assert files_in(tmp_path) == {f"run.sqlite{suffix}"}

    async def test_a_missing_folder_is_reported(self, tmp_path: Path):
        with pytest.raises(JournalWriteError, match=r"nowhere/run\.sqlite: the folder .*nowhere does not exist"):
            async with Journal.open(tmp_path / "nowhere" / "run.sqlite"):
                pass
