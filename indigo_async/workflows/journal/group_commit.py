"""Group commit: one call of a blocking function serves everything submitted within a few milliseconds."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeVar

__all__ = ["GroupCommit"]

In = TypeVar("In")
Out = TypeVar("Out")

_GATHER_SECONDS = 0.005
"""How long a call waits for more items: each call costs two thread switches, however little it does."""

_LAZY_SECONDS = 1.0
"""How long lazily submitted items wait for the call of others before they get their own."""


class GroupCommit(Generic[In, Out]):
    """Calls a function with batches of items in an executor of one thread.

    While nothing is submitted, nothing runs. There is no task that could be canceled: every item gets its outcome.
    """

    def __init__(self, executor: Executor, function: Callable[[Sequence[In]], Sequence[Out]]) -> None:
        self._executor = executor
        self._function = function
        self._items: list[In] = []
        self._futures: list[asyncio.Future[Out]] = []
        self._lazy_items: list[In] = []
        self._lazy_futures: list[asyncio.Future[Out]] = []
        self._calls_in_flight = 0

    def submit(self, item: In) -> asyncio.Future[Out]:
        """Pass an item to the next call. What the function raises, it raises for all items of that call."""
        loop = asyncio.get_running_loop()
        if not self._items and not self._calls_in_flight:
            loop.call_later(_GATHER_SECONDS, self.flush)
        future: asyncio.Future[Out] = loop.create_future()
        self._items.append(item)
        self._futures.append(future)
        return future

    def submit_lazily(self, item: In) -> asyncio.Future[Out]:
        """Pass an item to the next call that another item causes, or to a call of its own after a while."""
        loop = asyncio.get_running_loop()
        if not self._lazy_items:
            loop.call_later(_LAZY_SECONDS, self.flush)
        future: asyncio.Future[Out] = loop.create_future()
        self._lazy_items.append(item)
        self._lazy_futures.append(future)
        return future

    def flush(self) -> None:
        """Call the function with everything submitted, after any call in flight."""
        items, futures = self._items + self._lazy_items, self._futures + self._lazy_futures
        self._items, self._futures, self._lazy_items, self._lazy_futures = [], [], [], []
        if items:
            self._calls_in_flight += 1
            call = asyncio.get_running_loop().run_in_executor(self._executor, self._function, items)
            call.add_done_callback(partial(self._deliver, futures))

    def _deliver(self, futures: Sequence[asyncio.Future[Out]], call: asyncio.Future[Sequence[Out]]) -> None:
        self._calls_in_flight -= 1
        error = call.exception()
        if error is None:
            for future, result in zip(futures, call.result(), strict=True):
                if not future.done():  # canceled
                    future.set_result(result)
        else:
            for future in futures:
                if not future.done():
                    future.set_exception(copy.copy(error))  # a copy for each, since raising adds to its traceback
        if self._items and not self._calls_in_flight:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self.flush)
