"""Traces and metrics with OpenTelemetry (extra `otel`): call `instrument(client)` for each client."""

from __future__ import annotations

from indigo_async._extras import require_extra

try:
    from opentelemetry import metrics, trace
except ImportError:
    require_extra("otel", "indigo_async.telemetry")
    raise

from indigo_async._listeners import combine_listeners, separate_listeners
from indigo_async.client import IndigoClient
from indigo_async.events import Listener
from indigo_async.telemetry._attributes import ServerAttributes
from indigo_async.telemetry._metrics import MetricsListener, get_instruments
from indigo_async.telemetry._spans import SpanListener

__all__ = ["instrument"]


def instrument(
    client: IndigoClient,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Record spans and metrics for everything a client does. Call it before you use the client.

    Calling it again replaces the providers; nothing is recorded twice.

    Each recipe is a span, with a child span per stage; a stage's requests are client spans in it. Spans name the
    customer and the audience, metrics never do. Neither contains a token, a URL's query or a signed URL.

    Args:
        client: the client, open or not.
        tracer_provider: defaults to the global one.
        meter_provider: defaults to the global one.
    """
    server = ServerAttributes.from_url(client.settings.base_url)
    spans = SpanListener(trace.get_tracer("indigo_async", tracer_provider=tracer_provider), server)
    transport = client.transport
    others: list[Listener] = []
    for listener in separate_listeners(transport.on_event):
        if isinstance(listener, MetricsListener):
            listener.count_polls()
        elif not isinstance(listener, SpanListener):
            others.append(listener)
    measurements = MetricsListener(get_instruments(meter_provider), server, client)
    transport.on_event = combine_listeners(*others, spans, measurements)
