"""What the journal knows about one job, and which of the job's inputs each stage was made from."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import msgspec

from indigo_async.events import Stage
from indigo_async.workflows.journal.rows import Entry, EntryKind
from indigo_async.workflows.journal.store import StoredJob

__all__ = ["InputHashes", "JournalJobLog"]

_logger = logging.getLogger("indigo_async")

_INPUTS_KEY = "inputs"
_PARTS = ("server", "csv", "columns", "lookalike")
_PARTS_OF_STAGE = {Stage.UPLOAD: _PARTS[:2], Stage.MATCH: _PARTS[:3]}
"""Later stages use all of them, because the lookalike is what is exported if there is one."""

_CHANGE_TEXT = {
    "server": "for another server",
    "csv": "from another CSV",
    "columns": "with other columns",
    "lookalike": "with other lookalike settings (name, size, filters or include_original_audience)",
}
_PERMANENT_STAGES = {
    Stage.MATCH: "matched this audience",
    Stage.LOOKALIKE: "made the lookalike",
    Stage.PURCHASE: "purchased an export",
}
"""Stages after which a job's inputs may not change: a name is taken for good, or money is spent.

Uploads and previews are free, so they are simply made again.
"""


@attrs.frozen
class InputHashes:
    """The inputs that a job has now: one hash for each part. If there are none, nothing is recorded or compared.

    Earlier versions recorded no inputs. For their rows, `is_same_job` says whether the job as a whole is the one that
    the journal first saw.
    """

    by_part: Mapping[str, str] = attrs.Factory(dict[str, str])
    is_same_job: bool = True

    def add_to(self, stage: Stage, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """A stage's facts together with the inputs that the stage uses."""
        return {**facts, _INPUTS_KEY: self._hashes_of(stage)} if self.by_part else facts

    def changed_parts(self, stage: Stage, facts: str) -> tuple[str, ...]:
        """The parts of the job that have changed since a row with these facts, in JSON, was written."""
        recorded = _inputs_decoder.decode(facts).inputs
        if not recorded or not self.by_part:
            return () if self.is_same_job else ("job",)
        used = self._hashes_of(stage)
        return () if recorded == used else tuple(part for part in used if recorded.get(part) != used[part])

    def _hashes_of(self, stage: Stage) -> dict[str, str]:
        return {part: self.by_part.get(part, "") for part in _PARTS_OF_STAGE.get(stage, _PARTS)}


class _RecordedInputs(msgspec.Struct):
    """The inputs in the facts of a stage, if there are any."""

    inputs: dict[str, str] | None = None


_inputs_decoder = msgspec.json.Decoder(_RecordedInputs)


class JournalJobLog:
    """The results of a job's stages, and the POSTs whose outcome is not known.

    Facts are small JSON objects without URLs that grant access to anything. Those of a purchase have `export_id` and
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
        # JSON text takes a fraction of the memory that mappings would, and 10,000 jobs may be waiting.
        self._results: dict[str, str] = {}
        self._intents: dict[str, tuple[str, ...]] = {}
        for entry in stored.entries:
            self._apply(entry)

    def discard_changed(self) -> str | None:
        """Forget what free stages made from inputs that have changed since, so that they make it again.

        Returns a description of what an earlier run made permanently from other inputs, if anything, and what to do.
        """
        for stage in Stage:
            recorded = [*self._intents.get(stage, ()), *filter(None, [self._results.get(stage)])]
            changes = {facts: self._input_hashes.changed_parts(stage, facts) for facts in recorded}
            if stage in _PERMANENT_STAGES and any(changes.values()):
                return _describe_change(stage, next(filter(None, changes.values())))
            if stage in self._intents:
                self._intents[stage] = tuple(facts for facts in self._intents[stage] if not changes[facts])
            if stage in self._results and changes[self._results[stage]]:
                del self._results[stage]
        return None

    def result(self, stage: Stage) -> Mapping[str, Any] | None:
        """The last result of a stage, from this run or an earlier one."""
        facts = self._results.get(stage)
        return None if facts is None else _decode_facts(facts)

    def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:
        """The last intent of a stage since its last result: a POST whose outcome the journal does not know."""
        intents = self._intents.get(stage)
        return _decode_facts(intents[-1]) if intents else None

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Record that a POST is about to be sent. It may be sent when this returns, since it is then synced to disk.

        If canceled, the intent is recorded either completely or not at all.

        Raises:
            JournalError: it may not be on disk, so nothing may be sent.
            ValueError: the journal cannot store these facts.
        """
        await self._append(EntryKind.INTENT, stage, _encode_facts(stage, self._input_hashes.add_to(stage, facts)))

    async def cancel_intent(self, stage: Stage) -> None:
        """Record that the last intended POST of a stage was certainly not carried out: refused, or never sent.

        Raises:
            JournalError: it may not be on disk.
        """
        intents = self._intents.get(stage)
        if intents:
            await self._append(EntryKind.WITHDRAWAL, stage, intents[-1])

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Record the result of a stage, synced like an intent. It replaces an earlier result.

        Raises:
            JournalError: it may not be on disk.
            ValueError: the journal cannot store these facts.
        """
        await self._append(EntryKind.RESULT, stage, _encode_facts(stage, self._input_hashes.add_to(stage, facts)))

    def record_for_report(self, kind: EntryKind, facts: Mapping[str, Any]) -> None:
        """Record an outcome or a progress along with the next rows, without waiting for it.

        The facts are JSON without URLs that grant access to anything. A crash within the next second may lose them.
        Reporting never fails a job, so what cannot be stored is skipped with a warning.
        """
        try:
            encoded = msgspec.json.encode(facts).decode()
        except (TypeError, ValueError, OverflowError):
            _logger.warning("the journal skips a row that JSON cannot hold: %s of job %s", kind, self._job_number)
            return
        self._write_later(Entry(self._job_number, kind, "", encoded, time.time_ns() // 1_000_000))

    async def _append(self, kind: EntryKind, stage: Stage, facts: str) -> None:
        entry = Entry(self._job_number, kind, stage.value, facts, time.time_ns() // 1_000_000)
        await self._write(entry)
        self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        open_intents = self._intents.pop(entry.stage, ())
        match entry.kind:
            case EntryKind.INTENT:
                self._intents[entry.stage] = (*open_intents, entry.facts)
            case EntryKind.WITHDRAWAL:
                self._intents[entry.stage] = open_intents[:-1]
            case EntryKind.RESULT:
                self._results[entry.stage] = entry.facts
            case EntryKind.OUTCOME | EntryKind.PROGRESS:
                pass


def _describe_change(stage: Stage, changes: tuple[str, ...]) -> str:
    """What an earlier run did, what has changed since, and what to do."""
    parts = [_CHANGE_TEXT[part] for part in changes if part in _CHANGE_TEXT]
    if not parts:
        parts = ["from another CSV, with other columns or with another lookalike"]
    if "server" in changes:
        advice = "Check that the server (base_url) and the token are that run's"
    else:
        advice = "Undo the change, or give the changed audience or lookalike a new name"
    return f"an earlier run {_PERMANENT_STAGES[stage]} {' and '.join(parts)}. Nothing was sent for it now. {advice}"


def _decode_facts(text: str) -> dict[str, Any]:
    """A stage's facts as the stage recorded them, without its inputs."""
    facts: dict[str, Any] = msgspec.json.decode(text)
    facts.pop(_INPUTS_KEY, None)
    return facts


_SIGNED_URL = re.compile(r'://[^"\s]*[?@]')


def _encode_facts(stage: Stage, facts: Mapping[str, Any]) -> str:
    """Facts as they are stored.

    Raises:
        ValueError: they would not survive storage unchanged, contain a URL that may be signed, or lack what a purchase
            needs.
    """
    try:
        encoded = msgspec.json.encode(dict(facts))
    except (TypeError, OverflowError) as error:
        raise ValueError(f"the facts of {stage} are not JSON: {error}") from None
    if msgspec.json.decode(encoded) != facts:
        raise ValueError(f"JSON changes the facts of {stage}")
    text = encoded.decode()
    if _SIGNED_URL.search(text):
        raise ValueError(f"the facts of {stage} contain a URL with a query or a password, which may grant access")
    cents = facts.get("cost_cents")
    if stage is Stage.PURCHASE and ("export_id" not in facts or not isinstance(cents, int) or cents < 0):
        raise ValueError("the facts of a purchase need export_id and cost_cents, in whole cents")
    return text
