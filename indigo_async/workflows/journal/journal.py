"""A batch's journal, open: thousands of jobs write to it at once and share its commits.

A commit is one call of a blocking function, so the standard library's `sqlite3` serves, in one thread of the journal's
own. An asynchronous driver would cross threads once for each statement; the event loop's shared threads may all be busy
with downloads while a purchase waits for its intent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec

from indigo_async._transport.cancellation import wait_shielded
from indigo_async.errors import JournalMismatchError, JournalWriteError
from indigo_async.workflows.journal.group_commit import GroupCommit
from indigo_async.workflows.journal.input_hashes import InputHashes
from indigo_async.workflows.journal.job_log import JournalJobLog
from indigo_async.workflows.journal.rows import Entry, EntryKind
from indigo_async.workflows.journal.store import JournalStore

__all__ = ["Journal", "JournalRecord", "parse_record"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")


@attrs.frozen(kw_only=True)
class JournalRecord:
    """One row of the journal, written `at` a wall-clock time in UTC. `stage` is a value of `Stage`.

    Where `kind` is an outcome or a progress, `stage` is empty. Rows of the batch itself have no customer and no name.
    """

    customer_id: str
    audience_name: str
    kind: EntryKind
    stage: str
    facts: Mapping[str, Any]
    at: datetime


class Journal:
    """What a batch did, on disk. Opened by `Journal.open`; each job writes to its own `JobMemory` of it."""

    def __init__(self, path: Path) -> None:
        self._store = JournalStore(path)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="indigo-journal")
        self._append = GroupCommit(self._run_in_thread, self._store.append)
        self._load = GroupCommit(self._run_in_thread, self._store.load_jobs)
        self._closed = False
        self._has_warned = False

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncGenerator[Journal]:
        """Open a journal, or begin one where no file is, for as long as the block runs.

        Only their owner can read the file and those beside it (`.lock`, and `-wal` until it is closed): they have mode
        0600, and an existing file is given it. The whole file is checked first. It cannot be opened a second time until
        the block or the process ends. When the block has ended, all that was accepted is on disk.

        Raises:
            JournalInUseError: it is open elsewhere, in this process or another.
            JournalVersionError: another version of this SDK keeps it in another form.
            JournalDamagedError: it is no journal, or something in it is altered or lost.
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
        """What is known of one job; a new one is registered.

        `fingerprint` stands for all of the job's inputs, `inputs` has a hash for each part of them. Each stage is bound
        to the parts that it was made from.

        Raises:
            JournalMismatchError: an earlier run matched, grew or purchased something from other inputs.
            JournalDamagedError, JournalWriteError: nothing may be sent for this job.
        """
        self._raise_if_closed()
        key = msgspec.json.encode([customer_id, audience_name]).decode()
        stored = await self._load((key, fingerprint))
        binding = InputHashes(inputs or {}, is_same_job=stored.fingerprint == fingerprint)
        memory = JournalJobLog(stored, self._write, self._write_later, binding)
        mismatch = memory.discard_changed()
        if mismatch is not None:
            raise JournalMismatchError(
                f"{self._store.path}: job {audience_name!r} of customer {customer_id!r} has changed: {mismatch}. "
                "Nothing was sent for it now. Undo the change, or give the changed audience or lookalike a new name"
            )
        return memory

    async def batch_log(self) -> JournalJobLog:
        """Where the batch itself writes: the job of no customer and no name.

        Raises:
            JournalDamagedError, JournalWriteError: nothing may be sent under this journal.
        """
        return await self.job_log("", "", "")

    async def spent_cents(self) -> int:
        """What was spent under this journal in all runs, in cents.

        A purchase that was intended and has neither a result nor a withdrawal may have been carried out, so it counts.
        An export counts once, however often its purchase was tried.

        Raises:
            JournalDamagedError, JournalWriteError: it cannot be told.
        """
        self._raise_if_closed()
        return await self._run_in_thread(self._store.spent_cents)

    async def records(self) -> AsyncGenerator[JournalRecord]:
        """Every row in the order of writing, read in pages.

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
        return self._append(entry)

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
        """Call a function in the journal's thread, after all that was handed to it before."""
        return asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def _close(self) -> None:
        """Write what was accepted, close the file and end the thread, through any cancellation."""
        self._closed = True
        self._load.flush()
        self._append.flush()
        closing = self._run_in_thread(self._store.close)
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await wait_shielded(closing)
            raise
        finally:
            self._executor.shutdown()  # it has nothing left to do, so this returns at once


def parse_record(key: str, entry: Entry) -> JournalRecord:
    customer_id, audience_name = msgspec.json.decode(key)
    return JournalRecord(
        customer_id=customer_id,
        audience_name=audience_name,
        kind=entry.kind,
        stage=entry.stage,
        facts=msgspec.json.decode(entry.facts),
        at=datetime.fromtimestamp(entry.at_ms / 1000, UTC),
    )
