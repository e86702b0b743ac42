"""A damaged journal is refused, or it answers as if it were whole. It never answers less."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from indigo_async.errors import JournalDamagedError, JournalError, JournalVersionError
from indigo_async.events import Stage
from indigo_async.workflows.journal import Journal, JournalRecord, read_records
from indigo_async.workflows.journal.files import RowCountFile

SUFFIXES = ("", "-wal", ".rows")
JOBS = [("42", f"audience {number}") for number in range(40)]


@attrs.frozen
class JournalContents:
    """All that a batch could ask of a journal."""

    records: list[JournalRecord]
    spent_cents: int
    jobs: list[list[Any]]


def read_journal(path: Path) -> JournalContents:
    async def ask_all() -> JournalContents:
        async with Journal.open(path) as journal:
            memories = [await journal.job_log(*job, "fingerprint") for job in JOBS]
            return JournalContents(
                [record async for record in journal.records()],
                await journal.spent_cents(),
                [
                    [look(stage) for stage in Stage for look in (memory.result, memory.open_intent)]
                    for memory in memories
                ],
            )

    return asyncio.run(ask_all())


def refused(path: Path, kind: type[JournalError] = JournalDamagedError) -> str:
    """With what words opening is refused."""
    with pytest.raises(kind) as caught:
        read_journal(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def copy(source: Path, target: Path) -> Path:
    for suffix in SUFFIXES:
        file = Path(f"{source}{suffix}")
        if file.exists():
            shutil.copy(file, f"{target}{suffix}")
    return target


def change(path: Path, statements: Callable[[sqlite3.Connection], object]) -> None:
    """Change a database behind the journal's back."""
    db = sqlite3.connect(path)
    try:
        with db:
            statements(db)
    finally:
        db.close()


@attrs.frozen
class LeftoverJournals:
    """Journals as a batch leaves them, with what they must answer."""

    closed: Path
    killed: Path
    older: Path
    answers: JournalContents


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> LeftoverJournals:
    folder = tmp_path_factory.mktemp("journals")
    closed, killed, older = folder / "closed.sqlite", folder / "killed.sqlite", folder / "older.sqlite"

    async def write(rounds: int) -> None:
        async with Journal.open(closed) as journal:
            memories = [await journal.job_log(*job, "fingerprint") for job in JOBS]
            for index in range(rounds):
                for number, memory in enumerate(memories):
                    await memory.record_result(Stage.MATCH, {"audience_id": f"{index}-{number}"})
                    await memory.record_intent(Stage.PURCHASE, {"export_id": number, "cost_cents": 500})
                await memories[index].record_result(Stage.PURCHASE, {"export_id": index, "cost_cents": 500})
            copy(closed, killed)

    asyncio.run(write(2))
    copy(closed, older)
    asyncio.run(write(3))
    answers = read_journal(closed)
    assert read_journal(copy(killed, folder / "again.sqlite")) == answers
    assert len(answers.records) == 5 * 81
    assert answers.spent_cents == 40 * 500
    return LeftoverJournals(closed, killed, older, answers)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


class TestAnyByte:
    """Flips anywhere, in a journal that was closed and in one whose process was killed."""

    def flip(self, source: Path, answers: JournalContents, changes: list[tuple[str, float, int]]) -> None:
        folder = Path(tempfile.mkdtemp())
        try:
            target = copy(source, folder / "run.sqlite")
            for suffix, place, mask in changes:
                file = Path(f"{target}{suffix}")
                if not file.exists():
                    continue
                content = bytearray(file.read_bytes())
                content[int(place * len(content))] ^= mask
                file.write_bytes(content)
            try:
                found = read_journal(target)
            except JournalError:
                return
            assert found == answers
        finally:
            shutil.rmtree(folder)

    changes = st.lists(
        st.tuples(st.sampled_from(SUFFIXES), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
        min_size=1,
        max_size=3,
    )

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(changes=changes)
    @example(changes=[("", 0.0, 1)])
    def test_closed(self, left: LeftoverJournals, changes: list[tuple[str, float, int]]):
        self.flip(left.closed, left.answers, changes)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(changes=changes)
    @example(changes=[("-wal", 0.5, 1)])
    @example(changes=[("-wal", 0.999, 128)])
    def test_killed(self, left: LeftoverJournals, changes: list[tuple[str, float, int]]):
        self.flip(left.killed, left.answers, changes)


class TestLosses:
    """What a disk, a person or a backup may lose."""

    @pytest.mark.parametrize("bytes_left", [1, 50, 4096, 8192])
    def test_a_database_cut_short(self, left: LeftoverJournals, path: Path, bytes_left: int):
        with copy(left.closed, path).open("r+b") as file:
            file.truncate(bytes_left)
        refused(path)

    def test_a_database_emptied(self, left: LeftoverJournals, path: Path):
        copy(left.closed, path).write_bytes(b"")
        refused(path)

    def test_a_database_emptied_without_its_row_count(self, path: Path):
        path.touch()
        assert "the file is not a journal, or no longer one" in refused(path)
        refused(path)  # the refusal has not made it look like one that was just begun

    def test_a_database_gone(self, left: LeftoverJournals, path: Path):
        copy(left.closed, path).unlink()
        assert "missing" in refused(path)
        Path(f"{path}.rows").unlink()
        assert read_journal(path).records == []

    def test_a_log_gone(self, left: LeftoverJournals, path: Path):
        copy(left.killed, path)
        Path(f"{path}-wal").unlink()
        refused(path)

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
    def test_a_log_cut_short(self, left: LeftoverJournals, path: Path, share: float):
        copy(left.killed, path)
        size = Path(f"{path}-wal").stat().st_size
        with Path(f"{path}-wal").open("r+b") as file:
            file.truncate(int(size * share))
        assert "were written" in refused(path)

    def test_an_older_copy_in_its_place(self, left: LeftoverJournals, path: Path):
        copy(left.closed, path)
        shutil.copy(left.older, path)
        assert "holds 202 rows, and 445 were written" in refused(path)

    def test_a_lost_row_count_costs_nothing_else(self, left: LeftoverJournals, path: Path):
        copy(left.closed, path)
        Path(f"{path}.rows").unlink()
        assert read_journal(path) == left.answers

    @pytest.mark.parametrize(("before", "after"), [(b"445 ", b"245 "), (b"445 ", b"44"), (b"0", b"x")])
    def test_a_damaged_row_count_is_refused(self, left: LeftoverJournals, path: Path, before: bytes, after: bytes):
        row_count = Path(f"{copy(left.closed, path)}.rows")
        content = row_count.read_bytes()
        assert before in content
        row_count.write_bytes(content.replace(before, after, 1))
        assert "number of rows" in refused(path)

    @pytest.mark.parametrize("steps", [1, 2, 3, 4])
    def test_a_beginning_that_was_interrupted_is_taken_up(self, path: Path, steps: int):
        Path(f"{path}.lock").touch()
        if steps > 1:
            count = RowCountFile()
            count.open(path)
            count.write(0, sync=True)
            count.close()
        if steps > 2:
            path.touch()
        if steps > 3:
            change(path, lambda db: db.execute("PRAGMA journal_mode = WAL"))
            assert path.stat().st_size > 0
        assert read_journal(path).records == []
        assert read_journal(path).records == []


class TestRowCountInTheLockFile:
    """Earlier versions kept the row count in the lock file, which the lock's next owner may empty."""

    @pytest.fixture
    def killed(self, left: LeftoverJournals, path: Path) -> Path:
        Path(f"{copy(left.killed, path)}.rows").rename(f"{path}.lock")
        return path

    def test_the_journal_opens(self, left: LeftoverJournals, killed: Path):
        for _ in range(2):
            assert read_journal(killed) == left.answers

    def test_a_lost_log_is_noticed_every_time(self, killed: Path):
        Path(f"{killed}-wal").unlink()
        for _ in range(2):
            refused(killed)
            with pytest.raises(JournalDamagedError):
                list(read_records(killed))

    def test_a_damaged_count_is_refused_every_time(self, killed: Path):
        Path(f"{killed}.lock").write_bytes(b"x")
        for _ in range(2):
            assert "number of rows" in refused(killed)


class TestTampering:
    """Changes that SQLite itself finds nothing wrong with."""

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM entries WHERE id = 7",
            "DELETE FROM entries WHERE id = (SELECT max(id) FROM entries)",
            "DELETE FROM entries",
            "DELETE FROM jobs WHERE id = 3",
            "UPDATE entries SET facts = '{}' WHERE id = 7",
            "UPDATE entries SET job = 2 WHERE id = 7",
            "UPDATE entries SET job = CAST(job AS BLOB) WHERE id = 7",
            "UPDATE entries SET kind = 'intent' WHERE kind = 'result'",
            "UPDATE entries SET id = id + 1000 WHERE id > 200",
            "UPDATE entries SET facts = (SELECT facts FROM entries WHERE id = 9) WHERE id = 7",
            "UPDATE jobs SET fingerprint = 'other' WHERE id = 3",
            'UPDATE jobs SET key = \'["42","other"]\' WHERE id = 3',
            "DROP INDEX entries_by_job",
            "DROP TABLE entries",
            "ALTER TABLE entries ADD COLUMN more TEXT",
        ],
    )
    def test_it_is_noticed(self, left: LeftoverJournals, path: Path, statement: str):
        change(copy(left.closed, path), lambda db: db.execute(statement))
        refused(path)

    @pytest.mark.parametrize("table", ["jobs", "entries"])
    def test_a_missing_row_is_noticed_without_the_row_count(self, left: LeftoverJournals, path: Path, table: str):
        change(copy(left.closed, path), lambda db: db.execute(f"DELETE FROM {table} WHERE id = 7"))
        Path(f"{path}.rows").unlink()
        assert "row 7 is missing" in refused(path)

    def test_garbage_in_place_of_a_page(self, left: LeftoverJournals, path: Path):
        content = bytearray(copy(left.closed, path).read_bytes())
        for page in range(1, len(content) // 4096):
            damaged = content.copy()
            damaged[page * 4096 : (page + 1) * 4096] = bytes([page % 256]) * 4096
            path.write_bytes(damaged)
            refused(path)

    @pytest.mark.parametrize("byte", [b"\x00", b"x", b"\xfa"])
    def test_a_table_definition_with_another_byte(self, left: LeftoverJournals, path: Path, byte: bytes):
        content = copy(left.closed, path).read_bytes()
        assert content.count(b"TABLE entries (") == 1
        path.write_bytes(content.replace(b"TABLE entries (", b"TABLE" + byte + b"entries ("))
        refused(path)

    def test_another_version(self, left: LeftoverJournals, path: Path):
        change(copy(left.closed, path), lambda db: db.execute("PRAGMA user_version = 3"))
        assert "version 3" in refused(path, JournalVersionError)

    def test_the_database_of_another_program_is_left_as_it_was(self, path: Path):
        change(path, lambda db: db.execute("CREATE TABLE voters (id INTEGER)"))
        path.chmod(0o644)
        before = path.read_bytes()
        assert "the file is not a journal, or no longer one" in refused(path)
        assert path.read_bytes() == before
        assert path.stat().st_mode & 0o777 == 0o644
