"""Group commit: one call of a blocking function serves all who came within some milliseconds, or during the last."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

__all__ = ["GroupCommit", "SerialExecutor"]

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")

_GATHER_SECONDS = 0.005
"""Seconds for which a call waits for more to come: each costs two switches between threads, however little it does."""

_LAZY_SECONDS = 1.0
"""Seconds after which what was handed over in passing has a call of its own."""


class SerialExecutor(Protocol):
    """Calls functions one after the other, outside the event loop."""

    def __call__(self, function: Callable[[], T], /) -> asyncio.Future[T]: ...


class GroupCommit(Generic[In, Out]):
    """Awaiting a call of this with an item gives the function's outcome for that item.

    Nothing runs while nothing waits, and there is no task that could be cancelled: whoever waits is answered.
    """

    def __init__(self, executor: SerialExecutor, function: Callable[[Sequence[In]], Sequence[Out]]) -> None:
        self._executor = executor
        self._function = function
        self._items: list[In] = []
        self._futures: list[asyncio.Future[Out]] = []
        self._lazy_items: list[tuple[In, asyncio.Future[Out]]] = []
        self._calls_in_flight = 0

    def __call__(self, item: In) -> asyncio.Future[Out]:
        """Hand an item to the next call. What the function raises, it raises for all of that call's items."""
        loop = asyncio.get_running_loop()
        if not self._items and not self._calls_in_flight:
            loop.call_later(_GATHER_SECONDS, self.flush)
        outcome: asyncio.Future[Out] = loop.create_future()
        self._items.append(item)
        self._futures.append(outcome)
        return outcome

    def submit_lazily(self, item: In) -> asyncio.Future[Out]:
        """Hand an item to the next call that others ask for, or to one of its own after a while."""
        loop = asyncio.get_running_loop()
        if not self._lazy_items:
            loop.call_later(_LAZY_SECONDS, self.flush)
        outcome: asyncio.Future[Out] = loop.create_future()
        self._lazy_items.append((item, outcome))
        return outcome

    def flush(self) -> None:
        """Call the function with all that waits, after the call that may be under way."""
        for item, outcome in self._lazy_items:
            self._items.append(item)
            self._futures.append(outcome)
        self._lazy_items.clear()
        if self._items:
            self._calls_in_flight += 1
            call = self._executor(partial(self._function, self._items))
            call.add_done_callback(partial(self._deliver, self._futures))
            self._items, self._futures = [], []

    def _deliver(self, outcomes: Sequence[asyncio.Future[Out]], call: asyncio.Future[Sequence[Out]]) -> None:
        self._calls_in_flight -= 1
        error = call.exception()
        if error is None:
            for outcome, result in zip(outcomes, call.result(), strict=True):
                if not outcome.done():
                    outcome.set_result(result)
        else:
            for outcome in outcomes:
                if not outcome.done():
                    outcome.set_exception(copy.copy(error))  # each its own, since raising adds to its traceback
        if self._items and not self._calls_in_flight:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self.flush)
