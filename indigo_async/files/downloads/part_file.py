"""A download under way: its bytes so far, in a private file beside the target, from which a later run can go on."""

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
"""So much may be fetched again after the process was killed."""


def part_file_name(name: str) -> str:
    """The name of the file that holds the bytes so far of a download to a target of this name."""
    return f".{name}.part"


def resume_file_name(name: str) -> str:
    """The longest name of a file that a download to a target of this name makes beside it."""
    return f"{part_file_name(name)}.json"


@attrs.frozen
class DownloadedFile:
    """A whole file on disk: where, how many bytes, and the SHA-256 of its content in hex."""

    path: Path
    size_bytes: int
    sha256: str


class _ResumeState(msgspec.Struct):
    """What is known of a part file: its source, version and whole length, and how many first bytes are safe."""

    source: str
    validator: str
    size: int
    sha256: str
    total: int | None = None


class PartFile:
    """The bytes so far, in a file of mode 0600 beside the target; hashed as they are written.

    Its name is the same for every download to the target, so that what a killed process left is taken over by the next
    one. A lock, which the kernel releases when its process ends, keeps two downloads out of one file. A file there that
    someone else may have put is not used.

    `total` is the length of the whole file, as far as the server says; nothing shorter is put in the target's place.

    With a strong `validator`, a note beside it says what it holds, as far as that is safe on disk. A later download of
    the same `source` goes on from there, if the bytes are still those.
    """

    def __init__(self, destination: Path, source: str) -> None:
        self.destination = destination
        self.validator: str | None = None
        self.total: int | None = None
        self.size: int = 0
        self._source = str(source)  # a hidden one would be no plain text to write down
        self._path = destination.with_name(part_file_name(destination.name))
        self._resume_path = destination.with_name(resume_file_name(destination.name))
        self._saved_bytes = 0
        self._descriptor: int | None = None
        self._is_committed = False
        self._write_failed = False
        self._is_stale = True
        self._hash = hashlib.sha256()

    def open(self) -> None:
        """Open and lock the file, with what an earlier run left of the same source.

        Raises:
            DownloadError: another download writes it, or something else than a file is at its place.
            OSError: it cannot be written.
        """
        if self.destination.is_dir():
            raise IsADirectoryError(f"{self.destination} is a folder; name a file")
        problem = find_overwrite_problem(self.destination)
        if problem is not None:
            raise DownloadError(f"{self.destination} {problem}")
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        while self._descriptor is None:
            self._descriptor = self._open_locked()
        make_private(self._descriptor, self._path)
        note = _read_resume_state(self._resume_path)
        if note is None or not self._restore(note):
            self.restart()

    def _open_locked(self) -> int | None:
        """The part file, open and locked; None when it was taken away meanwhile."""
        descriptor, is_new = open_private(self._path, os.O_RDWR)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, descriptor)
            try:
                lock(descriptor)
            except BlockingIOError:
                raise DownloadError(f"{self.destination}: another download writes it at this moment") from None
            except OSError:
                if is_new:
                    self._path.unlink(missing_ok=True)
                raise
            undo.callback(unlock, descriptor)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), self._path.lstat()):
                    undo.pop_all()
                    return descriptor
        return None

    def _restore(self, note: _ResumeState) -> bool:
        """Whether the file begins with the bytes that were noted of this source; it then ends behind them."""
        if note.source != self._source or os.fstat(self._open_descriptor).st_size < note.size:
            return False
        while self.size < note.size:
            chunk = os.read(self._open_descriptor, min(_CHUNK_BYTES, note.size - self.size))
            if not chunk:
                return False
            self._hash.update(chunk)
            self.size += len(chunk)
        if self._hash.hexdigest() != note.sha256:
            return False
        os.ftruncate(self._open_descriptor, self.size)
        self._is_stale = False
        self.validator, self.total = note.validator, note.total
        self._saved_bytes = self.size
        return True

    @property
    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the part file is not open")
        return self._descriptor

    def write(self, chunks: Iterable[bytes | memoryview]) -> None:
        """Add bytes at the end."""
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
        """Write down how a later run can go on from here, once that is safe on disk; False where it cannot."""
        if not self.size or self.validator is None:
            return False
        note = _ResumeState(self._source, self.validator, self.size, self._hash.hexdigest(), self.total)
        # Not emptied first: on a full disk the note before would be lost, and there be no room for this one.
        try:
            text = msgspec.json.encode(note)
            fsync(self._open_descriptor)
            with open(open_private(self._resume_path, os.O_WRONLY)[0], "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(text)
                file.truncate()
        except (DownloadError, OSError, ValueError):  # a text that is no Unicode is a ValueError
            return False
        self._saved_bytes = self.size
        return True

    def restart(self) -> None:
        """Forget all bytes; they leave the disk with the next write. This does not block."""
        self.size = self._saved_bytes = 0
        self.validator = self.total = None
        self._hash = hashlib.sha256()
        self._is_stale = True

    def _remove_resume_state(self) -> None:
        with contextlib.suppress(OSError):  # a note that stays is of other bytes, and is not believed
            self._resume_path.unlink()

    def _truncate(self) -> None:
        self._remove_resume_state()
        os.lseek(self._open_descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._open_descriptor, 0)
        self._is_stale = False

    def commit(self) -> DownloadedFile:
        """Put the file, whole now, in the target's place.

        Raises:
            DownloadError: it is not whole.
            OSError: it cannot be written.
        """
        if self.total not in {None, self.size}:
            raise DownloadError(f"{self.destination.name}: {self.size} of {self.total} bytes came")
        self.write(())
        fsync(self._open_descriptor)
        self._remove_resume_state()
        self._path.replace(self.destination)
        self._is_committed = True
        fsync_folder(self.destination.parent)
        return DownloadedFile(self.destination, self.size, self._hash.hexdigest())

    def close(self) -> None:
        """Leave what is not whole for a later run, or remove it where none could go on from it."""
        if self._descriptor is None:
            return
        is_noted = self._write_failed and self._saved_bytes > 0
        try:
            if not self._is_committed and not is_noted and not self._save_resume_state():
                self._remove_resume_state()
                self._path.unlink(missing_ok=True)
        finally:
            unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def _read_resume_state(path: Path) -> _ResumeState | None:
    """The note of an earlier run; None where there is none that can be read."""
    try:
        with open(open_existing_private(path, os.O_RDONLY), "rb") as file:  # noqa: PTH123 - as above
            return msgspec.json.decode(file.read(_CHUNK_BYTES), type=_ResumeState)
    except (DownloadError, OSError, ValueError):
        return None
