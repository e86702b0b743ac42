"""From a request on the socket to a reply: routes, token, rate limit, faults, and a line in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from weakref import WeakSet

import anyio
import attrs
import msgspec
from aiohttp import web

from indigo_async.models import RecordId
from indigo_async.sandbox.admission import API, allow_get, authorize, endpoint_name, read_parameters, refuse_route
from indigo_async.sandbox.downloads import serve_csv
from indigo_async.sandbox.endpoints import ENDPOINTS, Call, Service
from indigo_async.sandbox.faults import Fault, FaultKind, Faults, Subject
from indigo_async.sandbox.file_host import FILES, FileHost
from indigo_async.sandbox.limits import TokenBucket
from indigo_async.sandbox.links import DOWNLOADS
from indigo_async.sandbox.log import LogEntry, RequestLog
from indigo_async.sandbox.parameters import Parameters
from indigo_async.sandbox.records import AudienceRecord, ExportRecord
from indigo_async.sandbox.refusals import ErrorType, Refusal
from indigo_async.sandbox.rendering import Rendering, render
from indigo_async.sandbox.wire import Reply, cut, edit_rows, error_reply, instead_of_answer, send

__all__ = ["Host", "handle"]

_log = logging.getLogger(__name__)

_BEFORE = frozenset({FaultKind.STATUS_BEFORE, FaultKind.HTML_BEFORE, FaultKind.RATE_LIMITED, FaultKind.PRICE_RAISED})


@attrs.frozen(kw_only=True)
class Host:
    """Everything that serving a request needs."""

    service: Service
    rendering: Rendering
    file_host: FileHost
    faults: Faults
    log: RequestLog
    token: str = attrs.field(repr=False)
    bucket: TokenBucket | None
    closing: anyio.Event
    openapi: bytes
    stale: WeakSet[asyncio.Transport] = attrs.field(factory=WeakSet[asyncio.Transport])


@attrs.define
class _Exchange:
    """What becomes known about a request while it is served, for the log."""

    at: float
    endpoint: str
    customer_id: str | None = None
    audience_id: RecordId | None = None
    export_id: RecordId | None = None
    carried_out: bool = False
    fault: Fault | None = None
    is_stale: bool = False

    @property
    def fault_kind(self) -> FaultKind | None:
        if self.is_stale:
            return FaultKind.STALE
        return self.fault.kind if self.fault is not None else None

    def name(self, record: AudienceRecord | ExportRecord) -> None:
        """Note the record that the answer is about."""
        if isinstance(record, AudienceRecord):
            self.audience_id = record.id
        else:
            self.audience_id, self.export_id = record.audience_id, record.id


async def handle(host: Host, request: web.BaseRequest) -> web.StreamResponse:
    """Serve one request."""
    exchange = _Exchange(host.service.clock.now(), endpoint_name(request))
    try:
        reply = await _reply(host, request, exchange)
    except Refusal as refusal:
        reply = error_reply(refusal)
    except web.HTTPRequestEntityTooLarge:
        reply = error_reply(Refusal(413, ErrorType.BODY_TOO_LARGE, "The request's body is too large."))
    except Exception:  # noqa: BLE001 - whatever went wrong, the client gets an answer in the API's shape
        _log.exception("the sandbox failed to serve %s", exchange.endpoint)
        reply = error_reply(Refusal(500, ErrorType.INTERNAL, "The sandbox failed; its log says why."))
    kind = exchange.fault_kind
    host.log.add(
        LogEntry(
            at=exchange.at,
            method=request.method,
            endpoint=exchange.endpoint,
            customer_id=exchange.customer_id,
            audience_id=exchange.audience_id,
            export_id=exchange.export_id,
            status=None if reply is None or kind is FaultKind.CUT_AFTER else reply.status,
            carried_out=exchange.carried_out,
            fault=kind,
        )
    )
    if reply is None:
        return cut(request)
    response = await send(request, reply, exchange.fault)
    if kind is FaultKind.STALE and request.transport is not None:
        host.stale.add(request.transport)
    return response


async def _reply(host: Host, request: web.BaseRequest, exchange: _Exchange) -> Reply | None:
    """The reply, or None where the connection breaks instead."""
    path = request.path
    if request.transport in host.stale:
        exchange.is_stale = True
        return None
    if path.startswith(f"{API}/"):
        return await _serve_api(host, request, exchange)
    if path.startswith(DOWNLOADS):
        return await _serve_download(host, request, exchange)
    allow_get(request)
    if path.startswith(FILES):
        return await host.file_host.serve(request.rel_url.raw_path)
    if path == "/openapi.json":
        return Reply(200, host.openapi)
    if path == "/_sandbox/counts":
        return Reply(200, _counts(host))
    raise refuse_route(request)


def _counts(host: Host) -> bytes:
    counts = host.service.store.counts()
    return msgspec.json.encode(
        {
            "requests": host.log.by_endpoint(),
            "audiences": sum(counts.audiences.values()),
            "purchases": counts.purchases,
            "chargedCents": counts.charged_cents,
        }
    )


async def _serve_api(host: Host, request: web.BaseRequest, exchange: _Exchange) -> Reply | None:
    if exchange.endpoint not in ENDPOINTS:
        raise refuse_route(request)
    authorize(request, host.token)
    if host.bucket is not None:
        host.bucket.take(time.monotonic())  # real time: clients really wait
    parameters = await read_parameters(request, host.service.store)
    _note_ids(exchange, parameters)

    async def work(fault: Fault | None) -> Reply:
        kind = None if fault is None else fault.kind
        if kind is FaultKind.ERROR_INSIDE:
            return _error_inside(host, exchange)
        failure = "FailedOnDemand" if kind is FaultKind.WORK_FAILS else None
        charged_cents = fault.cents if fault is not None and kind is FaultKind.CHARGED_MORE else None
        answer = await ENDPOINTS[exchange.endpoint](host.service, Call(parameters, failure, charged_cents))
        exchange.carried_out = True
        if isinstance(answer, AudienceRecord | ExportRecord):
            exchange.name(answer)
            if kind is FaultKind.OTHER_RECORD:
                answer = host.service.store.newest_other(answer) or attrs.evolve(answer, id="other")
        return Reply(200, render(host.rendering, answer))

    return await _with_faults(host, exchange, parameters.values.get("audienceName"), work)


def _error_inside(host: Host, exchange: _Exchange) -> Reply:
    """The record that a request is about, as it is, with an error in it."""
    store = host.service.store
    record: AudienceRecord | ExportRecord | None = None
    if exchange.export_id is not None:
        record = store.export(exchange.export_id)
    elif exchange.audience_id is not None:
        record = store.audience(exchange.audience_id)
    shown = {"id": "none"} if record is None else msgspec.json.decode(render(host.rendering, record))
    return Reply(200, msgspec.json.encode(shown | {"error": "card declined", "errorType": "CardDeclined"}))


def _raise_price(host: Host, exchange: _Exchange, cents: int) -> None:
    export = None if exchange.export_id is None else host.service.store.export(exchange.export_id)
    if export is not None and export.purchased_at is None:
        host.service.store.change_export(export.id, lambda record: attrs.evolve(record, changed_cents=cents))


def _note_ids(exchange: _Exchange, parameters: Parameters) -> None:
    """Note whom a request says it is about, before anything is checked."""

    def first(*names: str) -> RecordId | None:
        found = (parameters.values.get(name) for name in names)
        return next((value for value in found if isinstance(value, (str, int))), None)

    customer_id = parameters.values.get("customerId")
    exchange.customer_id = customer_id if isinstance(customer_id, str) else None
    exchange.audience_id = first("audienceID", "audienceId", "baseAudienceId")
    exchange.export_id = first("exportId")


async def _serve_download(host: Host, request: web.BaseRequest, exchange: _Exchange) -> Reply | None:
    """Serve an export's CSV to whoever holds its signed URL; the API's token has no business here."""
    allow_get(request)
    if "Authorization" in request.headers:
        raise Refusal(400, ErrorType.DOWNLOAD_REFUSED, "A download URL carries its own signature: send no token.")
    export_id = host.rendering.links.check(request.path, request.query)
    export = host.service.store.export(host.service.store.read_id(export_id))
    if export is None or export.file is None:
        raise Refusal(404, ErrorType.NOT_FOUND, "There is no such download.")
    exchange.name(export)
    audience = host.service.store.audience(export.audience_id)
    exchange.customer_id = audience.customer_id if audience is not None else None
    file = export.file

    async def work(fault: Fault | None) -> Reply:
        reply = serve_csv(file, request.headers, fault)
        exchange.carried_out = True
        return reply

    return await _with_faults(host, exchange, None, work)


async def _with_faults(
    host: Host, exchange: _Exchange, audience_name: object, work: Callable[[Fault | None], Awaitable[Reply]]
) -> Reply | None:
    """Do the work, unless a fault strikes before it, and do to its answer what a fault does after it."""
    fault = exchange.fault = host.faults.take(_subject(host, exchange, audience_name)) if host.faults else None
    if fault is None:
        return await work(None)
    if fault.kind is FaultKind.PRICE_RAISED:
        _raise_price(host, exchange, fault.cents)
    if fault.kind is FaultKind.CUT_BEFORE or fault.cuts:
        return None
    if fault.kind in _BEFORE:
        return instead_of_answer(fault)
    if fault.kind is FaultKind.SLOW_BEFORE and await _closes_within(host, fault.delay):
        return None
    try:
        reply = await work(fault)
    except Refusal as refusal:
        reply = error_reply(refusal)
    if fault.kind is FaultKind.SLOW_AFTER and await _closes_within(host, fault.delay):
        return None
    return instead_of_answer(fault) or edit_rows(fault, reply)


def _subject(host: Host, exchange: _Exchange, audience_name: object) -> Subject:
    """What a request is about, with the audience of an export and the name of an audience looked up."""
    audience_id = exchange.audience_id
    if audience_id is None and exchange.export_id is not None:
        export = host.service.store.export(exchange.export_id)
        audience_id = export.audience_id if export is not None else None
    if not isinstance(audience_name, str):
        audience = host.service.store.audience(audience_id) if audience_id is not None else None
        audience_name = audience.name if audience is not None else None
    return Subject(
        endpoint=exchange.endpoint,
        customer_id=exchange.customer_id,
        audience_id=audience_id,
        audience_name=audience_name,
    )


async def _closes_within(host: Host, seconds: float) -> bool:
    """Let real time pass, unless the sandbox closes first."""
    with anyio.move_on_after(seconds):
        await host.closing.wait()
    return host.closing.is_set()
