"""Health checks and Prometheus metrics of a worker."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.events import Event, ExportPurchased, Listener, RequestEnded
from indigo_async.temporal.workers.guard import WorkerGuard
from indigo_async.temporal.workers.load import WorkerLoad

__all__ = ["create_metrics_listener", "create_runtime", "report_load", "serve_health"]

_SECONDS_BETWEEN_OUTAGE_LINES = 60.0
_SECONDS_BETWEEN_REPORTS = 5.0
_OUTAGE_RECORDS = ("gRPC call ", "Error when recording heartbeat: Status { code: Unavailable")


def create_runtime(metrics: str | None) -> Runtime:
    """Create a runtime that logs to Python's logger `temporalio.core` instead of stdout.

    With an address, it serves the metrics of Temporal and this SDK there.

    Raises:
        InvalidInputError: the address is not an IP address and a port, or something else listens there.
    """
    served = None
    if metrics is not None:
        host, port = _parse_address("metrics", metrics)
        served = PrometheusConfig(bind_address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    core_logger = logging.getLogger("temporalio.core")
    core_logger.addFilter(_shorten_outage)
    forwarding = LogForwardingConfig(core_logger, prepend_target_on_message=False)
    logs = LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding)
    try:
        return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=served))
    except ValueError as error:
        reason = str(error).partition(": ")[2]
    raise InvalidInputError([Problem("metrics", f"can't be served on {metrics}: {reason}")])


_last_outage_logged_at = -math.inf


def _shorten_outage(record: logging.LogRecord) -> bool:
    """Log one line a minute while Temporal is down, instead of one for each request that is retried."""
    global _last_outage_logged_at  # noqa: PLW0603 - of the process, as the logger is
    if not record.getMessage().startswith(_OUTAGE_RECORDS):
        return True
    now = time.monotonic()
    if now - _last_outage_logged_at < _SECONDS_BETWEEN_OUTAGE_LINES:
        return False
    _last_outage_logged_at = now
    record.msg, record.args = "Temporal is not responding. Requests are retried until it does", ()
    return True


def create_metrics_listener(runtime: Runtime) -> Listener:
    """Create a listener that counts a client's requests and spending, without naming customers."""
    meter = runtime.metric_meter
    requests = meter.create_counter("indigo_requests", "Requests to the API, by endpoint and status.")
    spent = meter.create_counter("indigo_export_spent", "The cost of purchases, in cents.", "cents")

    def count(event: Event) -> None:
        match event:
            case RequestEnded(endpoint=endpoint, status=status):
                requests.add(1, {"endpoint": endpoint, "status": "none" if status is None else str(status)})
            case ExportPurchased(cost_cents=cents):
                spent.add(cents)
            case _:
                pass

    return count


@asynccontextmanager
async def report_load(runtime: Runtime, load: WorkerLoad) -> AsyncGenerator[None]:
    """Report the jobs and shards in progress as metrics inside the block."""
    meter = runtime.metric_meter
    jobs = meter.create_gauge("indigo_jobs_in_progress", "Jobs that this worker runs, most of which wait.")
    shards = meter.create_gauge("indigo_shards_in_progress", "Shards that this worker runs.")

    async def report() -> None:
        while True:
            jobs.set(load.jobs)
            shards.set(load.shards)
            await asyncio.sleep(_SECONDS_BETWEEN_REPORTS)

    reporting = asyncio.create_task(report())
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.wait([reporting])


@asynccontextmanager
async def serve_health(
    address: str | None, stopping: asyncio.Event, client: IndigoClient, guard: WorkerGuard, load: WorkerLoad
) -> AsyncGenerator[None]:
    """Serve `GET /healthz` inside the block: 200, or 503 once the worker is shutting down.

    Its `status` is "starting" until the worker's token and exports have been checked, for example during an outage.

    Raises:
        InvalidInputError: the address is not a host and a port, or something else listens there.
    """
    if address is None:
        yield
        return
    host, port = _parse_address("health", address)

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/healthz":
            return web.Response(status=404)
        stats = client.core.poller.stats if client.core.poller is not None else None
        is_ending = stopping.is_set() or guard.error is not None
        health = {
            "status": "ending" if is_ending else "ok" if guard.is_ready else "starting",
            "jobs_in_progress": load.jobs,
            "shards_in_progress": load.shards,
            "requests": client.transport.requests.total(),
            "polls": stats.polls if stats is not None else 0,
        }
        return web.json_response(health, status=503 if is_ending else 200)

    runner = web.ServerRunner(web.Server(respond, access_log=None))
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise InvalidInputError([Problem("health", f"can't be served on {address}: {reason}")]) from None
        yield
    finally:
        await runner.cleanup()


def _parse_address(where: str, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    check = InputCheck()
    if not host or not port.isdecimal():
        check.add(where, f"must be a host and a port, such as 127.0.0.1:8081, not {address!r}")
    check.raise_if_invalid()
    return host.strip("[]"), int(port)
