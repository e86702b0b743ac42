"""The audiences that a client waits for: each one once, however many waits it has, grouped by customer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Sequence
from enum import Enum, auto

import attrs

from indigo_async._polling.cost_model import ListScope
from indigo_async._transport.audience_list import Row
from indigo_async.models import Audience, ExportStatus, RecordId, normalize_status

__all__ = [
    "UNCHANGED_LISTS_BEFORE_VERIFYING",
    "Cohort",
    "ListPoll",
    "ListSchedule",
    "PollFailures",
    "RecordPart",
    "Update",
    "Wait",
    "Watch",
    "WatchedCustomer",
    "Watchlist",
    "extract_view",
]

UNCHANGED_LISTS_BEFORE_VERIFYING = 6
"""After this many lists in a row without a change, an audience is read singly to verify the list."""


class RecordPart(Enum):
    """The part of a record that a wait depends on, in addition to the audience's status."""

    STATUS = auto()
    UPLOAD = auto()
    EXPORTS = auto()


# Compared for every row of a list: in Python 3.11, accessing an enum member by name runs Python code.
_STATUS, _UPLOAD = RecordPart.STATUS, RecordPart.UPLOAD

Update = Audience | Exception
"""What a wait receives: a record that may have changed, or the error that ends the wait."""


@attrs.frozen
class PollFailures:
    """How many polls of an audience have failed in a row, and the message of the last one."""

    count: int
    last_error: str


@attrs.frozen
class Cohort:
    """Waits that are due at the same times, so that a round decides once for all of them.

    Attributes:
        kind: waits of the same kind last about as long; None if nothing is known.
        started_at: when they started, to a tenth of the interval.
        last_poll_at: when the last poll before their deadline is due; infinity without a deadline.
    """

    kind: Hashable
    started_at: float
    last_poll_at: float


@attrs.define(eq=False)
class Wait:
    """One caller's wait.

    Attributes:
        last_view: the caller's part of the last record delivered to it.
        unfinished_at: when the last poll before that record was sent; None if there was none.
    """

    watch: Watch
    part: RecordPart
    started_at: float
    cohort: Cohort
    next_update: asyncio.Future[Update]
    last_view: object = None
    unfinished_at: float | None = None

    def deliver(self, update: Update) -> None:
        """Deliver an update, unless the previous one has not been consumed yet."""
        if not self.next_update.done():
            self.next_update.set_result(update)


@attrs.define(eq=False)
class Watch:
    """An audience with at least one wait.

    Attributes:
        key: the ID as text, which is compared with the rows of lists.
        last_wait_at: when the newest wait started.
        last_seen_at: when the last poll was sent that showed everything its waits depend on.
        failures, refusals: polls in a row that failed, and that the server refused.
        absences: lists in a row without this audience.
        unchanged_lists: lists in a row without a change, since a single read last verified them.
        last_error: the message of the last failed poll.
        polled_individually: whether lists are ignored for this audience.
        tick: its place in the schedule; None while it falls due with its customer, or is being polled.
    """

    id: RecordId
    key: str
    customer: WatchedCustomer
    last_wait_at: float
    waits: list[Wait] = attrs.field(factory=list[Wait])
    last_seen_at: float = float("-inf")
    failures: int = 0
    refusals: int = 0
    absences: int = 0
    unchanged_lists: int = 0
    last_error: str | None = None
    polled_individually: bool = False
    tick: int | None = None

    def cohorts(self) -> set[Cohort]:
        """The cohorts of its waits."""
        return {wait.cohort for wait in self.waits}

    @property
    def failure_count(self) -> int:
        """How many polls have failed since the audience was last seen, in single reads and lists."""
        singly = self.failures + self.refusals
        return singly if self.polled_individually else singly + self.customer.failures

    def recent_failures(self) -> PollFailures | None:
        """The polls that have failed since the audience was last seen; None if there are none."""
        error = self.last_error if self.failures + self.refusals else self.customer.last_error
        return PollFailures(self.failure_count, error or "") if self.failure_count else None

    def set_individual(self, *, individual: bool) -> None:
        """Set whether to ignore lists for this audience."""
        if self.polled_individually is not individual:
            old, new = self.customer.listed, self.customer.individual
            if not individual:
                old, new = new, old
            new[self.key] = old.pop(self.key)
            self.polled_individually = individual


@attrs.define
class ListSchedule:
    """When a list was last requested and when it is due next, in event loop time; -inf if never."""

    last_sent: float = float("-inf")
    next_due: float = float("-inf")


@attrs.define(eq=False)
class WatchedCustomer:
    """A customer's watches by key: those that its list is expected to show, and those polled individually.

    A listed watch without a place of its own in the schedule falls due together with its customer.

    Attributes:
        last_wait_at: when the newest wait started.
        cohorts: how many waits are in each cohort.
        list_poll: the list request in flight.
        failures: list requests that failed since the last good response.
        last_error: the message of the last failed list request.
    """

    id: str | None
    last_wait_at: float
    listed: dict[str, Watch] = attrs.field(factory=dict[str, Watch])
    individual: dict[str, Watch] = attrs.field(factory=dict[str, Watch])
    cohorts: Counter[Cohort] = attrs.field(factory=Counter[Cohort])
    list_schedule: ListSchedule = attrs.field(factory=ListSchedule)
    list_poll: ListPoll | None = None
    failures: int = 0
    last_error: str | None = None
    tick: int | None = None

    @property
    def is_empty(self) -> bool:
        return not self.listed and not self.individual

    def batched(self) -> list[Watch]:
        """The watches that fall due with the customer."""
        return [watch for watch in self.listed.values() if watch.tick is None]


@attrs.define(eq=False)
class ListPoll:
    """A request for a list, of one customer's audiences or of all.

    `pending` holds the watches whose rows have not arrived. `longest_unchanged` is the watch with the most lists in a
    row without a change, if those are at least `UNCHANGED_LISTS_BEFORE_VERIFYING`.
    """

    scope: ListScope
    sent_at: float
    customers: Sequence[WatchedCustomer]
    pending: dict[str, Watch]
    list_schedule: ListSchedule
    longest_unchanged: Watch | None = None

    def cohorts(self) -> set[Cohort]:
        """The cohorts of all waits of its customers."""
        return set[Cohort]().union(*(customer.cohorts for customer in self.customers))


class Watchlist:
    """Everything that one client waits for. `list_schedule` is that of the list of all audiences."""

    def __init__(self) -> None:
        self.customers: dict[str | None, WatchedCustomer] = {}
        self.size: int = 0
        self.list_schedule: ListSchedule = ListSchedule()

    def add(self, audience_id: RecordId, customer_id: str | None, part: RecordPart, cohort: Cohort) -> Wait:
        """Start a wait, and watch the audience if it is not watched yet."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        customer = self.customers.get(customer_id)
        if customer is None:
            customer = self.customers[customer_id] = WatchedCustomer(customer_id, now)
        key = str(audience_id)
        watch = customer.listed.get(key) or customer.individual.get(key)
        if watch is None:
            watch = customer.listed[key] = Watch(audience_id, key, customer, now)
            self.size += 1
        watch.last_wait_at = customer.last_wait_at = now
        customer.cohorts[cohort] += 1
        wait = Wait(watch, part, now, cohort, loop.create_future())
        watch.waits.append(wait)
        return wait

    def remove(self, wait: Wait) -> bool:
        """End a wait. Returns True if it was the last one for its audience."""
        watch = wait.watch
        customer = watch.customer
        customer.cohorts[wait.cohort] -= 1
        if not customer.cohorts[wait.cohort]:
            del customer.cohorts[wait.cohort]
        watch.waits.remove(wait)
        if watch.waits:
            return False
        del (customer.individual if watch.polled_individually else customer.listed)[watch.key]
        self.size -= 1
        if customer.is_empty:
            del self.customers[customer.id]
        return True

    def waits(self) -> list[Wait]:
        """All waits of all audiences."""
        groups = (group for customer in self.customers.values() for group in (customer.listed, customer.individual))
        return [wait for watches in groups for watch in watches.values() for wait in watch.waits]


def extract_view(record: Audience | Row, part: RecordPart) -> object:
    """The part of a record or list row that matters to a wait, for comparison; None if it is not shown.

    For URLs only their presence counts, since signed URLs differ every time. An export counts as not shown if it has
    neither a status nor a URL, or is ACTIVE without a URL.
    """
    status = normalize_status(record.status or "")  # rows have the server's spelling
    if part is _STATUS:
        return status or None
    if part is _UPLOAD:
        upload = record.uploaded_audience_csv
        return (status, normalize_status(upload.status)) if upload is not None and upload.status else None
    exports = record.csv_exports
    if not exports:
        return None
    shown: list[tuple[str, str, bool]] = []
    for export in exports:
        export_status = normalize_status(export.status or "")
        if not export.download_url and export_status in {"", ExportStatus.ACTIVE}:
            return None
        shown.append((str(export.id), export_status, bool(export.download_url)))
    return (status, *shown)
