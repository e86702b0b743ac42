"""Looks, and what follows from their answers: who is told, and when each audience is looked at again."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import TypeVar

import attrs

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
from indigo_async.models import Audience
from indigo_async.polling.costs import EVERYTHING, Cost, Ledger, Scope
from indigo_async.polling.schedule import Schedule
from indigo_async.polling.source import Source
from indigo_async.polling.statuses import UnknownStatuses
from indigo_async.polling.timing import first_delay, next_delay, requested_delay, retry_delay
from indigo_async.polling.trouble import Alarm, one_line, trouble_of
from indigo_async.polling.trust import ListTrust
from indigo_async.polling.waits import UNMOVED, Customer, ListLook, Needs, Watch, Watchlist, set_alone, view_of
from indigo_async.transport.list_view import ListTooLongError, Row, Rows

__all__ = ["Looks", "PollingStats", "in_slices"]

T = TypeVar("T")

_logger = logging.getLogger("indigo_async")

_PASSING = (TransportError, ResponseDecodeError, RateLimitedError, ServerError)
_UNAUTHORIZED = 401
# An audience that was just made may be missing from an answer for a moment.
_MOST_REFUSALS = 3
_MOST_ABSENCES = 2
# So many rows without a part that is waited for, and none with it, prove that lists do not carry it.
_ENOUGH_LACKING = 3
_SLICE = 1_000


@attrs.frozen
class PollingStats:
    """What waiting cost: `looks` is how often an audience was seen, `reads` the requests made, by their kind."""

    looks: int
    reads: Mapping[str, int]

    @property
    def saved(self) -> int:
        """How many requests fewer than one for each look."""
        return self.looks - sum(self.reads.values())


class Looks:
    """Makes looks. What they leave to be asked singly is in `backlog`, and `on_backlog` is called.

    `to_verify` holds audiences to read singly because their lists, whose scopes are beside them, do not move them.
    The whole of it runs in the event loop; between two awaits nothing else happens.
    """

    def __init__(
        self,
        source: Source,
        schedule: Schedule[Watch | Customer],
        watchlist: Watchlist,
        *,
        interval: float,
        chance: Callable[[], float],
        on_backlog: Callable[[], None],
    ) -> None:
        self.ledger: Ledger = Ledger()
        self.backlog: dict[Watch, None] = {}
        self.to_verify: dict[Watch, Scope] = {}
        self.alarm: Alarm = Alarm()
        self._source = source
        self._schedule = schedule
        self._watchlist = watchlist
        self._interval = interval
        self._chance = chance
        self._on_backlog = on_backlog
        self._looks = 0
        self._reads: Counter[str] = Counter()
        self._shown: set[Needs] = set()
        self._lacking: Counter[Needs] = Counter()
        self._unlisted: set[Needs] = set()
        self._unknown = UnknownStatuses()
        self._trust = ListTrust(interval)

    @property
    def stats(self) -> PollingStats:
        return PollingStats(self._looks, dict(self._reads))

    def are_listed(self, watch: Watch) -> bool:
        """Whether lists carry what is waited for of this audience, as far as is known."""
        return not self._unlisted or all(wait.needs not in self._unlisted for wait in watch.waits)

    async def single(self, watch: Watch) -> None:
        """Look at one audience. Nothing that goes wrong with it is raised, or concerns another."""
        sent = self._now()
        self._reads["single"] += 1
        try:
            audience, cost = await self._source.one(watch.id, watch.customer.id)
            self._answered(watch, audience, cost, sent)
        except IndigoError as error:
            if watch.waits:
                self._failed(watch, error)
        except Exception as error:  # noqa: BLE001 - a defect that one audience meets must not end all waits
            self._end(watch, _defect(f"audience {one_line(watch.key)}", error))

    def _answered(self, watch: Watch, audience: Audience, cost: Cost, sent: float) -> None:
        self.ledger.single_answered(cost)
        self.alarm.over()
        if watch.waits:
            self._looks += 1
            watch.failures = watch.refusals = 0
            if not watch.alone:
                watch.customer.failures = 0
            self._tell(watch, audience, audience, sent)
            set_alone(watch, alone=watch.absences >= _MOST_ABSENCES or not self.are_listed(watch))
            self._schedule.put(watch, self._due_after(sent, watch.asked_at))

    async def verify(self, watch: Watch, scope: Scope) -> None:
        """Read an audience that a list goes on answering for, and which it has not moved for long.

        What only this read shows is delivered, and from then on the audience is looked at singly. A read that fails
        proves nothing.
        """
        sent = self._now()
        shown = {wait: wait.seen for wait in watch.waits if wait.seen is not None}
        self._reads["single"] += 1
        try:
            audience, cost = await self._source.one(watch.id, watch.customer.id)
        except IndigoError:
            return
        except Exception as error:  # noqa: BLE001 - as in `single`
            _defect(f"audience {one_line(watch.key)}", error)
            return
        self.ledger.single_answered(cost)
        self._looks += 1
        for wait in watch.waits:
            # A list that came meanwhile, and showed a change, is not older than this read.
            if wait in shown and wait.seen == shown[wait] and view_of(audience, wait.needs) not in {None, wait.seen}:
                self._trust.suspect(scope, wait, sent)
                watch.absences = _MOST_ABSENCES  # its row is there, and is worth nothing
                self._answered(watch, audience, cost, sent)
                break

    async def listing(self, look: ListLook, *, worth: float) -> None:
        """Look at all audiences of a list, which saves single looks of the price `worth`."""
        limit = self.ledger.limit_of_list(look.scope, len(look.wanted), worth)
        self._reads["everything" if look.scope is EVERYTHING else "customer"] += 1
        look.cadence.last, look.cadence.next = look.sent, look.sent + self._interval
        try:
            cost = await self._source.many(look.scope, lambda rows: self._take(look, rows), limit=limit)
        except ListTooLongError as error:
            self.ledger.list_too_long(look.scope, error.size, is_exact=error.is_exact)
            await self._part(look)
        except IndigoError as error:
            await self._list_failed(look, error)
        except Exception as error:  # noqa: BLE001 - as in `single`; a list can be done without
            _defect("a list", error)
            self.ledger.list_refused(look.scope, self._now())
            await self._part(look)
        else:
            await self._list_answered(look, cost)
        finally:
            for customer in look.customers:
                if customer.look is look:
                    customer.look = None

    async def _list_answered(self, look: ListLook, cost: Cost) -> None:
        self.ledger.list_answered(look.scope, cost)
        self.alarm.over()
        for customer in look.customers:
            customer.failures = 0
        lacking = {needs for needs, rows in self._lacking.items() if rows >= _ENOUGH_LACKING}
        self._unlisted = lacking - self._shown
        if self.ledger.is_paused(look.scope, self._now()):  # its own rows proved it stale
            await self._part(look)
            return
        newest = max(customer.asked_at for customer in look.customers)
        self._repeat(look, self._due_after(look.sent, min(newest, look.sent)))
        async for watch in in_slices(look.wanted.values()):
            watch.absences += 1
            self._ask_singly_if_due(watch)
        unmoved = self._trust.to_verify(look)
        if unmoved is not None and unmoved.waits and not unmoved.alone:
            self.to_verify[unmoved] = look.scope
            self._on_backlog()

    def _take(self, look: ListLook, rows: Rows) -> None:
        wanted, suspicions, seen = look.wanted, self._trust.suspicions, 0
        for index, row in enumerate(rows.views):
            if row is not None:
                key = row.id if type(row.id) is str else row.key
                if suspicions and key in suspicions and self._trust.judge(look, key, row):
                    self._distrust(look)
                watch = wanted.pop(key, None)
                if watch is not None and watch.waits:
                    if self._see(look, watch, row, rows, index):
                        seen += 1
                    else:
                        self._ask_singly_if_due(watch)
        self._looks += seen

    def _distrust(self, look: ListLook) -> None:
        pause = self.ledger.list_distrusted(look.scope, self._now())
        _logger.warning(
            "the list of %s still shows what single reads of several audiences proved out of date; "
            "it is not used for %d s, which takes more requests",
            "all audiences" if look.scope is EVERYTHING else f"customer {one_line(str(look.scope))!r}",
            pause,
        )

    def _see(self, look: ListLook, watch: Watch, row: Row, rows: Rows, index: int) -> bool:
        """Take a watched row; whether it tells all that is waited for. What is done for each row is done here."""
        customer_id = watch.customer.id
        answered = row.customer_id
        if customer_id is not None and answered not in (customer_id, None) and str(answered) != customer_id:
            return self._see_another(look, watch, customer_id, str(answered))
        is_new = False
        for wait in watch.waits:
            view = view_of(row, wait.needs)
            if view is None:
                if not (wait.needs is Needs.EXPORTS and row.has_no_exports):  # it may have none yet
                    self._lacking[wait.needs] += 1
                return False
            if view != wait.seen:
                is_new = True
                self._shown.add(wait.needs)
        if is_new:
            try:
                self._tell(watch, rows.record(index), row, look.sent)
            except Exception:  # noqa: BLE001 - the single read that follows says what is wrong with it
                return False
            watch.unmoved = 0
        else:
            watch.unmoved = unmoved = watch.unmoved + 1
            if unmoved >= UNMOVED and (look.unmoved is None or unmoved > look.unmoved.unmoved):
                look.unmoved = watch
        watch.failures = watch.refusals = watch.absences = 0
        if watch.instant is not None and not watch.alone:
            self._schedule.drop(watch)
        return True

    def _see_another(self, look: ListLook, watch: Watch, asked: str, answered: str) -> bool:
        """Take a row that is about another customer."""
        if look.scope is EVERYTHING:
            return False  # as asked, there may be no such audience: the server shall say so itself
        self._end(watch, CustomerMismatchError(endpoint="GET /audiences", asked=asked, answered=answered))
        return True

    def _tell(self, watch: Watch, audience: Audience, shown: Audience | Row, sent: float) -> None:
        """Give a record to the waits that began before it was asked for: to later ones it may be out of date.

        `shown` is what it was shown as, with which the next look is compared.
        """
        self._unknown.note(audience)
        for wait in watch.waits:
            if wait.since <= sent and not wait.news.done():
                wait.seen = view_of(shown, wait.needs)
                wait.tell(audience)

    def _due_after(self, sent: float, asked_at: float) -> float:
        """When to look again after a good answer. What was slow to come is not asked for again at once."""
        now, chance = self._now(), self._chance()
        if asked_at > sent:
            return now + first_delay(self._interval, chance)
        return max(sent, now - self._interval / 2) + next_delay(self._interval, sent - asked_at, chance)

    def _failed(self, watch: Watch, error: IndigoError) -> None:
        """Look again later, more and more patiently, unless the error is definite."""
        watch.problem = one_line(str(error))
        if isinstance(error, _PASSING):
            watch.failures += 1
            trouble = trouble_of(watch)
            failures = trouble.failures if trouble is not None else 0
            what = f"audience {one_line(watch.key)}"
            self.alarm.failed(what, failures, error, waiting=self._watchlist.size)
        elif _is_doubtful(error) and watch.refusals + 1 < _MOST_REFUSALS:
            watch.refusals += 1
        else:
            self._end(watch, error)
            return
        self._schedule.put(watch, self._due_after_failures(watch.failures + watch.refusals, error))

    async def _list_failed(self, look: ListLook, error: IndigoError) -> None:
        """Go on without the list: later where that may help, else singly."""
        if isinstance(error, _PASSING):
            if not isinstance(error, RateLimitedError):
                self.ledger.list_failed(look.scope, self._now())
            problem = one_line(str(error))
            for customer in look.customers:
                customer.failures += 1
                customer.problem = problem
            failures = max(customer.failures for customer in look.customers)
            self.alarm.failed("a list of audiences", failures, error, waiting=self._watchlist.size)
            self._repeat(look, self._due_after_failures(look.customers[0].failures, error))
        elif isinstance(error, ApiError) and error.status != _UNAUTHORIZED:
            self.ledger.list_refused(look.scope, self._now())
            await self._part(look)
        else:
            self._repeat(look, self._now() + self._interval)
            async for watch in in_slices(look.wanted.values()):
                self._end(watch, error)

    def _due_after_failures(self, failures: int, error: IndigoError) -> float:
        delay = retry_delay(self._interval, failures, self._chance())
        if isinstance(error, RateLimitedError):
            delay = max(delay, requested_delay(error.retry_after))
        return self._now() + delay

    def _repeat(self, look: ListLook, due: float) -> None:
        """Let all that the list is for fall due together."""
        look.cadence.next = due
        for customer in look.customers:
            if customer.listed:
                self._schedule.put(customer, due)

    async def _part(self, look: ListLook) -> None:
        """Let all that the list is for go on one by one: what it has not shown is asked for at once."""
        look.cadence.next = look.sent
        riders = [watch for customer in look.customers for watch in customer.riders()]
        async for watch in in_slices(riders):
            if look.wanted.get(watch.key) is watch:
                self._ask_singly_if_due(watch)
            elif watch.waits:
                self._schedule.put(watch, self._due_after(look.sent, watch.asked_at))

    def _ask_singly_if_due(self, watch: Watch) -> None:
        """A list that did not show a watch before it was due takes nothing from it."""
        if watch.waits and watch.instant is None:
            self.ask_singly(watch)

    def ask_singly(self, watch: Watch) -> None:
        """Have a watch looked at by itself, at once."""
        set_alone(watch, alone=True)
        self._schedule.drop(watch)
        self.backlog[watch] = None
        self._on_backlog()

    def _end(self, watch: Watch, error: IndigoError) -> None:
        """End all waits for an audience. One that has not yet taken its last news meets the error at the next look."""
        for wait in watch.waits:
            wait.tell(error)
        if watch.waits:
            self._schedule.put(watch, self._now() + self._interval)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _defect(what: str, error: Exception) -> IndigoError:
    """Log an unexpected exception, where it was raised but not its text, which may hold anything."""
    kind = type(error).__name__
    frames = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("a status check of %s raised an unexpected %s, a bug in this SDK:\n%s", what, kind, frames)
    return IndigoError(
        f"the wait for {what} ended, since a status check raised an unexpected {kind} (the log says where): this is a "
        "bug in this SDK. The server's work goes on"
    )


def _is_doubtful(error: IndigoError) -> bool:
    """Whether a refusal may be of a moment only, such as that of an audience which the server just made."""
    return isinstance(error, ApiError) and not isinstance(error, AuthenticationError)


async def in_slices(things: Collection[T]) -> AsyncGenerator[T]:
    """The things that there are now, with pauses in which other tasks run."""
    for index, thing in enumerate(list(things), 1):
        yield thing
        if index % _SLICE == 0:
            await asyncio.sleep(0)
