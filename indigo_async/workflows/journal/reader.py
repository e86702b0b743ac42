"""Reads a journal as typed rows: what each run was about to do, what it did, and how its jobs ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from indigo_async._validation import InputCheck
from indigo_async.errors import JournalDamagedError
from indigo_async.events import Stage
from indigo_async.models import RecordId
from indigo_async.workflows.journal.files import SUFFIXES, is_in_use, real_path, sibling
from indigo_async.workflows.journal.journal import read_records
from indigo_async.workflows.journal.rows import EntryKind, JournalRecord, PurchaseTotals, sum_purchase_facts

__all__ = [
    "JournalReader",
    "JournalRow",
    "OutcomeRow",
    "ProgressRow",
    "StageRow",
    "read_journal",
    "sum_purchases",
]


@attrs.frozen(kw_only=True)
class StageRow:
    """A stage of one job: a POST that is about to be sent, its withdrawal, or the result of the stage.

    Facts that a stage doesn't have are None.

    Attributes:
        at: when the row was written, in UTC.
        kind: `INTENT`, `WITHDRAWAL` or `RESULT`.
        stage: a value of `Stage`.
        audience_id: the audience that the stage works on, or has made.
        base_audience_id: the audience that a lookalike is made from.
        export_id: the export that was priced, purchased or downloaded.
        field_types: the paid field types of the export.
        cost_cents: the price of the export in cents; in the result of a purchase, what was charged.
        path: where the CSV was saved.
        size_bytes: the size of the CSV.
        sha256: the SHA-256 of the CSV, in hex.
    """

    customer_id: str
    audience_name: str
    at: datetime
    kind: EntryKind
    stage: str
    audience_id: RecordId | None = None
    base_audience_id: RecordId | None = None
    export_id: RecordId | None = None
    field_types: tuple[str, ...] | None = None
    cost_cents: int | None = None
    path: Path | None = None
    size_bytes: int | None = None
    sha256: str | None = None


@attrs.frozen(kw_only=True)
class OutcomeRow:
    """How a job ended in one run.

    Attributes:
        at: when the job ended, in UTC.
        was_rejected: the job was invalid, so it has no other rows in this run.
        stage: the stage that the job reached, a value of `Stage`.
        seconds: how long the job took in this run.
        timings: the seconds that it spent in each stage that it finished.
        audience_id: the last audience that it worked on.
        error_type: the class of the error; None if the job succeeded.
        error_message: the message of the error, redacted.
        warnings: what you should know about the job.
        export_id: the export that was priced, as text.
        quoted_cents: the price of that export in cents.
        matched: how many rows were matched; None if the server doesn't show it.
        rows: how many rows the CSV has; None if the server doesn't show it.
        lookalike_size: how many people the lookalike has; None if the server doesn't show it.
    """

    customer_id: str
    audience_name: str
    at: datetime
    was_rejected: bool = False
    stage: str
    seconds: float
    timings: Mapping[str, float] = attrs.field(factory=dict[str, float])
    audience_id: RecordId | None = None
    error_type: str | None = None
    error_message: str | None = None
    warnings: tuple[str, ...] = ()
    export_id: str | None = None
    quoted_cents: int | None = None
    matched: int | None = None
    rows: int | None = None
    lookalike_size: int | None = None


@attrs.frozen(kw_only=True)
class ProgressRow:
    """What one run had done when this row was written. A run writes one every few seconds, the last one at its end.

    Attributes:
        at: when the row was written, in UTC.
        run_started_at: when the run started, in UTC. It identifies the run.
        has_ended: whether this is the run's last row. A run that was killed has none.
        seconds: how long the run had taken.
        done: the jobs that were done.
        failed: the jobs that had failed.
        stopped: why no more jobs were started; None if nothing stopped the run.
        budget_cents: the budget of all runs with the journal, in cents.
        lost_uploads: uploads whose response was lost.
        requests: the number of requests by endpoint.
        failed_requests: the number of requests without a usable response, by HTTP status or reason.
        reads_saved: status checks that needed no request of their own.
    """

    at: datetime
    run_started_at: datetime
    has_ended: bool
    seconds: float
    done: int
    failed: int
    stopped: str | None = None
    budget_cents: int | None = None
    lost_uploads: int = 0
    requests: Mapping[str, int] = attrs.field(factory=dict[str, int])
    failed_requests: Mapping[str, int] = attrs.field(factory=dict[str, int])
    reads_saved: int = 0


JournalRow: TypeAlias = StageRow | OutcomeRow | ProgressRow
"""A row of a journal."""


@attrs.frozen
class JournalReader:
    """A journal to read, also while a batch is writing to it. `read_journal` returns one.

    Iterate over it for its rows, in the order in which they were written. Each iteration reads the journal from the
    start, lazily, and includes what was written before the iteration began. It blocks: in a coroutine, use
    `await asyncio.to_thread(list, reader)`. See `read_journal` for the errors it raises.
    """

    path: Path

    def __iter__(self) -> Iterator[JournalRow]:
        for record in read_records(self.path):
            try:
                row = _READERS[record.kind](record)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                problem = f"{self.path}: a row of {record.at} can't be read ({type(error).__name__}: {error})"
                raise JournalDamagedError(problem) from None
            yield row

    def is_in_use(self) -> bool:
        """Whether a running process has the journal open for writing. Blocks for an instant; creates no file."""
        return is_in_use(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The journal's files: the journal itself and those beside it, whether or not they exist now."""
        path = real_path(self.path)
        return tuple(sibling(path, suffix) for suffix in SUFFIXES)


def read_journal(path: Path | str) -> JournalReader:
    """Read the journal of a batch, also while the batch is running.

    The journal is only read. It is never created, changed or upgraded, and a running batch can go on writing to it.
    Journals of earlier versions of this SDK can be read, too. Errors are raised when the iteration begins.

    Args:
        path: the journal's path, as passed to `run_batch`.

    Raises:
        InvalidInputError: this is not a path.
        JournalVersionError: a later version of this SDK wrote it in another format.
        JournalDamagedError: it is not a journal, or something in it is altered or lost.
        JournalInUseError: another program has locked it against reading.
        JournalWriteError: it does not exist or cannot be read.
    """
    check = InputCheck()
    checked_path = check.path("path", path)
    check.raise_if_invalid()
    return JournalReader(checked_path)


def sum_purchases(rows: Iterable[JournalRow]) -> PurchaseTotals:
    """Add up the purchases in the rows of one job or of a whole journal, in cents.

    An export counts once, however often its purchase was attempted. A purchase that has neither a result nor a
    withdrawal may have been made, so it counts as unresolved.
    """
    return sum_purchase_facts(
        (row.kind, str(row.export_id), row.cost_cents or 0)
        for row in rows
        if isinstance(row, StageRow) and row.stage == Stage.PURCHASE
    )


def _read_stage(record: JournalRecord) -> StageRow:
    facts = record.facts
    fields, path = facts.get("field_types"), facts.get("path")
    return StageRow(
        customer_id=record.customer_id,
        audience_name=record.audience_name,
        at=record.at,
        kind=record.kind,
        stage=record.stage,
        audience_id=facts.get("audience_id"),
        base_audience_id=facts.get("base_audience_id"),
        export_id=facts.get("export_id"),
        field_types=None if fields is None else tuple(fields),
        cost_cents=facts.get("cost_cents"),
        path=None if path is None else Path(path),
        size_bytes=facts.get("size_bytes"),
        sha256=facts.get("sha256"),
    )


def _read_outcome(record: JournalRecord) -> OutcomeRow:
    facts = record.facts
    was_rejected = not record.customer_id  # written to the batch's own log, which has no customer
    error: Mapping[str, Any] = facts["error"] or {}
    matched, rows = facts.get("match") or (None, None)
    return OutcomeRow(
        customer_id=facts["customer_id"] if was_rejected else record.customer_id,
        audience_name=facts["audience_name"] if was_rejected else record.audience_name,
        at=record.at,
        was_rejected=was_rejected,
        stage=facts["stage"],
        seconds=facts["seconds"],
        timings=facts["timings"],
        audience_id=facts.get("audience_id"),
        error_type=error.get("type"),
        error_message=error.get("message"),
        warnings=tuple(facts.get("warnings", ())),
        export_id=facts.get("export_id"),
        quoted_cents=facts.get("quoted_cents"),
        matched=matched,
        rows=rows,
        lookalike_size=facts.get("lookalike_size"),
    )


def _read_progress(record: JournalRecord) -> ProgressRow:
    facts = record.facts
    return ProgressRow(
        at=record.at,
        run_started_at=datetime.fromtimestamp(facts["run"] / 1000, UTC),
        has_ended=facts["ended"],
        seconds=facts["seconds"],
        done=facts["done"],
        failed=facts["failed"],
        stopped=facts["stopped"],
        budget_cents=facts["budget_cents"],
        lost_uploads=facts["lost_uploads"],
        requests=facts["requests"],
        failed_requests=facts["setbacks"],
        reads_saved=facts["reads_saved"],
    )


_READERS: Mapping[EntryKind, Callable[[JournalRecord], JournalRow]] = {
    EntryKind.INTENT: _read_stage,
    EntryKind.WITHDRAWAL: _read_stage,
    EntryKind.RESULT: _read_stage,
    EntryKind.OUTCOME: _read_outcome,
    EntryKind.PROGRESS: _read_progress,
}
