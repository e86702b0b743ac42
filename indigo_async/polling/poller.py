"""The one loop behind all waits of a client.

Its time is a schedule of audiences, not a task for each. What falls due together makes a round, in which one list may
answer for thousands.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from contextvars import Context
from functools import partial
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from indigo_async.client import IndigoClient
from indigo_async.errors import ClientNotOpenError, IndigoError
from indigo_async.models import Audience, RecordId
from indigo_async.polling.looks import Looks, PollingStats
from indigo_async.polling.rounds import Rounds
from indigo_async.polling.schedule import Schedule
from indigo_async.polling.source import ApiSource, Source
from indigo_async.polling.timing import first_delay
from indigo_async.polling.trouble import Observer, trouble_of
from indigo_async.polling.waits import Customer, Needs, News, Wait, Watch, Watchlist

__all__ = ["Poller", "poller_of", "stats_of"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")

_LEAST_INTERVAL = 1.0
_COARSEST_GRAIN = 0.1
_GRAINS_IN_INTERVAL = 50
_MOST_SINGLE_LOOKS = 64
# Waking up so many seconds too late means that the machine slept.
_SLEPT = 5.0


class Poller:
    """Looks at audiences on behalf of all waits of one client.

    The loop starts with the first wait and is ended by `resources`, which belong to the client.
    """

    def __init__(
        self,
        source: Source,
        resources: AsyncExitStack,
        *,
        interval: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        grain = min(_COARSEST_GRAIN, interval / _GRAINS_IN_INTERVAL)
        self._resources = resources
        self._interval = interval
        self._chance = chance
        self._watchlist = Watchlist()
        self._schedule: Schedule[Watch | Customer] = Schedule(grain, self._wake_for)
        self._awake = asyncio.Event()
        self._wakes_at = float("-inf")
        self._looks = Looks(
            source, self._schedule, self._watchlist, interval=interval, chance=chance, on_backlog=self._wake
        )
        self._rounds = Rounds(source, self._watchlist, self._schedule, self._looks, interval=interval, chance=chance)
        self._loop: asyncio.Task[None] | None = None
        self._ended_by: IndigoError = ClientNotOpenError("the polling loop does not run")
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: set[asyncio.Task[None]] = set()

    @property
    def stats(self) -> PollingStats:
        """What waiting has cost so far."""
        return self._looks.stats

    async def watch(
        self,
        audience_id: RecordId,
        customer_id: str | None,
        check: Callable[[Audience], T | None],
        *,
        needs: Needs = Needs.STATUS,
        observer: Observer | None = None,
    ) -> T:
        """Wait until `check` returns something, and return that.

        Args:
            audience_id: the audience to look at.
            customer_id: its customer, where it has one.
            check: given the full record whenever what the wait needs may have changed. It returns the result, or None
                to go on; what it raises ends the wait.
            needs: which part of the record `check` depends on.
            observer: hears what failed last when the wait is cancelled.

        Raises:
            AuthenticationError, CustomerMismatchError: at the first look that meets it.
            ApiError: another refusal, by three looks in a row.
            ClientNotOpenError: the client was closed.
            IndigoError: a bug in this SDK, which the log describes.
        """
        self._ensure_running()
        wait = self._watchlist.add(audience_id, customer_id, needs)
        loop = asyncio.get_running_loop()
        news: News | None = None
        try:
            self._schedule_first(wait.watch)
            while True:
                news = await wait.news
                if isinstance(news, Exception):
                    raise news.with_traceback(None)
                found = check(news)
                if found is not None:
                    return found
                if self._loop is None:
                    raise self._ended_by.with_traceback(None)
                wait.news = loop.create_future()
        except asyncio.CancelledError:
            if observer is not None:
                observer.given_up(trouble_of(wait.watch))
            raise
        finally:
            self._forget(wait)
            # An error that is raised here refers to this frame: only a garbage collection would free them.
            del wait, news

    def _schedule_first(self, watch: Watch) -> None:
        now = asyncio.get_running_loop().time()
        due = now + first_delay(self._interval, self._chance())
        coming = self._rounds.coming_list(watch.customer, now)
        if coming is not None:
            due = max(due, coming.last + self._interval / 2)
        if watch.instant is None or due < watch.instant * self._schedule.grain:
            self._schedule.put(watch, due)

    def _forget(self, wait: Wait) -> None:
        if self._watchlist.remove(wait):
            self._schedule.drop(wait.watch)
            self._looks.backlog.pop(wait.watch, None)
            self._looks.to_verify.pop(wait.watch, None)
            if wait.watch.customer.is_empty:
                self._schedule.drop(wait.watch.customer)
        if self._watchlist.size == 0:
            self._looks.alarm.over()
            self._workers.clear()
            for task in self._tasks:
                task.cancel()
            self._wake()

    # The loop.

    def _ensure_running(self) -> None:
        if self._loop is None:
            self._awake = asyncio.Event()
            # Its own context: what one caller bound to its task, such as a listener, is not for all.
            self._loop = asyncio.create_task(self._run(), name="indigo-polling", context=Context())
            self._resources.push_async_callback(self._close)

    async def _close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
            await asyncio.wait([loop])

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    late = await self._sleep()
                    await self._round(group, late)
        except Exception as error:
            _logger.exception("the polling loop failed")
            kinds = ", ".join(sorted({type(cause).__name__ for cause in _causes(error)}))
            self._end(
                IndigoError(
                    f"all waits of this client ended, since its polling loop failed with {kinds} (the log says where): "
                    "this is a bug in this SDK. The server's work goes on"
                )
            )
        except asyncio.CancelledError:
            self._end(ClientNotOpenError("the client was closed while this was waited for"))
            raise

    def _end(self, reason: IndigoError) -> None:
        """Leave nobody waiting for a loop that has ended."""
        self._loop = None
        self._ended_by = reason
        for wait in self._watchlist.waits():
            wait.tell(reason)

    async def _sleep(self) -> float:
        """Until something is due, or is woken up for. Returns by how many seconds it woke up too late."""
        loop = asyncio.get_running_loop()
        due = self._schedule.next_due()
        self._wakes_at = float("inf") if due is None else due
        alarm = None if due is None else loop.call_at(due, self._awake.set)
        await self._awake.wait()
        if alarm is not None:
            alarm.cancel()
        self._awake.clear()
        late = loop.time() - self._wakes_at
        self._wakes_at = float("-inf")
        return late

    def _wake(self) -> None:
        self._awake.set()

    def _wake_for(self, due: float) -> None:
        if due < self._wakes_at:
            self._wake()

    async def _round(self, group: asyncio.TaskGroup, late: float) -> None:
        """Deal with all that is due."""
        now = asyncio.get_running_loop().time()
        due = self._schedule.take_due(now)
        if late > max(_SLEPT, self._interval):
            self._rounds.spread(due, now)
        elif due:
            await self._rounds.answer(due, now, partial(self._start, group))
        self._work_off_backlog(group)

    def _work_off_backlog(self, group: asyncio.TaskGroup) -> None:
        reads = len(self._looks.backlog) + len(self._looks.to_verify)
        for _ in range(min(_MOST_SINGLE_LOOKS - len(self._workers), reads)):
            worker = self._start(group, self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        backlog, to_verify = self._looks.backlog, self._looks.to_verify
        while backlog or to_verify:
            if backlog:
                watch = next(iter(backlog))
                del backlog[watch]
                await self._looks.single(watch)
            else:
                await self._looks.verify(*to_verify.popitem())

    def _start(self, group: asyncio.TaskGroup, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _causes(error: Exception) -> list[Exception]:
    """The exceptions in a group, or the one that is none."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    group = cast("ExceptionGroup[Exception]", error)
    return [cause for inner in group.exceptions for cause in _causes(inner)]


_pollers: WeakKeyDictionary[IndigoClient, Poller] = WeakKeyDictionary()


def poller_of(client: IndigoClient) -> Poller:
    """The one poller of a client.

    Raises:
        ClientNotOpenError: the client is used outside `async with`.
    """
    client.transport.require_open()
    poller = _pollers.get(client)
    if poller is None:
        interval = client.poll_interval if client.settings.on_loopback else max(client.poll_interval, _LEAST_INTERVAL)
        # It must not refer to the client, or neither would ever be freed.
        source = ApiSource(client.transport)
        poller = _pollers[client] = Poller(source, client.resources, interval=interval)
    return poller


def stats_of(client: IndigoClient) -> PollingStats | None:
    """What waiting has cost a client so far; None before its first wait."""
    poller = _pollers.get(client)
    return poller.stats if poller is not None else None
