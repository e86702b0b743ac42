"""The files beside a journal: the writer's lock, and the number of rows that were committed."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from indigo_async.errors import JournalDamagedError, JournalInUseError, JournalWriteError

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = [
    "PRIVATE_MODE",
    "SUFFIXES",
    "RowCountFile",
    "acquire_lock",
    "is_in_use",
    "read_row_count",
    "real_path",
    "sibling",
]

SUFFIXES = ("", ".lock", ".rows", "-wal", "-shm")
"""What the names of a journal's files end with. The last two exist only while it is open, or after a crash."""

PRIVATE_MODE = 0o600
_DIGITS = 20
_LOCK_SECONDS = 0.1
"""Long enough for `is_in_use`, which holds the lock for an instant, to let go of it."""


def real_path(path: Path) -> Path:
    """The path without links, so that all links to a journal share one lock. A loop of links is left as it is."""
    return Path(os.path.realpath(path))  # `Path.resolve` raises RuntimeError for a loop before Python 3.13


def sibling(journal: Path, suffix: str) -> Path:
    """The file beside a journal whose name ends with a suffix."""
    return journal.with_name(journal.name + suffix)


def acquire_lock(journal: Path) -> BaseFileLock:
    """Take the writer's lock, which the operating system releases when the process ends, however that happens.

    Raises:
        JournalInUseError: another process, or this one, has it.
        JournalWriteError: the file system has no locks.
        OSError: the lock file cannot be opened.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - takes 40 ms, and most programs need no journal

    if not journal.parent.is_dir():  # filelock may create the folder
        raise JournalWriteError(f"the folder {journal.parent} does not exist")
    lock = FileLock(sibling(journal, ".lock"), mode=PRIVATE_MODE, thread_local=False)
    try:
        lock.acquire(timeout=_LOCK_SECONDS, poll_interval=_LOCK_SECONDS / 10)
    except Timeout:
        raise JournalInUseError("another run is using this journal; wait for it to end, then run again") from None
    except NotImplementedError as error:
        raise JournalWriteError(f"the file system does not support locks ({error})") from None
    return lock


def is_in_use(path: Path) -> bool:
    """Whether a running process has the journal open for writing. Blocks for an instant; creates no file."""
    path = real_path(path)
    if not sibling(path, ".lock").exists():
        return False
    try:
        acquire_lock(path).release()
    except JournalInUseError:
        return True
    except (JournalWriteError, OSError):  # without access or without locks, no batch can have it open
        return False
    return False


class RowCountFile:
    """How many rows were committed, at least. It shows that the write-ahead log was lost, which SQLite cannot tell.

    It is written after each commit and not synced, so a power cut may leave an older number but never a higher one.
    """

    def __init__(self) -> None:
        self._file: BinaryIO | None = None

    def open(self, journal: Path) -> None:
        """Open a journal's count, or create it."""
        if self._file is None:
            path = sibling(journal, ".rows")
            if not path.is_symlink():
                path.touch(PRIVATE_MODE)
            self._file = open(path, "r+b", buffering=0, opener=_open_no_link)  # noqa: SIM115 - no opener; `close` closes

    def write(self, rows: int, *, sync: bool = False) -> None:
        """Record how many rows are committed; with `sync`, durably."""
        if self._file is None:
            raise ValueError("the row count is not open")
        self._file.seek(0)
        self._file.write(_encode(rows))
        if sync:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_row_count(journal: Path) -> int | None:
    """How many rows were committed to a journal, at least; None if nothing says so.

    Raises:
        JournalDamagedError: the file does not hold a number.
        OSError: it cannot be read.
    """
    current, old = _read(sibling(journal, ".rows")), _read_old_row_count(journal)
    if not (current or old):
        return None
    if _decode(current or old) is None:
        raise JournalDamagedError(f"{journal.name}.rows does not hold the number of rows")
    # An earlier version may have written to the journal since, and updates only its own count.
    return max(rows for content in (current, old) if (rows := _decode(content)) is not None)


def move_row_count(journal: Path) -> None:
    """Copy the count from the lock file, where earlier versions kept it: taking the lock may empty that file."""
    content, target = _read_old_row_count(journal), sibling(journal, ".rows")
    if content and not _read(target):
        target.touch(PRIVATE_MODE)
        target.write_bytes(content)


def _read_old_row_count(journal: Path) -> bytes:
    content = _read(sibling(journal, ".lock"))
    owner, _, _ = content.partition(b"\n")
    return b"" if owner.isdigit() else content  # where the system has no locks, filelock writes its process ID here


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_no_link) as file:
            return file.read(64)
    except FileNotFoundError:
        return b""


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _decode(content: bytes) -> int | None:
    rows = int(content[:_DIGITS]) if content[:_DIGITS].isdigit() else None
    return rows if rows is not None and content == _encode(rows) else None


def _encode(rows: int) -> bytes:
    """The number and its checksum, always of one length, so that each overwrites the last."""
    number = str(rows).zfill(_DIGITS).encode()
    return b"%b %08x\n" % (number, zlib.crc32(number))
