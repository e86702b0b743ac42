"""Handle requests: routing, authentication, rate limit, faults and the request log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
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
from indigo_async.sandbox.http.wrapping import wrap_response
from indigo_async.sandbox.state.records import AudienceRecord, ExportRecord

__all__ = ["App", "handle"]

_log = logging.getLogger(__name__)

_ANSWERED_BEFORE_WORK = frozenset(
    {FaultKind.ERROR_BEFORE, FaultKind.HTML_BEFORE, FaultKind.RATE_LIMITED, FaultKind.PRICE_RAISED}
)


@attrs.frozen(kw_only=True)
class App:
    """The parts that serving a request needs."""

    backend: Backend
    render_context: RenderContext
    file_host: FileHost
    faults: Faults
    log: RequestLog
    token: str = attrs.field(repr=False)
    rate_limiter: TokenBucket | None
    closing: anyio.Event
    openapi_json: bytes
    request_numbers: Iterator[int] = attrs.field(factory=lambda: count(1))
    stale_connections: WeakSet[asyncio.Transport] = attrs.field(factory=WeakSet[asyncio.Transport])


@attrs.define
class _RequestContext:
    """What is learned about a request while it is served, for the log."""

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
        """Set the IDs of the record in the response."""
        if isinstance(record, AudienceRecord):
            self.audience_id = record.id
        else:
            self.audience_id, self.export_id = record.audience_id, record.id


async def handle(app: App, request: web.BaseRequest) -> web.StreamResponse:
    """Serve one request."""
    context = _RequestContext(app.backend.clock.now(), get_endpoint_name(request))
    try:
        reply = await _route(app, request, context)
    except HttpError as error:
        reply = build_error_response(error)
    except web.HTTPRequestEntityTooLarge:
        reply = build_error_response(HttpError(413, ErrorType.BODY_TOO_LARGE, "The request's body is too large."))
    except Exception:  # noqa: BLE001 - whatever went wrong, the client gets an answer in the API's shape
        _log.exception("the sandbox failed to serve %s", context.endpoint)
        reply = build_error_response(HttpError(500, ErrorType.INTERNAL, "The sandbox failed; its log says why."))
    kind = context.fault_kind
    request_id = f"req-{next(app.request_numbers)}"
    app.log.add(
        LogEntry(
            at=context.received_at,
            method=request.method,
            endpoint=context.endpoint,
            customer_id=context.customer_id,
            audience_id=context.audience_id,
            export_id=context.export_id,
            status=None if reply is None or kind is FaultKind.DISCONNECT_AFTER else reply.status,
            carried_out=context.carried_out,
            fault=kind,
            request_id=request_id,
        )
    )
    if reply is None:
        return drop_connection(request)
    if context.endpoint in ENDPOINTS:
        reply = wrap_response(app.render_context.dialect, context.endpoint, request.url, reply)
    reply = attrs.evolve(reply, headers={**reply.headers, "X-Request-Id": request_id})
    response = await send(request, reply, context.fault)
    if kind is FaultKind.STALE_CONNECTION and request.transport is not None:
        app.stale_connections.add(request.transport)
    return response


async def _route(app: App, request: web.BaseRequest, context: _RequestContext) -> Response | None:
    """Return the response, or None to break the connection."""
    path = request.path
    if request.transport in app.stale_connections:
        context.on_stale_connection = True
        return None
    if path.startswith(f"{API_PATH}/"):
        return await _serve_api(app, request, context)
    if path.startswith(DOWNLOADS_PATH):
        return await _serve_download(app, request, context)
    require_get(request)
    if path.startswith(FILES_PATH):
        return await app.file_host.serve(request.rel_url.raw_path)
    if path == "/openapi.json":
        return Response(200, app.openapi_json)
    if path == "/_sandbox/counts":
        return Response(200, _encode_counts(app))
    raise build_route_error(request)


def _encode_counts(app: App) -> bytes:
    counts = app.backend.store.counts()
    return msgspec.json.encode(
        {
            "requests": app.log.count_by_endpoint(),
            "audiences": sum(counts.audiences.values()),
            "purchases": counts.purchases,
            "chargedCents": counts.charged_cents,
        }
    )


async def _serve_api(app: App, request: web.BaseRequest, context: _RequestContext) -> Response | None:
    if context.endpoint not in ENDPOINTS:
        raise build_route_error(request)
    authenticate(request, app.token)
    if app.rate_limiter is not None:
        app.rate_limiter.acquire(time.monotonic())  # in real time, because clients really wait
    parameters = await read_parameters(request, app.backend.store)
    _set_ids(context, parameters)

    async def work(fault: Fault | None) -> Response:
        kind = None if fault is None else fault.kind
        if kind is FaultKind.ERROR_INSIDE_SUCCESS:
            return _build_error_inside_success(app, context)
        failure = "FailedOnDemand" if kind is FaultKind.STAGE_FAILS else None
        charged_cents = fault.cost_cents if fault is not None and kind is FaultKind.OVERCHARGED else None
        answer = await ENDPOINTS[context.endpoint](app.backend, EndpointRequest(parameters, failure, charged_cents))
        context.carried_out = True
        if isinstance(answer, AudienceRecord | ExportRecord):
            context.set_record(answer)
            if kind is FaultKind.WRONG_RECORD:
                answer = app.backend.store.find_other_record(answer) or attrs.evolve(answer, id="other")
        return Response(200, render(app.render_context, answer))

    return await _run_with_faults(app, context, parameters.values.get("audienceName"), work)


def _build_error_inside_success(app: App, context: _RequestContext) -> Response:
    """Return the unchanged record with an error inside."""
    store = app.backend.store
    record: AudienceRecord | ExportRecord | None = None
    if context.export_id is not None:
        record = store.find_export(context.export_id)
    elif context.audience_id is not None:
        record = store.find_audience(context.audience_id)
    shown = {"id": "none"} if record is None else msgspec.json.decode(render(app.render_context, record))
    return Response(200, msgspec.json.encode(shown | {"error": "card declined", "errorType": "CardDeclined"}))


def _change_price(app: App, context: _RequestContext, cents: int) -> None:
    export = None if context.export_id is None else app.backend.store.find_export(context.export_id)
    if export is not None and export.purchased_at is None:
        app.backend.store.update_export(export.id, lambda record: attrs.evolve(record, price_override_cents=cents))


def _set_ids(context: _RequestContext, parameters: Parameters) -> None:
    """Set the IDs that a request names, before anything is checked."""

    def first(*names: str) -> RecordId | None:
        found = (parameters.values.get(name) for name in names)
        return next((value for value in found if isinstance(value, (str, int))), None)

    customer_id = parameters.values.get("customerId")
    context.customer_id = customer_id if isinstance(customer_id, str) else None
    context.audience_id = first("audienceID", "audienceId", "baseAudienceId")
    context.export_id = first("exportId")


async def _serve_download(app: App, request: web.BaseRequest, context: _RequestContext) -> Response | None:
    """Serve an export's CSV to anyone with its signed URL, and reject requests that carry the API token."""
    require_get(request)
    if "Authorization" in request.headers:
        raise HttpError(400, ErrorType.DOWNLOAD_REFUSED, "A download URL carries its own signature: send no token.")
    export_id = app.render_context.url_signer.verify(request.path, request.query)
    export = app.backend.store.find_export(app.backend.store.parse_id(export_id))
    if export is None or export.file is None:
        raise HttpError(404, ErrorType.NOT_FOUND, "There is no such download.")
    context.set_record(export)
    audience = app.backend.store.find_audience(export.audience_id)
    context.customer_id = audience.customer_id if audience is not None else None
    file = export.file

    async def work(fault: Fault | None) -> Response:
        reply = build_csv_response(file, request.headers, fault)
        context.carried_out = True
        return reply

    return await _run_with_faults(app, context, None, work)


async def _run_with_faults(
    app: App, context: _RequestContext, audience_name: object, work: Callable[[Fault | None], Awaitable[Response]]
) -> Response | None:
    """Run the endpoint and build the response, with the faults that strike before and after."""
    fault = context.fault = app.faults.trigger(_request_target(app, context, audience_name)) if app.faults else None
    if fault is None:
        return await work(None)
    if fault.kind is FaultKind.PRICE_RAISED:
        _change_price(app, context, fault.cost_cents)
    if fault.kind is FaultKind.DISCONNECT_BEFORE or fault.disconnect:
        return None
    if fault.kind in _ANSWERED_BEFORE_WORK:
        return build_fault_response(fault)
    if fault.kind is FaultKind.DELAY_BEFORE and await _sleep_unless_closing(app, fault.delay):
        return None
    try:
        reply = await work(fault)
    except HttpError as error:
        reply = build_error_response(error)
    if fault.kind is FaultKind.DELAY_AFTER and await _sleep_unless_closing(app, fault.delay):
        return None
    return build_fault_response(fault) or edit_rows(fault, reply)


def _request_target(app: App, context: _RequestContext, audience_name: object) -> RequestTarget:
    """Return what a request is about, including the audience of an export and the name of an audience."""
    audience_id = context.audience_id
    if audience_id is None and context.export_id is not None:
        export = app.backend.store.find_export(context.export_id)
        audience_id = export.audience_id if export is not None else None
    if not isinstance(audience_name, str):
        audience = app.backend.store.find_audience(audience_id) if audience_id is not None else None
        audience_name = audience.name if audience is not None else None
    return RequestTarget(
        endpoint=context.endpoint,
        customer_id=context.customer_id,
        audience_id=audience_id,
        audience_name=audience_name,
    )


async def _sleep_unless_closing(app: App, seconds: float) -> bool:
    """Sleep in real time, or until the sandbox closes."""
    with anyio.move_on_after(seconds):
        await app.closing.wait()
    return app.closing.is_set()
