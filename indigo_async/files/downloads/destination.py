"""Whether an export can be written to a path: better to know before paying than after."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from indigo_async._text import is_encodable
from indigo_async.files.downloads.filesystem import (
    find_overwrite_problem,
    find_ownership_problem,
    lstat_or_none,
    try_writing,
)
from indigo_async.files.downloads.part_file import part_file_name, resume_file_name

__all__ = ["find_destination_problem", "is_folder_path", "safe_file_name"]

_UNSAFE_CHARACTERS = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]|^\.')


def safe_file_name(text: str) -> str:
    """Turn any text, such as an audience name, into a file name: `f"{safe_file_name(audience_name)}.csv"`.

    Characters that don't belong in file names become percent codes, such as `%2F` for a slash. The file is therefore
    never hidden and never in another folder, and two different texts never share a file name.
    """
    return _UNSAFE_CHARACTERS.sub(lambda match: f"%{ord(match[0]):02X}", text)


def is_folder_path(text: str) -> bool:
    """Whether a path's text means a folder, which `Path` forgets: `exports/`."""
    return os.path.basename(text) in {"", ".", ".."}  # noqa: PTH119 - Path drops the slash


def find_destination_problem(path: Path) -> str | None:
    """What keeps a file from being written there, if anything. The disk is as before afterwards."""
    if "\0" in str(path) or not is_encodable(str(path)):
        return "holds bytes that are no text"
    try:
        return find_overwrite_problem(path) or _find_folder_problem(path.absolute())
    except OSError as error:
        return _describe_os_error(error)


def _find_folder_problem(path: Path) -> str | None:
    folder = next((folder for folder in path.parents if folder.exists()), None)
    if folder is None or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return "cannot be written: its folder does not allow it"
    longest = os.pathconf(folder, "PC_NAME_MAX")
    if len(os.fsencode(resume_file_name(path.name))) > longest:
        return f"cannot be written: its name must be at most {longest - len(resume_file_name(''))} bytes long there"
    missing = path.parent.relative_to(folder).parts
    if any(len(os.fsencode(name)) > longest for name in missing):
        return f"cannot be written: the names of its folders must be at most {longest} bytes long there"
    space = os.statvfs(folder)
    free = space.f_bavail if os.geteuid() else space.f_bfree
    if space.f_blocks and not free:  # some file systems count nothing
        return f"cannot be written: {os.strerror(errno.ENOSPC)}"
    if missing:
        return None
    return _find_ownership_problem(path, folder) or _find_write_problem(folder)


def _find_ownership_problem(path: Path, folder: Path) -> str | None:
    """Whether another user's files are in the way."""
    part = path.with_name(part_file_name(path.name))
    left = lstat_or_none(part)
    why = None if left is None else find_ownership_problem(left, folder)
    if why is not None:
        return f"cannot be written: {part} {why}; remove it or name another file"
    there, around, user = lstat_or_none(path), folder.stat(), os.geteuid()
    if there is not None and around.st_mode & stat.S_ISVTX and user not in {0, there.st_uid, around.st_uid}:
        return "belongs to another user, and its folder lets only owners replace their files; name another"
    return None


def _find_write_problem(folder: Path) -> str | None:
    try:
        try_writing(folder)
    except OSError as error:
        return _describe_os_error(error)
    return None


def _describe_os_error(error: OSError) -> str:
    return f"cannot be written: {error.strerror or type(error).__name__}"
