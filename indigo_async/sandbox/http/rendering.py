"""Render records as JSON in the sandbox's dialect."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec

from indigo_async.models import ExportStatus, RecordId
from indigo_async.sandbox.clock import Clock, format_timestamp
from indigo_async.sandbox.dialect import Dialect, ExportFlow
from indigo_async.sandbox.http.endpoints import EndpointResult
from indigo_async.sandbox.http.formatting import format_field_types, format_price, format_status
from indigo_async.sandbox.http.signed_urls import UrlSigner
from indigo_async.sandbox.state.records import (
    AudienceRecord,
    ExportRecord,
    Upload,
    audience_status,
    export_status,
    upload_status,
)
from indigo_async.sandbox.state.store import CachedRow, Store, is_safe_integer

__all__ = ["RenderContext", "render"]

_encoder = msgspec.json.Encoder()


@attrs.frozen(kw_only=True)
class RenderContext:
    """What rendering needs besides the record."""

    clock: Clock
    store: Store
    url_signer: UrlSigner
    dialect: Dialect
    export_flow: ExportFlow
    frozen_rows: dict[RecordId, bytes] = attrs.field(factory=dict[RecordId, bytes])


def render(context: RenderContext, result: EndpointResult) -> bytes:
    """Encode the result of an endpoint: an audience, an export with its audience, or a list."""
    match result:
        case AudienceRecord():
            return _encoder.encode(_audience(context, result))
        case ExportRecord():
            return _encoder.encode(_export_with_audience(context, result))
        case _:
            return _render_list(context, result)


def _render_list(context: RenderContext, records: Iterable[AudienceRecord]) -> bytes:
    if context.dialect.list_lag:
        encoded = _encode_lagged_rows(context, records)
    elif context.dialect.frozen_lists:
        encoded = [_encode_frozen_row(context, record) for record in records]
    else:
        encoded = _encode_current_rows(context, records)
    array = b"[" + b",".join(encoded) + b"]"
    return array if context.dialect.list_shape == "array" else b'{"audiences":' + array + b"}"


def _encode_current_rows(context: RenderContext, records: Iterable[AudienceRecord]) -> list[bytes]:
    now = context.clock.now()
    rows = context.store.cached_rows
    encoded: list[bytes] = []
    for record in records:
        row = rows.get(record.id)
        if row is None or now >= row.valid_until:
            row = rows[record.id] = _build_cached_row(context, record, now)
        encoded.append(row.encoded)
    return encoded


def _encode_frozen_row(context: RenderContext, record: AudienceRecord) -> bytes:
    if record.id not in context.frozen_rows:
        context.frozen_rows[record.id] = _encode_row(context, record)
    return context.frozen_rows[record.id]


def _encode_lagged_rows(context: RenderContext, records: Iterable[AudienceRecord]) -> list[bytes]:
    """Encode the rows as they were `list_lag` seconds ago, without audiences created since."""
    time = context.clock.now() - context.dialect.list_lag
    then = attrs.evolve(context, clock=_LaggingClock(context.clock, context.dialect.list_lag))
    snapshots = (context.store.find_snapshot(record.id, time) for record in records)
    return [_encode_row(then, snapshot.audience, snapshot.exports) for snapshot in snapshots if snapshot is not None]


@attrs.frozen
class _LaggingClock:
    """A clock that runs `lag` sandbox seconds behind."""

    clock: Clock
    lag: float

    @property
    def started_at(self) -> datetime:
        return self.clock.started_at

    def now(self) -> float:
        return self.clock.now() - self.lag


def _encode_row(context: RenderContext, record: AudienceRecord, exports: Sequence[ExportRecord] | None = None) -> bytes:
    omitted = context.dialect.list_omitted_keys
    fields = _audience(context, record, exports)
    return _encoder.encode({key: value for key, value in fields.items() if key not in omitted})


def _build_cached_row(context: RenderContext, record: AudienceRecord, now: float) -> CachedRow:
    """Encode a row that stays valid until the next change that no request causes."""
    exports = context.store.list_exports(record)
    stages = [record.stage, record.upload.stage if record.upload else None, *(export.stage for export in exports)]
    changes = [stage.next_change_at(now) for stage in stages if stage is not None]
    if any(export.file is not None for export in exports):
        changes.append(now + context.url_signer.lifetime / 2)
    delay = context.dialect.url_delay
    purchase_times = (export.purchased_at for export in exports if delay and export.purchased_at is not None)
    changes += [at + delay for at in purchase_times if at + delay > now]
    return CachedRow(_encode_row(context, record), min(changes, default=math.inf))


def _customer_id(dialect: Dialect, customer_id: str) -> str | int:
    return int(customer_id) if dialect.numeric_customer_ids and is_safe_integer(customer_id) else customer_id


def _id_and_name(context: RenderContext, record: AudienceRecord) -> dict[str, Any]:
    """Return the ID and the name, the fields of a nested audience."""
    fields: dict[str, Any] = {"id": record.id}
    if context.dialect.name_key is not None and record.name is not None:
        fields[context.dialect.name_key] = record.name
    return fields


def _audience_summary(context: RenderContext, record: AudienceRecord) -> dict[str, Any]:
    dialect = context.dialect
    fields = _id_and_name(context, record)
    is_stub = record.upload is not None and record.stage is None
    status = audience_status(record, context.clock.now())
    fields["status"] = record.seeded_status or (dialect.stub_status if is_stub and status == "PROCESSING" else status)
    if dialect.shows_customer_id and record.customer_id is not None:
        fields["customerId"] = _customer_id(dialect, record.customer_id)
    fields["createdAt"] = format_timestamp(context.clock, record.created_at)
    if dialect.shows_counts and record.members is not None and fields["status"] == "ACTIVE":
        fields["size"] = record.members.size
    fields["status"] = format_status(dialect, fields["status"])
    if dialect.shows_base_audience and record.base_audience_id is not None:
        fields["baseAudienceId"] = record.base_audience_id
    return fields


def _audience(
    context: RenderContext, record: AudienceRecord, exports: Sequence[ExportRecord] | None = None
) -> dict[str, Any]:
    exports = context.store.list_exports(record) if exports is None else exports
    fields = _audience_summary(context, record)
    if record.upload is not None:
        fields["uploadedAudienceCsv"] = _upload(context, record.upload, fields.get("size"))
    fields["csvExports"] = [_export(context, export) for export in exports]
    return fields


def _upload(context: RenderContext, upload: Upload, matched: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"status": upload_status(upload, context.clock.now())}
    if context.dialect.shows_csv_url:
        fields["url"] = upload.url
    if fields["status"] == "READY_FOR_COLUMN_SELECTION":
        if context.dialect.shows_counts:
            fields["rowCount"] = upload.row_count
        if upload.columns is not None:
            fields["columnNames"] = upload.columns
    if fields["status"] == "FAILED":
        fields["failureReason"] = upload.stage.failure_reason
    if matched is not None:
        fields["matchedCount"] = matched
    fields["status"] = format_status(context.dialect, fields["status"])
    return fields


def _export(context: RenderContext, export: ExportRecord) -> dict[str, Any]:
    dialect = context.dialect
    now = context.clock.now()
    status = export_status(export, now)
    is_purchased = export.purchased_at is not None
    fields: dict[str, Any] = {"id": export.id}
    if dialect.shows_export_status or context.export_flow == "asynchronous":
        hides = is_purchased and status == ExportStatus.ACTIVE and dialect.purchased_status == "hidden"
        fields["status"] = "" if hides else format_status(dialect, status)
    fields["createdAt"] = format_timestamp(context.clock, export.created_at)
    if dialect.shows_field_types:
        fields["optionalFieldTypes"] = format_field_types(dialect, export.field_types)
    if status != ExportStatus.IN_PROGRESS or export.purchased_at is not None:
        breakdown = [
            {
                "optionalFieldType": item.field_type,
                "people": item.people,
                "centsPerPerson": item.cents_per_person,
                "cents": item.cents,
            }
            for item in export.price.items
        ]
        fields |= format_price(dialect, export.cost_cents, breakdown)
    is_delayed = export.purchased_at is not None and now < export.purchased_at + dialect.url_delay
    if status == ExportStatus.ACTIVE and export.file is not None and not is_delayed:
        fields["downloadUrl"] = context.url_signer.url_for(export.id)
    elif dialect.preview_url != "absent":
        fields["downloadUrl"] = "" if dialect.preview_url == "empty" else None
    return fields


def _export_with_audience(context: RenderContext, export: ExportRecord) -> dict[str, Any]:
    """Render an export with its nested audience: a summary on a preview, ID and name on a purchase."""
    fields = _export(context, export)
    audience = context.store.find_audience(export.audience_id)
    if audience is not None:
        fields["audience"] = (_audience_summary if export.purchased_at is None else _id_and_name)(context, audience)
    return fields
