"""Records as JSON, in the sandbox's dialect."""

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
from indigo_async.sandbox.http.formatting import format_field_types, format_price
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
    """What rendering depends on besides the record."""

    clock: Clock
    store: Store
    url_signer: UrlSigner
    dialect: Dialect
    export_flow: ExportFlow
    frozen_rows: dict[RecordId, bytes] = attrs.field(factory=dict[RecordId, bytes])


def render(rendering: RenderContext, answer: EndpointResult) -> bytes:
    """Encode what an endpoint answers: an audience, an export with its audience, or a list."""
    match answer:
        case AudienceRecord():
            return _encoder.encode(_audience(rendering, answer))
        case ExportRecord():
            return _encoder.encode(_export_with_audience(rendering, answer))
        case _:
            return _render_list(rendering, answer)


def _render_list(rendering: RenderContext, records: Iterable[AudienceRecord]) -> bytes:
    if rendering.dialect.list_lag:
        encoded = _encode_lagged_rows(rendering, records)
    elif rendering.dialect.frozen_lists:
        encoded = [_encode_frozen_row(rendering, record) for record in records]
    else:
        encoded = _encode_current_rows(rendering, records)
    array = b"[" + b",".join(encoded) + b"]"
    return array if rendering.dialect.list_shape == "array" else b'{"audiences":' + array + b"}"


def _encode_current_rows(rendering: RenderContext, records: Iterable[AudienceRecord]) -> list[bytes]:
    now = rendering.clock.now()
    rows = rendering.store.cached_rows
    encoded: list[bytes] = []
    for record in records:
        row = rows.get(record.id)
        if row is None or now >= row.valid_until:
            row = rows[record.id] = _build_cached_row(rendering, record, now)
        encoded.append(row.encoded)
    return encoded


def _encode_frozen_row(rendering: RenderContext, record: AudienceRecord) -> bytes:
    if record.id not in rendering.frozen_rows:
        rendering.frozen_rows[record.id] = _encode_row(rendering, record)
    return rendering.frozen_rows[record.id]


def _encode_lagged_rows(rendering: RenderContext, records: Iterable[AudienceRecord]) -> list[bytes]:
    """The rows as they were a while ago, without what did not exist then."""
    time = rendering.clock.now() - rendering.dialect.list_lag
    then = attrs.evolve(rendering, clock=_LaggingClock(rendering.clock, rendering.dialect.list_lag))
    snapshots = (rendering.store.find_snapshot(record.id, time) for record in records)
    return [_encode_row(then, one.audience, one.exports) for one in snapshots if one is not None]


@attrs.frozen
class _LaggingClock:
    """A clock that is some sandbox seconds slow."""

    clock: Clock
    lag: float

    @property
    def started_at(self) -> datetime:
        return self.clock.started_at

    def now(self) -> float:
        return self.clock.now() - self.lag


def _encode_row(
    rendering: RenderContext, record: AudienceRecord, exports: Sequence[ExportRecord] | None = None
) -> bytes:
    omitted = rendering.dialect.list_omitted_keys
    shown = _audience(rendering, record, exports)
    return _encoder.encode({key: value for key, value in shown.items() if key not in omitted})


def _build_cached_row(rendering: RenderContext, record: AudienceRecord, now: float) -> CachedRow:
    """Encode a row, with the time until which it need not be encoded again: the next change that no request makes."""
    exports = rendering.store.list_exports(record)
    works = [record.stage, record.upload and record.upload.stage, *(export.stage for export in exports)]
    changes = [work.next_change_at(now) for work in works if work is not None]
    if any(export.file is not None for export in exports):
        changes.append(now + rendering.url_signer.lifetime / 2)
    delay = rendering.dialect.url_delay
    bought = (export.purchased_at for export in exports if delay and export.purchased_at is not None)
    changes += [at + delay for at in bought if at + delay > now]
    return CachedRow(_encode_row(rendering, record), min(changes, default=math.inf))


def _customer_id(dialect: Dialect, customer_id: str) -> str | int:
    return int(customer_id) if dialect.numeric_customer_ids and is_safe_integer(customer_id) else customer_id


def _id_and_name(rendering: RenderContext, record: AudienceRecord) -> dict[str, Any]:
    """The ID and name, which a nested audience has too."""
    shown: dict[str, Any] = {"id": record.id}
    if rendering.dialect.name_key is not None and record.name is not None:
        shown[rendering.dialect.name_key] = record.name
    return shown


def _audience_summary(rendering: RenderContext, record: AudienceRecord) -> dict[str, Any]:
    dialect = rendering.dialect
    shown = _id_and_name(rendering, record)
    is_stub = record.upload is not None and record.stage is None
    status = audience_status(record, rendering.clock.now())
    shown["status"] = record.seeded_status or (dialect.stub_status if is_stub and status == "PROCESSING" else status)
    if dialect.shows_customer_id and record.customer_id is not None:
        shown["customerId"] = _customer_id(dialect, record.customer_id)
    shown["createdAt"] = format_timestamp(rendering.clock, record.created_at)
    if record.members is not None and shown["status"] == "ACTIVE":
        shown["size"] = record.members.size
    if dialect.shows_base_audience and record.base_audience_id is not None:
        shown["baseAudienceId"] = record.base_audience_id
    return shown


def _audience(
    rendering: RenderContext, record: AudienceRecord, exports: Sequence[ExportRecord] | None = None
) -> dict[str, Any]:
    exports = rendering.store.list_exports(record) if exports is None else exports
    shown = _audience_summary(rendering, record)
    if record.upload is not None:
        shown["uploadedAudienceCsv"] = _upload(rendering, record.upload, shown.get("size"))
    shown["csvExports"] = [_export(rendering, export) for export in exports]
    return shown


def _upload(rendering: RenderContext, upload: Upload, matched: int | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"status": upload_status(upload, rendering.clock.now())}
    if rendering.dialect.shows_csv_url:
        shown["url"] = upload.url
    if shown["status"] == "READY_FOR_COLUMN_SELECTION":
        shown["rowCount"] = upload.row_count
        if upload.columns is not None:
            shown["columnNames"] = upload.columns
    if shown["status"] == "FAILED":
        shown["failureReason"] = upload.stage.failure_reason
    if matched is not None:
        shown["matchedCount"] = matched
    return shown


def _export(rendering: RenderContext, export: ExportRecord) -> dict[str, Any]:
    dialect = rendering.dialect
    now = rendering.clock.now()
    status = export_status(export, now)
    is_purchased = export.purchased_at is not None
    shown: dict[str, Any] = {"id": export.id}
    if dialect.shows_export_status or rendering.export_flow == "asynchronous":
        hides = is_purchased and status == ExportStatus.ACTIVE and dialect.purchased_status == "hidden"
        shown["status"] = "" if hides else status
    shown["createdAt"] = format_timestamp(rendering.clock, export.created_at)
    if dialect.shows_field_types:
        shown["optionalFieldTypes"] = format_field_types(dialect, export.field_types)
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
        shown |= format_price(dialect, export.cost_cents, breakdown)
    is_delayed = export.purchased_at is not None and now < export.purchased_at + dialect.url_delay
    if status == ExportStatus.ACTIVE and export.file is not None and not is_delayed:
        shown["downloadUrl"] = rendering.url_signer.url_for(export.id)
    elif dialect.preview_url != "absent":
        shown["downloadUrl"] = "" if dialect.preview_url == "empty" else None
    return shown


def _export_with_audience(rendering: RenderContext, export: ExportRecord) -> dict[str, Any]:
    """An export with its audience nested: all about it on a preview, a couple of fields on a purchase."""
    shown = _export(rendering, export)
    audience = rendering.store.find_audience(export.audience_id)
    if audience is not None:
        shown["audience"] = (_audience_summary if export.purchased_at is None else _id_and_name)(rendering, audience)
    return shown
