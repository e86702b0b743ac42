"""Polls and their consequences: which waits get an update, and when each audience is polled again."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from typing import TypeVar

import attrs

from indigo_async._polling.api import AudienceApi
from indigo_async._polling.cost_model import ALL_CUSTOMERS, Cost, CostModel, ListScope
from indigo_async._polling.diagnostics import OutageLog, UnknownStatusLog, log_unexpected_error
from indigo_async._polling.pace import Pace
from indigo_async._polling.schedule import Schedule, first_delay, retry_after_delay, retry_delay
from indigo_async._polling.stale_lists import ListCoverage, StaleListDetector
from indigo_async._polling.watchlist import (
    UNCHANGED_LISTS_BEFORE_VERIFYING,
    Cohort,
    ListPoll,
    RecordPart,
    Watch,
    Watchlist,
    extract_view,
)
from indigo_async._redaction import sanitize_text
from indigo_async._transport.audience_list import ListTooLongError, Row, RowSlice
from indigo_async._transport.errors import is_transient, rejects_token
from indigo_async.errors import (
    ApiError,
    AuthenticationError,
    CustomerMismatchError,
    IndigoError,
    RateLimitedError,
)
from indigo_async.models import Audience

__all__ = ["PollExecutor", "PollingStats", "iterate_in_slices"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")

# A new audience may be missing from responses for a moment.
_MAX_REFUSALS = 3
_MAX_ABSENCES = 2
_SLICE_SIZE = 1_000


@attrs.frozen
class PollingStats:
    """What polling has cost: `polls` counts the audiences seen, `requests` the requests sent, by kind."""

    polls: int
    requests: Mapping[str, int]

    @property
    def requests_saved(self) -> int:
        """How many requests were saved, compared with one request per poll."""
        return self.polls - sum(self.requests.values())


@attrs.define(kw_only=True)
class PollExecutor:
    """Sends polls and handles their responses.

    `backlog` holds the audiences to read singly. `verification_queue` holds those to read singly because their list
    has not changed them for long, each with the list's scope. `on_backlog` is called when either grows. Everything
    runs in the event loop, so nothing else happens between two awaits.
    """

    api: AudienceApi
    schedule: Schedule
    watchlist: Watchlist
    pace: Pace
    jitter: Callable[[], float]
    on_backlog: Callable[[], None]
    cost_model: CostModel = attrs.field(factory=CostModel, init=False)
    coverage: ListCoverage = attrs.field(factory=ListCoverage, init=False)
    outage_log: OutageLog = attrs.field(factory=OutageLog, init=False)
    backlog: dict[Watch, None] = attrs.field(factory=dict[Watch, None], init=False)
    verification_queue: dict[Watch, ListScope] = attrs.field(factory=dict[Watch, ListScope], init=False)
    _stale_lists: StaleListDetector = attrs.field(factory=StaleListDetector, init=False)
    _unknown_statuses: UnknownStatusLog = attrs.field(factory=UnknownStatusLog, init=False)
    _polls: int = attrs.field(default=0, init=False)
    _requests: Counter[str] = attrs.field(factory=Counter[str], init=False)

    @property
    def interval(self) -> float:
        return self.pace.interval

    @property
    def stats(self) -> PollingStats:
        return PollingStats(self._polls, dict(self._requests))

    def poll_individually(self, watch: Watch) -> None:
        """Read an audience singly, as soon as possible and until lists show it again."""
        watch.set_individual(individual=True)
        self.schedule.remove(watch)
        self.backlog[watch] = None
        self.on_backlog()

    # Single reads.

    async def poll_one(self, watch: Watch) -> None:
        """Read one audience. Raises nothing: an error affects only the waits for this audience."""
        sent_at = self._now()
        self._requests["single"] += 1
        try:
            audience, cost = await self.api.read_one(watch.id, watch.customer.id)
            self._handle_response(watch, audience, cost, sent_at)
        except IndigoError as error:
            if watch.waits:
                self._handle_failure(watch, error)
        except Exception as error:  # noqa: BLE001 - a bug that one audience triggers must not end all waits
            self._fail_waits(watch, log_unexpected_error(_name_of(watch), error))

    def _handle_response(self, watch: Watch, audience: Audience, cost: Cost, sent_at: float) -> None:
        self.cost_model.record_single(cost)
        self.outage_log.record_recovery()
        if watch.waits:
            self._polls += 1
            watch.failures = watch.refusals = 0
            if not watch.polled_individually:
                watch.customer.failures = 0
            self._deliver(watch, audience, audience, sent_at)
            watch.last_seen_at = sent_at
            watch.set_individual(individual=watch.absences >= _MAX_ABSENCES or not self.coverage.covers(watch))
            self.schedule.put(watch, self._next_due(watch.cohorts(), sent_at, watch.last_wait_at))

    def _handle_failure(self, watch: Watch, error: IndigoError) -> None:
        """Retry after a growing delay, or end the waits if the error is final."""
        watch.last_error = sanitize_text(str(error))
        if is_transient(error):
            watch.failures += 1
            if not self.api.has_outage:  # the client logs outages itself
                self.outage_log.record_failure(_name_of(watch), watch.failure_count, error, waiting=self.watchlist.size)
        elif self._may_be_a_mistake(error) and watch.refusals + 1 < _MAX_REFUSALS:
            watch.refusals += 1
        else:
            self._fail_waits(watch, error)
            return
        failures = watch.failures + watch.refusals
        self.schedule.put(watch, self._next_due_after_failures(watch.cohorts(), failures, error))

    def _may_be_a_mistake(self, error: IndigoError) -> bool:
        """Whether the next poll may succeed after this refusal. After a 401, only if the token has worked."""
        if isinstance(error, AuthenticationError):
            return rejects_token(error) and self.api.has_worked
        return isinstance(error, ApiError)

    async def verify_list(self, watch: Watch, scope: ListScope) -> None:
        """Read an audience that its list has shown unchanged for long.

        If this read shows a change, it is delivered, and the audience is polled individually from now on. A failed read
        proves nothing and is ignored.
        """
        sent_at = self._now()
        shown = {wait: wait.last_view for wait in watch.waits if wait.last_view is not None}
        self._requests["single"] += 1
        try:
            audience, cost = await self.api.read_one(watch.id, watch.customer.id)
        except IndigoError:
            return
        except Exception as error:  # noqa: BLE001 - as in `poll_one`
            log_unexpected_error(_name_of(watch), error)
            return
        self.cost_model.record_single(cost)
        self._polls += 1
        for wait in watch.waits:
            # If a list has shown a change in the meantime, it may be newer than this read.
            if (
                wait in shown
                and wait.last_view == shown[wait]
                and extract_view(audience, wait.part) not in {None, wait.last_view}
            ):
                self._stale_lists.record_mismatch(scope, wait, sent_at)
                watch.absences = _MAX_ABSENCES  # its row is present, but stale
                self._handle_response(watch, audience, cost, sent_at)
                break

    # Lists.

    async def poll_list(self, poll: ListPoll, *, saved_cost: float) -> None:
        """Read a list, which saves single reads that would cost `saved_cost`."""
        limit = self.cost_model.max_list_bytes(poll.scope, len(poll.pending), saved_cost)
        self._requests["all_customers" if poll.scope is ALL_CUSTOMERS else "customer"] += 1
        poll.list_schedule.last_sent, poll.list_schedule.next_due = poll.sent_at, poll.sent_at + self.interval
        try:
            cost = await self.api.read_list(poll.scope, lambda rows: self._handle_rows(poll, rows), limit=limit)
        except ListTooLongError as error:
            self.cost_model.record_oversized_list(poll.scope, error.size, is_exact=error.is_exact)
            await self._give_up_list(poll)
        except IndigoError as error:
            await self._handle_list_failure(poll, error)
        except Exception as error:  # noqa: BLE001 - as in `poll_one`; single reads can replace a list
            log_unexpected_error("a list", error)
            self.cost_model.record_list_refusal(poll.scope, self._now())
            await self._give_up_list(poll)
        else:
            await self._handle_list_response(poll, cost)
        finally:
            for customer in poll.customers:
                if customer.list_poll is poll:
                    customer.list_poll = None

    def _handle_rows(self, poll: ListPoll, rows: RowSlice) -> None:
        pending, mismatches, seen = poll.pending, self._stale_lists.mismatches, 0
        for index, row in enumerate(rows.rows):
            if row is not None:
                key = row.id if type(row.id) is str else row.key
                if mismatches and key in mismatches and self._stale_lists.confirm_stale(poll, key, row, self.interval):
                    self._pause_stale_list(poll)
                watch = pending.pop(key, None)
                if watch is not None and watch.waits:
                    if self._handle_row(poll, watch, row, rows, index):
                        seen += 1
                    else:
                        self._poll_individually_if_due(watch)
        self._polls += seen

    def _handle_row(self, poll: ListPoll, watch: Watch, row: Row, rows: RowSlice, index: int) -> bool:
        """Handle a watched audience's row. Returns whether it shows everything that the waits depend on.

        This is the hot path: it runs for every watched row of every list.
        """
        customer_id, received = watch.customer.id, row.customer_id
        if customer_id is not None and received not in (customer_id, None) and str(received) != customer_id:
            return self._handle_other_customers_row(poll, watch, requested=customer_id, received=str(received))
        has_changed = False
        for wait in watch.waits:
            view = extract_view(row, wait.part)
            if view is None:
                if not (wait.part is RecordPart.EXPORTS and row.has_no_exports):  # it may have none yet
                    self.coverage.record_missing(wait.part)
                return False
            if view != wait.last_view:
                has_changed = True
                self.coverage.record_shown(wait.part)
        if has_changed:
            try:
                self._deliver(watch, rows.decode_record(index), row, poll.sent_at)
            except Exception:  # noqa: BLE001 - the single read that follows reports the problem
                return False
            watch.unchanged_lists = 0
        else:
            watch.unchanged_lists = unchanged = watch.unchanged_lists + 1
            if unchanged >= UNCHANGED_LISTS_BEFORE_VERIFYING and (
                poll.longest_unchanged is None or unchanged > poll.longest_unchanged.unchanged_lists
            ):
                poll.longest_unchanged = watch
        watch.failures = watch.refusals = watch.absences = 0
        watch.last_seen_at = poll.sent_at
        if watch.tick is not None and not watch.polled_individually:
            self.schedule.remove(watch)
        return True

    def _handle_other_customers_row(self, poll: ListPoll, watch: Watch, *, requested: str, received: str) -> bool:
        if poll.scope is ALL_CUSTOMERS:
            return False  # perhaps this customer has no such audience; a single read will tell
        self._fail_waits(
            watch, CustomerMismatchError(endpoint="GET /audiences", requested=requested, received=received)
        )
        return True

    def _pause_stale_list(self, poll: ListPoll) -> None:
        pause = self.cost_model.record_stale_list(poll.scope, self._now())
        _logger.warning(
            "the list of %s is out of date: single reads of several audiences show newer data. The list is not used "
            "for %d s, which takes more requests",
            "all audiences" if poll.scope is ALL_CUSTOMERS else f"customer {sanitize_text(str(poll.scope))!r}",
            pause,
        )

    async def _handle_list_response(self, poll: ListPoll, cost: Cost) -> None:
        self.cost_model.record_list(poll.scope, cost)
        self.outage_log.record_recovery()
        self.coverage.update()
        for customer in poll.customers:
            customer.failures = 0
        if self.cost_model.is_paused(poll.scope, self._now()):  # its own rows proved it stale
            await self._give_up_list(poll)
            return
        newest = max(customer.last_wait_at for customer in poll.customers)
        self._reschedule_list(poll, self._next_due(poll.cohorts(), poll.sent_at, min(newest, poll.sent_at)))
        async for watch in iterate_in_slices(poll.pending.values()):
            watch.absences += 1
            self._poll_individually_if_due(watch)
        unchanged = self._stale_lists.pick_to_verify(poll)
        if unchanged is not None and unchanged.waits and not unchanged.polled_individually:
            self.verification_queue[unchanged] = poll.scope
            self.on_backlog()

    async def _handle_list_failure(self, poll: ListPoll, error: IndigoError) -> None:
        """Retry the list later if that may help; otherwise read singly."""
        is_unauthorized = rejects_token(error)
        may_be_a_mistake = is_unauthorized and self._may_be_a_mistake(error)
        refusals = max(customer.failures for customer in poll.customers) + 1
        if is_transient(error) or (may_be_a_mistake and refusals < _MAX_REFUSALS):
            if not (isinstance(error, RateLimitedError) or is_unauthorized or self.api.has_outage):
                self.cost_model.record_list_failure(poll.scope, self._now())
            message = sanitize_text(str(error))
            for customer in poll.customers:
                customer.failures += 1
                customer.last_error = message
            failures = max(customer.failures for customer in poll.customers)
            if not self.api.has_outage:  # as above
                self.outage_log.record_failure("a list of audiences", failures, error, waiting=self.watchlist.size)
            due = self._next_due_after_failures(poll.cohorts(), poll.customers[0].failures, error)
            self._reschedule_list(poll, due)
        elif isinstance(error, ApiError) and not is_unauthorized:
            self.cost_model.record_list_refusal(poll.scope, self._now())
            await self._give_up_list(poll)
        else:
            self._reschedule_list(poll, self._now() + self.interval)
            async for watch in iterate_in_slices(poll.pending.values()):
                self._fail_waits(watch, error)

    def _reschedule_list(self, poll: ListPoll, due: float) -> None:
        """Make everything that the list shows fall due together."""
        poll.list_schedule.next_due = due
        for customer in poll.customers:
            if customer.listed:
                self.schedule.put(customer, due)

    async def _give_up_list(self, poll: ListPoll) -> None:
        """Read what a list has not shown in other ways, now, since it is due.

        In place of the list of everything, some customers may have lists that are worth reading.
        """
        poll.list_schedule.next_due = poll.sent_at
        if poll.scope is ALL_CUSTOMERS:
            for customer in poll.customers:
                if customer.listed:
                    self.schedule.put(customer, poll.sent_at)
            return
        batched = [watch for customer in poll.customers for watch in customer.batched()]
        async for watch in iterate_in_slices(batched):
            if poll.pending.get(watch.key) is watch:
                self._poll_individually_if_due(watch)
            elif watch.waits:
                self.schedule.put(watch, self._next_due(watch.cohorts(), poll.sent_at, watch.last_wait_at))

    def _poll_individually_if_due(self, watch: Watch) -> None:
        """Read singly what a list should have shown, unless it is not due yet."""
        if watch.waits and watch.tick is None:
            self.poll_individually(watch)

    # Both.

    def _deliver(self, watch: Watch, audience: Audience, shown: Audience | Row, sent_at: float) -> None:
        """Deliver a record to the waits that started before it was requested; for newer ones it may be out of date.

        `shown` is the record in the form in which the next poll is compared with it.
        """
        self._unknown_statuses.log_unknown(audience)
        for wait in watch.waits:
            if wait.started_at <= sent_at and not wait.next_update.done():
                wait.unfinished_at = watch.last_seen_at if wait.last_view is not None else None
                wait.last_view = extract_view(shown, wait.part)
                wait.deliver(audience)

    def _fail_waits(self, watch: Watch, error: IndigoError) -> None:
        """End all waits for an audience. A wait with an unconsumed update gets the error at the next poll."""
        for wait in watch.waits:
            wait.deliver(error)
        if watch.waits:
            self.schedule.put(watch, self._now() + self.interval)

    def _next_due(self, cohorts: Collection[Cohort], sent_at: float, last_wait_at: float) -> float:
        """When to poll again after a good response. After a slow one, there is some delay in any case."""
        now, jitter = self._now(), self.jitter()
        if last_wait_at > sent_at:
            return now + first_delay(self.interval, jitter)
        return self.pace.next_due(cohorts, max(sent_at, now - self.interval / 2), jitter)

    def _next_due_after_failures(self, cohorts: Iterable[Cohort], failures: int, error: IndigoError) -> float:
        now = self._now()
        if self.api.has_outage:  # the next poll is held until the outage is over
            return now + self.interval
        delay = retry_delay(self.interval, failures, self.jitter())
        if isinstance(error, RateLimitedError):
            return now + max(delay, retry_after_delay(error.retry_after))
        return min(now + delay, self.pace.next_deadline(cohorts, now))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _name_of(watch: Watch) -> str:
    return f"audience {sanitize_text(watch.key)}"


async def iterate_in_slices(items: Collection[T]) -> AsyncGenerator[T]:
    """Iterate over a copy of a collection, letting other tasks run every 1,000 items."""
    for index, item in enumerate(list(items), 1):
        yield item
        if index % _SLICE_SIZE == 0:
            await asyncio.sleep(0)
