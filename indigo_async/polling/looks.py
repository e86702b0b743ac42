"""Looks, and what follows from their answers: who is told, and when each audience is looked at again."""

from __future__ import annotations

import asyncio
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
from indigo_async.polling.costs import EVERYTHING, Ledger
from indigo_async.polling.schedule import Schedule
from indigo_async.polling.source import Source
from indigo_async.polling.statuses import UnknownStatuses
from indigo_async.polling.timing import first_delay, next_delay, retry_delay
from indigo_async.polling.waits import ListLook, Needs, Watch, set_alone, view_of
from indigo_async.transport.list_view import ListTooLongError, Row, Rows

__all__ = ["Looks", "PollingStats", "in_slices"]

T = TypeVar("T")

_PASSING = (TransportError, ResponseDecodeError, RateLimitedError, ServerError)
_UNAUTHORIZED = 401
_TOO_MANY_REQUESTS = 429
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

    The whole of it runs in the event loop; between two awaits nothing else happens.
    """

    def __init__(
        self,
        source: Source,
        schedule: Schedule[Watch],
        *,
        interval: float,
        chance: Callable[[], float],
        on_backlog: Callable[[], None],
    ) -> None:
        self.ledger = Ledger()
        self.backlog: dict[Watch, None] = {}
        self._source = source
        self._schedule = schedule
        self._interval = interval
        self._chance = chance
        self._on_backlog = on_backlog
        self._looks = 0
        self._reads: Counter[str] = Counter()
        self._shown: set[Needs] = set()
        self._lacking: Counter[Needs] = Counter()
        self._unknown = UnknownStatuses()

    @property
    def stats(self) -> PollingStats:
        return PollingStats(self._looks, dict(self._reads))

    def are_listed(self, watch: Watch) -> bool:
        """Whether lists carry what is waited for of this audience, as far as is known."""
        return all(wait.needs in self._shown or self._lacking[wait.needs] < _ENOUGH_LACKING for wait in watch.waits)

    async def single(self, watch: Watch) -> None:
        """Look at one audience."""
        sent = self._now()
        self._reads["single"] += 1
        try:
            audience, cost = await self._source.one(watch.id, watch.customer.id)
        except IndigoError as error:
            if watch.waits:
                self._failed(watch, error, self._chance())
            return
        self.ledger.single_answered(cost)
        if watch.waits:
            self._tell(watch, audience, audience, sent)
            set_alone(watch, alone=watch.absences >= _MOST_ABSENCES or not self.are_listed(watch))
            self._answered(watch, sent, self._base(sent), self._chance())

    async def listing(self, look: ListLook, *, worth: float) -> None:
        """Look at all audiences of a list, which saves single looks of the price `worth`."""
        limit = self.ledger.limit_of_list(look.scope, len(look.wanted), worth)
        self._reads["everything" if look.scope is EVERYTHING else "customer"] += 1
        look.cadence.last, look.cadence.next = look.sent, look.sent + self._interval
        try:
            cost = await self._source.many(look.scope, lambda rows: self._take(look, rows), limit=limit)
        except ListTooLongError as error:
            look.cadence.next = look.sent
            self.ledger.list_too_long(look.scope, error.size, is_exact=error.is_exact)
            await self._ask_rest_singly(look)
        except IndigoError as error:
            look.cadence.next = look.sent
            await self._list_failed(look, error)
        else:
            self.ledger.list_answered(look.scope, cost)
            look.cadence.next = (look.base or look.sent) + next_delay(self._interval, 0.0, look.chance)
            for watch in look.wanted.values():
                watch.absences += 1
            await self._ask_rest_singly(look)
        finally:
            for customer in look.customers:
                if customer.look is look:
                    customer.look = None

    def _take(self, look: ListLook, rows: Rows) -> None:
        if look.base is None:
            look.base = self._base(look.sent)
        for index, row in enumerate(rows.views):
            if row is not None:
                watch = look.wanted.pop(row.id if type(row.id) is str else row.key, None)
                if watch is not None and watch.waits and not self._see(look, watch, row, rows, index):
                    self._ask_singly_if_due(watch)

    def _see(self, look: ListLook, watch: Watch, row: Row, rows: Rows, index: int) -> bool:
        """Take a watched row; whether it tells all that is waited for."""
        customer_id = watch.customer.id
        if customer_id is not None and row.customer_id is not None and customer_id != str(row.customer_id):
            if look.scope is EVERYTHING:
                return False  # as asked, there may be no such audience: the server shall say so itself
            endpoint, answered = "GET /audiences", str(row.customer_id)
            self._end(watch, CustomerMismatchError(endpoint=endpoint, asked=customer_id, answered=answered))
            return True
        is_new = False
        for wait in watch.waits:
            view = view_of(row, wait.needs)
            if view is None:
                self._lacking[wait.needs] += 1
                return False
            self._shown.add(wait.needs)
            is_new = is_new or view != wait.seen
        if is_new:
            try:
                self._tell(watch, rows.record(index), row, look.sent)
            except ResponseDecodeError:
                return False
        watch.absences = 0
        self._answered(watch, look.sent, look.base or look.sent, look.chance)
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

    def _base(self, sent: float) -> float:
        """From when on the interval counts: what was slow to come is not asked for again at once."""
        return max(sent, self._now() - self._interval / 2)

    def _answered(self, watch: Watch, sent: float, base: float, chance: float) -> None:
        self._looks += 1
        watch.failures = watch.refusals = 0
        if watch.asked_at > sent:
            due = self._now() + first_delay(self._interval, chance)
        else:
            due = base + next_delay(self._interval, sent - watch.asked_at, chance)
        self._schedule.put(watch, due)

    def _failed(self, watch: Watch, error: IndigoError, chance: float) -> None:
        """Look again later, more and more patiently, unless the error is definite."""
        if isinstance(error, _PASSING):
            watch.failures += 1
        elif _is_doubtful(error) and watch.refusals + 1 < _MOST_REFUSALS:
            watch.refusals += 1
        else:
            self._end(watch, error)
            return
        delay = retry_delay(self._interval, watch.failures + watch.refusals, chance)
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            delay = max(delay, error.retry_after)
        self._schedule.put(watch, self._now() + delay)

    async def _list_failed(self, look: ListLook, error: IndigoError) -> None:
        """Go on without the list: later where that may help, else singly."""
        if isinstance(error, TransportError | ResponseDecodeError | ServerError):
            self.ledger.list_failed(look.scope, self._now())
        elif isinstance(error, ApiError) and error.status not in {_UNAUTHORIZED, _TOO_MANY_REQUESTS}:
            self.ledger.list_refused(look.scope, self._now())
            await self._ask_rest_singly(look)
            return
        async for watch in in_slices(look.wanted.values()):
            if watch.waits:
                self._failed(watch, error, look.chance)

    async def _ask_rest_singly(self, look: ListLook) -> None:
        async for watch in in_slices(look.wanted.values()):
            self._ask_singly_if_due(watch)

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
        self._schedule.put(watch, self._now() + self._interval)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _is_doubtful(error: IndigoError) -> bool:
    """Whether a refusal may be of a moment only, such as that of an audience which the server just made."""
    return isinstance(error, ApiError) and not isinstance(error, AuthenticationError)


async def in_slices(things: Collection[T]) -> AsyncGenerator[T]:
    """The things that there are now, with pauses in which other tasks run."""
    for index, thing in enumerate(list(things), 1):
        yield thing
        if index % _SLICE == 0:
            await asyncio.sleep(0)
