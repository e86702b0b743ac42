"""Where an export is saved: safe file names, and checks before paying that the file can be written."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import attrs

from indigo_async._text import is_encodable
from indigo_async.files.downloads.filesystem import (
    find_overwrite_problem,
    find_ownership_problem,
    lstat_or_none,
    try_writing,
    user_id,
)
from indigo_async.files.downloads.part_file import part_file_name, resume_file_name

__all__ = [
    "DestinationFolder",
    "find_destination_problem",
    "find_folder_problem",
    "inspect_destination_folder",
    "is_folder_path",
    "resolve_folder",
    "safe_file_name",
]

_UNSAFE_CHARACTERS = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]|^\.')
_DEFAULT_MAX_NAME_BYTES = 255
_DISK_FULL = f"cannot be written: {os.strerror(errno.ENOSPC)}"


def safe_file_name(text: str) -> str:
    """Turn any text, such as an audience name, into a file name: `f"{safe_file_name(audience_name)}.csv"`.

    Characters that don't belong in file names become percent codes, such as `%2F` for a slash. The file is never
    hidden and never in another folder, and different texts never share a file name.
    """
    return _UNSAFE_CHARACTERS.sub(lambda match: f"%{ord(match[0]):02X}", text)


def is_folder_path(text: str) -> bool:
    """Whether a path names a folder by its spelling, such as `exports/`, which `Path` would not show."""
    return os.path.basename(text) in {"", ".", ".."}  # noqa: PTH119 - Path drops the slash


@attrs.frozen
class DestinationFolder:
    """What matters of the folder that a file is saved in: `problem` says why no file can be written there.

    `state` is None if the folder is missing. It is made when the file is saved.
    """

    path: str
    state: os.stat_result | None
    max_name_bytes: int
    problem: str | None


def inspect_destination_folder(folder: str) -> DestinationFolder:
    """Read what matters of a folder, or of its nearest parent if it is missing.

    Raises:
        OSError: it can't be read.
    """
    path = Path(folder)
    existing = next((parent for parent in (path, *path.parents) if parent.exists()), None)
    state = path.stat() if existing == path else None
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        problem = "cannot be written: its folder is not writable"
        return DestinationFolder(folder, state, _DEFAULT_MAX_NAME_BYTES, problem)
    max_bytes = os.pathconf(existing, "PC_NAME_MAX") if hasattr(os, "pathconf") else _DEFAULT_MAX_NAME_BYTES
    return DestinationFolder(folder, state, max_bytes, _find_parent_problem(path, existing, max_bytes))


def resolve_folder(folder: str) -> str:
    """The absolute path of a folder without links, also if the folder, or a part of its path, is missing."""
    return os.path.realpath(folder)


def find_destination_problem(
    path: Path, inspect_folder: Callable[[str], DestinationFolder] = inspect_destination_folder
) -> str | None:
    """Find out why a file cannot be written to a path; None if it can. Leaves no trace on disk.

    `inspect_folder` may remember what `inspect_destination_folder` finds, to check many files of a folder at once.
    """
    text = str(path)
    if "\0" in text or not is_encodable(text):
        return "contains a null byte or invalid Unicode"
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        return (
            f"has characters that file names can't contain here ({encoding}): set PYTHONUTF8=1, or choose another name"
        )
    try:
        absolute = text if path.is_absolute() else os.path.join(os.getcwd(), text)  # noqa: PTH109, PTH118 - pathlib takes longer than all system calls here
        folder_path, name = os.path.split(absolute)
        folder = inspect_folder(folder_path)
        return find_overwrite_problem(path) or folder.problem or _find_name_problem(path, name, folder)
    except OSError as error:
        return _describe_os_error(error)


def find_folder_problem(folder: Path) -> str | None:
    """Find out why no files can be written in a folder; None if they can. Leaves no trace on disk."""
    try:
        if not folder.is_dir():
            return "is not a folder" if lstat_or_none(folder) is not None else "does not exist"
        return _find_write_problem(folder)
    except OSError as error:
        return _describe_os_error(error)


def _find_parent_problem(folder: Path, existing: Path, max_bytes: int) -> str | None:
    """Why no file can be written in a folder whose nearest existing parent, or itself, is `existing`."""
    missing_names = folder.relative_to(existing).parts
    if any(len(os.fsencode(name)) > max_bytes for name in missing_names):
        return f"cannot be written: the names of its folders must be at most {max_bytes} bytes long there"
    if missing_names:
        return _DISK_FULL if _is_disk_full(existing) else None
    return _find_recent_write_problem(existing, int(time.monotonic()))


def _find_name_problem(path: Path, name: str, folder: DestinationFolder) -> str | None:
    """Whether a file's name is too long, or another user's files are in the way."""
    max_bytes = folder.max_name_bytes
    if len(os.fsencode(resume_file_name(name))) > max_bytes:
        return f"cannot be written: its name must be at most {max_bytes - len(resume_file_name(''))} bytes long there"
    if folder.state is None:
        return None
    part = Path(folder.path, part_file_name(name))
    part_state = lstat_or_none(part)
    problem = None if part_state is None else find_ownership_problem(part_state, part.parent)
    if problem is not None:
        return f"cannot be written: {part} {problem}; remove it or name another file"
    if folder.state.st_mode & stat.S_ISVTX:
        state = lstat_or_none(path)
        if state is not None and user_id() not in {0, state.st_uid, folder.state.st_uid}:
            return "belongs to another user, and its folder lets only owners replace their files; name another"
    return None


def _is_disk_full(folder: Path) -> bool:
    if not hasattr(os, "statvfs"):
        return False
    space = os.statvfs(folder)
    free_blocks = space.f_bavail if user_id() else space.f_bfree
    return space.f_blocks > 0 and not free_blocks  # some file systems report no sizes at all


@lru_cache(maxsize=64)
def _find_recent_write_problem(folder: Path, second: int) -> str | None:  # noqa: ARG001 - part of the cache's key
    """Try a folder once a second: many jobs of a batch share it, and each trial costs a tenth of a job's CPU time."""
    return _find_write_problem(folder)


def _find_write_problem(folder: Path) -> str | None:
    if _is_disk_full(folder):
        return _DISK_FULL
    try:
        try_writing(folder)
    except OSError as error:
        return _describe_os_error(error)
    return None


def _describe_os_error(error: OSError) -> str:
    return f"cannot be written: {error.strerror or type(error).__name__}"
