"""A damaged journal is refused or read completely, never in part."""

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
from tests.support.journals import spent_cents

SUFFIXES = ("", "-wal", ".rows")
JOBS = [("42", f"audience {number}") for number in range(40)]


@attrs.frozen
class JournalContents:
    """Everything that a batch can read from a journal."""

    records: list[JournalRecord]
    spent_cents: int
    jobs: list[list[Any]]


def read_journal(path: Path) -> JournalContents:
    async def read_all() -> JournalContents:
        async with Journal.open(path) as journal:
            job_logs = [await journal.job_log(*job, "fingerprint") for job in JOBS]
            return JournalContents(
                [record async for record in journal.records()],
                await spent_cents(journal),
                [
                    [read(stage) for stage in Stage for read in (job_log.result, job_log.open_intent)]
                    for job_log in job_logs
                ],
            )

    return asyncio.run(read_all())


def refused(path: Path, kind: type[JournalError] = JournalDamagedError) -> str:
    """The message with which opening is refused."""
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
    """Change a database without the journal."""
    db = sqlite3.connect(path)
    try:
        with db:
            statements(db)
    finally:
        db.close()


@attrs.frozen
class LeftoverJournals:
    """Journals as batches leave them, and the contents that they must have."""

    closed: Path
    killed: Path
    older: Path
    contents: JournalContents


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> LeftoverJournals:
    folder = tmp_path_factory.mktemp("journals")
    closed, killed, older = folder / "closed.sqlite", folder / "killed.sqlite", folder / "older.sqlite"

    async def write(rounds: int) -> None:
        async with Journal.open(closed) as journal:
            job_logs = [await journal.job_log(*job, "fingerprint") for job in JOBS]
            for index in range(rounds):
                for number, job_log in enumerate(job_logs):
                    await job_log.record_result(Stage.MATCH, {"audience_id": f"{index}-{number}"})
                    await job_log.record_intent(Stage.PURCHASE, {"export_id": number, "cost_cents": 500})
                await job_logs[index].record_result(Stage.PURCHASE, {"export_id": index, "cost_cents": 500})
            copy(closed, killed)

    asyncio.run(write(2))
    copy(closed, older)
    asyncio.run(write(3))
    contents = read_journal(closed)
    assert read_journal(copy(killed, folder / "again.sqlite")) == contents
    assert len(contents.records) == 5 * 81
    assert contents.spent_cents == 40 * 500
    return LeftoverJournals(closed, killed, older, contents)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


class TestFlippedBytes:
    """Bytes flipped anywhere, in a closed journal and in that of a killed process."""

    def flip(self, source: Path, contents: JournalContents, changes: list[tuple[str, float, int]]) -> None:
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
            assert found == contents
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
    def test_closed_journal(self, journals: LeftoverJournals, changes: list[tuple[str, float, int]]):
        self.flip(journals.closed, journals.contents, changes)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(changes=changes)
    @example(changes=[("-wal", 0.5, 1)])
    @example(changes=[("-wal", 0.999, 128)])
    def test_journal_of_a_killed_process(self, journals: LeftoverJournals, changes: list[tuple[str, float, int]]):
        self.flip(journals.killed, journals.contents, changes)


class TestLosses:
    """What a disk, a person or a backup can lose."""

    @pytest.mark.parametrize("bytes_left", [1, 50, 4096, 8192])
    def test_truncated_database(self, journals: LeftoverJournals, path: Path, bytes_left: int):
        with copy(journals.closed, path).open("r+b") as file:
            file.truncate(bytes_left)
        refused(path)

    def test_empty_database(self, journals: LeftoverJournals, path: Path):
        copy(journals.closed, path).write_bytes(b"")
        refused(path)

    def test_empty_database_without_its_row_count(self, path: Path):
        path.touch()
        assert "the file is not a journal, or no longer one" in refused(path)
        refused(path)  # the refusal has not made it look like a new journal

    def test_missing_database(self, journals: LeftoverJournals, path: Path):
        copy(journals.closed, path).unlink()
        assert refused(path) == (
            f"{path}: the journal is missing, but 445 rows were written to it, according to {path.name}.rows. Nothing "
            "more is sent under it. Restore the journal together with its .rows file. If it is lost, see "
            "docs/guides/batches.md before you run again"
        )
        Path(f"{path}.rows").unlink()
        assert read_journal(path).records == []

    def test_missing_log(self, journals: LeftoverJournals, path: Path):
        copy(journals.killed, path)
        Path(f"{path}-wal").unlink()
        refused(path)

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
    def test_truncated_log(self, journals: LeftoverJournals, path: Path, share: float):
        copy(journals.killed, path)
        size = Path(f"{path}-wal").stat().st_size
        with Path(f"{path}-wal").open("r+b") as file:
            file.truncate(int(size * share))
        assert "were written" in refused(path)

    def test_older_copy_of_the_database(self, journals: LeftoverJournals, path: Path):
        copy(journals.closed, path)
        shutil.copy(journals.older, path)
        assert "holds 202 rows, and 445 were written" in refused(path)

    def test_a_missing_row_count_is_tolerated(self, journals: LeftoverJournals, path: Path):
        copy(journals.closed, path)
        Path(f"{path}.rows").unlink()
        assert read_journal(path) == journals.contents

    def test_the_higher_of_two_row_counts_holds(self, journals: LeftoverJournals, path: Path):
        """An earlier version keeps its count in the lock file, and leaves a newer version's count as it was."""
        row_count = Path(f"{copy(journals.closed, path)}.rows")
        Path(f"{path}.lock").write_bytes(row_count.read_bytes())
        counter = RowCountFile()
        counter.open(path)
        counter.write(12)
        counter.close()
        shutil.copy(journals.older, path)
        assert "holds 202 rows, and 445 were written" in refused(path)

    @pytest.mark.parametrize(("before", "after"), [(b"445 ", b"245 "), (b"445 ", b"44"), (b"0", b"x")])
    def test_a_damaged_row_count_is_refused(self, journals: LeftoverJournals, path: Path, before: bytes, after: bytes):
        row_count = Path(f"{copy(journals.closed, path)}.rows")
        content = row_count.read_bytes()
        assert before in content
        row_count.write_bytes(content.replace(before, after, 1))
        assert "number of rows" in refused(path)

    @pytest.mark.parametrize("steps", [1, 2, 3, 4])
    def test_an_interrupted_creation_is_completed(self, path: Path, steps: int):
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
    """Earlier versions kept the row count in the lock file, which taking the lock may empty."""

    @pytest.fixture
    def killed(self, journals: LeftoverJournals, path: Path) -> Path:
        Path(f"{copy(journals.killed, path)}.rows").rename(f"{path}.lock")
        return path

    def test_the_journal_opens(self, journals: LeftoverJournals, killed: Path):
        for _ in range(2):
            assert read_journal(killed) == journals.contents

    def test_a_missing_log_is_detected_every_time(self, killed: Path):
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
    """Changes that SQLite itself does not notice."""

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
    def test_it_is_detected(self, journals: LeftoverJournals, path: Path, statement: str):
        change(copy(journals.closed, path), lambda db: db.execute(statement))
        refused(path)

    @pytest.mark.parametrize("table", ["jobs", "entries"])
    def test_a_missing_row_is_detected_without_the_row_count(self, journals: LeftoverJournals, path: Path, table: str):
        change(copy(journals.closed, path), lambda db: db.execute(f"DELETE FROM {table} WHERE id = 7"))
        Path(f"{path}.rows").unlink()
        assert "row 7 is missing" in refused(path)

    def test_garbage_instead_of_a_page(self, journals: LeftoverJournals, path: Path):
        content = bytearray(copy(journals.closed, path).read_bytes())
        for page in range(1, len(content) // 4096):
            damaged = content.copy()
            damaged[page * 4096 : (page + 1) * 4096] = bytes([page % 256]) * 4096
            path.write_bytes(damaged)
            refused(path)

    @pytest.mark.parametrize("byte", [b"\x00", b"x", b"\xfa"])
    def test_a_changed_byte_in_a_table_definition(self, journals: LeftoverJournals, path: Path, byte: bytes):
        content = copy(journals.closed, path).read_bytes()
        assert content.count(b"TABLE entries (") == 1
        path.write_bytes(content.replace(b"TABLE entries (", b"TABLE" + byte + b"entries ("))
        refused(path)

    def test_unknown_version(self, journals: LeftoverJournals, path: Path):
        change(copy(journals.closed, path), lambda db: db.execute("PRAGMA user_version = 3"))
        assert "version 3" in refused(path, JournalVersionError)

    def test_another_programs_database_is_not_changed(self, path: Path):
        change(path, lambda db: db.execute("CREATE TABLE voters (id INTEGER)"))
        path.chmod(0o644)
        before = path.read_bytes()
        assert "the file is not a journal, or no longer one" in refused(path)
        assert path.read_bytes() == before
        assert path.stat().st_mode & 0o777 == 0o644
