"""Joins a client to OpenTelemetry."""

from __future__ import annotations

from opentelemetry import metrics, trace

from indigo_async.client import IndigoClient
from indigo_async.events import combine_listeners
from indigo_async.telemetry.attributes import ServerAttributes
from indigo_async.telemetry.metrics import MetricsListener, get_instruments
from indigo_async.telemetry.spans import SpanListener

__all__ = ["instrument"]


def instrument(
    client: IndigoClient,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Record spans and metrics of all that is done on a client from now on. Call it once, before the client is used.

    A recipe is a span, its stages are spans within it, the requests of a stage client spans within that one. They say
    which customer and audience they are about; metrics never do. Neither holds a token, a query or a signed URL.

    Args:
        client: open or not yet.
        tracer_provider: the process's own where none is given.
        meter_provider: the process's own where none is given.
    """
    server = ServerAttributes.from_url(client.settings.base_url)
    spans = SpanListener(trace.get_tracer("indigo_async", tracer_provider=tracer_provider), server)
    measures = MetricsListener(get_instruments(meter_provider), server, client)
    transport = client.transport
    transport.on_event = combine_listeners(transport.on_event, spans, measures)
