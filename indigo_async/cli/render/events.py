"""Events as lines of progress."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from indigo_async._text import format_dollars
from indigo_async.cli.render.advice import use_option_names
from indigo_async.cli.render.output import format_file_size
from indigo_async.events import (
    AudienceReused,
    Event,
    ExportDownloaded,
    ExportPriced,
    ExportPurchased,
    ExportReused,
    RecipeWarning,
    RequestRetried,
    StageStarted,
    StatusChanged,
)

__all__ = ["describe_event", "shown_events_not_logged"]

_NOTED_EVENTS = frozenset(
    {
        "AudienceReused",
        "ExportDownloaded",
        "ExportPriced",
        "ExportPurchased",
        "ExportReused",
        "RecipeWarning",
        "RequestRetried",
        "StageStarted",
        "StatusChanged",
    }
)
"""The names of the events that commands show as notes."""


def describe_event(event: Event) -> str | None:
    """The event as a line of text; None if another event already says the same."""
    text: str | None
    match event:
        case StageStarted(stage=stage):
            text = f"{stage} started"
        case StatusChanged(status=status, audience_id=audience_id):
            text = f"{audience_id} is {status or 'created'}"
        case AudienceReused():
            text = None  # a warning says this, and what was not compared
        case RecipeWarning(message=message):
            text = (
                None
                if message.startswith("reusing export")
                else f"warning: {use_option_names(message, in_batch=False)}"
            )
        case ExportPriced(cost_cents=cents):
            text = f"the export costs {format_dollars(cents)}"
        case ExportReused(export_id=export_id, evidence=evidence):
            text = f"reusing export {export_id}: {use_option_names(evidence, in_batch=False)}"
        case ExportPurchased(export_id=export_id, cost_cents=cents):
            text = f"export {export_id} purchased for {format_dollars(cents)}"
        case ExportDownloaded(path=path, size_bytes=size):
            text = f"{path} downloaded, {format_file_size(size)}"
        case RequestRetried(endpoint=endpoint, reason=reason, delay=delay):
            text = f"retrying {endpoint} in {delay:.1f} s: {reason}"
        case _:
            text = None
    return text


@contextmanager
def shown_events_not_logged() -> Generator[None]:
    """Keep what commands show themselves out of the log: job warnings, and progress."""
    logger, handler = logging.getLogger("indigo_async.recipes"), logging.NullHandler()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)  # a logger without handlers would write to stderr
    events = logging.getLogger("indigo_async")
    events.addFilter(_is_not_noted)
    try:
        yield
    finally:
        events.removeFilter(_is_not_noted)
        logger.removeHandler(handler)
        logger.propagate = propagate


def _is_not_noted(record: logging.LogRecord) -> bool:
    """Whether a command doesn't show a record's event itself. `INDIGO_LOG` adds the others."""
    return record.__dict__.get("indigo.event") not in _NOTED_EVENTS
