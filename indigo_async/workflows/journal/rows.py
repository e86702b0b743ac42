"""The rows of the log: a checksum over all values of each, numbers without gaps, and what they say was spent."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

import attrs
import msgspec

from indigo_async.errors import JournalDamagedError

__all__ = [
    "Entry",
    "EntryKind",
    "PurchaseTotals",
    "RowValues",
    "count_rows",
    "max_spent_cents",
    "parse_entry",
    "sum_purchases",
    "verify_checksum",
    "with_checksum",
]

RowValues: TypeAlias = tuple[int | str, ...]


class EntryKind(StrEnum):
    """What a row says of a stage: a POST is about to be sent, it was not carried out, or the stage is done.

    An outcome says how a job ended in one run, and a progress what a run did so far. They are there to be told: no
    later run goes by them, and their `stage` is none.
    """

    INTENT = "intent"
    WITHDRAWAL = "withdrawal"
    RESULT = "result"
    OUTCOME = "outcome"
    PROGRESS = "progress"


@attrs.frozen
class Entry:
    """A row of the log: `job` by number, `facts` as a JSON object, `at_ms` in wall-clock milliseconds since 1970."""

    job: int
    kind: EntryKind
    stage: str
    facts: str
    at_ms: int

    def values(self) -> RowValues:
        return (self.job, self.kind.value, self.stage, self.facts, self.at_ms)


def with_checksum(values: RowValues) -> RowValues:
    """The values of a row, its number first, with the checksum behind them."""
    return (*values, _checksum(values))


def verify_checksum(row: Sequence[Any]) -> list[Any]:
    """The values of a row, without the checksum.

    Raises:
        JournalDamagedError: they are not what was written.
    """
    *values, checksum = row
    if _checksum(values) != checksum:
        raise JournalDamagedError(f"row {values[0]} is not as it was written")
    return values


def _checksum(values: Sequence[Any]) -> int:
    """CRC-32 of the values as JSON, which tells 5 from "5"."""
    return zlib.crc32(msgspec.json.encode(values))


def parse_entry(row: Sequence[Any]) -> Entry:
    """The entry in a row.

    Raises:
        JournalDamagedError: it is not what was written.
    """
    _, job, kind, stage, facts, at_ms = verify_checksum(row)
    return Entry(job, EntryKind(kind), stage, facts, at_ms)


def count_rows(numbers: Iterable[int]) -> int:
    """How many rows there are, given their numbers, which start at 1.

    Raises:
        JournalDamagedError: one is missing in between.
    """
    count = 0
    for count, number in enumerate(numbers, 1):
        if number != count:
            raise JournalDamagedError(f"row {count} is missing")
    return count


@attrs.frozen
class PurchaseTotals:
    """What the purchases of one job cost in cents: those that were made, and how much more the uncertain ones may."""

    charged_cents: int = 0
    unresolved_cents: int = 0


def max_spent_cents(purchases: Iterable[Entry]) -> int:
    """What the purchases of one job cost in cents, given their rows in the order of writing; see `sum_purchases`."""
    bill = sum_purchases((entry.kind, msgspec.json.decode(entry.facts)) for entry in purchases)
    return bill.charged_cents + bill.unresolved_cents


def sum_purchases(purchases: Iterable[tuple[EntryKind, Mapping[str, Any]]]) -> PurchaseTotals:
    """The bill of one job, given what was written of its purchases, in that order.

    An export is bought once at most, so it counts once: by its last result, or by the dearest intent since then, which
    may have been carried out.
    """
    settled: dict[str, int] = {}
    open_intents: dict[str, list[int]] = {}
    for kind, facts in purchases:
        export, cents = str(facts["export_id"]), facts["cost_cents"]
        match kind:
            case EntryKind.INTENT:
                open_intents.setdefault(export, []).append(cents)
            case EntryKind.WITHDRAWAL:
                open_intents[export].pop()
            case EntryKind.RESULT:
                settled[export] = cents
                open_intents.pop(export, None)
            case EntryKind.OUTCOME | EntryKind.PROGRESS:
                pass
    uncertain = (max(intents, default=0) - settled.get(export, 0) for export, intents in open_intents.items())
    return PurchaseTotals(sum(settled.values()), sum(max(0, cents) for cents in uncertain))
