"""The Indigo audiences API as a local server: real state, synthetic people, scaled time, faults on demand."""

from indigo_async.sandbox.clock import Clock, ManualClock, ScaledClock
from indigo_async.sandbox.dialect import CostKey, Dialect, ExportFlow
from indigo_async.sandbox.faults import Fault, FaultKind, Faults
from indigo_async.sandbox.http.file_host import FileHost
from indigo_async.sandbox.http.request_log import LogEntry, RequestLog
from indigo_async.sandbox.sandbox import Sandbox
from indigo_async.sandbox.state.pricing import CENTS_PER_PERSON
from indigo_async.sandbox.state.records import StageTimes
from indigo_async.sandbox.state.store import Counts

__all__ = [
    "CENTS_PER_PERSON",
    "Clock",
    "CostKey",
    "Counts",
    "Dialect",
    "ExportFlow",
    "Fault",
    "FaultKind",
    "Faults",
    "FileHost",
    "LogEntry",
    "ManualClock",
    "RequestLog",
    "Sandbox",
    "ScaledClock",
    "StageTimes",
]
