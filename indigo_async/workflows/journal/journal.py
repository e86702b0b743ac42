"""A batch's journal, open: thousands of jobs write to it at once and share its commits.

A commit is one blocking call of the standard library's `sqlite3`, in the journal's own thread. An asynchronous driver
would switch threads for each statement, and the event loop's shared threads may all be busy with downloads while a
purchase waits for its intent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from indigo_async._transport.cancellation import wait_shielded
from indigo_async.errors import JournalMismatchError, JournalWriteError
from indigo_async.workflows.journal.group_commit import GroupCommit
from indigo_async.workflows.journal.job_log import InputHashes, JournalJobLog
from indigo_async.workflows.journal.rows import Entry, JournalRecord, parse_record
from indigo_async.workflows.journal.store import JournalStore

__all__ = ["Journal", "read_records"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")


class Journal:
    """What a batch did, on disk. Open it with `Journal.open`; each job writes through its own `JournalJobLog`."""

    def __init__(self, path: Path) -> None:
        self._store = JournalStore(path)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="indigo-journal")
        self._append = GroupCommit(self._executor, self._store.append)
        self._load = GroupCommit(self._executor, self._store.load_jobs)
        self._closed = False
        self._has_warned = False

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncGenerator[Journal]:
        """Open a journal, or create one if there is no file, for as long as the block runs.

        The whole file is checked first. Nobody else can write to it until the block or the process ends, but anyone
        with access to it can read it. All of its files have mode 0600. When the block has ended, everything that was
        accepted is on disk.

        Raises:
            JournalInUseError: it is open for writing elsewhere, in this process or another.
            JournalVersionError: another version of this SDK writes it in another format.
            JournalDamagedError: it is not a journal, or something in it is altered or lost.
            JournalWriteError: it cannot be created or written.
        """
        journal = cls(path)
        try:
            await journal._run_in_thread(journal._store.open)
            yield journal
        finally:
            await journal._close()

    async def job_log(
        self, customer_id: str, audience_name: str, fingerprint: str, inputs: Mapping[str, str] | None = None
    ) -> JournalJobLog:
        """The log of one job; a new job is registered.

        `fingerprint` stands for all of the job's inputs, `inputs` has a hash for each part of them. Each stage is bound
        to the parts that it was made from.

        Raises:
            JournalMismatchError: an earlier run matched, expanded or purchased something from other inputs.
            JournalDamagedError, JournalWriteError: nothing may be sent for this job.
        """
        self._raise_if_closed()
        key = msgspec.json.encode([customer_id, audience_name]).decode()
        stored = await self._load.submit((key, fingerprint))
        hashes = InputHashes(inputs or {}, is_same_job=stored.fingerprint == fingerprint)
        job_log = JournalJobLog(stored, self._write, self._write_later, hashes)
        mismatch = job_log.discard_changed()
        if mismatch is not None:
            raise JournalMismatchError(
                f"{self._store.path}: job {audience_name!r} of customer {customer_id!r} has changed: {mismatch}"
            )
        return job_log

    async def batch_log(self) -> JournalJobLog:
        """The log of the batch itself: the job without a customer and a name.

        Raises:
            JournalDamagedError, JournalWriteError: nothing may be sent under this journal.
        """
        return await self.job_log("", "", "")

    async def spent_by_customer(self) -> dict[str, int]:
        """What was spent under this journal in all runs, in cents by customer ID.

        A purchase with an intent but neither a result nor a withdrawal may have been carried out, so it counts. An
        export counts once, however often its purchase was attempted.

        Raises:
            JournalDamagedError, JournalWriteError: it cannot be determined.
        """
        self._raise_if_closed()
        return await self._run_in_thread(self._store.spent_by_customer)

    async def records(self) -> AsyncGenerator[JournalRecord]:
        """Every row in order of writing, read in pages.

        Raises:
            JournalDamagedError, JournalWriteError: they cannot be read.
        """
        after = 0
        while True:
            self._raise_if_closed()
            page = await self._run_in_thread(partial(self._store.read_page, after))
            if not page:
                return
            for key, entry in page:
                yield parse_record(key, entry)
            after += len(page)

    def _write(self, entry: Entry) -> Awaitable[int]:
        self._raise_if_closed()
        return self._append.submit(entry)

    def _write_later(self, entry: Entry) -> None:
        self._raise_if_closed()
        self._append.submit_lazily(entry).add_done_callback(self._warn_if_lost)

    def _warn_if_lost(self, written: asyncio.Future[int]) -> None:
        error = written.exception()
        if error is not None and not self._has_warned:
            self._has_warned = True
            _logger.warning("reports made from this journal will lack how jobs ended: %s", error)

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise JournalWriteError(f"{self._store.path}: the journal is closed")

    def _run_in_thread(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Call a function in the journal's thread, after everything that was submitted before."""
        return asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def _close(self) -> None:
        """Write what was accepted, close the file and end the thread, even if canceled."""
        self._closed = True
        self._load.flush()
        self._append.flush()
        close = self._run_in_thread(self._store.close)
        try:
            await asyncio.shield(close)
        except asyncio.CancelledError:
            await wait_shielded(close)
            raise
        finally:
            self._executor.shutdown()  # it has nothing left to do, so this returns at once


def read_records(path: Path) -> Generator[JournalRecord]:
    """Every row of a journal in order of writing, also while a batch is writing to it. The journal is not changed.

    Blocks, so call it in a thread. Rows that are written after reading has started are not included.

    Raises:
        JournalInUseError: another program keeps everyone from reading it.
        JournalVersionError: another version of this SDK writes it in another format.
        JournalDamagedError: it is not a journal, or something in it is altered or lost.
        JournalWriteError: it does not exist or cannot be read.
    """
    with closing(JournalStore(path)) as store:
        store.open_for_reading()
        after = 0
        while page := store.read_page(after):
            for key, entry in page:
                yield parse_record(key, entry)
            after += len(page)
