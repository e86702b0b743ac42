"""Logs events with the logger `indigo_async`: `IndigoClient(on_event=log_events)`.

Each record has the event's fields as attributes, such as `indigo.event`, `indigo.customer_id`, `indigo.stage` and
`indigo.seconds`, so JSON formatters can write them. No record holds a token, a URL, or anything about a person in a
list; customers and audiences appear with the IDs and names that you gave them.
"""

from __future__ import annotations

import logging
from collections import defaultdict

from indigo_async._text import format_dollars
from indigo_async.events import (
    AudienceReused,
    DownloadProgressed,
    Event,
    ExportDownloaded,
    ExportPriced,
    ExportPurchased,
    ExportReused,
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


_FORMATS: dict[type[Event], tuple[int, str]] = {
    RequestStarted: (logging.DEBUG, "{endpoint}: sending, attempt {attempt}"),
    RequestEnded: (logging.DEBUG, "{endpoint}: status {status}, error {error_type}, {seconds:.3f} s"),
    RequestRetried: (logging.WARNING, "{endpoint}: retrying in {delay:.1f} s: {reason}"),
    OutageStarted: (logging.DEBUG, "{server} is not responding: {reason}"),  # the client logs these two itself
    OutageEnded: (logging.DEBUG, "{server} is responding again after {seconds:.0f} s"),
    RecipeStarted: (logging.INFO, "{recipe} started"),
    RecipeFinished: (logging.INFO, "{recipe} finished in {seconds:.1f} s"),
    RecipeFailed: (logging.WARNING, "{recipe} failed at {stage} with {error_type} after {seconds:.1f} s"),
    RecipeWarning: (logging.DEBUG, "{message}"),  # the recipe logs it as a warning itself
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


def log_events(event: Event) -> None:
    """Log an event: retries and failed recipes as WARNING, results and purchases as INFO, the rest as DEBUG."""
    kind = type(event)
    level, template = _FORMATS.get(kind, (logging.DEBUG, kind.__name__))
    if not _logger.isEnabledFor(level):
        return
    values = event_fields(event)
    shown = {**values, "cost_cents": format_dollars(getattr(event, "cost_cents", None))}
    message = template.format_map(defaultdict(lambda: "-", shown))
    if isinstance(event, WorkflowEvent):
        message = f"customer {event.customer_id!r}, audience {event.audience_name!r}: {message}"
    fields = {f"indigo.{name}": value for name, value in values.items()}
    _logger.log(level, "%s", message, extra={"indigo.event": kind.__name__, **fields})
