"""Group commit: one call of a blocking function serves all who came while the last one was under way."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

__all__ = ["Grouped", "Thread"]

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


class Thread(Protocol):
    """Calls functions one after the other, outside the event loop."""

    def __call__(self, function: Callable[[], T], /) -> asyncio.Future[T]: ...


class Grouped(Generic[In, Out]):
    """Awaiting a call of this with an item gives the function's outcome for that item.

    Nothing runs while nothing waits, and there is no task that could be cancelled: whoever waits is answered.
    """

    def __init__(self, thread: Thread, function: Callable[[Sequence[In]], Sequence[Out]]) -> None:
        self._thread = thread
        self._function = function
        self._waiting: list[tuple[In, asyncio.Future[Out]]] = []
        self._calls = 0

    async def __call__(self, item: In) -> Out:
        """Hand an item to the next call. Cancelled before that call begins, the item is left out of it.

        Raises:
            Whatever the function raises for its whole group.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting and not self._calls:
            loop.call_soon(self.flush)  # not at once: all who come in this round of the loop share the call
        outcome: asyncio.Future[Out] = loop.create_future()
        self._waiting.append((item, outcome))
        return await outcome

    def flush(self) -> None:
        """Call the function with all who wait, after the call that may be under way."""
        group = [(item, outcome) for item, outcome in self._waiting if not outcome.cancelled()]
        self._waiting.clear()
        if group:
            self._calls += 1
            call = self._thread(partial(self._function, [item for item, _ in group]))
            call.add_done_callback(partial(self._deliver, [outcome for _, outcome in group]))

    def _deliver(self, outcomes: Sequence[asyncio.Future[Out]], call: asyncio.Future[Sequence[Out]]) -> None:
        self._calls -= 1
        waiting = [(index, outcome) for index, outcome in enumerate(outcomes) if not outcome.done()]
        error = call.exception()
        for index, outcome in waiting:
            if error is None:
                outcome.set_result(call.result()[index])
            else:
                outcome.set_exception(copy.copy(error))  # each its own, since raising it adds to its traceback
        if not self._calls:
            self.flush()
