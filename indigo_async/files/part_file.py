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
from indigo_async.files.filesystem import (
    kind_problem,
    lock,
    make_private,
    open_existing,
    open_own,
    sync,
    sync_folder,
    unlock,
)

__all__ = ["Downloaded", "PartFile", "note_name", "part_name"]

_CHUNK_BYTES = 1024 * 1024
_NOTE_BYTES = 8 * _CHUNK_BYTES
"""So much may be fetched again after the process was killed."""


def part_name(name: str) -> str:
    """The name of the file that holds the bytes so far of a download to a target of this name."""
    return f".{name}.part"


def note_name(name: str) -> str:
    """The longest name of a file that a download to a target of this name makes beside it."""
    return f"{part_name(name)}.json"


@attrs.frozen
class Downloaded:
    """A whole file on disk: where, how many bytes, and the SHA-256 of its content in hex."""

    path: Path
    size_bytes: int
    sha256: str


class _Note(msgspec.Struct):
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
        self._path = destination.with_name(part_name(destination.name))
        self._note_path = destination.with_name(note_name(destination.name))
        self._noted_bytes = 0
        self._descriptor: int | None = None
        self._is_committed = False
        self._is_full = False
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
        problem = kind_problem(self.destination)
        if problem is not None:
            raise DownloadError(f"{self.destination} {problem}")
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        while self._descriptor is None:
            self._descriptor = self._locked()
        make_private(self._descriptor, self._path)
        note = _read_note(self._note_path)
        if note is None or not self._holds(note):
            self.restart()

    def _locked(self) -> int | None:
        """The part file, open and locked; None when it was taken away meanwhile."""
        descriptor, is_new = open_own(self._path, os.O_RDWR)
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

    def _holds(self, note: _Note) -> bool:
        """Whether the file begins with the bytes that were noted of this source; it then ends behind them."""
        if note.source != self._source or os.fstat(self._opened).st_size < note.size:
            return False
        while self.size < note.size:
            chunk = os.read(self._opened, min(_CHUNK_BYTES, note.size - self.size))
            if not chunk:
                return False
            self._hash.update(chunk)
            self.size += len(chunk)
        if self._hash.hexdigest() != note.sha256:
            return False
        os.ftruncate(self._opened, self.size)
        self._is_stale = False
        self.validator, self.total = note.validator, note.total
        self._noted_bytes = self.size
        return True

    @property
    def _opened(self) -> int:
        if self._descriptor is None:
            raise ValueError("the part file is not open")
        return self._descriptor

    def write(self, chunks: Iterable[bytes | memoryview]) -> None:
        """Add bytes at the end."""
        if self._is_stale:
            self._clear()
        for chunk in chunks:
            self._write_whole(chunk)
            self._hash.update(chunk)
            self.size += len(chunk)
        if self.size - self._noted_bytes >= _NOTE_BYTES:
            self._note()

    def _write_whole(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._opened, view) :]
        except OSError:
            self._is_full = True
            raise

    def _note(self) -> bool:
        """Write down how a later run can go on from here, once that is safe on disk; False where it cannot."""
        if not self.size or self.validator is None:
            return False
        note = _Note(self._source, self.validator, self.size, self._hash.hexdigest(), self.total)
        # Not emptied first: on a full disk the note before would be lost, and there be no room for this one.
        try:
            text = msgspec.json.encode(note)
            sync(self._opened)
            with open(open_own(self._note_path, os.O_WRONLY)[0], "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(text)
                file.truncate()
        except (DownloadError, OSError, ValueError):  # a text that is no Unicode is a ValueError
            return False
        self._noted_bytes = self.size
        return True

    def restart(self) -> None:
        """Forget all bytes; they leave the disk with the next write. This does not block."""
        self.size = self._noted_bytes = 0
        self.validator = self.total = None
        self._hash = hashlib.sha256()
        self._is_stale = True

    def _remove_note(self) -> None:
        with contextlib.suppress(OSError):  # a note that stays is of other bytes, and is not believed
            self._note_path.unlink()

    def _clear(self) -> None:
        self._remove_note()
        os.lseek(self._opened, 0, os.SEEK_SET)
        os.ftruncate(self._opened, 0)
        self._is_stale = False

    def commit(self) -> Downloaded:
        """Put the file, whole now, in the target's place.

        Raises:
            DownloadError: it is not whole.
            OSError: it cannot be written.
        """
        if self.total not in {None, self.size}:
            raise DownloadError(f"{self.destination.name}: {self.size} of {self.total} bytes came")
        self.write(())
        sync(self._opened)
        self._remove_note()
        self._path.replace(self.destination)
        self._is_committed = True
        sync_folder(self.destination.parent)
        return Downloaded(self.destination, self.size, self._hash.hexdigest())

    def close(self) -> None:
        """Leave what is not whole for a later run, or remove it where none could go on from it."""
        if self._descriptor is None:
            return
        is_noted = self._is_full and self._noted_bytes > 0
        try:
            if not self._is_committed and not is_noted and not self._note():
                self._remove_note()
                self._path.unlink(missing_ok=True)
        finally:
            unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def _read_note(path: Path) -> _Note | None:
    """The note of an earlier run; None where there is none that can be read."""
    try:
        with open(open_existing(path, os.O_RDONLY), "rb") as file:  # noqa: PTH123 - as above
            return msgspec.json.decode(file.read(_CHUNK_BYTES), type=_Note)
    except (DownloadError, OSError, ValueError):
        return None
