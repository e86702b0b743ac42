"""The file beside the database that says who has the journal open, and how much was written to it."""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from pathlib import Path

from indigo_async.errors import JournalDamagedError, JournalInUseError

__all__ = ["PRIVATE_MODE", "LockFile", "is_held", "is_held_by_this_process"]

PRIVATE_MODE = 0o600
_DIGITS = 20
_ATTEMPTS = 5
_SECONDS_BETWEEN = 0.01
"""Far longer than `is_held` takes to try a lock."""

_held_paths: set[Path] = set()


def _encode_row_count(committed: int) -> bytes:
    """The number of rows and a checksum of it, always of one length, so that it is overwritten in its place."""
    number = str(committed).zfill(_DIGITS).encode()
    return b"%b %08x\n" % (number, zlib.crc32(number))


def is_held_by_this_process(path: Path) -> bool:
    """Whether this very process holds the lock at a path."""
    return path in _held_paths


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock at a path. It is tried for a moment, shared, and nothing is written."""
    if is_held_by_this_process(path):
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # no file, no lock; one that may not be read cannot be reported of at all
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # where there are no locks, no journal can be open
        return False
    finally:
        os.close(descriptor)
    return False


class LockFile:
    """A lock of the operating system's own (`flock`), which ends with the process, however that ends.

    The file's content is how many rows were committed, at the least. It shows that the database's write-ahead log was
    lost or cut, which the database itself cannot tell. It is written after each commit and not synced, so a power cut
    may leave an older number, never one that is too high.
    """

    def __init__(self) -> None:
        self.path: Path = Path()
        self.committed_rows: int | None = None
        self._descriptor: int | None = None
        self._holds = False

    def acquire(self, path: Path) -> None:
        """Take the lock at once and read what was committed: None where this is the first that is heard of it.

        Raises:
            JournalInUseError: it is held, by this process or another.
            JournalDamagedError: the content is no number.
            OSError: the file cannot be opened.
        """
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_MODE)
        if not _try_lock(self._descriptor):
            raise JournalInUseError("the journal is open already, in another process or in this one")
        _held_paths.add(path)
        self._holds = True
        os.fchmod(self._descriptor, PRIVATE_MODE)
        content = os.pread(self._descriptor, 64, 0)
        self.committed_rows = int(content[:_DIGITS]) if content[:_DIGITS].isdigit() else None
        if content and (self.committed_rows is None or content != _encode_row_count(self.committed_rows)):
            raise JournalDamagedError(f"{path.name} does not hold the number of rows")

    def initialize(self) -> None:
        """Write, for good, that nothing was committed yet. Later numbers only take its place."""
        self.write_row_count(0)
        os.fsync(self._open_descriptor)

    def write_row_count(self, committed: int) -> None:
        """Write how many rows are committed."""
        os.pwrite(self._open_descriptor, _encode_row_count(committed), 0)

    def release(self) -> None:
        if self._descriptor is not None:
            if self._holds:
                _held_paths.discard(self.path)
                self._holds = False
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the lock is not held")
        return self._descriptor


def _try_lock(descriptor: int) -> bool:
    """Take a lock for oneself, if nobody has it longer than to try it."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_SECONDS_BETWEEN)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False
