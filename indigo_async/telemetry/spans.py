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
from indigo_async.telemetry.attributes import Attributes, ServerAttributes, error_type_for

__all__ = ["SpanListener"]

_OpenSpans: TypeAlias = tuple[tuple[Span, Token[context.Context]], ...]

_open_spans: ContextVar[_OpenSpans] = ContextVar("indigo_async_spans", default=())
"""The spans that are open in the calling task, the innermost last."""


@attrs.frozen
class SpanListener:
    """A listener that opens and closes spans. What else happens is an event of the span that it happens in."""

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
    if event.status is not None and _open_spans.get():
        _open_spans.get()[-1][0].set_attribute("http.response.status_code", event.status)
    _end_span(error_type_for(event))


def _end_span(error_type: str | None) -> None:
    """Close the innermost span; there is none where a recipe was under way when its client was instrumented."""
    opened = _open_spans.get()
    if not opened:
        return
    span, token = opened[-1]
    _open_spans.set(opened[:-1])
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
