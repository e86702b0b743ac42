"""The rows of the log: their checksums, their numbers without gaps, and what they say was spent."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

import attrs
import msgspec

from indigo_async.errors import JournalDamagedError

__all__ = [
    "Entry",
    "EntryKind",
    "JournalRecord",
    "PurchaseTotals",
    "RowValues",
    "count_rows",
    "max_spent_cents",
    "parse_entry",
    "parse_key",
    "parse_record",
    "sum_purchase_facts",
    "verify_checksum",
    "verify_rows",
    "with_checksum",
]

RowValues: TypeAlias = tuple[int | str, ...]


class EntryKind(StrEnum):
    """What a row says about a stage: a POST is about to be sent, it was not carried out, or the stage is done.

    An outcome says how a job ended in one run, and a progress what a run has done so far. They belong to no stage and
    are only for reports; no later run relies on them.
    """

    INTENT = "intent"
    WITHDRAWAL = "withdrawal"
    RESULT = "result"
    OUTCOME = "outcome"
    PROGRESS = "progress"


@attrs.frozen
class Entry:
    """A row as it is stored: the job's number, `facts` as a JSON object, `at_ms` in milliseconds since 1970."""

    job: int
    kind: EntryKind
    stage: str
    facts: str
    at_ms: int

    def values(self) -> RowValues:
        return (self.job, self.kind.value, self.stage, self.facts, self.at_ms)


@attrs.frozen(kw_only=True)
class JournalRecord:
    """One row of the journal, written `at` a wall-clock time in UTC. `stage` is a value of `Stage`.

    `stage` is empty if `kind` is an outcome or a progress. Rows of the batch itself have no customer and no name.
    """

    customer_id: str
    audience_name: str
    kind: EntryKind
    stage: str
    facts: Mapping[str, Any]
    at: datetime


def parse_key(key: str) -> tuple[str, str]:
    """The customer ID and the audience name in a job's key."""
    customer_id, audience_name = msgspec.json.decode(key)
    return customer_id, audience_name


def parse_record(key: str, entry: Entry) -> JournalRecord:
    """The record of an entry, given its job's key."""
    customer_id, audience_name = parse_key(key)
    return JournalRecord(
        customer_id=customer_id,
        audience_name=audience_name,
        kind=entry.kind,
        stage=entry.stage,
        facts=msgspec.json.decode(entry.facts),
        at=datetime.fromtimestamp(entry.at_ms / 1000, UTC),
    )


def parse_entry(row: Sequence[Any]) -> Entry:
    """The entry in a row.

    Raises:
        JournalDamagedError: it is not what was written.
    """
    _, job, kind, stage, facts, at_ms = verify_checksum(row)
    return Entry(job, EntryKind(kind), stage, facts, at_ms)


def with_checksum(values: RowValues) -> RowValues:
    """The values of a row, its number first, followed by their checksum: CRC-32 of JSON, which tells 5 from "5"."""
    return (*values, zlib.crc32(msgspec.json.encode(values)))


def verify_checksum(row: Sequence[Any]) -> Sequence[Any]:
    """The values of a row, without the checksum.

    Raises:
        JournalDamagedError: they are not what was written.
    """
    values = row[:-1]
    if zlib.crc32(msgspec.json.encode(values)) != row[-1]:
        raise JournalDamagedError(f"row {values[0]} is not as it was written")
    return values


def verify_rows(rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """The values of all rows of a table in the order of their numbers, which start at 1, each checked as it is read.

    Raises:
        JournalDamagedError: one is missing, or not what was written.
    """
    for number, row in enumerate(rows, 1):
        values = verify_checksum(row)
        if values[0] != number:
            raise JournalDamagedError(f"row {number} is missing")
        yield values


def count_rows(numbers: Iterable[int]) -> int:
    """How many rows there are, given their numbers, which start at 1.

    Raises:
        JournalDamagedError: one is missing.
    """
    count = 0
    for count, number in enumerate(numbers, 1):
        if number != count:
            raise JournalDamagedError(f"row {count} is missing")
    return count


@attrs.frozen
class PurchaseTotals:
    """What purchases cost in cents, and how much more those of unknown outcome may have cost."""

    charged_cents: int = 0
    unresolved_cents: int = 0


def max_spent_cents(purchases: Iterable[Entry]) -> int:
    """The most that one job's purchases may have cost in cents, given their rows in order of writing."""
    facts = ((entry.kind, msgspec.json.decode(entry.facts)) for entry in purchases)
    totals = sum_purchase_facts((kind, str(fact["export_id"]), fact["cost_cents"]) for kind, fact in facts)
    return totals.charged_cents + totals.unresolved_cents


def sum_purchase_facts(purchases: Iterable[tuple[EntryKind, str, int]]) -> PurchaseTotals:
    """Add up purchases, given the kind, the export ID and the cents of each of their rows in order of writing.

    An export is purchased once at most, so it counts once: by its last result, or by the highest open intent since
    then, which may have been carried out.
    """
    charged: dict[str, int] = {}
    open_intents: dict[str, list[int]] = {}
    for kind, export, cents in purchases:
        match kind:
            case EntryKind.INTENT:
                open_intents.setdefault(export, []).append(cents)
            case EntryKind.WITHDRAWAL:
                open_intents[export].pop()
            case EntryKind.RESULT:
                charged[export] = cents
                open_intents.pop(export, None)
            case EntryKind.OUTCOME | EntryKind.PROGRESS:
                pass
    unresolved = (max(intents, default=0) - charged.get(export, 0) for export, intents in open_intents.items())
    return PurchaseTotals(sum(charged.values()), sum(max(0, cents) for cents in unresolved))
