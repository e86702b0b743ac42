"""Traces and metrics by OpenTelemetry (extra `otel`): `instrument(client)`, once for each client."""

try:
    import opentelemetry as _  # noqa: F401 - only whether it is there
except ImportError as _missing:
    raise ImportError("indigo_async.telemetry needs OpenTelemetry: pip install 'indigo-async[otel]'") from _missing

from indigo_async.telemetry.instrumentation import instrument

__all__ = ["instrument"]
