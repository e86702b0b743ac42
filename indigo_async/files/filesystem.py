"""File operations that tolerate what some file systems lack (sync, locks, modes) and refuse files that are not ours."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import stat
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from indigo_async.errors import DownloadError

__all__ = [
    "foreign",
    "kind_problem",
    "lock",
    "make_private",
    "open_existing",
    "open_own",
    "probe",
    "state_of",
    "sync",
    "sync_folder",
    "unlock",
]

_logger = logging.getLogger("indigo_async")

_PRIVATE = 0o600
_OTHERS = 0o077
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EROFS})
_NO_LOCKS = _UNSUPPORTED | {errno.ENOLCK}
_NO_MODES = _UNSUPPORTED | {errno.EPERM}
# Opening a FIFO must not wait for its other end.
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

_locked: set[tuple[int, int]] = set()
"""The files locked by this process, since not every file system has locks."""
_locked_guard = threading.Lock()


def sync(descriptor: int) -> None:
    """Flush a file to disk, if its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, if the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:  # a folder may be writable but not readable
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> None:
    """Lock a file: within this process always, and across processes if the file system has locks.

    Raises:
        BlockingIOError: someone else has locked it.
    """
    key = _key(descriptor)
    with _locked_guard:
        if key in _locked:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        _locked.add(key)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            unlock(descriptor)
            raise


def unlock(descriptor: int) -> None:
    """Let this process lock the file again; closing the descriptor releases the rest."""
    with _locked_guard:
        _locked.discard(_key(descriptor))


def _key(descriptor: int) -> tuple[int, int]:
    state = os.fstat(descriptor)
    return state.st_dev, state.st_ino


def make_private(descriptor: int, path: Path) -> None:
    """Set mode 0600; log a warning if the file system does not support it."""
    try:
        os.fchmod(descriptor, _PRIVATE)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
    if os.fstat(descriptor).st_mode & _OTHERS:
        _warn_readable(path.parent)


@cache
def _warn_readable(folder: Path) -> None:
    _logger.warning("%s cannot hold private files; other users may be able to read the exports in it", folder)


def open_own(path: Path, flags: int) -> tuple[int, bool]:
    """Open a private file, created if it is missing. Returns the descriptor, and whether the file is new.

    Raises:
        DownloadError: the file there may not be ours alone; see `foreign`.
    """
    while True:
        with suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL | _SAFELY, _PRIVATE), True
        with suppress(FileNotFoundError):
            return open_existing(path, flags), False


def open_existing(path: Path, flags: int) -> int:
    """Open a file that is ours alone.

    Raises:
        FileNotFoundError: there is none.
        DownloadError: it may be someone else's; see `foreign`.
    """
    _require_own(path.lstat(), path)
    descriptor = os.open(path, flags | _SAFELY)
    try:
        _require_own(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_own(state: os.stat_result, path: Path) -> None:
    problem = foreign(state, path.parent)
    if problem is not None:
        raise DownloadError(f"{path} {problem}; remove it or name another destination")


def kind_problem(path: Path) -> str | None:
    """Why what is there must not be replaced; None if nothing is there, or a file."""
    if path.is_dir() or not path.name:
        return "is a folder; name a file"
    state = state_of(path)
    if state is None or stat.S_ISREG(state.st_mode):
        return None
    if stat.S_ISLNK(state.st_mode):
        return f"is a link to {str(path.readlink())!r}; name the file itself"
    return "is not a regular file; name another"


def state_of(path: Path) -> os.stat_result | None:
    """What is at a path itself, links not followed; None if nothing is."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def foreign(state: os.stat_result, folder: Path) -> str | None:
    """Why a file in a folder may have been put there by someone else; None if it is ours alone."""
    if not stat.S_ISREG(state.st_mode):
        return "is not a regular file"
    if state.st_nlink > 1:
        return "has a second name (a hard link)"
    if state.st_uid != os.geteuid() and state.st_uid != _own_uid(folder):
        return "belongs to another user"
    return None


def _own_uid(folder: Path) -> int:
    """The user to whom new files in a folder belong: on some network file systems not the one who writes them."""
    path = _probe_path(folder)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, _PRIVATE)
    try:
        return os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        path.unlink()


def probe(folder: Path) -> None:
    """Create, write, lock, rename and remove a hidden file in a folder, as a download does.

    Raises:
        OSError: something of it fails.
    """
    path = _probe_path(folder)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, _PRIVATE)
    try:
        os.write(descriptor, b"\n")
        lock(descriptor)
        unlock(descriptor)
        path = path.rename(path.with_suffix(".csv"))
    finally:
        os.close(descriptor)
        path.unlink()


def _probe_path(folder: Path) -> Path:
    return folder / f".indigo-{secrets.token_hex(8)}.part"
