"""The journal's database: an append-only log in SQLite from which nothing can go missing unnoticed.

Opening it reads and checks all of it once: the checksum of each row (see `rows`) and the number of rows (see `files`).
A crash loses no row whose write had returned: commits are synced, and SQLite replays its write-ahead log.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from indigo_async.errors import (
    JournalDamagedError,
    JournalError,
    JournalInUseError,
    JournalVersionError,
    JournalWriteError,
)
from indigo_async.events import Stage
from indigo_async.workflows.journal.files import (
    PRIVATE_MODE,
    SUFFIXES,
    RowCountFile,
    acquire_lock,
    move_row_count,
    read_row_count,
    real_path,
    sibling,
)
from indigo_async.workflows.journal.rows import (
    Entry,
    RowValues,
    count_rows,
    max_spent_cents,
    parse_entry,
    parse_key,
    verify_checksum,
    verify_rows,
    with_checksum,
)

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["JournalStore", "StoredJob"]

_APPLICATION_ID = 0x496E6467
"""ASCII "Indg", in the file's header."""

_VERSION = 2
_UPGRADABLE_VERSION = 1
"""Lacks only outcomes and progress, which an older SDK could not read, so opening it for writing makes it version 2."""

_SCHEMA = (
    "CREATE TABLE jobs (id INTEGER PRIMARY KEY, key TEXT UNIQUE, fingerprint TEXT, crc INTEGER)",
    """CREATE TABLE entries (
        id INTEGER PRIMARY KEY, job INTEGER, kind TEXT, stage TEXT, facts TEXT, at_ms INTEGER, crc INTEGER
    )""",
    "CREATE INDEX entries_by_job ON entries (job)",
)

_ALL_ENTRIES = "SELECT * FROM entries ORDER BY id"
_PAGE_ROWS = 1_000
# One statement for many rows releases Python's lock once instead of once a row. Every SQLite accepts 999 parameters.
_ROWS_PER_STATEMENT = 100
# Opening and closing a database locks it for an instant.
_BUSY_SECONDS = 0.5


@attrs.frozen
class StoredJob:
    """A job's number, the fingerprint of its inputs when it was first registered, and its rows in order of writing."""

    id: int
    fingerprint: str
    entries: tuple[Entry, ...]


class JournalStore:
    """The journal's database, used from one thread: every method blocks.

    After any failure nothing more is written: a POST needs its intent on disk, and this file cannot vouch for one.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self._lock: BaseFileLock | None = None
        self._row_count_file = RowCountFile()
        self._connection: sqlite3.Connection | None = None
        self._is_empty = False
        self._committed: int | None = None
        self._job_count = 0
        self._entry_count = 0
        self._failure: JournalError | None = None
        self._advice = _ADVICE

    def open(self) -> None:
        """Open the journal for writing, or create one if there is no file.

        Raises:
            JournalInUseError, JournalVersionError, JournalDamagedError, JournalWriteError: see `Journal.open`.
        """
        with self._wrap_errors():
            self.path = real_path(self.path)
            if self.path.is_dir():
                raise JournalWriteError("this is a folder; name a file")
            move_row_count(self.path)
            self._lock = acquire_lock(self.path)
            committed = read_row_count(self.path)
            may_be_blank = self._find_or_create(committed)
            self._connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._configure(may_be_blank=may_be_blank)
            self._verify(committed)
            self._row_count_file.open(self.path)
            self._row_count_file.write(self._row_count)
            self._begin()

    def open_for_reading(self) -> None:
        """Open a snapshot of a journal that another process may be writing to, and check it. Changes nothing.

        Raises:
            JournalInUseError, JournalVersionError, JournalDamagedError, JournalWriteError: see `read_records`.
        """
        self.open_for_scan()
        for _ in self.scan():
            pass

    def open_for_scan(self) -> None:
        """Open a snapshot like `open_for_reading`, to read it once: `scan` checks the entries.

        Raises:
            JournalInUseError, JournalVersionError, JournalDamagedError, JournalWriteError: see `read_records`.
        """
        self._advice = _ADVICE_TO_READERS
        with self._wrap_errors():
            self.path = real_path(self.path)
            if not self.path.is_file():
                raise JournalWriteError("there is no such journal")
            self._committed = read_row_count(self.path)  # before the snapshot, which therefore has no fewer rows
            self._connection = _connect_for_reading(self.path)
            self._db.execute("PRAGMA cell_size_check = ON")
            self._db.execute("BEGIN")
            self._is_empty = self._committed == 0 and self._is_blank()
            if not self._is_empty:
                self._check_identity()
                self._verify_jobs()

    def scan(self) -> Generator[Sequence[Any]]:
        """The values of every entry of the snapshot in order of writing: its number, and those of `Entry`.

        Each is checked as it is read, and at the end, that none is missing.

        Raises:
            JournalError: they cannot be read.
        """
        if self._is_empty:
            return
        with self._wrap_errors():
            values: Sequence[Any] = (0,)
            with closing(self._db.execute(_ALL_ENTRIES)) as rows:
                for values in verify_rows(rows):
                    yield values
            self._check_count(values[0], self._committed)

    def read_job_keys(self) -> dict[int, str]:
        """The keys of all jobs by number.

        Raises:
            JournalError: they cannot be read.
        """
        if self._is_empty:
            return {}
        with self._wrap_errors():
            return dict(self._db.execute("SELECT id, key FROM jobs"))

    def close(self) -> None:
        """Close everything, whether or not it was opened successfully."""
        try:
            if self._connection is not None:
                with self._wrap_errors():
                    self._connection.close()
        finally:
            self._row_count_file.close()
            if self._lock is not None:
                if not sibling(self.path, ".rows").exists():  # there is no journal here
                    with suppress(OSError):
                        sibling(self.path, ".lock").unlink()
                self._lock.release()
                self._lock = None

    def append(self, entries: Sequence[Entry]) -> Sequence[int]:
        """Write entries in one synced commit. Returns the numbers of their rows.

        Raises:
            JournalError: none of them is known to be on disk.
        """
        self._raise_after_failure()
        first = self._entry_count + 1
        rows = [with_checksum((number, *entry.values())) for number, entry in enumerate(entries, first)]
        with self._commit() as db:
            for start in range(0, len(rows), _ROWS_PER_STATEMENT):
                _insert(db, rows[start : start + _ROWS_PER_STATEMENT])
            self._entry_count += len(rows)
        return range(first, first + len(rows))

    def load_jobs(self, jobs: Sequence[tuple[str, str]]) -> Sequence[StoredJob]:
        """Load jobs, each given by its key and its fingerprint. New ones are registered, in one commit.

        Raises:
            JournalError: they cannot be loaded or registered.
        """
        self._raise_after_failure()
        with self._commit():
            return [self._load_job(key, fingerprint) for key, fingerprint in jobs]

    def spent_by_customer(self) -> dict[str, int]:
        """What all purchases cost in cents, including those whose outcome is not known, by customer ID.

        Raises:
            JournalError: it cannot be determined.
        """
        with self._wrap_errors():
            purchases = self._db.execute(
                "SELECT jobs.key, entries.* FROM entries JOIN jobs ON jobs.id = entries.job "
                "WHERE stage = ? ORDER BY job, entries.id",
                (Stage.PURCHASE.value,),
            )
            spent: Counter[str] = Counter()
            for key, rows in groupby(purchases, key=itemgetter(0)):
                customer_id, _ = parse_key(key)
                spent[customer_id] += max_spent_cents(parse_entry(row) for _, *row in rows)
            return dict(spent)

    def read_page(self, after: int) -> list[tuple[str, Entry]]:
        """The next page of entries after row number `after`, each with its job's key; empty at the end.

        Raises:
            JournalError: they cannot be read.
        """
        if after >= self._entry_count:
            return []
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

    def _find_or_create(self, committed: int | None) -> bool:
        """Make sure that there is a file. Returns whether it may be blank: new, or its creation was interrupted."""
        if self.path.exists():
            if not self.path.is_file():
                raise JournalDamagedError("this is not a file")
            return committed == 0
        if committed:
            raise JournalDamagedError(
                f"the journal is missing, but {committed:,} rows were written to it, according to {self.path.name}.rows"
            )
        self._row_count_file.open(self.path)
        self._row_count_file.write(0, sync=True)
        self.path.touch(PRIVATE_MODE, exist_ok=False)
        return True

    def _configure(self, *, may_be_blank: bool) -> None:
        """Check that this is a journal, or make one of a blank file, and prepare it for writing."""
        db = self._db
        if self.path.stat().st_nlink > 1:
            # Another name of the file has another lock and another log, so SQLite's own lock must keep it out.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA cell_size_check = ON")
        is_new = may_be_blank and self._is_blank()
        if not is_new:
            self._check_identity()
        self._make_private()
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise JournalWriteError("the file system does not support a write-ahead log")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone leaves rows in the drive's own cache
        if is_new:
            self._create_tables()
        elif self._identity() == (_APPLICATION_ID, _UPGRADABLE_VERSION):
            db.execute(f"PRAGMA user_version = {_VERSION}")

    def _identity(self) -> tuple[int, int]:
        (application_id,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return application_id, version

    def _is_blank(self) -> bool:
        return self._identity() == (0, 0) and not self._schema()

    def _check_identity(self) -> None:
        application_id, version = self._identity()
        if application_id != _APPLICATION_ID:
            raise JournalDamagedError("the file is not a journal, or no longer one")
        if version not in {_UPGRADABLE_VERSION, _VERSION}:
            raise JournalVersionError(
                f"the journal has version {version}, and this SDK writes version {_VERSION}; "
                "finish the batch with the version of the SDK that started it"
            )

    def _make_private(self) -> None:
        """Give existing files mode 0600. SQLite gives those that it creates the database's own mode."""
        for file in (sibling(self.path, suffix) for suffix in SUFFIXES):
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

    def _verify(self, committed: int | None) -> None:
        """Check and count all rows. `committed` is how many there must be, at least."""
        self._verify_jobs()
        self._check_count(self._count(_ALL_ENTRIES), committed)

    def _verify_jobs(self) -> None:
        """Check the database and its jobs, and count them."""
        (verdict,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise JournalDamagedError(verdict)
        if self._schema() != set(_SCHEMA):
            raise JournalDamagedError("its tables have been altered")
        self._job_count = self._count("SELECT * FROM jobs ORDER BY id")

    def _check_count(self, entries: int, committed: int | None) -> None:
        """Check that none of the `committed` rows is missing at the end."""
        self._entry_count = entries
        if self._row_count < (committed or 0):
            raise JournalDamagedError(f"it holds {self._row_count} rows, and {committed} were written")

    def _count(self, query: str) -> int:
        """Check and count the rows of a table. The cursor is closed: an open one would keep the journal open."""
        with closing(self._db.execute(query)) as rows:
            return sum(1 for _ in verify_rows(rows))

    def _load_job(self, key: str, fingerprint: str) -> StoredJob:
        row = self._db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        if row is None:
            self._job_count += 1
            self._db.execute("INSERT INTO jobs VALUES (?, ?, ?, ?)", with_checksum((self._job_count, key, fingerprint)))
            return StoredJob(self._job_count, fingerprint, ())
        number, _, known = verify_checksum(row)
        rows = self._db.execute(
            "SELECT * FROM entries WHERE job = ? AND kind NOT IN ('outcome', 'progress') ORDER BY id", (number,)
        )
        return StoredJob(number, known, tuple(map(parse_entry, rows)))

    def _raise_after_failure(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args)

    @contextmanager
    def _commit(self) -> Generator[sqlite3.Connection]:
        """Commit what the block writes, or roll it back if it raises."""
        with self._wrap_errors():
            with self._db as db:
                yield db
            self._row_count_file.write(self._row_count)
            self._begin()

    def _begin(self) -> None:
        """Take SQLite's write lock until the next commit, so that other programs can read but never write."""
        self._db.execute("BEGIN IMMEDIATE")

    @contextmanager
    def _wrap_errors(self) -> Generator[None]:
        """Raise errors as a `JournalError` that names the path, after which nothing more is written."""
        try:
            yield
        except (JournalError, sqlite3.Error, OSError, UnicodeDecodeError) as error:
            wrapped = _as_journal_error(error)
            self._failure = type(wrapped)(f"{self.path}: {wrapped}{self._advice.get(type(wrapped), '')}")
            raise self._failure from error


def _connect_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that changes no row and, of the files, at most SQLite's shared memory."""
    if sibling(path, "-wal").exists():
        return _connect(path, "mode=ro")
    # A closed journal: SQLite creates a log and shared memory, which only a connection that could write removes again.
    try:
        return _connect(path, "mode=rw")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise
    return _connect(path, "mode=ro&immutable=1")  # in a folder that cannot be written


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA query_only = ON")
        db.execute("SELECT * FROM sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _insert(db: sqlite3.Connection, rows: Sequence[RowValues]) -> None:
    places = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * len(rows))
    db.execute(f"INSERT INTO entries VALUES {places}", tuple(chain.from_iterable(rows)))  # noqa: S608 - question marks


_HOW_TO_RESTORE = (
    "Restore the journal together with its .rows file. If it is lost, see docs/guides/batches.md before you run again"
)
_ADVICE: Mapping[type[JournalError], str] = {
    JournalDamagedError: f". Nothing more is sent under it. {_HOW_TO_RESTORE}",
    JournalWriteError: ". Nothing more is sent under it until it is opened again",
}
_ADVICE_TO_READERS: Mapping[type[JournalError], str] = {
    JournalDamagedError: f". {_HOW_TO_RESTORE}",
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
