"""The journal's file: an append-only log in SQLite, from which nothing can go missing unnoticed.

Opening it reads and checks all of it, once; see `rows` for the checksums and `lock` for the count. A crash loses no row
whose write had returned: commits are synced, and SQLite replays its write-ahead log.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from pathlib import Path

import attrs

from indigo_async.errors import (
    JournalDamagedError,
    JournalError,
    JournalInUseError,
    JournalVersionError,
    JournalWriteError,
)
from indigo_async.events import Stage
from indigo_async.workflows.journal.lock import PRIVATE_MODE, LockFile
from indigo_async.workflows.journal.rows import (
    Entry,
    RowValues,
    count_rows,
    max_spent_cents,
    parse_entry,
    verify_checksum,
    with_checksum,
)

__all__ = ["JournalStore", "StoredJob"]

_APPLICATION_ID = 0x496E6467
"""ASCII "Indg", in the file's header."""

_VERSION = 2
_UPGRADABLE_VERSION = 1
"""A version that lacks nothing but outcomes and progress. It becomes ours, since an older SDK could not read those."""

_SCHEMA = (
    "CREATE TABLE jobs (id INTEGER PRIMARY KEY, key TEXT UNIQUE, fingerprint TEXT, crc INTEGER)",
    """CREATE TABLE entries (
        id INTEGER PRIMARY KEY, job INTEGER, kind TEXT, stage TEXT, facts TEXT, at_ms INTEGER, crc INTEGER
    )""",
    "CREATE INDEX entries_by_job ON entries (job)",
)

_PAGE_ROWS = 1_000
# Python's lock is let go and fought for once in a statement, not once in a row. SQLite has always borne 999 values.
_ROWS_PER_STATEMENT = 100


@attrs.frozen
class StoredJob:
    """A job's number, the fingerprint of its inputs when it was first seen, and its rows in the order of writing."""

    id: int
    fingerprint: str
    entries: tuple[Entry, ...]


class JournalStore:
    """The journal's file, open in one thread: every method blocks, and belongs to that thread.

    After any failure nothing is written any more: a POST needs its intent on disk, and this file cannot vouch for one.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self._lock = LockFile()
        self._connection: sqlite3.Connection | None = None
        self._job_count = 0
        self._entry_count = 0
        self._failure: JournalError | None = None

    def open(self) -> None:
        """Open the journal, or begin one where no file is.

        Raises:
            JournalInUseError, JournalVersionError, JournalDamagedError, JournalWriteError: see `Journal.open`.
        """
        with self._wrap_errors():
            self.path = self.path.resolve()  # so that several links to one journal meet in one lock
            self._lock.acquire(self.path.with_name(f"{self.path.name}.lock"))
            may_begin = self._find_or_create()
            self._connection = sqlite3.connect(self.path, timeout=0)
            self._configure(may_begin=may_begin)
            self._verify()
            self._lock.write_row_count(self._row_count)

    def close(self) -> None:
        """Close everything, whether or not `open` succeeded."""
        try:
            if self._connection is not None:
                with self._wrap_errors():
                    self._connection.close()
        finally:
            self._lock.release()

    def append(self, entries: Sequence[Entry]) -> Sequence[int]:
        """Write entries in one synced commit. Returns the numbers of their rows.

        Raises:
            JournalError: none of them is known to be on disk.
        """
        self._raise_after_failure()
        first = self._entry_count + 1
        rows = [with_checksum((number, *entry.values())) for number, entry in enumerate(entries, first)]
        with self._wrap_errors():
            with self._db as db:
                for start in range(0, len(rows), _ROWS_PER_STATEMENT):
                    _insert(db, rows[start : start + _ROWS_PER_STATEMENT])
            self._entry_count += len(rows)
            self._lock.write_row_count(self._row_count)
        return range(first, first + len(rows))

    def load_jobs(self, jobs: Sequence[tuple[str, str]]) -> Sequence[StoredJob]:
        """What is known of jobs, each given by its key and its fingerprint; new ones are registered, in one commit.

        Raises:
            JournalError: they cannot be told or registered.
        """
        self._raise_after_failure()
        with self._wrap_errors():
            with self._db:
                stored = [self._load_job(key, fingerprint) for key, fingerprint in jobs]
            self._lock.write_row_count(self._row_count)
        return stored

    def spent_cents(self) -> int:
        """What all purchases cost, those included whose outcome is not known.

        Raises:
            JournalError: it cannot be told.
        """
        with self._wrap_errors():
            purchases = self._db.execute(
                "SELECT * FROM entries WHERE stage = ? ORDER BY job, id", (Stage.PURCHASE.value,)
            )
            by_job = groupby(map(parse_entry, purchases), key=lambda entry: entry.job)
            return sum(max_spent_cents(entries) for _, entries in by_job)

    def read_page(self, after: int) -> list[tuple[str, Entry]]:
        """The entries that follow row number `after`, up to a page, each with its job's key; none at the end.

        Raises:
            JournalError: they cannot be told.
        """
        with self._wrap_errors():
            rows = self._db.execute(
                "SELECT jobs.key, entries.* FROM entries JOIN jobs ON jobs.id = entries.job "
                "WHERE entries.id > ? ORDER BY entries.id LIMIT ?",
                (after, _PAGE_ROWS),
            ).fetchall()
            if after + count_rows(number - after for _, number, *_ in rows) < min(
                after + _PAGE_ROWS, self._entry_count
            ):
                raise JournalDamagedError(f"rows after number {after} are missing")
            return [(key, parse_entry(row)) for key, *row in rows]

    @property
    def _row_count(self) -> int:
        return self._job_count + self._entry_count

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError("the journal is not open")
        return self._connection

    def _find_or_create(self) -> bool:
        """Make sure that there is a file. Says whether a journal may begin in it, if it is blank."""
        committed = self._lock.committed_rows
        if self.path.exists():
            if not self.path.is_file():
                raise JournalDamagedError("this is no file")
            return committed == 0  # beginning it was interrupted
        if committed:
            raise JournalDamagedError(
                f"the file is missing, and {self._lock.path.name} says that {committed} rows were written to it"
            )
        self._lock.initialize()
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE))
        return True

    def _configure(self, *, may_begin: bool) -> None:
        db = self._db
        # SQLite's own lock, held until the end: it keeps out programs that know nothing of ours, and spares the file
        # of memory that several processes would share.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA cell_size_check = ON")
        begins = may_begin and self._identity() == (0, 0) and not self._schema()
        if not begins:
            self._check_identity()
        self._make_private()
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise JournalWriteError("the file system does not support a write-ahead log")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves rows in the drive's own cache
        if begins:
            self._create_tables()
        elif self._identity() == (_APPLICATION_ID, _UPGRADABLE_VERSION):
            db.execute(f"PRAGMA user_version = {_VERSION}")

    def _identity(self) -> tuple[int, int]:
        (application_id,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return application_id, version

    def _check_identity(self) -> None:
        application_id, version = self._identity()
        if application_id != _APPLICATION_ID:
            raise JournalDamagedError("the file holds no journal, or no longer does")
        if version not in {_UPGRADABLE_VERSION, _VERSION}:
            raise JournalVersionError(
                f"the journal has version {version} and this SDK keeps version {_VERSION}; "
                "finish the batch with the version of the SDK that began it"
            )

    def _make_private(self) -> None:
        """Close an existing file to others; SQLite gives those that it creates beside it the same mode."""
        for file in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            if file.exists() and file.stat().st_mode & 0o077:
                file.chmod(PRIVATE_MODE)

    def _create_tables(self) -> None:
        with self._db as db:
            db.execute("BEGIN")
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_VERSION}")

    def _schema(self) -> set[str]:
        return {sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}

    def _verify(self) -> None:
        """Check and count the whole file."""
        (verdict,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise JournalDamagedError(verdict)
        if self._schema() != set(_SCHEMA):
            raise JournalDamagedError("its tables are not as they were made")
        self._job_count = count_rows(
            verify_checksum(row)[0] for row in self._db.execute("SELECT * FROM jobs ORDER BY id")
        )
        self._entry_count = count_rows(
            verify_checksum(row)[0] for row in self._db.execute("SELECT * FROM entries ORDER BY id")
        )
        if self._row_count < (self._lock.committed_rows or 0):
            raise JournalDamagedError(f"it holds {self._row_count} rows, and {self._lock.committed_rows} were written")

    def _load_job(self, key: str, fingerprint: str) -> StoredJob:
        row = self._db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        if row is None:
            self._job_count += 1
            self._db.execute("INSERT INTO jobs VALUES (?, ?, ?, ?)", with_checksum((self._job_count, key, fingerprint)))
            return StoredJob(self._job_count, fingerprint, ())
        number, _, known = verify_checksum(row)
        rows = self._db.execute("SELECT * FROM entries WHERE job = ? ORDER BY id", (number,))
        return StoredJob(number, known, tuple(map(parse_entry, rows)))

    def _raise_after_failure(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args)

    @contextmanager
    def _wrap_errors(self) -> Generator[None]:
        """Tell what goes wrong as a `JournalError` that names the path; it is the end of writing."""
        try:
            yield
        except (JournalError, sqlite3.Error, OSError, UnicodeDecodeError) as error:
            told = _as_journal_error(error)
            self._failure = type(told)(f"{self.path}: {told}{_ADVICE.get(type(told), '')}")
            raise self._failure from error


def _insert(db: sqlite3.Connection, rows: Sequence[RowValues]) -> None:
    places = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * len(rows))
    db.execute(f"INSERT INTO entries VALUES {places}", tuple(chain.from_iterable(rows)))  # noqa: S608 - question marks


_ADVICE: dict[type[JournalError], str] = {
    JournalDamagedError: ". Nothing more is sent under it. Restore the journal together with its .lock file",
    JournalWriteError: ". Nothing more is sent under it until it is opened again",
}

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNWRITABLE = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


def _as_journal_error(error: JournalError | sqlite3.Error | OSError | UnicodeDecodeError) -> JournalError:
    """What an error means for the journal. Whatever is not known to be something else is damage.

    `UnicodeDecodeError` is raised for SQLite's own messages where they quote damaged text.
    """
    if isinstance(error, JournalError):
        return error
    if isinstance(error, OSError):
        return JournalWriteError(f"the journal cannot be read or written ({error.strerror})")
    primary_code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if primary_code in _BUSY:
        return JournalInUseError("another program has the journal open")
    if primary_code in _UNWRITABLE:
        return JournalWriteError(f"the journal cannot be read or written ({error})")
    return JournalDamagedError(f"the journal is damaged ({error})")
