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

from indigo_async._polling.api import AudienceApi, HttpAudienceApi
from indigo_async._polling.outages import WaitObserver, get_recent_failures
from indigo_async._polling.polls import PollExecutor, PollingStats
from indigo_async._polling.rounds import RoundPlanner
from indigo_async._polling.schedule import Schedule, first_delay
from indigo_async._polling.watchlist import RecordPart, Update, Wait, Watch, WatchedCustomer, Watchlist
from indigo_async.client import IndigoClient
from indigo_async.errors import ClientNotOpenError, IndigoError
from indigo_async.models import Audience, RecordId

__all__ = ["Poller", "get_poller", "get_polling_stats"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")

_MAX_TICK_SECONDS = 0.1
_TICKS_PER_INTERVAL = 50
_MAX_CONCURRENT_SINGLE_POLLS = 64
# Waking up so many seconds too late means that the machine slept.
_SUSPEND_THRESHOLD = 5.0


class Poller:
    """Looks at audiences on behalf of all waits of one client.

    The loop starts with the first wait and is ended by `resources`, which belong to the client.
    """

    def __init__(
        self,
        api: AudienceApi,
        resources: AsyncExitStack,
        *,
        interval: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        grain = min(_MAX_TICK_SECONDS, interval / _TICKS_PER_INTERVAL)
        self._resources = resources
        self._interval = interval
        self._jitter = jitter
        self._watchlist = Watchlist()
        self._schedule: Schedule[Watch | WatchedCustomer] = Schedule(grain, self._wake_if_earlier)
        self._wakeup = asyncio.Event()
        self._next_wakeup = float("-inf")
        self._executor = PollExecutor(
            api, self._schedule, self._watchlist, interval=interval, jitter=jitter, on_backlog=self._wake
        )
        self._planner = RoundPlanner(
            api, self._watchlist, self._schedule, self._executor, interval=interval, jitter=jitter
        )
        self._loop: asyncio.Task[None] | None = None
        self._shutdown_error: IndigoError = ClientNotOpenError("the polling loop does not run")
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: set[asyncio.Task[None]] = set()

    @property
    def stats(self) -> PollingStats:
        """What waiting has cost so far."""
        return self._executor.stats

    async def wait_until(
        self,
        audience_id: RecordId,
        customer_id: str | None,
        check: Callable[[Audience], T | None],
        *,
        part: RecordPart = RecordPart.STATUS,
        observer: WaitObserver | None = None,
    ) -> T:
        """Wait until `check` returns something, and return that.

        Args:
            audience_id: the audience to look at.
            customer_id: its customer, where it has one.
            check: given the full record whenever what the wait needs may have changed. It returns the result, or None
                to go on; what it raises ends the wait.
            part: which part of the record `check` depends on.
            observer: hears what failed last when the wait is cancelled.

        Raises:
            AuthenticationError, CustomerMismatchError: at the first look that meets it.
            ApiError: another refusal, by three looks in a row.
            ClientNotOpenError: the client was closed.
            IndigoError: a bug in this SDK, which the log describes.
        """
        self._ensure_running()
        wait = self._watchlist.add(audience_id, customer_id, part)
        loop = asyncio.get_running_loop()
        news: Update | None = None
        try:
            self._schedule_first_poll(wait.watch)
            while True:
                news = await wait.next_update
                if isinstance(news, Exception):
                    raise news.with_traceback(None)
                found = check(news)
                if found is not None:
                    return found
                if self._loop is None:
                    raise self._shutdown_error.with_traceback(None)
                wait.next_update = loop.create_future()
        except asyncio.CancelledError:
            if observer is not None:
                observer.wait_cancelled(get_recent_failures(wait.watch))
            raise
        finally:
            self._remove(wait)
            # An error that is raised here refers to this frame: only a garbage collection would free them.
            del wait, news

    def _schedule_first_poll(self, watch: Watch) -> None:
        now = asyncio.get_running_loop().time()
        due = now + first_delay(self._interval, self._jitter())
        coming = self._planner.find_upcoming_list(watch.customer, now)
        if coming is not None:
            due = max(due, coming.last_sent + self._interval / 2)
        if watch.tick is None or due < watch.tick * self._schedule.tick_seconds:
            self._schedule.put(watch, due)

    def _remove(self, wait: Wait) -> None:
        if self._watchlist.remove(wait):
            self._schedule.remove(wait.watch)
            self._executor.backlog.pop(wait.watch, None)
            self._executor.verification_queue.pop(wait.watch, None)
            if wait.watch.customer.is_empty:
                self._schedule.remove(wait.watch.customer)
        if self._watchlist.size == 0:
            self._executor.outage_log.record_recovery()
            self._workers.clear()
            for task in self._tasks:
                task.cancel()
            self._wake()

    # The loop.

    def _ensure_running(self) -> None:
        if self._loop is None:
            self._wakeup = asyncio.Event()
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
                    await self._run_round(group, late)
        except Exception as error:
            _logger.exception("the polling loop failed")
            kinds = ", ".join(sorted({type(cause).__name__ for cause in _leaf_exceptions(error)}))
            self._fail_all_waits(
                IndigoError(
                    f"all waits of this client ended, since its polling loop failed with {kinds} (the log says where): "
                    "this is a bug in this SDK. The server's work goes on"
                )
            )
        except asyncio.CancelledError:
            self._fail_all_waits(ClientNotOpenError("the client was closed while this was waited for"))
            raise

    def _fail_all_waits(self, reason: IndigoError) -> None:
        """Leave nobody waiting for a loop that has ended."""
        self._loop = None
        self._shutdown_error = reason
        for wait in self._watchlist.waits():
            wait.deliver(reason)

    async def _sleep(self) -> float:
        """Until something is due, or is woken up for. Returns by how many seconds it woke up too late."""
        loop = asyncio.get_running_loop()
        due = self._schedule.next_due()
        self._next_wakeup = float("inf") if due is None else due
        alarm = None if due is None else loop.call_at(due, self._wakeup.set)
        await self._wakeup.wait()
        if alarm is not None:
            alarm.cancel()
        self._wakeup.clear()
        late = loop.time() - self._next_wakeup
        self._next_wakeup = float("-inf")
        return late

    def _wake(self) -> None:
        self._wakeup.set()

    def _wake_if_earlier(self, due: float) -> None:
        if due < self._next_wakeup:
            self._wake()

    async def _run_round(self, group: asyncio.TaskGroup, late: float) -> None:
        """Deal with all that is due."""
        now = asyncio.get_running_loop().time()
        due = self._schedule.pop_due(now)
        if late > max(_SUSPEND_THRESHOLD, self._interval):
            self._planner.reschedule_spread_out(due, now)
        elif due:
            await self._planner.start_requests(due, now, partial(self._start_task, group))
        self._start_workers(group)

    def _start_workers(self, group: asyncio.TaskGroup) -> None:
        reads = len(self._executor.backlog) + len(self._executor.verification_queue)
        for _ in range(min(_MAX_CONCURRENT_SINGLE_POLLS - len(self._workers), reads)):
            worker = self._start_task(group, self._drain_backlog())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _drain_backlog(self) -> None:
        backlog, to_verify = self._executor.backlog, self._executor.verification_queue
        while backlog or to_verify:
            if backlog:
                watch = next(iter(backlog))
                del backlog[watch]
                await self._executor.poll_one(watch)
            else:
                await self._executor.verify_list(*to_verify.popitem())

    def _start_task(self, group: asyncio.TaskGroup, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _leaf_exceptions(error: Exception) -> list[Exception]:
    """The exceptions in a group, or the one that is none."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    group = cast("ExceptionGroup[Exception]", error)
    return [cause for inner in group.exceptions for cause in _leaf_exceptions(inner)]


def get_poller(client: IndigoClient) -> Poller:
    """Return the client's poller, created on first use.

    Raises:
        ClientNotOpenError: the client is used outside `async with`.
    """
    client.transport.require_open()
    if not isinstance(client.poller, Poller):
        # The poller must not refer to the client: a reference cycle would keep both alive.
        client.poller = Poller(HttpAudienceApi(client.transport), client.exit_stack, interval=client.poll_interval)
    return client.poller


def get_polling_stats(client: IndigoClient) -> PollingStats | None:
    """Return what polling has cost a client so far; None before its first wait."""
    return client.poller.stats if isinstance(client.poller, Poller) else None
