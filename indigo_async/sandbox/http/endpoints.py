"""The seven endpoints: what each one checks and does. Source: reference, "Endpoints".

Each takes the request's parameters and returns the record to answer with; the JSON is made in
`indigo_async.sandbox.http.rendering`. An endpoint changes the store in one step before anything is awaited, so that two
requests at once cannot both succeed where one may.
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
"""The fewest matched people that a lookalike may start from. Source: reference, "POST /create_lookalike_audience"."""


@attrs.frozen(kw_only=True)
class Backend:
    """What the endpoints work with."""

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
    """One request. With `failure_reason` the work that it starts is bound to fail, for that reason.

    `charged_cents` is what a purchase costs whatever its price was.
    """

    parameters: Parameters
    failure_reason: str | None = None
    charged_cents: int | None = None


EndpointResult: TypeAlias = AudienceRecord | ExportRecord | Iterable[AudienceRecord]
Endpoint: TypeAlias = Callable[[Backend, EndpointRequest], Awaitable[EndpointResult]]


def _start_stage(service: Backend, call: EndpointRequest, seconds: float) -> Stage:
    return Stage(service.clock.now() + seconds, failure_reason=call.failure_reason)


def _find_existing(service: Backend, customer_id: str | None, name: str) -> AudienceRecord | None:
    """The audience that answers a create under a taken name, in a dialect that upserts.

    Raises:
        Refusal: the name is taken.
    """
    existing = service.store.find_audience_by_name(customer_id, name)
    if existing is None or service.dialect.duplicate_names == "allow":
        return None
    if service.dialect.duplicate_names == "upsert":
        return existing
    raise HttpError(
        400, ErrorType.AUDIENCE_NAME_TAKEN, "audienceName: this customer has an audience of this name already"
    )


async def upload_csv(service: Backend, call: EndpointRequest) -> AudienceRecord:
    """Take a CSV's URL and begin to fetch it."""
    customer_id = call.parameters.text("customerId")
    url = call.parameters.url("url")
    record = service.store.add_audience(
        AudienceRecord(
            id=service.store.new_id("aud"),
            customer_id=customer_id,
            created_at=service.clock.now(),
            upload=Upload(url, _start_stage(service, call, service.stage_times.upload)),
        )
    )

    def finish(table: UploadedTable | None = None, failure: str | None = None) -> None:
        def change(upload: Upload) -> Upload:
            changed = attrs.evolve(upload, stage=upload.stage.complete(failure))
            if table is None:
                return changed
            return attrs.evolve(changed, row_count=table.row_count, columns=table.columns, table=table)

        service.store.update_audience(
            record.id, lambda audience: attrs.evolve(audience, upload=audience.upload and change(audience.upload))
        )

    async def work() -> None:
        finish(await service.engine.read_csv(url))

    service.background_tasks.start(work, lambda failure: finish(failure=failure))
    return record


def _finish_audience(
    service: Backend, audience_id: RecordId, members: Members | None = None, failure: str | None = None
) -> None:
    service.store.update_audience(
        audience_id,
        lambda audience: attrs.evolve(
            audience, stage=audience.stage and audience.stage.complete(failure), members=members
        ),
    )


def _require_table(service: Backend, record: AudienceRecord) -> UploadedTable:
    """The table of an audience that waits for its columns to be selected."""
    if record.upload is None or record.stage is not None:
        raise HttpError(
            400, ErrorType.AUDIENCE_ALREADY_MATCHED, "audienceID: this audience's people are selected already"
        )
    status = upload_status(record.upload, service.clock.now())
    if status is not UploadStatus.READY_FOR_COLUMN_SELECTION or record.upload.table is None:
        raise HttpError(
            400,
            ErrorType.CSV_NOT_READY,
            f"audienceID: uploadedAudienceCsv.status is {status}, not {UploadStatus.READY_FOR_COLUMN_SELECTION}",
        )
    return record.upload.table


async def match_uploaded_csv(service: Backend, call: EndpointRequest) -> AudienceRecord:
    """Begin to fill an audience with the voters that its CSV's rows are about."""
    audience_id = call.parameters.record_id("audienceID", alias="audienceId")
    customer_id = call.parameters.text("customerId")
    name = normalize_name(service.dialect.name_normalization, call.parameters.text("audienceName"))
    selections = call.parameters.column_selections("columnSelections")
    record = service.store.get_audience(audience_id, customer_id)
    table = _require_table(service, record)
    check_column_selections(selections, table.columns)
    existing = _find_existing(service, record.customer_id, name)
    if existing is not None:
        return existing

    def begin(audience: AudienceRecord) -> AudienceRecord:
        upload = audience.upload and attrs.evolve(audience.upload, table=None)
        return attrs.evolve(
            audience, name=name, upload=upload, stage=_start_stage(service, call, service.stage_times.match)
        )

    async def work() -> None:
        _finish_audience(service, record.id, await service.engine.match(table, selections))

    changed = service.store.update_audience(record.id, begin)
    service.background_tasks.start(work, lambda failure: _finish_audience(service, record.id, failure=failure))
    return changed


def _require_members(service: Backend, record: AudienceRecord, parameter: str) -> Members:
    """The people of an audience that is done."""
    status = audience_status(record, service.clock.now())
    if status is not AudienceStatus.ACTIVE or record.members is None:
        raise HttpError(
            400, ErrorType.AUDIENCE_NOT_ACTIVE, f"{parameter}: this audience's status is {status}, not ACTIVE"
        )
    return record.members


async def create_lookalike_audience(service: Backend, call: EndpointRequest) -> AudienceRecord:
    """Begin to find the voters most like those of a matched audience."""
    base_id = call.parameters.record_id("baseAudienceId")
    customer_id = call.parameters.text("customerId")
    size = call.parameters.size("size")
    name = normalize_name(service.dialect.name_normalization, call.parameters.text("audienceName"))
    include_base = call.parameters.optional_boolean("includeOriginalAudience")
    filters = call.parameters.filters("filters")
    base = service.store.get_audience(base_id, customer_id)
    if base.upload is None:
        raise HttpError(
            400, ErrorType.BASE_AUDIENCE_NOT_ELIGIBLE, "baseAudienceId: the base must be matched from an uploaded CSV"
        )
    people = _require_members(service, base, "baseAudienceId")
    if people.size < MIN_BASE_SIZE:
        raise HttpError(
            400,
            ErrorType.BASE_AUDIENCE_NOT_ELIGIBLE,
            f"baseAudienceId: the base must have at least {MIN_BASE_SIZE:,} matched people; it has {people.size:,}",
        )
    existing = _find_existing(service, customer_id, name)
    if existing is not None:
        return existing
    record = service.store.add_audience(
        AudienceRecord(
            id=service.store.new_id("aud"),
            customer_id=customer_id,
            created_at=service.clock.now(),
            name=name,
            base_audience_id=base.id,
            stage=_start_stage(service, call, service.stage_times.lookalike),
        )
    )

    async def work() -> None:
        members = await service.engine.build_lookalike(people, size=size, include_base=include_base, filters=filters)
        _finish_audience(service, record.id, members)

    service.background_tasks.start(work, lambda failure: _finish_audience(service, record.id, failure=failure))
    return record


async def get_audience(service: Backend, call: EndpointRequest) -> AudienceRecord:
    """Look one audience up."""
    audience_id = call.parameters.record_id("audienceId")
    return service.store.get_audience(audience_id, call.parameters.optional_text("customerId"))


async def list_audiences(service: Backend, call: EndpointRequest) -> Iterable[AudienceRecord]:
    """A customer's audiences, or the whole organisation's."""
    records = service.store.list_audiences(call.parameters.optional_text("customerId"))
    return islice(records, service.dialect.list_limit)


async def create_preview_csv_export(service: Backend, call: EndpointRequest) -> ExportRecord:
    """Price an export. In the asynchronous flow that takes time, and a free export needs no purchase."""
    audience_id = call.parameters.record_id("audienceId")
    customer_id = call.parameters.optional_text("customerId")
    field_types = call.parameters.optional_field_types("optionalFieldTypes")
    audience = service.store.get_audience(audience_id, customer_id)
    members = _require_members(service, audience, "audienceId")
    price = calculate_price(members.size, field_types)
    takes_time = service.export_flow == "asynchronous"
    needs_purchase = price.cents > 0 or not takes_time
    work = _start_stage(service, call, service.stage_times.export if takes_time else 0)
    export = service.store.add_export(
        ExportRecord(
            id=service.store.new_id("exp"),
            audience_id=audience.id,
            created_at=service.clock.now(),
            field_types=field_types,
            price=price,
            needs_purchase=needs_purchase,
            stage=work.complete() if needs_purchase else work,
        )
    )
    if not needs_purchase:
        _start_csv_export(service, export, members)
    return export


def _start_csv_export(service: Backend, export: ExportRecord, members: Members) -> asyncio.Task[None]:
    """Begin to write an export's CSV."""

    def finish(file: CsvFile | None = None, failure: str | None = None) -> None:
        service.store.update_export(
            export.id, lambda record: attrs.evolve(record, stage=record.stage.complete(failure), file=file)
        )

    async def work() -> None:
        finish(await service.engine.export(members, export.field_types, service.export_folder / f"{export.id}.csv"))

    return service.background_tasks.start(work, lambda failure: finish(failure=failure))


async def purchase_csv_export(service: Backend, call: EndpointRequest) -> ExportRecord:
    """Charge an export, once. In the synchronous flow the answer has the CSV's URL."""
    export_id = call.parameters.record_id("exportId")
    customer_id = call.parameters.optional_text("customerId")
    export, audience = service.store.get_export(export_id, customer_id)
    if export.purchased_at is not None and service.dialect.repeated_purchase == "charge":
        service.store.record_purchase(export)
        return export
    if export.purchased_at is not None or not export.needs_purchase:
        raise HttpError(400, ErrorType.ALREADY_PURCHASED, "You've already made this purchase.")
    status = export_status(export, service.clock.now())
    if status is not ExportStatus.REQUIRES_PAYMENT:
        raise HttpError(400, ErrorType.EXPORT_NOT_READY, f"exportId: this export's status is {status}")
    takes_time = service.export_flow == "asynchronous"
    work = _start_stage(service, call, service.stage_times.export if takes_time else 0)
    now = service.clock.now()
    if call.charged_cents is not None:
        cents = call.charged_cents
        export = service.store.update_export(export.id, lambda record: attrs.evolve(record, price_override_cents=cents))
    service.store.record_purchase(export)
    export = service.store.update_export(export.id, lambda record: attrs.evolve(record, stage=work, purchased_at=now))
    written = _start_csv_export(service, export, _require_members(service, audience, "exportId"))
    if not takes_time:
        await asyncio.wait({written})
    return service.store.get_export(export_id, customer_id)[0]


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
