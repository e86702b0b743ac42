"""What happens, as typed values, for whoever listens: progress bars, logs, traces, reports.

A listener is a plain function of one event, called in the task in which that happens. A client's own is told of
everything that is done on it, requests included. A recipe's is bound to the calling task (and the tasks that it starts)
by `listen`, so that no function has to pass it on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

import attrs

__all__ = [
    "Event",
    "Listener",
    "RequestEnded",
    "RequestRetried",
    "RequestStarted",
    "combine_listeners",
    "emit",
    "event_fields",
    "listen",
    "notify",
]

_logger = logging.getLogger("indigo_async")


@attrs.frozen(kw_only=True)
class Event:
    """The base of all events. No field of any holds a token, a URL, or anything about a person in a list."""


@attrs.frozen(kw_only=True)
class RequestStarted(Event):
    """A request is sent. `attempt` counts from 1. Only a client's own listener is told."""

    endpoint: str
    attempt: int


@attrs.frozen(kw_only=True)
class RequestEnded(Event):
    """A request was answered with `status`, or was not: then that is None, and `error_type` says why, in a word.

    `seconds` are those that it took, without those in the queue. Only a client's own listener is told.
    """

    endpoint: str
    attempt: int
    seconds: float
    status: int | None = None
    error_type: str | None = None


@attrs.frozen(kw_only=True)
class RequestRetried(Event):
    """A request failed in a way that allows to send it again, which happens after `delay` seconds."""

    endpoint: str
    attempt: int
    delay: float
    reason: str


Listener: TypeAlias = Callable[[Event], object]

_listener: ContextVar[Listener | None] = ContextVar("indigo_async_listener", default=None)


@contextmanager
def listen(listener: Listener | None) -> Generator[None]:
    """Send the events of this block to `listener`; None leaves the outer listener in place."""
    if listener is None:
        yield
        return
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def event_fields(event: Event) -> dict[str, str | int | float]:
    """What an event tells, by name, as plain values for logs and traces; what it does not know is left out."""
    facts = {field.name: getattr(event, field.name) for field in attrs.fields(type(event))}
    return {name: _plain_value(value) for name, value in facts.items() if value is not None}


def _plain_value(value: Any) -> str | int | float:
    if isinstance(value, Enum):
        value = value.value
    return str(value) if isinstance(value, Path) else value


def combine_listeners(first: Listener | None, second: Listener | None) -> Listener | None:
    """A listener that hands each event on to two."""
    if first is None or second is None:
        return first or second

    def tell_both(event: Event) -> None:
        notify(first, event)
        notify(second, event)

    return tell_both


def emit(event: Event, default: Listener | None = None) -> None:
    """Hand an event to the listener of the calling task, or to `default` where that has none."""
    listener = _listener.get() or default
    if listener is not None:
        notify(listener, event)


def notify(listener: Listener, event: Event) -> None:
    """Hand an event to a listener. One that fails is logged and changes nothing."""
    try:
        listener(event)
    except Exception:  # a broken progress bar must not break a purchase
        _logger.exception("the event listener failed on %s", type(event).__name__)
