"""Reading a journal that another process may be writing: its files are copied, and the copy is checked and read.

A batch keeps its journal to itself, so a second connection is refused. Bytes may be copied beside it: whatever of a
commit the copy holds in part has no valid checksum and counts as not written, as after a crash.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from indigo_async.errors import JournalError, JournalInUseError, JournalWriteError
from indigo_async.workflows.journal.journal import JournalRecord, parse_record
from indigo_async.workflows.journal.lock import is_held, is_held_by_this_process
from indigo_async.workflows.journal.store import JournalStore

__all__ = ["is_in_use", "read_records"]

_ATTEMPTS = 10
_SECONDS_BETWEEN = 0.05
_WAL_HEADER = 32


def is_in_use(path: Path) -> bool:
    """Whether a living process has the journal open: a batch that was killed has not."""
    return is_held(_sibling(path.resolve(), ".lock"))


def read_records(path: Path) -> Generator[JournalRecord]:
    """Every row of a journal in the order of writing. Nothing about the journal is changed, and nobody is held up.

    Blocks; for a thread. A batch that runs on writes more rows, which are not told.

    Raises:
        JournalInUseError: this very process has it open (`Journal.records` reads it there), or another one writes too
            fast for it to be copied.
        JournalVersionError: another version of this SDK keeps it in another form.
        JournalDamagedError: it is no journal, or something in it is altered or lost.
        JournalWriteError: it cannot be read, or not be copied.
    """
    path = path.resolve()
    with (
        tempfile.TemporaryDirectory(prefix="indigo-journal-") as folder,
        _name_original_in_errors(path, Path(folder)),
        closing(_open_copy(path, Path(folder))) as store,
    ):
        after = 0
        while page := store.read_page(after):
            for key, entry in page:
                yield parse_record(key, entry)
            after += len(page)


def _open_copy(path: Path, folder: Path) -> JournalStore:
    """A copy that passed all checks: another attempt is made where the batch wrote over what was being copied."""
    if not path.is_file():
        raise JournalWriteError(f"{path}: there is no such journal")
    if is_held_by_this_process(_sibling(path, ".lock")):
        # Closing a file ends all locks that this process has on it, those of the batch's own connection too.
        raise JournalInUseError(f"{path}: the journal is open in this process")
    for attempt in range(_ATTEMPTS):
        copy = folder / str(attempt) / path.name
        copy.parent.mkdir()
        is_whole = _copy(path, copy)
        store = JournalStore(copy)
        try:
            store.open()
        except JournalError:
            store.close()
            if is_whole:  # else what seems wrong may be of the copying alone
                raise
        except BaseException:
            store.close()
            raise
        else:
            if is_whole:
                return store
            store.close()
        shutil.rmtree(copy.parent)
        time.sleep(_SECONDS_BETWEEN)
    raise JournalInUseError(f"{path}: the batch writes faster than the journal can be copied; try again")


def _copy(path: Path, copy: Path) -> bool:
    """Copy the files. Says whether what was copied is what stood there at one time.

    The database is written only from its log, and stays so until a new log begins, which has another header. The number
    of rows comes first: it is written after they are, so the copy holds no fewer.
    """
    header = _wal_header(path)
    for suffix in (".lock", "", "-wal"):
        try:
            shutil.copyfile(_sibling(path, suffix), _sibling(copy, suffix))
        except FileNotFoundError:
            if not suffix:
                raise
    return header == _wal_header(path)


def _wal_header(path: Path) -> bytes:
    try:
        with _sibling(path, "-wal").open("rb") as file:
            return file.read(_WAL_HEADER)
    except FileNotFoundError:
        return b""


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextmanager
def _name_original_in_errors(path: Path, folder: Path) -> Generator[None]:
    """Tell of the journal where the copy is meant."""
    try:
        yield
    except JournalError as error:
        words = str(error)
        if str(folder.resolve()) not in words:
            raise
        start = words.index(str(folder.resolve()))
        raise type(error)(f"{path}{words[words.index(path.name, start) + len(path.name) :]}") from None
    except OSError as error:
        raise JournalWriteError(f"{path}: the journal cannot be read ({error.strerror})") from error
