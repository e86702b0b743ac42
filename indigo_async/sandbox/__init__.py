"""The Indigo audiences API as a local server: real state, real people, scaled time, faults on demand."""

from indigo_async.sandbox.clock import Clock, ManualClock, ScaledClock
from indigo_async.sandbox.dialect import CostKey, Dialect, ExportFlow
from indigo_async.sandbox.faults import Fault, FaultKind, Faults
from indigo_async.sandbox.file_host import FileHost
from indigo_async.sandbox.log import LogEntry, RequestLog
from indigo_async.sandbox.pricing import CENTS_PER_PERSON
from indigo_async.sandbox.records import StageTimes
from indigo_async.sandbox.sandbox import Sandbox
from indigo_async.sandbox.store import Counts

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
