"""Which job uses which names and files: in memory, or on disk for a manifest of any size."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Protocol

import attrs

__all__ = ["MemoryUses", "Uses", "uses_on_disk"]

_CACHE_KIB = 2_048


class Uses(Protocol):
    """The number of the job that uses a key."""

    def claim(self, key: str, number: int) -> int | None:
        """Record that a job uses a key and return None, or return the number of the job that already uses it."""
        ...

    def find(self, key: str) -> int | None:
        """The number of the job that uses a key; None if no job does."""
        ...

    def release(self, key: str) -> None:
        """Forget who uses a key."""
        ...


@attrs.frozen(eq=False)
class MemoryUses:
    """Uses in a dict, which takes about 150 bytes and the key's length for each."""

    _numbers: dict[str, int] = attrs.Factory(dict[str, int])

    def claim(self, key: str, number: int) -> int | None:
        if key in self._numbers:
            return self._numbers[key]
        self._numbers[key] = number
        return None

    def find(self, key: str) -> int | None:
        return self._numbers.get(key)

    def release(self, key: str) -> None:
        del self._numbers[key]


@attrs.frozen(eq=False)
class _DiskUses:
    _database: sqlite3.Connection

    def claim(self, key: str, number: int) -> int | None:
        added = self._database.execute("INSERT OR IGNORE INTO uses VALUES (?, ?)", (_to_bytes(key), number))
        return None if added.rowcount else self.find(key)

    def find(self, key: str) -> int | None:
        row = self._database.execute("SELECT number FROM uses WHERE key = ?", (_to_bytes(key),)).fetchone()
        return None if row is None else row[0]

    def release(self, key: str) -> None:
        self._database.execute("DELETE FROM uses WHERE key = ?", (_to_bytes(key),))


def _to_bytes(key: str) -> bytes:
    """The key of the database, also for the path of a file whose name isn't UTF-8."""
    return key.encode("utf-8", "surrogatepass")


@contextmanager
def uses_on_disk() -> Generator[Uses]:
    """Keep uses in a temporary database, which SQLite writes to a private, nameless file once it exceeds 2 MiB.

    A use takes about three times as long as in a dict, which would take 40 MiB for 100,000 jobs.
    """
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as database:
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE uses (key BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID")
        database.execute("BEGIN")
        yield _DiskUses(database)
