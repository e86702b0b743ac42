"""What happens in clients and recipes, as typed values for progress bars, logs, metrics and traces.

A listener is a function that takes one event. It is called in the task in which the event happens. A client's
`on_event=` receives everything that is done with that client, requests included. A recipe's `on_event=` receives the
events of that recipe only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from indigo_async.models import RecordId

__all__ = [
    "AudienceReused",
    "DownloadProgressed",
    "Event",
    "ExportDownloaded",
    "ExportPriced",
    "ExportPurchased",
    "ExportReused",
    "Listener",
    "OutageEnded",
    "OutageStarted",
    "RecipeFailed",
    "RecipeFinished",
    "RecipeStarted",
    "RecipeWarning",
    "RequestEnded",
    "RequestRetried",
    "RequestStarted",
    "Stage",
    "StageFailed",
    "StageFinished",
    "StageStarted",
    "StatusChanged",
    "WorkflowEvent",
    "event_fields",
]


class Stage(StrEnum):
    """The step that a recipe is working on."""

    UPLOAD = "upload"
    MATCH = "match"
    LOOKALIKE = "lookalike"
    PREVIEW = "preview"
    PURCHASE = "purchase"
    DOWNLOAD = "download"


@attrs.frozen(kw_only=True)
class Event:
    """The base class of all events. No event contains a token, a URL, or data about a person in a list."""


@attrs.frozen(kw_only=True)
class RequestStarted(Event):
    """A request is being sent. Attempts count from 1. Only a client's own listener receives this event."""

    endpoint: str
    attempt: int


@attrs.frozen(kw_only=True)
class RequestEnded(Event):
    """A request got a response, or failed without one. Only a client's own listener receives this event.

    Without a response, `status` is None and `error_type` names the reason, such as `timeout`. `seconds` excludes the
    time that the request spent in the queue. `request_id`, `headers` and `body` are as in `IndigoError`, but without
    the body of a 2xx response.
    """

    endpoint: str
    attempt: int
    seconds: float
    status: int | None = None
    error_type: str | None = None
    request_id: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False, eq=False)
    body: str = attrs.field(default="", repr=False)


@attrs.frozen(kw_only=True)
class RequestRetried(Event):
    """A request failed and will be sent again after `delay` seconds."""

    endpoint: str
    attempt: int
    delay: float
    reason: str
    request_id: str | None = None


@attrs.frozen(kw_only=True)
class OutageStarted(Event):
    """The server is down: all requests wait, and one at a time probes it.

    `reason` is the latest failure. `has_ever_worked` is false if this client has never had a good response: the
    address may be wrong. Only a client's own listener receives this event.
    """

    server: str
    reason: str
    has_ever_worked: bool


@attrs.frozen(kw_only=True)
class OutageEnded(Event):
    """The server is up again, `seconds` after the first failure. Only a client's own listener receives this event."""

    server: str
    seconds: float


@attrs.frozen(kw_only=True)
class WorkflowEvent(Event):
    """The base class of a recipe's events: each names the customer and the audience that the recipe works on."""

    customer_id: str | None
    audience_name: str


@attrs.frozen(kw_only=True)
class RecipeStarted(WorkflowEvent):
    """A recipe has started. `recipe` is the function's name, such as `upload_and_match`, or `job` in a batch."""

    recipe: str


@attrs.frozen(kw_only=True)
class RecipeFinished(WorkflowEvent):
    """A recipe has succeeded. `seconds` is the duration of the whole recipe."""

    recipe: str
    seconds: float


@attrs.frozen(kw_only=True)
class RecipeFailed(WorkflowEvent):
    """A recipe raised an error or was canceled. `error_type` is the exception's class name."""

    recipe: str
    seconds: float
    stage: Stage
    error_type: str


@attrs.frozen(kw_only=True)
class RecipeWarning(WorkflowEvent):
    """The recipe continues, but you should know about this, for example that an audience was reused."""

    stage: Stage
    message: str


@attrs.frozen(kw_only=True)
class StageStarted(WorkflowEvent):
    """A stage of a recipe has started."""

    stage: Stage


@attrs.frozen(kw_only=True)
class StageFailed(WorkflowEvent):
    """A stage raised an error or was canceled. `error_type` is the exception's class name."""

    stage: Stage
    seconds: float
    error_type: str


@attrs.frozen(kw_only=True)
class StageFinished(WorkflowEvent):
    """A stage has succeeded. `seconds` is its duration, including waits."""

    stage: Stage
    seconds: float


@attrs.frozen(kw_only=True)
class StatusChanged(WorkflowEvent):
    """The audience's status differs from the one seen before."""

    audience_id: RecordId
    status: str


@attrs.frozen(kw_only=True)
class AudienceReused(WorkflowEvent):
    """An existing audience is used instead of creating one. `evidence` says why it is the right one."""

    audience_id: RecordId
    evidence: str


@attrs.frozen(kw_only=True)
class ExportPriced(WorkflowEvent):
    """A preview shows what the export costs. `cost_cents` is None if the server does not state a price."""

    export_id: RecordId
    cost_cents: int | None


@attrs.frozen(kw_only=True)
class ExportReused(WorkflowEvent):
    """An export that was purchased before is downloaded; nothing is spent. `evidence` says why it is the right one."""

    export_id: RecordId
    evidence: str


@attrs.frozen(kw_only=True)
class ExportPurchased(WorkflowEvent):
    """An export was purchased for `cost_cents`."""

    export_id: RecordId
    cost_cents: int


@attrs.frozen(kw_only=True)
class DownloadProgressed(WorkflowEvent):
    """Part of a CSV was downloaded. At most two per second; `total_bytes` is None if the server does not state it."""

    export_id: RecordId
    size_bytes: int
    total_bytes: int | None


@attrs.frozen(kw_only=True)
class ExportDownloaded(WorkflowEvent):
    """A CSV was downloaded and verified."""

    path: Path
    size_bytes: int


Listener: TypeAlias = Callable[[Event], object]
"""A function that receives events. Its return value is ignored, and an exception that it raises is only logged."""


def event_fields(event: Event) -> dict[str, str | int | float]:
    """Return the fields of an event as plain values, for logs and traces.

    Fields that are None are left out, and so are the headers and body of a response, because they are long.
    """
    names = [field.name for field in attrs.fields(type(event)) if field.name not in {"headers", "body"}]
    values = {name: getattr(event, name) for name in names}
    return {name: _plain_value(value) for name, value in values.items() if value is not None}


def _plain_value(value: Any) -> str | int | float:
    if isinstance(value, Enum):
        value = value.value
    return str(value) if isinstance(value, Path) else value
