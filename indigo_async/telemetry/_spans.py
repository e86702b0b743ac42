"""Events as spans.

A listener is called in the task in which the event happens, and each task has its own context. So the spans of
concurrent jobs never mix, and the span that is current when a recipe is called becomes the recipe's parent. A poll
serves many waits at once, so its request belongs to no recipe and has its own trace.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TypeAlias

import attrs
from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from indigo_async.events import (
    Event,
    RecipeFailed,
    RecipeFinished,
    RecipeStarted,
    RequestEnded,
    RequestStarted,
    StageFailed,
    StageFinished,
    StageStarted,
    StatusChanged,
    event_fields,
)
from indigo_async.telemetry._attributes import Attributes, ServerAttributes, error_type_for

__all__ = ["SpanListener"]

_OpenSpans: TypeAlias = tuple[tuple[Span, Token[context.Context]], ...]

_open_spans: ContextVar[_OpenSpans] = ContextVar("indigo_async_spans", default=())
"""The current task's open spans, innermost last."""


@attrs.frozen
class SpanListener:
    """A listener that starts and ends spans. All other events are added to the current span."""

    tracer: Tracer
    server: ServerAttributes

    def __call__(self, event: Event) -> None:
        match event:
            case RequestStarted():
                self._start_request(event)
            case RecipeStarted(recipe=name) | StageStarted(stage=name):
                self._start_span(f"indigo.{name}", SpanKind.INTERNAL, _event_attributes(event))
            case RequestEnded():
                _end_request(event)
            case RecipeFinished() | StageFinished():
                _end_span(None)
            case RecipeFailed(error_type=error_type) | StageFailed(error_type=error_type):
                _end_span(error_type)
            case _:
                _add_event(event)

    def _start_request(self, event: RequestStarted) -> None:
        attributes = self.server.attributes_for(event.endpoint) | {"url.full": self.server.url_for(event.endpoint)}
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        self._start_span(self.server.span_name_for(event.endpoint), SpanKind.CLIENT, attributes)

    def _start_span(self, name: str, kind: SpanKind, attributes: Attributes) -> None:
        span = self.tracer.start_span(name, kind=kind, attributes=attributes)
        token = context.attach(trace.set_span_in_context(span))
        _open_spans.set((*_open_spans.get(), (span, token)))


def _end_request(event: RequestEnded) -> None:
    if _open_spans.get():
        span = _open_spans.get()[-1][0]
        if event.status is not None:
            span.set_attribute("http.response.status_code", event.status)
        if event.request_id is not None:
            span.set_attribute("indigo.request_id", event.request_id)
    _end_span(error_type_for(event))


def _end_span(error_type: str | None) -> None:
    """End the innermost span. There is none if the client was instrumented while a recipe was running."""
    open_spans = _open_spans.get()
    if not open_spans:
        return
    span, token = open_spans[-1]
    _open_spans.set(open_spans[:-1])
    context.detach(token)
    if error_type is not None:
        span.set_attribute("error.type", error_type)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _add_event(event: Event) -> None:
    span = trace.get_current_span()
    attributes = _event_attributes(event)
    span.add_event(f"indigo.{type(event).__name__}", attributes)
    if isinstance(event, StatusChanged):
        span.set_attribute("indigo.audience_id", event.audience_id)


def _event_attributes(event: Event) -> Attributes:
    return {f"indigo.{name}": value for name, value in event_fields(event).items()}
