"""All records, by ID, customer and name, with a cache of encoded list rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import attrs

from indigo_async.models import RecordId
from indigo_async.sandbox.errors import ErrorType, HttpError
from indigo_async.sandbox.state.records import AudienceRecord, ExportRecord

__all__ = ["CachedRow", "Counts", "Snapshot", "Store", "is_safe_integer"]

_MAX_DIGITS = 15


def is_safe_integer(text: str) -> bool:
    """Return whether text is an integer that every JSON parser reads exactly."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


@attrs.frozen(kw_only=True)
class Counts:
    """What was really created and purchased, to check that nothing happened twice.

    `list_audiences` counts those created through the API, by customer and name (None for unmatched uploads).
    """

    audiences: Mapping[tuple[str | None, str | None], int]
    purchases_by_export: Mapping[RecordId, int]
    purchases_by_audience: Mapping[RecordId, int]
    charged_cents: int

    @property
    def purchases(self) -> int:
        return sum(self.purchases_by_export.values())


@attrs.frozen
class CachedRow:
    """An encoded list row and the sandbox time until which it is valid."""

    encoded: bytes
    valid_until: float


@attrs.frozen
class Snapshot:
    """An audience with its exports, as of a sandbox time."""

    at: float
    audience: AudienceRecord
    exports: tuple[ExportRecord, ...]


DELETED = "DELETED"


@attrs.define(init=False)
class Store:
    """All records. With a clock `now`, it also stores the history of each audience."""

    id_type: Literal["string", "integer"]
    cached_rows: dict[RecordId, CachedRow]
    _audiences: dict[RecordId, AudienceRecord]
    _exports: dict[RecordId, ExportRecord]
    _ids_by_customer: dict[str | None, list[RecordId]]
    _ids_by_name: dict[tuple[str | None, str], RecordId]
    _purchases: Counter[RecordId]
    _charged_cents: int
    _last_number: int
    _now: Callable[[], float] | None
    _snapshots: dict[RecordId, list[Snapshot]]

    def __init__(self, ids: Literal["string", "integer"], *, now: Callable[[], float] | None = None) -> None:
        self.id_type = ids
        self._now = now
        self._snapshots = {}
        self.cached_rows = {}
        self._audiences = {}
        self._exports = {}
        self._ids_by_customer = {}
        self._ids_by_name = {}
        self._purchases = Counter()
        self._charged_cents = 0
        self._last_number = 0

    def new_id(self, prefix: Literal["aud", "exp"]) -> RecordId:
        self._last_number += 1
        return self._last_number if self.id_type == "integer" else f"{prefix}-{self._last_number}"

    def parse_id(self, text: str) -> RecordId:
        """Parse an ID from a URL."""
        return int(text) if self.id_type == "integer" and is_safe_integer(text) else text

    def add_audience(self, record: AudienceRecord) -> AudienceRecord:
        self._audiences[record.id] = record
        self._ids_by_customer.setdefault(record.customer_id, []).append(record.id)
        if record.name is not None and record.seeded_status != DELETED:
            self._ids_by_name.setdefault((record.customer_id, record.name), record.id)
        self._save_snapshot(record.id)
        return record

    def add_export(self, record: ExportRecord) -> ExportRecord:
        self._exports[record.id] = record
        self.update_audience(
            record.audience_id, lambda audience: attrs.evolve(audience, export_ids=(*audience.export_ids, record.id))
        )
        return record

    def update_audience(
        self, audience_id: RecordId, change: Callable[[AudienceRecord], AudienceRecord]
    ) -> AudienceRecord:
        """Replace an audience with `change(audience)`."""
        changed = self._audiences[audience_id] = change(self._audiences[audience_id])
        if changed.name is not None:
            self._ids_by_name.setdefault((changed.customer_id, changed.name), audience_id)
        self.cached_rows.pop(audience_id, None)
        self._save_snapshot(audience_id)
        return changed

    def update_export(self, export_id: RecordId, change: Callable[[ExportRecord], ExportRecord]) -> ExportRecord:
        """Replace an export with `change(export)`."""
        changed = self._exports[export_id] = change(self._exports[export_id])
        self.cached_rows.pop(changed.audience_id, None)
        self._save_snapshot(changed.audience_id)
        return changed

    def _save_snapshot(self, audience_id: RecordId) -> None:
        if self._now is not None:
            record = self._audiences[audience_id]
            snapshot = Snapshot(self._now(), record, tuple(self.list_exports(record)))
            self._snapshots.setdefault(audience_id, []).append(snapshot)

    def find_snapshot(self, audience_id: RecordId, time: float) -> Snapshot | None:
        """Return an audience as of a time, or None if it didn't exist."""
        return next((one for one in reversed(self._snapshots.get(audience_id, [])) if one.at <= time), None)

    def record_purchase(self, export: ExportRecord) -> None:
        """Record a purchase."""
        self._purchases[export.id] += 1
        self._charged_cents += export.cost_cents

    def find_audience(self, audience_id: RecordId) -> AudienceRecord | None:
        return self._audiences.get(audience_id)

    def find_export(self, export_id: RecordId) -> ExportRecord | None:
        return self._exports.get(export_id)

    def list_exports(self, record: AudienceRecord) -> list[ExportRecord]:
        return [self._exports[export_id] for export_id in record.export_ids]

    def list_audiences(self, customer_id: str | None) -> Iterable[AudienceRecord]:
        """Return a customer's audiences, or all audiences for None, oldest first."""
        if customer_id is None:
            return self._audiences.values()
        return (self._audiences[audience_id] for audience_id in self._ids_by_customer.get(customer_id, ()))

    def find_audience_by_name(self, customer_id: str | None, name: str) -> AudienceRecord | None:
        """Return a customer's first audience with a stored name."""
        audience_id = self._ids_by_name.get((customer_id, name))
        return None if audience_id is None else self._audiences[audience_id]

    def find_other_record(self, record: AudienceRecord | ExportRecord) -> AudienceRecord | ExportRecord | None:
        """Return the newest other record of the same kind."""
        kind = self._audiences if isinstance(record, AudienceRecord) else self._exports
        return next((kind[key] for key in reversed(kind) if key != record.id), None)

    def get_audience(self, audience_id: RecordId, customer_id: str | None) -> AudienceRecord:
        """Return an audience that this customer may see.

        Raises:
            HttpError: 404, also for another customer's audience. API reference: "Customer ID".
        """
        record = self.find_audience(audience_id)
        if record is None or record.customer_id not in (None, customer_id) or record.seeded_status == DELETED:
            raise HttpError(
                404,
                ErrorType.NOT_FOUND,
                "This customer has no such audience. Audiences created through the API need their customerId.",
            )
        return record

    def get_export(self, export_id: RecordId, customer_id: str | None) -> tuple[ExportRecord, AudienceRecord]:
        """Return an export and its audience, if this customer may see them. Otherwise raise a 404."""
        export = self.find_export(export_id)
        audience = None if export is None else self.find_audience(export.audience_id)
        if export is None or audience is None or audience.customer_id not in (None, customer_id):
            raise HttpError(404, ErrorType.NOT_FOUND, "This customer has no such export.")
        return export, audience

    def counts(self) -> Counts:
        by_audience: Counter[RecordId] = Counter()
        for export_id, count in self._purchases.items():
            by_audience[self._exports[export_id].audience_id] += count
        return Counts(
            audiences=Counter((record.customer_id, record.name) for record in self._audiences.values()),
            purchases_by_export=dict(self._purchases),
            purchases_by_audience=by_audience,
            charged_cents=self._charged_cents,
        )
