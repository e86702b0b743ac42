"""The seven endpoints: what each one checks and does. API reference: "Endpoints".

Each takes the request's parameters and returns a record, which `indigo_async.sandbox.http.rendering` turns into JSON.
An endpoint changes the store before it awaits anything, so two concurrent requests can't both succeed where only one
may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import attrs

from indigo_async.models import AudienceStatus, ExportStatus, RecordId, UploadStatus
from indigo_async.sandbox.clock import Clock
from indigo_async.sandbox.dialect import Dialect, ExportFlow
from indigo_async.sandbox.errors import ErrorType, HttpError
from indigo_async.sandbox.http.formatting import normalize_name
from indigo_async.sandbox.http.parameters import Parameters, check_column_selections
from indigo_async.sandbox.state.background import BackgroundTasks
from indigo_async.sandbox.state.engine import Engine
from indigo_async.sandbox.state.pricing import calculate_price
from indigo_async.sandbox.state.records import (
    AudienceRecord,
    CsvFile,
    ExportRecord,
    Members,
    Stage,
    StageTimes,
    Upload,
    UploadedTable,
    audience_status,
    export_status,
    upload_status,
)
from indigo_async.sandbox.state.store import Store

__all__ = ["ENDPOINTS", "MIN_BASE_SIZE", "Backend", "Endpoint", "EndpointRequest", "EndpointResult"]

MIN_BASE_SIZE = 1_000
"""The minimum size of a lookalike's base audience. API reference: "POST /create_lookalike_audience"."""


@attrs.frozen(kw_only=True)
class Backend:
    """The parts that the endpoints use."""

    clock: Clock
    store: Store
    engine: Engine
    background_tasks: BackgroundTasks
    stage_times: StageTimes
    export_flow: ExportFlow
    export_folder: Path
    dialect: Dialect


@attrs.frozen
class EndpointRequest:
    """One request. With a `failure_reason`, the stage that it starts will fail.

    `charged_cents` overrides what a purchase is charged.
    """

    parameters: Parameters
    failure_reason: str | None = None
    charged_cents: int | None = None


EndpointResult: TypeAlias = AudienceRecord | ExportRecord | Iterable[AudienceRecord]
Endpoint: TypeAlias = Callable[[Backend, EndpointRequest], Awaitable[EndpointResult]]


def _start_stage(backend: Backend, request: EndpointRequest, seconds: float) -> Stage:
    return Stage(backend.clock.now() + seconds, failure_reason=request.failure_reason)


def _find_existing(backend: Backend, customer_id: str | None, name: str) -> AudienceRecord | None:
    """Return the audience that already has this name, in a dialect that upserts.

    Raises:
        HttpError: the name is taken.
    """
    existing = backend.store.find_audience_by_name(customer_id, name)
    if existing is None or backend.dialect.duplicate_names == "allow":
        return None
    if backend.dialect.duplicate_names == "upsert":
        return existing
    raise HttpError(
        400, ErrorType.AUDIENCE_NAME_TAKEN, "audienceName: this customer already has an audience with this name"
    )


async def upload_csv(backend: Backend, request: EndpointRequest) -> AudienceRecord:
    """Accept a CSV's URL and start fetching it."""
    customer_id = request.parameters.text("customerId")
    url = request.parameters.url("url")
    record = backend.store.add_audience(
        AudienceRecord(
            id=backend.store.new_id("aud"),
            customer_id=customer_id,
            created_at=backend.clock.now(),
            upload=Upload(url, _start_stage(backend, request, backend.stage_times.upload)),
        )
    )

    def finish(table: UploadedTable | None = None, failure: str | None = None) -> None:
        def change(upload: Upload) -> Upload:
            changed = attrs.evolve(upload, stage=upload.stage.complete(failure))
            if table is None:
                return changed
            return attrs.evolve(changed, row_count=table.row_count, columns=table.columns, table=table)

        backend.store.update_audience(
            record.id, lambda audience: attrs.evolve(audience, upload=audience.upload and change(audience.upload))
        )

    async def work() -> None:
        finish(await backend.engine.read_csv(url))

    backend.background_tasks.start(work, lambda failure: finish(failure=failure))
    return record


def _finish_audience(
    backend: Backend, audience_id: RecordId, members: Members | None = None, failure: str | None = None
) -> None:
    backend.store.update_audience(
        audience_id,
        lambda audience: attrs.evolve(
            audience, stage=audience.stage and audience.stage.complete(failure), members=members
        ),
    )


def _require_table(backend: Backend, record: AudienceRecord) -> UploadedTable:
    """Return the table of an audience that is ready for column selection."""
    if record.upload is None or record.stage is not None:
        raise HttpError(
            400, ErrorType.AUDIENCE_ALREADY_MATCHED, "audienceID: this audience's columns are already selected"
        )
    status = upload_status(record.upload, backend.clock.now())
    if status is not UploadStatus.READY_FOR_COLUMN_SELECTION or record.upload.table is None:
        raise HttpError(
            400,
            ErrorType.CSV_NOT_READY,
            f"audienceID: uploadedAudienceCsv.status is {status}, not {UploadStatus.READY_FOR_COLUMN_SELECTION}",
        )
    return record.upload.table


async def match_uploaded_csv(backend: Backend, request: EndpointRequest) -> AudienceRecord:
    """Start matching the rows of an uploaded CSV to voters."""
    audience_id = request.parameters.record_id("audienceID", alias="audienceId")
    customer_id = request.parameters.text("customerId")
    name = normalize_name(backend.dialect.name_normalization, request.parameters.text("audienceName"))
    selections = request.parameters.column_selections("columnSelections")
    record = backend.store.get_audience(audience_id, customer_id)
    table = _require_table(backend, record)
    check_column_selections(selections, table.columns)
    existing = _find_existing(backend, record.customer_id, name)
    if existing is not None:
        return existing

    def begin(audience: AudienceRecord) -> AudienceRecord:
        upload = audience.upload and attrs.evolve(audience.upload, table=None)
        return attrs.evolve(
            audience, name=name, upload=upload, stage=_start_stage(backend, request, backend.stage_times.match)
        )

    async def work() -> None:
        _finish_audience(backend, record.id, await backend.engine.match(table, selections))

    changed = backend.store.update_audience(record.id, begin)
    backend.background_tasks.start(work, lambda failure: _finish_audience(backend, record.id, failure=failure))
    return changed


def _require_members(backend: Backend, record: AudienceRecord, parameter: str) -> Members:
    """Return the people of an active audience."""
    status = audience_status(record, backend.clock.now())
    if status is not AudienceStatus.ACTIVE or record.members is None:
        raise HttpError(
            400, ErrorType.AUDIENCE_NOT_ACTIVE, f"{parameter}: this audience's status is {status}, not ACTIVE"
        )
    return record.members


async def create_lookalike_audience(backend: Backend, request: EndpointRequest) -> AudienceRecord:
    """Start finding the voters most similar to a matched audience."""
    base_id = request.parameters.record_id("baseAudienceId")
    customer_id = request.parameters.text("customerId")
    size = request.parameters.size("size")
    name = normalize_name(backend.dialect.name_normalization, request.parameters.text("audienceName"))
    include_base = request.parameters.optional_boolean("includeOriginalAudience")
    filters = request.parameters.filters("filters")
    base = backend.store.get_audience(base_id, customer_id)
    if base.upload is None:
        raise HttpError(
            400, ErrorType.BASE_AUDIENCE_NOT_ELIGIBLE, "baseAudienceId: the base must be matched from an uploaded CSV"
        )
    people = _require_members(backend, base, "baseAudienceId")
    if people.size < MIN_BASE_SIZE:
        raise HttpError(
            400,
            ErrorType.BASE_AUDIENCE_NOT_ELIGIBLE,
            f"baseAudienceId: the base must have at least {MIN_BASE_SIZE:,} matched people; it has {people.size:,}",
        )
    existing = _find_existing(backend, customer_id, name)
    if existing is not None:
        return existing
    record = backend.store.add_audience(
        AudienceRecord(
            id=backend.store.new_id("aud"),
            customer_id=customer_id,
            created_at=backend.clock.now(),
            name=name,
            base_audience_id=base.id,
            stage=_start_stage(backend, request, backend.stage_times.lookalike),
        )
    )

    async def work() -> None:
        members = await backend.engine.build_lookalike(people, size=size, include_base=include_base, filters=filters)
        _finish_audience(backend, record.id, members)

    backend.background_tasks.start(work, lambda failure: _finish_audience(backend, record.id, failure=failure))
    return record


async def get_audience(backend: Backend, request: EndpointRequest) -> AudienceRecord:
    """Return one audience."""
    audience_id = request.parameters.record_id("audienceId")
    return backend.store.get_audience(audience_id, request.parameters.optional_text("customerId"))


async def list_audiences(backend: Backend, request: EndpointRequest) -> Iterable[AudienceRecord]:
    """Return a customer's audiences, or the whole organization's."""
    records = backend.store.list_audiences(request.parameters.optional_text("customerId"))
    return islice(records, backend.dialect.list_limit)


async def create_preview_csv_export(backend: Backend, request: EndpointRequest) -> ExportRecord:
    """Price an export. In the asynchronous flow, this takes time, and free exports need no purchase."""
    audience_id = request.parameters.record_id("audienceId")
    customer_id = request.parameters.optional_text("customerId")
    field_types = request.parameters.optional_field_types("optionalFieldTypes")
    audience = backend.store.get_audience(audience_id, customer_id)
    members = _require_members(backend, audience, "audienceId")
    price = calculate_price(members.size, field_types)
    takes_time = backend.export_flow == "asynchronous"
    needs_purchase = price.cents > 0 or not takes_time
    work = _start_stage(backend, request, backend.stage_times.export if takes_time else 0)
    export = backend.store.add_export(
        ExportRecord(
            id=backend.store.new_id("exp"),
            audience_id=audience.id,
            created_at=backend.clock.now(),
            field_types=field_types,
            price=price,
            needs_purchase=needs_purchase,
            stage=work.complete() if needs_purchase else work,
        )
    )
    if not needs_purchase:
        _start_csv_export(backend, export, members)
    return export


def _start_csv_export(backend: Backend, export: ExportRecord, members: Members) -> asyncio.Task[None]:
    """Start writing an export's CSV."""

    def finish(file: CsvFile | None = None, failure: str | None = None) -> None:
        backend.store.update_export(
            export.id, lambda record: attrs.evolve(record, stage=record.stage.complete(failure), file=file)
        )

    async def work() -> None:
        finish(await backend.engine.export(members, export.field_types, backend.export_folder / f"{export.id}.csv"))

    return backend.background_tasks.start(work, lambda failure: finish(failure=failure))


async def purchase_csv_export(backend: Backend, request: EndpointRequest) -> ExportRecord:
    """Charge for an export, once. In the synchronous flow, the response has the CSV's URL."""
    export_id = request.parameters.record_id("exportId")
    customer_id = request.parameters.optional_text("customerId")
    export, audience = backend.store.get_export(export_id, customer_id)
    if export.purchased_at is not None and backend.dialect.repeated_purchase == "charge":
        backend.store.record_purchase(export)
        return export
    if export.purchased_at is not None or not export.needs_purchase:
        raise HttpError(400, ErrorType.ALREADY_PURCHASED, "You've already made this purchase.")
    status = export_status(export, backend.clock.now())
    if status is not ExportStatus.REQUIRES_PAYMENT:
        raise HttpError(400, ErrorType.EXPORT_NOT_READY, f"exportId: this export's status is {status}")
    takes_time = backend.export_flow == "asynchronous"
    work = _start_stage(backend, request, backend.stage_times.export if takes_time else 0)
    now = backend.clock.now()
    if request.charged_cents is not None:
        cents = request.charged_cents
        export = backend.store.update_export(export.id, lambda record: attrs.evolve(record, price_override_cents=cents))
    backend.store.record_purchase(export)
    export = backend.store.update_export(export.id, lambda record: attrs.evolve(record, stage=work, purchased_at=now))
    written = _start_csv_export(backend, export, _require_members(backend, audience, "exportId"))
    if not takes_time:
        await asyncio.wait({written})
    return backend.store.get_export(export_id, customer_id)[0]


ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {
        "POST /upload_csv": upload_csv,
        "POST /match_uploaded_csv": match_uploaded_csv,
        "GET /audience": get_audience,
        "POST /create_preview_csv_export": create_preview_csv_export,
        "POST /purchase_csv_export": purchase_csv_export,
        "POST /create_lookalike_audience": create_lookalike_audience,
        "GET /audiences": list_audiences,
    }
)
"""The API, by method and path below its base URL."""
