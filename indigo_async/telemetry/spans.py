"""Events as spans.

Listeners are called in the task in which things happen, and each task has a context of its own. So thousands of jobs at
once never mix, and whatever span is current where a recipe is called is its parent. A look at audiences serves many
waits at once and belongs to no recipe: it is a trace of its own.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TypeAlias

import attrs
from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from indigo_async.telemetry.server import Attributes, Server, error_type_of
from indigo_async.transport.events import Event, RequestEnded, RequestStarted, facts_of
from indigo_async.workflows.events import (
    RecipeFailed,
    RecipeFinished,
    RecipeStarted,
    StageFailed,
    StageFinished,
    StageStarted,
    StatusChanged,
)

__all__ = ["Spans"]

_Opened: TypeAlias = tuple[tuple[Span, Token[context.Context]], ...]

_opened: ContextVar[_Opened] = ContextVar("indigo_async_spans", default=())
"""The spans that are open in the calling task, the innermost last."""


@attrs.frozen
class Spans:
    """A listener that opens and closes spans. What else happens is an event of the span that it happens in."""

    tracer: Tracer
    server: Server

    def __call__(self, event: Event) -> None:
        match event:
            case RequestStarted():
                self._open_request(event)
            case RecipeStarted(recipe=name) | StageStarted(stage=name):
                self._open(f"indigo.{name}", SpanKind.INTERNAL, _attributes_of(event))
            case RequestEnded():
                _close_request(event)
            case RecipeFinished() | StageFinished():
                _close(None)
            case RecipeFailed(error_type=error_type) | StageFailed(error_type=error_type):
                _close(error_type)
            case _:
                _note(event)

    def _open_request(self, event: RequestStarted) -> None:
        attributes = self.server.attributes_of(event.endpoint) | {"url.full": self.server.url_of(event.endpoint)}
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        self._open(self.server.name_of(event.endpoint), SpanKind.CLIENT, attributes)

    def _open(self, name: str, kind: SpanKind, attributes: Attributes) -> None:
        span = self.tracer.start_span(name, kind=kind, attributes=attributes)
        token = context.attach(trace.set_span_in_context(span))
        _opened.set((*_opened.get(), (span, token)))


def _close_request(event: RequestEnded) -> None:
    if event.status is not None and _opened.get():
        _opened.get()[-1][0].set_attribute("http.response.status_code", event.status)
    _close(error_type_of(event))


def _close(error_type: str | None) -> None:
    """Close the innermost span; there is none where a recipe was under way when its client was instrumented."""
    opened = _opened.get()
    if not opened:
        return
    span, token = opened[-1]
    _opened.set(opened[:-1])
    context.detach(token)
    if error_type is not None:
        span.set_attribute("error.type", error_type)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _note(event: Event) -> None:
    span = trace.get_current_span()
    attributes = _attributes_of(event)
    span.add_event(f"indigo.{type(event).__name__}", attributes)
    if isinstance(event, StatusChanged):
        span.set_attribute("indigo.audience_id", event.audience_id)


def _attributes_of(event: Event) -> Attributes:
    return {f"indigo.{name}": value for name, value in facts_of(event).items()}
