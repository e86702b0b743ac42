"""Looks, and what follows from their answers: who is told, and when each audience is looked at again."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from enum import StrEnum
from typing import TypeVar

import attrs

from indigo_async._polling.api import AudienceApi
from indigo_async._polling.cost_model import ALL_CUSTOMERS, Cost, CostModel, ListScope
from indigo_async._polling.outages import OutageLog, get_recent_failures
from indigo_async._polling.schedule import Schedule, first_delay, next_delay, retry_after_delay, retry_delay
from indigo_async._polling.stale_lists import StaleListDetector
from indigo_async._polling.watchlist import (
    UNCHANGED_LISTS_BEFORE_VERIFYING,
    ListPoll,
    RecordPart,
    Watch,
    WatchedCustomer,
    Watchlist,
    extract_view,
    set_polled_individually,
)
from indigo_async._redaction import sanitize_text
from indigo_async._transport.audience_list import ListTooLongError, Row, RowSlice
from indigo_async.errors import (
    ApiError,
    AuthenticationError,
    CustomerMismatchError,
    IndigoError,
    RateLimitedError,
    ResponseDecodeError,
    ServerError,
    TransportError,
)
from indigo_async.models import Audience, AudienceStatus, ExportStatus, UploadStatus, is_failure_status

__all__ = ["PollExecutor", "PollingStats", "UnknownStatusLog", "iterate_in_slices"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")

_TRANSIENT = (TransportError, ResponseDecodeError, RateLimitedError, ServerError)
_UNAUTHORIZED = 401
# An audience that was just made may be missing from an answer for a moment.
_MAX_REFUSALS = 3
_MAX_ABSENCES = 2
# So many rows without a part that is waited for, and none with it, prove that lists do not carry it.
_MIN_ROWS_WITHOUT_PART = 3
_SLICE_SIZE = 1_000
# A server that invents statuses without end must not fill the memory, nor the log.
_MAX_LOGGED = 100
_MAX_STATUS_LENGTH = 100


@attrs.frozen
class PollingStats:
    """What waiting cost: `polls` is how often an audience was seen, `requests` the requests made, by their kind."""

    polls: int
    requests: Mapping[str, int]

    @property
    def requests_saved(self) -> int:
        """How many requests fewer than one for each look."""
        return self.polls - sum(self.requests.values())


class PollExecutor:
    """Makes looks. What they leave to be asked singly is in `backlog`, and `on_backlog` is called.

    `verification_queue` holds audiences to read singly because their lists, whose scopes are beside them, do not move
    them. The whole of it runs in the event loop; between two awaits nothing else happens.
    """

    def __init__(
        self,
        api: AudienceApi,
        schedule: Schedule[Watch | WatchedCustomer],
        watchlist: Watchlist,
        *,
        interval: float,
        jitter: Callable[[], float],
        on_backlog: Callable[[], None],
    ) -> None:
        self.cost_model: CostModel = CostModel()
        self.backlog: dict[Watch, None] = {}
        self.verification_queue: dict[Watch, ListScope] = {}
        self.outage_log: OutageLog = OutageLog()
        self._api = api
        self._schedule = schedule
        self._watchlist = watchlist
        self._interval = interval
        self._jitter = jitter
        self._on_backlog = on_backlog
        self._polls = 0
        self._requests: Counter[str] = Counter()
        self._parts_in_lists: set[RecordPart] = set()
        self._rows_without_part: Counter[RecordPart] = Counter()
        self._parts_not_in_lists: set[RecordPart] = set()
        self._unknown_statuses = UnknownStatusLog()
        self._stale_list_detector = StaleListDetector(interval)

    @property
    def stats(self) -> PollingStats:
        return PollingStats(self._polls, dict(self._requests))

    def is_covered_by_lists(self, watch: Watch) -> bool:
        """Whether lists carry what is waited for of this audience, as far as is known."""
        return not self._parts_not_in_lists or all(wait.part not in self._parts_not_in_lists for wait in watch.waits)

    async def poll_one(self, watch: Watch) -> None:
        """Look at one audience. Nothing that goes wrong with it is raised, or concerns another."""
        sent = self._now()
        self._requests["single"] += 1
        try:
            audience, cost = await self._api.read_one(watch.id, watch.customer.id)
            self._handle_response(watch, audience, cost, sent)
        except IndigoError as error:
            if watch.waits:
                self._handle_failure(watch, error)
        except Exception as error:  # noqa: BLE001 - a defect that one audience meets must not end all waits
            self._fail_waits(watch, _log_unexpected_error(f"audience {sanitize_text(watch.key)}", error))

    def _handle_response(self, watch: Watch, audience: Audience, cost: Cost, sent: float) -> None:
        self.cost_model.record_single(cost)
        self.outage_log.record_recovery()
        if watch.waits:
            self._polls += 1
            watch.failures = watch.refusals = 0
            if not watch.polled_individually:
                watch.customer.failures = 0
            self._deliver(watch, audience, audience, sent)
            set_polled_individually(
                watch, polled_individually=watch.absences >= _MAX_ABSENCES or not self.is_covered_by_lists(watch)
            )
            self._schedule.put(watch, self._next_due(sent, watch.last_wait_at))

    async def verify_list(self, watch: Watch, scope: ListScope) -> None:
        """Read an audience that a list goes on answering for, and which it has not moved for long.

        What only this read shows is delivered, and from then on the audience is looked at singly. A read that fails
        proves nothing.
        """
        sent = self._now()
        shown = {wait: wait.last_view for wait in watch.waits if wait.last_view is not None}
        self._requests["single"] += 1
        try:
            audience, cost = await self._api.read_one(watch.id, watch.customer.id)
        except IndigoError:
            return
        except Exception as error:  # noqa: BLE001 - as in `poll_one`
            _log_unexpected_error(f"audience {sanitize_text(watch.key)}", error)
            return
        self.cost_model.record_single(cost)
        self._polls += 1
        for wait in watch.waits:
            # A list that came meanwhile, and showed a change, is not older than this read.
            if (
                wait in shown
                and wait.last_view == shown[wait]
                and extract_view(audience, wait.part) not in {None, wait.last_view}
            ):
                self._stale_list_detector.record_mismatch(scope, wait, sent)
                watch.absences = _MAX_ABSENCES  # its row is there, and is worth nothing
                self._handle_response(watch, audience, cost, sent)
                break

    async def poll_list(self, look: ListPoll, *, saved_cost: float) -> None:
        """Look at all audiences of a list, which saves single looks of the price `saved_cost`."""
        limit = self.cost_model.max_list_bytes(look.scope, len(look.pending), saved_cost)
        self._requests["all_customers" if look.scope is ALL_CUSTOMERS else "customer"] += 1
        look.list_schedule.last_sent, look.list_schedule.next_due = look.sent_at, look.sent_at + self._interval
        try:
            cost = await self._api.read_list(look.scope, lambda rows: self._handle_rows(look, rows), limit=limit)
        except ListTooLongError as error:
            self.cost_model.record_oversized_list(look.scope, error.size, is_exact=error.is_exact)
            await self._fall_back_to_single_polls(look)
        except IndigoError as error:
            await self._handle_list_failure(look, error)
        except Exception as error:  # noqa: BLE001 - as in `poll_one`; a list can be done without
            _log_unexpected_error("a list", error)
            self.cost_model.record_list_refusal(look.scope, self._now())
            await self._fall_back_to_single_polls(look)
        else:
            await self._handle_list_response(look, cost)
        finally:
            for customer in look.customers:
                if customer.list_poll is look:
                    customer.list_poll = None

    async def _handle_list_response(self, look: ListPoll, cost: Cost) -> None:
        self.cost_model.record_list(look.scope, cost)
        self.outage_log.record_recovery()
        for customer in look.customers:
            customer.failures = 0
        lacking = {needs for needs, rows in self._rows_without_part.items() if rows >= _MIN_ROWS_WITHOUT_PART}
        self._parts_not_in_lists = lacking - self._parts_in_lists
        if self.cost_model.is_paused(look.scope, self._now()):  # its own rows proved it stale
            await self._fall_back_to_single_polls(look)
            return
        newest = max(customer.last_wait_at for customer in look.customers)
        self._reschedule_list(look, self._next_due(look.sent_at, min(newest, look.sent_at)))
        async for watch in iterate_in_slices(look.pending.values()):
            watch.absences += 1
            self._poll_individually_if_due(watch)
        unmoved = self._stale_list_detector.pick_to_verify(look)
        if unmoved is not None and unmoved.waits and not unmoved.polled_individually:
            self.verification_queue[unmoved] = look.scope
            self._on_backlog()

    def _handle_rows(self, look: ListPoll, rows: RowSlice) -> None:
        wanted, suspicions, seen = look.pending, self._stale_list_detector.mismatches, 0
        for index, row in enumerate(rows.rows):
            if row is not None:
                key = row.id if type(row.id) is str else row.key
                if suspicions and key in suspicions and self._stale_list_detector.confirm_stale(look, key, row):
                    self._pause_stale_list(look)
                watch = wanted.pop(key, None)
                if watch is not None and watch.waits:
                    if self._handle_row(look, watch, row, rows, index):
                        seen += 1
                    else:
                        self._poll_individually_if_due(watch)
        self._polls += seen

    def _pause_stale_list(self, look: ListPoll) -> None:
        pause = self.cost_model.record_stale_list(look.scope, self._now())
        _logger.warning(
            "the list of %s still shows what single reads of several audiences proved out of date; "
            "it is not used for %d s, which takes more requests",
            "all audiences" if look.scope is ALL_CUSTOMERS else f"customer {sanitize_text(str(look.scope))!r}",
            pause,
        )

    def _handle_row(self, look: ListPoll, watch: Watch, row: Row, rows: RowSlice, index: int) -> bool:
        """Take a watched row; whether it tells all that is waited for. What is done for each row is done here."""
        customer_id = watch.customer.id
        answered = row.customer_id
        if customer_id is not None and answered not in (customer_id, None) and str(answered) != customer_id:
            return self._handle_other_customers_row(look, watch, customer_id, str(answered))
        is_new = False
        for wait in watch.waits:
            view = extract_view(row, wait.part)
            if view is None:
                if not (wait.part is RecordPart.EXPORTS and row.has_no_exports):  # it may have none yet
                    self._rows_without_part[wait.part] += 1
                return False
            if view != wait.last_view:
                is_new = True
                self._parts_in_lists.add(wait.part)
        if is_new:
            try:
                self._deliver(watch, rows.decode_record(index), row, look.sent_at)
            except Exception:  # noqa: BLE001 - the single read that follows says what is wrong with it
                return False
            watch.unchanged_lists = 0
        else:
            watch.unchanged_lists = unmoved = watch.unchanged_lists + 1
            if unmoved >= UNCHANGED_LISTS_BEFORE_VERIFYING and (
                look.longest_unchanged is None or unmoved > look.longest_unchanged.unchanged_lists
            ):
                look.longest_unchanged = watch
        watch.failures = watch.refusals = watch.absences = 0
        if watch.tick is not None and not watch.polled_individually:
            self._schedule.remove(watch)
        return True

    def _handle_other_customers_row(self, look: ListPoll, watch: Watch, asked: str, answered: str) -> bool:
        """Take a row that is about another customer."""
        if look.scope is ALL_CUSTOMERS:
            return False  # as asked, there may be no such audience: the server shall say so itself
        self._fail_waits(watch, CustomerMismatchError(endpoint="GET /audiences", requested=asked, received=answered))
        return True

    def _deliver(self, watch: Watch, audience: Audience, shown: Audience | Row, sent: float) -> None:
        """Give a record to the waits that began before it was asked for: to later ones it may be out of date.

        `shown` is what it was shown as, with which the next look is compared.
        """
        self._unknown_statuses.log_unknown(audience)
        for wait in watch.waits:
            if wait.started_at <= sent and not wait.next_update.done():
                wait.last_view = extract_view(shown, wait.part)
                wait.deliver(audience)

    def _next_due(self, sent: float, asked_at: float) -> float:
        """When to look again after a good answer. What was slow to come is not asked for again at once."""
        now, chance = self._now(), self._jitter()
        if asked_at > sent:
            return now + first_delay(self._interval, chance)
        return max(sent, now - self._interval / 2) + next_delay(self._interval, sent - asked_at, chance)

    def _handle_failure(self, watch: Watch, error: IndigoError) -> None:
        """Look again later, more and more patiently, unless the error is definite."""
        watch.last_error = sanitize_text(str(error))
        if isinstance(error, _TRANSIENT):
            watch.failures += 1
            trouble = get_recent_failures(watch)
            failures = trouble.count if trouble is not None else 0
            what = f"audience {sanitize_text(watch.key)}"
            self.outage_log.record_failure(what, failures, error, waiting=self._watchlist.size)
        elif _may_be_transient(error) and watch.refusals + 1 < _MAX_REFUSALS:
            watch.refusals += 1
        else:
            self._fail_waits(watch, error)
            return
        self._schedule.put(watch, self._next_due_after_failures(watch.failures + watch.refusals, error))

    async def _handle_list_failure(self, look: ListPoll, error: IndigoError) -> None:
        """Go on without the list: later where that may help, else singly."""
        if isinstance(error, _TRANSIENT):
            if not isinstance(error, RateLimitedError):
                self.cost_model.record_list_failure(look.scope, self._now())
            problem = sanitize_text(str(error))
            for customer in look.customers:
                customer.failures += 1
                customer.last_error = problem
            failures = max(customer.failures for customer in look.customers)
            self.outage_log.record_failure("a list of audiences", failures, error, waiting=self._watchlist.size)
            self._reschedule_list(look, self._next_due_after_failures(look.customers[0].failures, error))
        elif isinstance(error, ApiError) and error.status != _UNAUTHORIZED:
            self.cost_model.record_list_refusal(look.scope, self._now())
            await self._fall_back_to_single_polls(look)
        else:
            self._reschedule_list(look, self._now() + self._interval)
            async for watch in iterate_in_slices(look.pending.values()):
                self._fail_waits(watch, error)

    def _next_due_after_failures(self, failures: int, error: IndigoError) -> float:
        delay = retry_delay(self._interval, failures, self._jitter())
        if isinstance(error, RateLimitedError):
            delay = max(delay, retry_after_delay(error.retry_after))
        return self._now() + delay

    def _reschedule_list(self, look: ListPoll, due: float) -> None:
        """Let all that the list is for fall due together."""
        look.list_schedule.next_due = due
        for customer in look.customers:
            if customer.listed:
                self._schedule.put(customer, due)

    async def _fall_back_to_single_polls(self, look: ListPoll) -> None:
        """Let all that the list is for go on one by one: what it has not shown is asked for at once."""
        look.list_schedule.next_due = look.sent_at
        riders = [watch for customer in look.customers for watch in customer.batched()]
        async for watch in iterate_in_slices(riders):
            if look.pending.get(watch.key) is watch:
                self._poll_individually_if_due(watch)
            elif watch.waits:
                self._schedule.put(watch, self._next_due(look.sent_at, watch.last_wait_at))

    def _poll_individually_if_due(self, watch: Watch) -> None:
        """A list that did not show a watch before it was due takes nothing from it."""
        if watch.waits and watch.tick is None:
            self.poll_individually(watch)

    def poll_individually(self, watch: Watch) -> None:
        """Have a watch looked at by itself, at once."""
        set_polled_individually(watch, polled_individually=True)
        self._schedule.remove(watch)
        self.backlog[watch] = None
        self._on_backlog()

    def _fail_waits(self, watch: Watch, error: IndigoError) -> None:
        """End all waits for an audience. One that has not yet taken its last news meets the error at the next look."""
        for wait in watch.waits:
            wait.deliver(error)
        if watch.waits:
            self._schedule.put(watch, self._now() + self._interval)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _log_unexpected_error(what: str, error: Exception) -> IndigoError:
    """Log an unexpected exception, where it was raised but not its text, which may hold anything."""
    kind = type(error).__name__
    frames = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("a status check of %s raised an unexpected %s, a bug in this SDK:\n%s", what, kind, frames)
    return IndigoError(
        f"the wait for {what} ended, since a status check raised an unexpected {kind} (the log says where): this is a "
        "bug in this SDK. The server's work goes on"
    )


def _may_be_transient(error: IndigoError) -> bool:
    """Whether a refusal may be of a moment only, such as that of an audience which the server just made."""
    return isinstance(error, ApiError) and not isinstance(error, AuthenticationError)


async def iterate_in_slices(things: Collection[T]) -> AsyncGenerator[T]:
    """The things that there are now, with pauses in which other tasks run."""
    for index, thing in enumerate(list(things), 1):
        yield thing
        if index % _SLICE_SIZE == 0:
            await asyncio.sleep(0)


class UnknownStatusLog:
    """Remembers which statuses were said to be unknown."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def log_unknown(self, audience: Audience) -> None:
        """Say which of a record's statuses are unknown, and were not yet said to be."""
        self._log_if_unknown("audience", audience.status, AudienceStatus)
        if audience.uploaded_audience_csv is not None:
            self._log_if_unknown("uploaded CSV", audience.uploaded_audience_csv.status, UploadStatus)
        for export in audience.csv_exports:
            self._log_if_unknown("export", export.status, ExportStatus)

    def _log_if_unknown(self, what: str, status: str, known: type[StrEnum]) -> None:
        if not status or status.upper() in known.__members__ or (what, status) in self._logged:
            return
        if len(self._logged) < _MAX_LOGGED:
            self._logged.add((what, status))
            meaning = "a failure" if is_failure_status(status) else "work that goes on"
            _logger.warning(
                "the server uses the unknown %s status %.*r, taken to mean %s",
                what,
                _MAX_STATUS_LENGTH,
                sanitize_text(status),
                meaning,
            )
