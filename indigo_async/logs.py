"""Events as records of the logger `indigo_async`: `IndigoClient(on_event=log_events)`.

Each record has what its event tells as fields of its own, such as `indigo.event`, `indigo.customer_id`, `indigo.stage`
and `indigo.seconds`, so that formatters which write JSON write them too. No record holds a token, a URL, or anything
about a person in a list; customers and audiences are called by the IDs and names that the caller gave them.
"""

from __future__ import annotations

import logging
from collections import defaultdict

from indigo_async.events import (
    AudienceReused,
    DownloadProgressed,
    Event,
    ExportDownloaded,
    ExportPriced,
    ExportPurchased,
    ExportReused,
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
    RequestStarted: (logging.DEBUG, "{endpoint} is sent, attempt {attempt}"),
    RequestEnded: (logging.DEBUG, "{endpoint}: status {status}, error {error_type}, {seconds:.3f} s"),
    RequestRetried: (logging.WARNING, "{endpoint} is sent again in {delay:.1f} s: {reason}"),
    RecipeStarted: (logging.INFO, "{recipe} begins"),
    RecipeFinished: (logging.INFO, "{recipe} is done after {seconds:.1f} s"),
    RecipeFailed: (logging.WARNING, "{recipe} failed at {stage} with {error_type} after {seconds:.1f} s"),
    RecipeWarning: (logging.DEBUG, "{message}"),  # the recipe itself logs it as a warning
    StageStarted: (logging.DEBUG, "{stage} begins"),
    StageFinished: (logging.INFO, "{stage} is done after {seconds:.1f} s"),
    StageFailed: (logging.DEBUG, "{stage} ended with {error_type} after {seconds:.1f} s"),
    StatusChanged: (logging.DEBUG, "audience {audience_id!r} is {status!r}"),
    AudienceReused: (logging.INFO, "audience {audience_id!r} is reused: {evidence}"),
    ExportPriced: (logging.INFO, "export {export_id!r} costs {cost_cents} cents"),
    ExportReused: (logging.INFO, "export {export_id!r} is used again: {evidence}"),
    ExportPurchased: (logging.INFO, "export {export_id!r} is bought for {cost_cents} cents"),
    DownloadProgressed: (logging.DEBUG, "{size_bytes} of {total_bytes} bytes are downloaded"),
    ExportDownloaded: (logging.INFO, "the export is downloaded, {size_bytes} bytes"),
}
"""The level and the words for each kind of event; names and IDs are quoted, so that none can look like a line."""


def log_events(event: Event) -> None:
    """Log an event: retries and failed recipes as WARNING, what was done and spent as INFO, all else as DEBUG."""
    kind = type(event)
    level, words = _FORMATS.get(kind, (logging.DEBUG, kind.__name__))
    if not _logger.isEnabledFor(level):
        return
    facts = event_fields(event)
    message = words.format_map(defaultdict(lambda: "-", facts))
    if isinstance(event, WorkflowEvent):
        message = f"customer {event.customer_id!r}, audience {event.audience_name!r}: {message}"
    fields = {f"indigo.{name}": value for name, value in facts.items()}
    _logger.log(level, "%s", message, extra={"indigo.event": kind.__name__} | fields)
