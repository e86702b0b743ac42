"""Reads a journal quickly for a report: only the facts that a report shows, and no object for most rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import msgspec

from indigo_async.errors import JournalDamagedError
from indigo_async.events import Stage
from indigo_async.models import RecordId
from indigo_async.workflows.journal.rows import EntryKind, parse_key
from indigo_async.workflows.journal.store import JournalStore

__all__ = ["ErrorFacts", "ExportFacts", "JournalScan", "OutcomeFacts", "ProgressFacts", "scan_journal"]


class ExportFacts(msgspec.Struct, frozen=True):
    """The export of a purchase or a download, and its price or what was charged for it, in cents."""

    export_id: RecordId | None = None
    cost_cents: int | None = None


class ErrorFacts(msgspec.Struct, frozen=True):
    """The class and the message of a job's error."""

    type: str
    message: str


class OutcomeFacts(msgspec.Struct, frozen=True):
    """How a job ended; see `OutcomeRow`. Only rejected jobs, which have no rows of their own, are named here."""

    stage: str
    seconds: float
    timings: dict[str, float]
    error: ErrorFacts | None
    audience_id: RecordId | None = None
    warnings: tuple[str, ...] = ()
    export_id: str | None = None
    quoted_cents: int | None = None
    match: tuple[int | None, int | None] | None = None
    lookalike_size: int | None = None
    customer_id: str = ""
    audience_name: str = ""


class ProgressFacts(msgspec.Struct, frozen=True):
    """What a run had done; see `ProgressRow`. `run` is when it started, in milliseconds since 1970."""

    run: int
    ended: bool
    stopped: str | None
    budget_cents: int | None
    lost_uploads: int
    requests: dict[str, int]
    setbacks: dict[str, int]
    reads_saved: int


Facts: TypeAlias = ExportFacts | OutcomeFacts | ProgressFacts | None
ScannedRow: TypeAlias = tuple[int, str, str, float, Facts]
"""The job's number, the kind, the stage, the time in seconds since 1970, and the facts."""

_STAGES_WITH_FACTS = frozenset({"", Stage.PURCHASE.value, Stage.DOWNLOAD.value})
"""Outcomes and progress belong to no stage."""


@attrs.frozen
class JournalScan:
    """A journal's rows in order of writing, and each job's customer ID and audience name by the job's number.

    Only rows of purchases, downloads, outcomes and progress have facts. The batch itself is a job without a customer
    and a name.
    """

    names: Mapping[int, tuple[str, str]]
    rows: Iterator[ScannedRow]


@contextmanager
def scan_journal(path: Path) -> Generator[JournalScan]:
    """Scan a journal inside the block, also while a batch is writing to it. Blocks. See `read_records` for errors.

    Damaged or missing rows are found when the scan comes to them, or to the end: use nothing before that.
    """
    with closing(JournalStore(path)) as store:
        store.open_for_scan()
        names = {number: parse_key(key) for number, key in store.read_job_keys().items()}
        yield JournalScan(names, _decode_rows(path, store.scan()))


def _decode_rows(path: Path, rows: Iterable[Sequence[Any]]) -> Iterator[ScannedRow]:
    for _, job, kind, stage, facts, at_ms in rows:
        yield job, kind, stage, at_ms / 1000, _decode_facts(path, kind, facts) if stage in _STAGES_WITH_FACTS else None


def _decode_facts(path: Path, kind: str, facts: str) -> Facts:
    try:
        return _DECODERS[kind](facts)
    except (KeyError, ValueError) as error:
        raise JournalDamagedError(f"{path}: a row ({kind}) can't be read ({error})") from None


_decode_export = msgspec.json.Decoder(ExportFacts).decode
_DECODERS: Mapping[str, Callable[[str], Facts]] = {
    EntryKind.INTENT.value: _decode_export,
    EntryKind.WITHDRAWAL.value: _decode_export,
    EntryKind.RESULT.value: _decode_export,
    EntryKind.OUTCOME.value: msgspec.json.Decoder(OutcomeFacts).decode,
    EntryKind.PROGRESS.value: msgspec.json.Decoder(ProgressFacts).decode,
}
