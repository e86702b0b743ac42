"""A download in progress: a private file beside the destination, which a later run can resume."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import attrs
import msgspec

from indigo_async.errors import DownloadError
from indigo_async.files.downloads.filesystem import (
    FileId,
    file_id,
    find_overwrite_problem,
    fsync,
    fsync_folder,
    lock,
    make_private,
    open_existing_private,
    open_private,
    unlock,
)

__all__ = ["DownloadedFile", "PartFile", "part_file_name", "resume_file_name"]

_CHUNK_BYTES = 1024 * 1024
_SAVE_INTERVAL_BYTES = 8 * _CHUNK_BYTES
"""At most this much is downloaded again after the process was killed."""


def part_file_name(name: str) -> str:
    """The name of the file that holds a download's bytes until it is complete."""
    return f".{name}.part"


def resume_file_name(name: str) -> str:
    """The name of the file that holds a download's resume state: the longest name that a download creates."""
    return f"{part_file_name(name)}.json"


@attrs.frozen
class DownloadedFile:
    """A complete file on disk: its path, its size in bytes and the SHA-256 of its content in hex."""

    path: Path
    size_bytes: int
    sha256: str


class _ResumeState(msgspec.Struct):
    """What a part file holds: its source, version and total length, and how many of its first bytes are on disk."""

    source: str
    validator: str
    size: int
    sha256: str
    total: int | None = None


class PartFile:
    """The bytes of a download so far, in a file of mode 0600 beside the destination, hashed as they are written.

    Every download to the same destination uses the same part file, so the next one resumes what a killed process left.
    A lock, which ends with its process, keeps two downloads out of one part file. A part file that someone else may
    have put there is refused.

    `total` is the length of the complete file, if the server says. A shorter file never replaces the destination.

    If there is a strong `validator`, a resume state beside the part file describes the bytes that are safely on disk.
    A later download of the same `source` resumes there if those bytes are unchanged.
    """

    def __init__(self, destination: Path, source: str) -> None:
        self.destination = destination
        self.validator: str | None = None
        self.total: int | None = None
        self.size: int = 0
        self._source = str(source)  # a SecretText would be saved redacted
        self._path = destination.with_name(part_file_name(destination.name))
        self._resume_path = destination.with_name(resume_file_name(destination.name))
        self._saved_bytes = 0
        self._descriptor: int | None = None
        self._locked_file: FileId | None = None
        self._is_committed = False
        self._write_failed = False
        self._is_stale = False
        """Whether the file holds bytes that aren't part of the download."""
        self._hash = hashlib.sha256()

    def open(self) -> None:
        """Open and lock the file, and restore what an earlier run left of the same source.

        Raises:
            DownloadError: another download is writing to it, or something other than a regular file is in its place or
                at the destination.
            OSError: it cannot be written.
        """
        problem = find_overwrite_problem(self.destination)
        if problem is not None:
            raise DownloadError(f"{self.destination} {problem}")
        if not self.destination.parent.is_dir():
            self.destination.parent.mkdir(parents=True, exist_ok=True)
        while self._descriptor is None:
            self._open_locked()
        make_private(self._open_descriptor, self._path)
        state = _read_resume_state(self._resume_path) if self._is_stale else None
        if state is not None and not self._restore(state):
            self.restart()

    def _open_locked(self) -> None:
        """Open and lock the part file, unless another download removes it in the meantime."""
        descriptor, is_new = open_private(self._path, os.O_RDWR)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, descriptor)
            try:
                file = lock(descriptor)
            except BlockingIOError:
                raise DownloadError(f"{self.destination}: another download is writing to it") from None
            except OSError:
                if is_new:
                    self._path.unlink(missing_ok=True)
                raise
            undo.callback(unlock, file)
            with contextlib.suppress(FileNotFoundError):
                if file == file_id(self._path.lstat()):
                    self._descriptor, self._locked_file, self._is_stale = descriptor, file, not is_new
                    undo.pop_all()

    def _restore(self, state: _ResumeState) -> bool:
        """Resume after the bytes that the state describes. Returns False if the file does not begin with them."""
        if state.source != self._source or os.fstat(self._open_descriptor).st_size < state.size:
            return False
        while self.size < state.size:
            chunk = os.read(self._open_descriptor, min(_CHUNK_BYTES, state.size - self.size))
            if not chunk:
                return False
            self._hash.update(chunk)
            self.size += len(chunk)
        if self._hash.hexdigest() != state.sha256:
            return False
        os.ftruncate(self._open_descriptor, self.size)
        self._is_stale = False
        self.validator, self.total = state.validator, state.total
        self._saved_bytes = self.size
        return True

    @property
    def is_open(self) -> bool:
        return self._descriptor is not None

    @property
    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the part file is not open")
        return self._descriptor

    def write(self, chunks: Iterable[bytes | memoryview]) -> None:
        """Append bytes."""
        if self._is_stale:
            self._truncate()
        for chunk in chunks:
            self._write_all(chunk)
            self._hash.update(chunk)
            self.size += len(chunk)
        if self.size - self._saved_bytes >= _SAVE_INTERVAL_BYTES:
            self._save_resume_state()

    def _write_all(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._open_descriptor, view) :]
        except OSError:
            self._write_failed = True
            raise

    def _save_resume_state(self) -> bool:
        """Flush the bytes to disk, then save how a later run can resume after them. Returns False if that fails."""
        if not self.size or self.validator is None:
            return False
        state = _ResumeState(self._source, self.validator, self.size, self._hash.hexdigest(), self.total)
        # Overwrite in place: on a full disk, truncating first would lose the old state without room for the new one.
        try:
            text = msgspec.json.encode(state)
            fsync(self._open_descriptor)
            with open(open_private(self._resume_path, os.O_WRONLY)[0], "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(text)
                file.truncate()
        except (DownloadError, OSError, ValueError):  # ValueError: the validator is not valid Unicode
            return False
        self._saved_bytes = self.size
        return True

    def restart(self) -> None:
        """Forget all bytes. They are removed from disk by the next write, so this does not block."""
        self._is_stale |= self.size > 0
        self.size = self._saved_bytes = 0
        self.validator = self.total = None
        self._hash = hashlib.sha256()

    def _remove_resume_state(self) -> None:
        with contextlib.suppress(OSError):  # a state that stays is ignored, because the bytes will have another hash
            self._resume_path.unlink()

    def _truncate(self) -> None:
        self._remove_resume_state()
        os.lseek(self._open_descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._open_descriptor, 0)
        self._is_stale = False

    def commit(self) -> DownloadedFile:
        """Move the complete file to the destination, and close it.

        Raises:
            DownloadError: it is not complete.
            OSError: it cannot be written.
        """
        if self.total not in {None, self.size}:
            raise DownloadError(f"{self.destination.name}: received {self.size} of {self.total} bytes")
        self.write(())
        fsync(self._open_descriptor)
        self._remove_resume_state()
        self._path.replace(self.destination)
        self._is_committed = True
        fsync_folder(self.destination.parent)
        self.close()
        return DownloadedFile(self.destination, self.size, self._hash.hexdigest())

    def close(self) -> None:
        """Close the file. An incomplete one stays if a later run can resume it, and is removed otherwise."""
        if self._descriptor is None:
            return
        has_older_state = self._write_failed and self._saved_bytes > 0
        try:
            if not self._is_committed and not has_older_state and not self._save_resume_state():
                self._remove_resume_state()
                self._path.unlink(missing_ok=True)
        finally:
            if self._locked_file is not None:
                unlock(self._locked_file)
            os.close(self._descriptor)
            self._descriptor = None


def _read_resume_state(path: Path) -> _ResumeState | None:
    try:
        with open(open_existing_private(path, os.O_RDONLY), "rb") as file:  # noqa: PTH123 - a descriptor
            return msgspec.json.decode(file.read(_CHUNK_BYTES), type=_ResumeState)
    except (DownloadError, OSError, ValueError):
        return None
