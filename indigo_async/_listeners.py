"""Who receives an event: the listener of the current task, that of a client, or several."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import attrs

from indigo_async.events import Event, Listener

__all__ = ["CombinedListener", "combine_listeners", "emit", "has_listener", "listen", "notify", "separate_listeners"]

_logger = logging.getLogger("indigo_async")

_listener: ContextVar[Listener | None] = ContextVar("indigo_async_listener", default=None)


@contextmanager
def listen(listener: Listener | None) -> Generator[None]:
    """Send the events of this block, and of the tasks started in it, to `listener`, too."""
    token = _listener.set(combine_listeners(_listener.get(), listener))
    try:
        yield
    finally:
        _listener.reset(token)


def has_listener() -> bool:
    """Whether anyone receives the events of the current task."""
    return _listener.get() is not None


def emit(event: Event, default: Listener | None = None) -> None:
    """Send an event to the current task's listener, or to `default` if there is none."""
    listener = _listener.get() or default
    if listener is not None:
        notify(listener, event)


def notify(listener: Listener, event: Event) -> None:
    """Call a listener. If it raises an exception, log that and continue: a progress bar must not break a purchase."""
    try:
        listener(event)
    except Exception:
        _logger.exception("the event listener failed on %s", type(event).__name__)


@attrs.frozen
class CombinedListener:
    """A listener that calls others in order."""

    listeners: tuple[Listener, ...]

    def __call__(self, event: Event) -> None:
        for listener in self.listeners:
            notify(listener, event)


def separate_listeners(listener: Listener | None) -> tuple[Listener, ...]:
    """The listeners that a combined one calls, or the only one."""
    if isinstance(listener, CombinedListener):
        return listener.listeners
    return () if listener is None else (listener,)


def combine_listeners(*listeners: Listener | None) -> Listener | None:
    """One listener that calls all of them in order, each once. Nones are skipped; None if nothing remains."""
    present: list[Listener] = []
    for listener in listeners:
        present += [single for single in separate_listeners(listener) if single not in present]
    if len(present) > 1:
        return CombinedListener(tuple(present))
    return present[0] if present else None
