"""File operations that cope with file systems without sync, locks or modes, and that refuse other users' files."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeAlias

from indigo_async.errors import DownloadError

__all__ = [
    "FileId",
    "file_id",
    "find_overwrite_problem",
    "find_ownership_problem",
    "fsync",
    "fsync_folder",
    "lock",
    "lstat_or_none",
    "make_private",
    "open_existing_private",
    "open_private",
    "try_writing",
    "unlock",
    "user_id",
]

_logger = logging.getLogger("indigo_async")

_PRIVATE_MODE = 0o600
_GROUP_AND_OTHERS = 0o077
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EROFS})
_LOCKS_UNSUPPORTED = _UNSUPPORTED | {errno.ENOLCK}
_MODES_UNSUPPORTED = _UNSUPPORTED | {errno.EPERM}
# Don't follow links, don't wait for the other end of a FIFO, and don't translate line ends on Windows.
_SAFE_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

FileId: TypeAlias = tuple[int, int]
"""A device and a file on it."""

_locked: set[FileId] = set()
"""Files locked by this process, because not every file system has locks."""
_locked_mutex = threading.Lock()


def user_id() -> int:
    """The effective user ID; 0 on Windows, which reports 0 as the owner of every file."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def fsync(descriptor: int) -> None:
    """Flush a file to disk if its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def fsync_folder(folder: Path) -> None:
    """Make a rename survive a power loss if the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be writable but not readable; Windows cannot open folders
        return
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> FileId:
    """Lock a file within this process and, where the platform and file system support it, across processes.

    Raises:
        BlockingIOError: it is locked already.
    """
    file = file_id(os.fstat(descriptor))
    with _locked_mutex:
        if file in _locked:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        _locked.add(file)
    try:
        _lock_across_processes(descriptor)
    except OSError as error:
        if error.errno not in _LOCKS_UNSUPPORTED:
            unlock(file)
            raise
    return file


def _lock_across_processes(descriptor: int) -> None:
    try:
        import fcntl  # noqa: PLC0415 - missing on Windows
    except ImportError:
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def unlock(file: FileId) -> None:
    """Let this process lock the file again. Closing its descriptor releases the lock across processes."""
    with _locked_mutex:
        _locked.discard(file)


def file_id(state: os.stat_result) -> FileId:
    """What identifies the file with this state, whatever its name."""
    return state.st_dev, state.st_ino


def make_private(descriptor: int, path: Path) -> None:
    """Set mode 0600; log a warning if the file system does not support it."""
    if not hasattr(os, "fchmod"):  # Windows before Python 3.13
        return
    try:
        os.fchmod(descriptor, _PRIVATE_MODE)
    except OSError as error:
        if error.errno not in _MODES_UNSUPPORTED:
            raise
    if os.fstat(descriptor).st_mode & _GROUP_AND_OTHERS:
        _warn_readable(path.parent)


@cache
def _warn_readable(folder: Path) -> None:
    _logger.warning("%s cannot hold private files; other users may be able to read the exports in it", folder)


def open_private(path: Path, flags: int) -> tuple[int, bool]:
    """Open a private file, creating it if it is missing. Returns the descriptor and whether the file is new.

    Raises:
        DownloadError: the existing file may belong to someone else; see `find_ownership_problem`.
    """
    while True:
        with suppress(FileExistsError):
            return _create_private(path, flags), True
        with suppress(FileNotFoundError):
            return open_existing_private(path, flags), False


def _create_private(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_EXCL | _SAFE_FLAGS, _PRIVATE_MODE)


def open_existing_private(path: Path, flags: int) -> int:
    """Open an existing file that belongs to this user alone.

    Raises:
        FileNotFoundError: there is none.
        DownloadError: it may belong to someone else; see `find_ownership_problem`.
    """
    _require_private(path.lstat(), path)
    descriptor = os.open(path, flags | _SAFE_FLAGS)
    try:
        _require_private(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_private(state: os.stat_result, path: Path) -> None:
    problem = find_ownership_problem(state, path.parent)
    if problem is not None:
        raise DownloadError(f"{path} {problem}; remove it or name another destination")


def find_overwrite_problem(path: Path) -> str | None:
    """Find out why whatever is at a path must not be replaced; None if there is nothing or a regular file."""
    state = lstat_or_none(path)
    if path.name and (state is None or stat.S_ISREG(state.st_mode)):
        return None
    if path.is_dir() or not path.name:
        return "is a folder; name a file"
    if state is not None and stat.S_ISLNK(state.st_mode):
        return f"is a link to {str(path.readlink())!r}; name the file itself"
    return "is not a regular file; name another"


def lstat_or_none(path: Path) -> os.stat_result | None:
    """The state of what is at a path, without following links; None if there is nothing."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def find_ownership_problem(state: os.stat_result, folder: Path) -> str | None:
    """Find out why a file in a folder may have been put there by someone else; None if it is this user's alone."""
    if not stat.S_ISREG(state.st_mode):
        return "is not a regular file"
    if state.st_nlink > 1:
        return "has a second name (a hard link)"
    if state.st_uid != user_id() and state.st_uid != _uid_of_new_files(folder):
        return "belongs to another user"
    return None


def _uid_of_new_files(folder: Path) -> int:
    """The owner of new files in a folder, which on some network file systems is not the user who creates them."""
    path = _probe_path(folder)
    descriptor = _create_private(path, os.O_WRONLY)
    try:
        return os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        path.unlink()


def try_writing(folder: Path) -> None:
    """Create, write, lock, rename and remove a hidden file in a folder, as a download does.

    Raises:
        OSError: one of these steps fails.
    """
    path = _probe_path(folder)
    descriptor = _create_private(path, os.O_WRONLY)
    try:
        os.write(descriptor, b"\n")
        unlock(lock(descriptor))
        path = path.rename(path.with_suffix(".csv"))
    finally:
        os.close(descriptor)
        path.unlink()


def _probe_path(folder: Path) -> Path:
    return folder / f".indigo-{secrets.token_hex(8)}.part"
