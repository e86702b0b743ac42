"""What the journal knows of one job, and what may be written about it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from indigo_async.events import Stage
from indigo_async.workflows.journal.input_hashes import InputHashes, is_permanent, strip_hashes
from indigo_async.workflows.journal.rows import Entry, EntryKind
from indigo_async.workflows.journal.store import StoredJob

__all__ = ["JournalJobLog"]

_logger = logging.getLogger("indigo_async")


class JournalJobLog:
    """The results of a job's stages, and the POSTs that may or may not have been carried out.

    Facts are small JSON objects, without URLs that grant anything. Those of a purchase have `export_id` and
    `cost_cents`, in whole cents.
    """

    __slots__ = ("_input_hashes", "_intents", "_job_number", "_results", "_write", "_write_later")

    def __init__(
        self,
        stored: StoredJob,
        write: Callable[[Entry], Awaitable[object]],
        write_later: Callable[[Entry], object],
        input_hashes: InputHashes,
    ) -> None:
        self._write = write
        self._write_later = write_later
        self._job_number = stored.id
        self._input_hashes = input_hashes
        # JSON text takes a fraction of what the mappings would, and 10,000 jobs may wait with it.
        self._results: dict[str, str] = {}
        self._intents: dict[str, tuple[str, ...]] = {}
        for entry in stored.entries:
            self._apply(entry)

    def discard_changed(self) -> str | None:
        """Forget what free stages made from other inputs than the job has now; they make it again.

        Returns what was made from other inputs and binds the job to them, in words.
        """
        for stage in Stage:
            recorded = [*self._intents.get(stage, ()), *filter(None, [self._results.get(stage)])]
            changes = {facts: self._input_hashes.changed_parts(stage, msgspec.json.decode(facts)) for facts in recorded}
            if is_permanent(stage) and any(changes.values()):
                return self._input_hashes.describe_change(stage, next(filter(None, changes.values())))
            if stage in self._intents:
                self._intents[stage] = tuple(facts for facts in self._intents[stage] if not changes[facts])
            if stage in self._results and changes[self._results[stage]]:
                del self._results[stage]
        return None

    def result(self, stage: Stage) -> Mapping[str, Any] | None:
        """The last result of a stage, from this run or an earlier one."""
        facts = self._results.get(stage)
        return None if facts is None else strip_hashes(msgspec.json.decode(facts))

    def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:
        """The last intent of a stage since its last result: a POST whose outcome is not known here."""
        intents = self._intents.get(stage)
        return strip_hashes(msgspec.json.decode(intents[-1])) if intents else None

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Write down that a POST is about to be sent. Returns when that is synced to disk, so that it may be sent.

        Cancelled, it is written whole or not at all.

        Raises:
            JournalError: it is not known to be on disk, so nothing may be sent.
            ValueError: these are no facts for a journal.
        """
        await self._append(EntryKind.INTENT, stage, _facts_json(stage, self._input_hashes.add_to(stage, facts)))

    async def cancel_intent(self, stage: Stage) -> None:
        """Write down that the last intended POST of a stage was certainly not carried out: refused, or never sent.

        Raises:
            JournalError: it is not known to be on disk.
        """
        intents = self._intents.get(stage)
        if intents:
            await self._append(EntryKind.WITHDRAWAL, stage, intents[-1])

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Write down the result of a stage, synced like an intent. It takes the place of an earlier one.

        Raises:
            JournalError: it is not known to be on disk.
            ValueError: these are no facts for a journal.
        """
        await self._append(EntryKind.RESULT, stage, _facts_json(stage, self._input_hashes.add_to(stage, facts)))

    def record_for_report(self, kind: EntryKind, facts: Mapping[str, Any]) -> None:
        """Write down an outcome or a progress along with what others write. Nobody waits for it.

        The facts are JSON, and hold no URL that grants anything. A crash within the next second may lose them. What
        cannot be written down is left out: no job is to fail for a report's sake.
        """
        try:
            told = msgspec.json.encode(facts).decode()
        except (TypeError, ValueError, OverflowError):
            _logger.warning("the journal leaves out what no JSON can hold: %s of %s", kind, self._job_number)
            return
        self._write_later(Entry(self._job_number, kind, "", told, time.time_ns() // 1_000_000))

    async def _append(self, kind: EntryKind, stage: Stage, facts: str) -> None:
        entry = Entry(self._job_number, kind, stage.value, facts, time.time_ns() // 1_000_000)
        await self._write(entry)
        self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        unsettled = self._intents.pop(entry.stage, ())
        match entry.kind:
            case EntryKind.INTENT:
                self._intents[entry.stage] = (*unsettled, entry.facts)
            case EntryKind.WITHDRAWAL:
                self._intents[entry.stage] = unsettled[:-1]
            case EntryKind.RESULT:
                self._results[entry.stage] = entry.facts
            case EntryKind.OUTCOME | EntryKind.PROGRESS:
                pass


_SIGNED_URL = re.compile(r'://[^"\s]*[?@]')


def _facts_json(stage: Stage, facts: Mapping[str, Any]) -> str:
    """Facts as they are kept.

    Raises:
        ValueError: they would not come back as they are, hold a URL that may be signed, or are no purchase's.
    """
    try:
        encoded = msgspec.json.encode(dict(facts))
    except (TypeError, OverflowError) as error:
        raise ValueError(f"the facts of {stage} are no JSON: {error}") from None
    if msgspec.json.decode(encoded) != facts:
        raise ValueError(f"the facts of {stage} would not come back from JSON as they are")
    text = encoded.decode()
    if _SIGNED_URL.search(text):
        raise ValueError(f"the facts of {stage} hold a URL with a query or a password, which may be a key to something")
    cents = facts.get("cost_cents")
    if stage is Stage.PURCHASE and ("export_id" not in facts or not isinstance(cents, int) or cents < 0):
        raise ValueError("the facts of a purchase need export_id and cost_cents, in whole cents")
    return text
