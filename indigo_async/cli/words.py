"""What the typed events say, in words."""

from __future__ import annotations

from indigo_async.cli.output import Output, dollars, file_size
from indigo_async.transport.events import Event, Listener, RequestRetried
from indigo_async.workflows.events import (
    AudienceAdopted,
    ExportDownloaded,
    ExportPriced,
    ExportPurchased,
    ExportReused,
    RecipeWarning,
    StageStarted,
    StatusChanged,
)

__all__ = ["narrator", "words_for"]


def words_for(event: Event) -> str | None:
    """An event in words; None for one that would only repeat another."""
    words = None
    match event:
        case StageStarted(stage=stage):
            words = f"{stage} begins"
        case StatusChanged(status=status, audience_id=audience_id):
            words = f"{audience_id} is {status or 'there'}"
        case AudienceAdopted(audience_id=audience_id, evidence=evidence):
            words = f"reusing audience {audience_id}: {evidence}"
        case RecipeWarning(message=message):
            words = f"warning: {message}"
        case ExportPriced(cost_cents=cents):
            words = f"the export costs {dollars(cents)}"
        case ExportReused(export_id=export_id, evidence=evidence):
            words = f"{export_id} is used again: {evidence}"
        case ExportPurchased(export_id=export_id, cost_cents=cents):
            words = f"{export_id} is bought for {dollars(cents)}"
        case ExportDownloaded(path=path, size_bytes=size):
            words = f"{path} is downloaded, {file_size(size)}"
        case RequestRetried(endpoint=endpoint, reason=reason, delay=delay):
            words = f"{endpoint} again in {delay:.1f} s: {reason}"
        case _:
            pass
    return words


def narrator(output: Output) -> Listener:
    """A listener that tells each event in a line of progress."""

    def listen(event: Event) -> None:
        words = words_for(event)
        if words is not None:
            output.note(words)

    return listen
