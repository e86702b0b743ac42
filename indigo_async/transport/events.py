"""What happens, as typed values, for whoever listens: progress bars, logs, traces, reports.

A listener is a plain function of one event. It is bound to the calling task (and the tasks that it starts) by
`listening`, so that no function has to pass it on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import attrs

__all__ = ["Event", "Listener", "RequestRetried", "emit", "listening"]

_logger = logging.getLogger("indigo_async")


@attrs.frozen(kw_only=True)
class Event:
    """The base of all events."""


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
def listening(listener: Listener | None) -> Generator[None]:
    """Send the events of this block to `listener`; None leaves the outer listener in place."""
    if listener is None:
        yield
        return
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def emit(event: Event) -> None:
    """Hand an event to the listener of the calling task. One that fails is logged and changes nothing."""
    listener = _listener.get()
    if listener is None:
        return
    try:
        listener(event)
    except Exception:  # a broken progress bar must not break a purchase
        _logger.exception("the event listener failed on %s", type(event).__name__)
