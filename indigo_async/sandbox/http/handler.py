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
from indigo_async.sandbox.errors import ErrorType, HttpError
from indigo_async.sandbox.faults import Fault, FaultKind, Faults, RequestTarget
from indigo_async.sandbox.http.downloads import build_csv_response
from indigo_async.sandbox.http.endpoints import ENDPOINTS, Backend, EndpointRequest
from indigo_async.sandbox.http.file_host import FILES_PATH, FileHost
from indigo_async.sandbox.http.parameters import Parameters
from indigo_async.sandbox.http.rate_limit import TokenBucket
from indigo_async.sandbox.http.rendering import RenderContext, render
from indigo_async.sandbox.http.request_checks import (
    API_PATH,
    authenticate,
    build_route_error,
    get_endpoint_name,
    read_parameters,
    require_get,
)
from indigo_async.sandbox.http.request_log import LogEntry, RequestLog
from indigo_async.sandbox.http.responses import (
    Response,
    build_error_response,
    build_fault_response,
    drop_connection,
    edit_rows,
    send,
)
from indigo_async.sandbox.http.signed_urls import DOWNLOADS_PATH
from indigo_async.sandbox.state.records import AudienceRecord, ExportRecord

__all__ = ["App", "handle"]

_log = logging.getLogger(__name__)

_ANSWERED_BEFORE_WORK = frozenset(
    {FaultKind.ERROR_BEFORE, FaultKind.HTML_BEFORE, FaultKind.RATE_LIMITED, FaultKind.PRICE_RAISED}
)


@attrs.frozen(kw_only=True)
class App:
    """Everything that serving a request needs."""

    backend: Backend
    render_context: RenderContext
    file_host: FileHost
    faults: Faults
    log: RequestLog
    token: str = attrs.field(repr=False)
    rate_limiter: TokenBucket | None
    closing: anyio.Event
    openapi_json: bytes
    stale_connections: WeakSet[asyncio.Transport] = attrs.field(factory=WeakSet[asyncio.Transport])


@attrs.define
class _RequestContext:
    """What becomes known about a request while it is served, for the log."""

    received_at: float
    endpoint: str
    customer_id: str | None = None
    audience_id: RecordId | None = None
    export_id: RecordId | None = None
    carried_out: bool = False
    fault: Fault | None = None
    on_stale_connection: bool = False

    @property
    def fault_kind(self) -> FaultKind | None:
        if self.on_stale_connection:
            return FaultKind.STALE_CONNECTION
        return self.fault.kind if self.fault is not None else None

    def set_record(self, record: AudienceRecord | ExportRecord) -> None:
        """Note the record that the answer is about."""
        if isinstance(record, AudienceRecord):
            self.audience_id = record.id
        else:
            self.audience_id, self.export_id = record.audience_id, record.id


async def handle(host: App, request: web.BaseRequest) -> web.StreamResponse:
    """Serve one request."""
    exchange = _RequestContext(host.backend.clock.now(), get_endpoint_name(request))
    try:
        reply = await _route(host, request, exchange)
    except HttpError as refusal:
        reply = build_error_response(refusal)
    except web.HTTPRequestEntityTooLarge:
        reply = build_error_response(HttpError(413, ErrorType.BODY_TOO_LARGE, "The request's body is too large."))
    except Exception:  # noqa: BLE001 - whatever went wrong, the client gets an answer in the API's shape
        _log.exception("the sandbox failed to serve %s", exchange.endpoint)
        reply = build_error_response(HttpError(500, ErrorType.INTERNAL, "The sandbox failed; its log says why."))
    kind = exchange.fault_kind
    host.log.add(
        LogEntry(
            at=exchange.received_at,
            method=request.method,
            endpoint=exchange.endpoint,
            customer_id=exchange.customer_id,
            audience_id=exchange.audience_id,
            export_id=exchange.export_id,
            status=None if reply is None or kind is FaultKind.DISCONNECT_AFTER else reply.status,
            carried_out=exchange.carried_out,
            fault=kind,
        )
    )
    if reply is None:
        return drop_connection(request)
    response = await send(request, reply, exchange.fault)
    if kind is FaultKind.STALE_CONNECTION and request.transport is not None:
        host.stale_connections.add(request.transport)
    return response


async def _route(host: App, request: web.BaseRequest, exchange: _RequestContext) -> Response | None:
    """The reply, or None where the connection breaks instead."""
    path = request.path
    if request.transport in host.stale_connections:
        exchange.on_stale_connection = True
        return None
    if path.startswith(f"{API_PATH}/"):
        return await _serve_api(host, request, exchange)
    if path.startswith(DOWNLOADS_PATH):
        return await _serve_download(host, request, exchange)
    require_get(request)
    if path.startswith(FILES_PATH):
        return await host.file_host.serve(request.rel_url.raw_path)
    if path == "/openapi.json":
        return Response(200, host.openapi_json)
    if path == "/_sandbox/counts":
        return Response(200, _encode_counts(host))
    raise build_route_error(request)


def _encode_counts(host: App) -> bytes:
    counts = host.backend.store.counts()
    return msgspec.json.encode(
        {
            "requests": host.log.count_by_endpoint(),
            "audiences": sum(counts.audiences.values()),
            "purchases": counts.purchases,
            "chargedCents": counts.charged_cents,
        }
    )


async def _serve_api(host: App, request: web.BaseRequest, exchange: _RequestContext) -> Response | None:
    if exchange.endpoint not in ENDPOINTS:
        raise build_route_error(request)
    authenticate(request, host.token)
    if host.rate_limiter is not None:
        host.rate_limiter.acquire(time.monotonic())  # real time: clients really wait
    parameters = await read_parameters(request, host.backend.store)
    _set_ids(exchange, parameters)

    async def work(fault: Fault | None) -> Response:
        kind = None if fault is None else fault.kind
        if kind is FaultKind.ERROR_INSIDE_SUCCESS:
            return _build_error_inside_success(host, exchange)
        failure = "FailedOnDemand" if kind is FaultKind.STAGE_FAILS else None
        charged_cents = fault.cost_cents if fault is not None and kind is FaultKind.OVERCHARGED else None
        answer = await ENDPOINTS[exchange.endpoint](host.backend, EndpointRequest(parameters, failure, charged_cents))
        exchange.carried_out = True
        if isinstance(answer, AudienceRecord | ExportRecord):
            exchange.set_record(answer)
            if kind is FaultKind.WRONG_RECORD:
                answer = host.backend.store.find_other_record(answer) or attrs.evolve(answer, id="other")
        return Response(200, render(host.render_context, answer))

    return await _run_with_faults(host, exchange, parameters.values.get("audienceName"), work)


def _build_error_inside_success(host: App, exchange: _RequestContext) -> Response:
    """The record that a request is about, as it is, with an error in it."""
    store = host.backend.store
    record: AudienceRecord | ExportRecord | None = None
    if exchange.export_id is not None:
        record = store.find_export(exchange.export_id)
    elif exchange.audience_id is not None:
        record = store.find_audience(exchange.audience_id)
    shown = {"id": "none"} if record is None else msgspec.json.decode(render(host.render_context, record))
    return Response(200, msgspec.json.encode(shown | {"error": "card declined", "errorType": "CardDeclined"}))


def _change_price(host: App, exchange: _RequestContext, cents: int) -> None:
    export = None if exchange.export_id is None else host.backend.store.find_export(exchange.export_id)
    if export is not None and export.purchased_at is None:
        host.backend.store.update_export(export.id, lambda record: attrs.evolve(record, price_override_cents=cents))


def _set_ids(exchange: _RequestContext, parameters: Parameters) -> None:
    """Note whom a request says it is about, before anything is checked."""

    def first(*names: str) -> RecordId | None:
        found = (parameters.values.get(name) for name in names)
        return next((value for value in found if isinstance(value, (str, int))), None)

    customer_id = parameters.values.get("customerId")
    exchange.customer_id = customer_id if isinstance(customer_id, str) else None
    exchange.audience_id = first("audienceID", "audienceId", "baseAudienceId")
    exchange.export_id = first("exportId")


async def _serve_download(host: App, request: web.BaseRequest, exchange: _RequestContext) -> Response | None:
    """Serve an export's CSV to whoever holds its signed URL; the API's token has no business here."""
    require_get(request)
    if "Authorization" in request.headers:
        raise HttpError(400, ErrorType.DOWNLOAD_REFUSED, "A download URL carries its own signature: send no token.")
    export_id = host.render_context.url_signer.verify(request.path, request.query)
    export = host.backend.store.find_export(host.backend.store.parse_id(export_id))
    if export is None or export.file is None:
        raise HttpError(404, ErrorType.NOT_FOUND, "There is no such download.")
    exchange.set_record(export)
    audience = host.backend.store.find_audience(export.audience_id)
    exchange.customer_id = audience.customer_id if audience is not None else None
    file = export.file

    async def work(fault: Fault | None) -> Response:
        reply = build_csv_response(file, request.headers, fault)
        exchange.carried_out = True
        return reply

    return await _run_with_faults(host, exchange, None, work)


async def _run_with_faults(
    host: App, exchange: _RequestContext, audience_name: object, work: Callable[[Fault | None], Awaitable[Response]]
) -> Response | None:
    """Do the work, unless a fault strikes before it, and do to its answer what a fault does after it."""
    fault = exchange.fault = (
        host.faults.trigger(_request_target(host, exchange, audience_name)) if host.faults else None
    )
    if fault is None:
        return await work(None)
    if fault.kind is FaultKind.PRICE_RAISED:
        _change_price(host, exchange, fault.cost_cents)
    if fault.kind is FaultKind.DISCONNECT_BEFORE or fault.disconnect:
        return None
    if fault.kind in _ANSWERED_BEFORE_WORK:
        return build_fault_response(fault)
    if fault.kind is FaultKind.DELAY_BEFORE and await _sleep_unless_closing(host, fault.delay):
        return None
    try:
        reply = await work(fault)
    except HttpError as refusal:
        reply = build_error_response(refusal)
    if fault.kind is FaultKind.DELAY_AFTER and await _sleep_unless_closing(host, fault.delay):
        return None
    return build_fault_response(fault) or edit_rows(fault, reply)


def _request_target(host: App, exchange: _RequestContext, audience_name: object) -> RequestTarget:
    """What a request is about, with the audience of an export and the name of an audience looked up."""
    audience_id = exchange.audience_id
    if audience_id is None and exchange.export_id is not None:
        export = host.backend.store.find_export(exchange.export_id)
        audience_id = export.audience_id if export is not None else None
    if not isinstance(audience_name, str):
        audience = host.backend.store.find_audience(audience_id) if audience_id is not None else None
        audience_name = audience.name if audience is not None else None
    return RequestTarget(
        endpoint=exchange.endpoint,
        customer_id=exchange.customer_id,
        audience_id=audience_id,
        audience_name=audience_name,
    )


async def _sleep_unless_closing(host: App, seconds: float) -> bool:
    """Let real time pass, unless the sandbox closes first."""
    with anyio.move_on_after(seconds):
        await host.closing.wait()
    return host.closing.is_set()
