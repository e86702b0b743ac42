"""Which job uses which names and files, and as what: in memory, or on disk for a manifest of any size."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Protocol

import attrs

__all__ = ["MemoryUses", "Use", "Uses", "uses_on_disk"]

_CACHE_KIB = 2_048


@attrs.frozen
class Use:
    """A job that uses a name or a file: its key, its number, and the name as the job has it."""

    job: str
    number: int
    name: str


class Uses(Protocol):
    """The use of each key."""

    def claim(self, key: str, use: Use) -> Use | None:
        """Record the use of a key and return None, or return the use that it already has."""
        ...

    def find(self, key: str) -> Use | None:
        """The use of a key; None if no job uses it."""
        ...

    def release(self, key: str) -> None:
        """Forget the use of a key."""
        ...


@attrs.frozen(eq=False)
class MemoryUses:
    """Uses in a dict, which takes about 230 bytes and the lengths of the key and the name for each."""

    _uses: dict[str, Use] = attrs.Factory(dict[str, Use])

    def claim(self, key: str, use: Use) -> Use | None:
        other = self._uses.setdefault(key, use)
        return None if other is use else other

    def find(self, key: str) -> Use | None:
        return self._uses.get(key)

    def release(self, key: str) -> None:
        del self._uses[key]


@attrs.frozen(eq=False)
class _DiskUses:
    _database: sqlite3.Connection

    def claim(self, key: str, use: Use) -> Use | None:
        row = (_to_bytes(key), _to_bytes(use.job), use.number, _to_bytes(use.name))
        added = self._database.execute("INSERT OR IGNORE INTO uses VALUES (?, ?, ?, ?)", row)
        return None if added.rowcount else self.find(key)

    def find(self, key: str) -> Use | None:
        query = "SELECT job, number, name FROM uses WHERE key = ?"
        row = self._database.execute(query, (_to_bytes(key),)).fetchone()
        return None if row is None else Use(_to_text(row[0]), row[1], _to_text(row[2]))

    def release(self, key: str) -> None:
        self._database.execute("DELETE FROM uses WHERE key = ?", (_to_bytes(key),))


def _to_bytes(text: str) -> bytes:
    """Encode any text, also the path of a file whose name isn't UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def _to_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


@contextmanager
def uses_on_disk() -> Generator[Uses]:
    """Keep uses in a temporary database, which SQLite writes to a private, nameless file once it exceeds 2 MiB.

    A use takes about three times as long as in a dict, which would take 40 MiB for 100,000 jobs.
    """
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as database:
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE uses (key BLOB PRIMARY KEY, job BLOB, number INTEGER, name BLOB) WITHOUT ROWID")
        database.execute("BEGIN")
        yield _DiskUses(database)
