"""Logs events with the logger `indigo_async`: `IndigoClient(on_event=log_events)`.

In scripts, set the environment variable `INDIGO_LOG` instead: with `info`, clients log results and purchases to stderr;
with `debug`, they also log every request. The variable is read when a client is created. If your code has configured
logging, its configuration stays, and records go where it sends them.

Each record has the event's fields as attributes, such as `indigo.event`, `indigo.customer_id`, `indigo.stage` and
`indigo.seconds`, so JSON formatters can write them. No record holds a token, a URL, or data about the people in a list.
Records do hold customer IDs and audience names.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import defaultdict
from functools import cache

from indigo_async._text import format_dollars
from indigo_async.events import (
    AudienceReused,
    DownloadProgressed,
    Event,
    ExportDownloaded,
    ExportPriced,
    ExportPurchased,
    ExportReused,
    Listener,
    OutageEnded,
    OutageStarted,
    RecipeFailed,
    RecipeFinished,
    RecipeStarted,
    RecipeWarning,
    RequestEnded,
    RequestRetried,
    RequestStarted,
    StageFailed,
    StageFinished,
    StageStarted,
    StatusChanged,
    WorkflowEvent,
    event_fields,
)

__all__ = ["log_events"]

_logger = logging.getLogger("indigo_async")

_VARIABLE = "INDIGO_LOG"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO}
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LOGGED_AS_WARNINGS = frozenset({"OutageStarted", "OutageEnded"})
_MAX_SHOWN = 20

_FORMATS: dict[type[Event], tuple[int, str]] = {
    RequestEnded: (
        logging.DEBUG,
        "{endpoint}: {outcome} after {seconds:.3f} s, attempt {attempt}, request ID {request_id}",
    ),
    RequestRetried: (logging.WARNING, "{endpoint}: retrying in {delay:.1f} s: {reason}, request ID {request_id}"),
    OutageStarted: (logging.DEBUG, "{server} is not responding: {reason}"),  # the client logs these two as warnings
    OutageEnded: (logging.DEBUG, "{server} is responding again after {seconds:.0f} s"),
    RecipeStarted: (logging.INFO, "{recipe} started"),
    RecipeFinished: (logging.INFO, "{recipe} finished in {seconds:.1f} s"),
    RecipeFailed: (logging.WARNING, "{recipe} failed at {stage} with {error_type} after {seconds:.1f} s"),
    RecipeWarning: (logging.WARNING, "{stage}: {message}"),
    StageStarted: (logging.DEBUG, "{stage} started"),
    StageFinished: (logging.INFO, "{stage} finished in {seconds:.1f} s"),
    StageFailed: (logging.DEBUG, "{stage} failed with {error_type} after {seconds:.1f} s"),
    StatusChanged: (logging.DEBUG, "audience {audience_id!r} is {status!r}"),
    AudienceReused: (logging.INFO, "reusing audience {audience_id!r}: {evidence}"),
    ExportPriced: (logging.INFO, "export {export_id!r} costs {cost_cents}"),
    ExportReused: (logging.INFO, "reusing export {export_id!r}: {evidence}"),
    ExportPurchased: (logging.INFO, "purchased export {export_id!r} for {cost_cents}"),
    DownloadProgressed: (logging.DEBUG, "downloaded {size_bytes} of {total_bytes} bytes"),
    ExportDownloaded: (logging.INFO, "downloaded the export, {size_bytes} bytes"),
}
"""Level and message by event class. Names and IDs are quoted, so that none can fake a log line."""


_NOT_LOGGED = frozenset({RequestStarted, AudienceReused, ExportReused, RecipeWarning})
"""Event classes that `log_events` skips: a request is logged when it ends, and recipes log the others themselves."""


def log_events(event: Event) -> None:
    """Log an event: retries and failed recipes as WARNING, results and purchases as INFO, the rest as DEBUG.

    Recipes log their warnings and what they reuse themselves, with or without this listener.
    """
    if type(event) not in _NOT_LOGGED:
        log_event(_logger, event)


def log_event(logger: logging.Logger, event: Event) -> None:
    """Log an event of any class with a logger. The record has the event's fields as attributes."""
    kind = type(event)
    level, template = _FORMATS.get(kind, (logging.DEBUG, kind.__name__))
    if not logger.isEnabledFor(level):
        return
    values = event_fields(event)
    shown = {
        **values,
        "cost_cents": format_dollars(getattr(event, "cost_cents", None)),
        "outcome": values.get("status", values.get("error_type")),
    }
    message = template.format_map(defaultdict(lambda: "-", shown))
    if isinstance(event, WorkflowEvent):
        message = f"customer {event.customer_id!r}, audience {event.audience_name!r}: {message}"
    fields = {f"indigo.{name}": value for name, value in values.items()}
    logger.log(level, "%s", message, extra={"indigo.event": kind.__name__, **fields})


def set_up_logging() -> Listener | None:
    """Log to stderr if `INDIGO_LOG` says so. Returns the listener that a client needs for it, or None."""
    value = os.environ.get(_VARIABLE, "").strip()
    if not value:
        return None
    level = _LEVELS.get(value.lower())
    if level is None:
        _warn_once(value)
        return None
    if _logger.level == logging.NOTSET and not _logger.handlers:
        _logger.setLevel(level)
        _logger.addHandler(_StderrHandler())
    return log_events


@cache
def _warn_once(value: str) -> None:
    _logger.warning("%s must be debug or info, not %.*r; it is ignored", _VARIABLE, _MAX_SHOWN, value)


class _StderrHandler(logging.Handler):
    """Writes to the current `sys.stderr`, which progress displays and tests replace.

    It leaves records to the handlers of the root logger, if the application has any, even if it adds them later.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        is_repeated = record.__dict__.get("indigo.event") in _LOGGED_AS_WARNINGS
        if is_repeated or logging.getLogger().handlers or sys.stderr is None:
            return
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - as the handlers of the standard library
            self.handleError(record)
