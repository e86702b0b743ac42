"""The polling loop behind all waits of a client.

It keeps a schedule of audiences instead of a task for each. Audiences that are due at the same time form a round, in
which a single list can serve thousands of waits.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Hashable
from contextlib import AsyncExitStack
from contextvars import Context
from functools import partial
from typing import TypeVar

from indigo_async._polling.api import AudienceApi
from indigo_async._polling.pace import Pace
from indigo_async._polling.polls import PollExecutor, PollingStats
from indigo_async._polling.rounds import RoundPlanner
from indigo_async._polling.schedule import Schedule, first_delay
from indigo_async._polling.watchlist import PollFailures, RecordPart, Update, Wait, Watch, Watchlist
from indigo_async._transport.cancellation import call_in_loop
from indigo_async._transport.outage import wait_out_outages
from indigo_async.errors import ClientNotOpenError, IndigoError
from indigo_async.models import Audience, RecordId

__all__ = ["Poller"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")

_MAX_TICK_SECONDS = 0.1
_TICKS_PER_INTERVAL = 50
_MAX_CONCURRENT_SINGLE_POLLS = 64
# Waking up this many seconds late means that the machine was suspended.
_SUSPEND_THRESHOLD = 5.0


class Poller:
    """Polls audiences for all waits of one client. The loop starts with the first wait, and stops with `exit_stack`."""

    def __init__(
        self,
        api: AudienceApi,
        exit_stack: AsyncExitStack,
        *,
        pace: Pace,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._exit_stack = exit_stack
        self._pace = pace
        self._jitter = jitter
        self._watchlist = Watchlist()
        tick_seconds = min(_MAX_TICK_SECONDS, pace.interval / _TICKS_PER_INTERVAL)
        self._schedule = Schedule(tick_seconds, self._wake_if_earlier)
        self._wakeup = asyncio.Event()
        self._next_wakeup = float("-inf")
        self._executor = PollExecutor(
            api=api,
            schedule=self._schedule,
            watchlist=self._watchlist,
            pace=pace,
            jitter=jitter,
            on_backlog=self._wake,
        )
        self._planner = RoundPlanner(self._executor)
        self._loop: asyncio.Task[None] | None = None
        self._shutdown_error: IndigoError = ClientNotOpenError("the polling loop is not running")
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: set[asyncio.Task[None]] = set()

    @property
    def stats(self) -> PollingStats:
        """What polling has cost so far."""
        return self._executor.stats

    async def wait_until(
        self,
        audience_id: RecordId,
        customer_id: str | None,
        check: Callable[[Audience], T | None],
        *,
        part: RecordPart = RecordPart.STATUS,
        kind: Hashable = None,
        deadline: float | None = None,
        on_cancel: Callable[[PollFailures | None], None] | None = None,
    ) -> T:
        """Wait until `check` returns something other than None, and return that.

        Args:
            audience_id: the audience to poll.
            customer_id: its customer, if it has one.
            check: called with the full record whenever the part that the wait depends on may have changed. Returns the
                result, or None to keep waiting. An exception that it raises ends the wait.
            part: which part of the record `check` depends on.
            kind: waits of the same kind last about as long, which decides how often they are polled; None if unknown.
            deadline: when the caller gives up, in event loop time. The audience is polled once more before that.
            on_cancel: called when the wait is canceled, with the most recent polls if they failed.

        Raises:
            AuthenticationError, CustomerMismatchError, RecordMismatchError: by the first poll that meets it.
            ApiError: three polls in a row were refused.
            ClientNotOpenError: the client was closed.
            IndigoError: a bug in this SDK, which is logged.
        """
        self._ensure_running()
        loop = asyncio.get_running_loop()
        cohort = self._pace.find_cohort(kind, loop.time(), deadline)
        wait = self._watchlist.add(audience_id, customer_id, part, cohort)
        update: Update | None = None
        try:
            self._schedule_first_poll(wait.watch)
            while True:
                update = await wait.next_update
                if isinstance(update, Exception):
                    raise update.with_traceback(None)
                try:
                    result = check(update)
                except Exception:
                    self._pace.record_end(cohort, wait.unfinished_at)
                    raise
                if result is not None:
                    self._pace.record_end(cohort, wait.unfinished_at)
                    return result
                if self._loop is None:
                    raise self._shutdown_error.with_traceback(None)
                wait.next_update = loop.create_future()
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel(wait.watch.recent_failures())
            raise
        finally:
            self._remove(wait)
            del wait, update  # break the exception-frame reference cycle

    def _schedule_first_poll(self, watch: Watch) -> None:
        now = asyncio.get_running_loop().time()
        due = now + first_delay(self._pace.interval, self._jitter())
        upcoming = self._planner.find_upcoming_list(watch.customer, now)
        if upcoming is not None:
            due = max(due, upcoming.last_sent + self._pace.interval / 2)
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
            # An empty context: the first caller's context variables, such as its listener, are not for all waits.
            self._loop = asyncio.create_task(self._run(), name="indigo-polling", context=Context())
            self._exit_stack.push_async_callback(self._close)

    def abandon(self) -> None:
        """End the loop of a client that nobody can close any more. It has no waits, since these keep the client."""
        loop, self._loop = self._loop, None
        if loop is not None:
            call_in_loop(loop.get_loop(), loop.cancel)

    async def _close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
            await asyncio.wait([loop])

    async def _run(self) -> None:
        try:
            with wait_out_outages():
                async with asyncio.TaskGroup() as group:
                    while True:
                        late = await self._sleep()
                        await self._run_round(group, late)
        except ExceptionGroup as group:
            _logger.exception("the polling loop failed")
            kinds = ", ".join(sorted({type(error).__name__ for error in group.exceptions}))
            self._fail_all_waits(
                IndigoError(
                    f"all waits of this client ended because its polling loop failed with {kinds} (see the log): this "
                    "is a bug in this SDK. The server continues its work"
                )
            )
        except asyncio.CancelledError:
            self._fail_all_waits(ClientNotOpenError("the client was closed during this wait"))
            raise

    def _fail_all_waits(self, error: IndigoError) -> None:
        self._loop = None
        self._shutdown_error = error
        for wait in self._watchlist.waits():
            wait.deliver(error)

    async def _sleep(self) -> float:
        """Sleep until something is due, or until woken up. Returns how many seconds late it woke up."""
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
        now = asyncio.get_running_loop().time()
        due = self._schedule.pop_due(now)
        if late > max(_SUSPEND_THRESHOLD, self._pace.interval):
            for item in due:  # spread what fell due while the machine was suspended
                self._schedule.put(item, now + self._pace.interval * self._jitter())
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
