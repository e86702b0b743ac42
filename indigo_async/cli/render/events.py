"""What the typed events say, in words."""

from __future__ import annotations

from indigo_async._text import format_dollars
from indigo_async.cli.render.output import Output, format_file_size
from indigo_async.events import (
    AudienceReused,
    Event,
    ExportDownloaded,
    ExportPriced,
    ExportPurchased,
    ExportReused,
    Listener,
    RecipeWarning,
    RequestRetried,
    StageStarted,
    StatusChanged,
)

__all__ = ["describe_event", "make_event_printer"]


def describe_event(event: Event) -> str | None:
    """An event in words; None for one that would only repeat another."""
    words = None
    match event:
        case StageStarted(stage=stage):
            words = f"{stage} begins"
        case StatusChanged(status=status, audience_id=audience_id):
            words = f"{audience_id} is {status or 'there'}"
        case AudienceReused(audience_id=audience_id, evidence=evidence):
            words = f"reusing audience {audience_id}: {evidence}"
        case RecipeWarning(message=message):
            words = f"warning: {message}"
        case ExportPriced(cost_cents=cents):
            words = f"the export costs {format_dollars(cents)}"
        case ExportReused(export_id=export_id, evidence=evidence):
            words = f"{export_id} is used again: {evidence}"
        case ExportPurchased(export_id=export_id, cost_cents=cents):
            words = f"{export_id} is bought for {format_dollars(cents)}"
        case ExportDownloaded(path=path, size_bytes=size):
            words = f"{path} is downloaded, {format_file_size(size)}"
        case RequestRetried(endpoint=endpoint, reason=reason, delay=delay):
            words = f"{endpoint} again in {delay:.1f} s: {reason}"
        case _:
            pass
    return words


def make_event_printer(output: Output) -> Listener:
    """A listener that tells each event in a line of progress."""

    def listen(event: Event) -> None:
        words = describe_event(event)
        if words is not None:
            output.note(words)

    return listen
