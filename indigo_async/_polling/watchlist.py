"""What is waited for: each audience once, however many wait for it, under the customer whose list shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

import attrs

from indigo_async._polling.cost_model import ListScope
from indigo_async.models import Audience, ExportStatus, RecordId

__all__ = [
    "UNCHANGED_LISTS_BEFORE_VERIFYING",
    "ListPoll",
    "ListSchedule",
    "RecordPart",
    "Update",
    "Wait",
    "Watch",
    "WatchedCustomer",
    "Watchlist",
    "extract_view",
    "set_polled_individually",
]

UNCHANGED_LISTS_BEFORE_VERIFYING = 6
"""So many lists in a row must show no change of an audience before it is read singly, to verify them."""


class RecordPart(Enum):
    """Which part of a record a wait depends on; the audience's status always counts, too."""

    STATUS = auto()
    UPLOAD = auto()
    EXPORTS = auto()


# For each row of a list: with Python 3.11, to name a member of an enum is a call of Python code.
_STATUS, _UPLOAD = RecordPart.STATUS, RecordPart.UPLOAD

Update = Audience | Exception
"""What a wait is told: a record that may have changed, or an error that ends it."""


@attrs.define(eq=False)
class Wait:
    """One caller's wait. `started_at` is when it began; `last_view` is its view of the record that it was given last."""

    watch: Watch
    part: RecordPart
    started_at: float
    next_update: asyncio.Future[Update]
    last_view: object = None

    def deliver(self, news: Update) -> None:
        """Give the wait news, unless it has not yet taken the last ones."""
        if not self.next_update.done():
            self.next_update.set_result(news)


@attrs.define(eq=False)
class Watch:
    """An audience that is waited for. `key` is its ID as text, by which rows are compared.

    `last_wait_at` is when its newest wait began. `failures`, `refusals` and `absences` count looks in a row that
    failed, were refused, and lists in which it was missing; `last_error` is the error of the last one that failed.
    `unmoved` counts lists in a row that showed no change since a single read verified them. While it is `alone`, it is
    not looked for in lists.
    """

    id: RecordId
    key: str
    customer: WatchedCustomer
    last_wait_at: float
    waits: list[Wait] = attrs.field(factory=list[Wait])
    failures: int = 0
    refusals: int = 0
    absences: int = 0
    unchanged_lists: int = 0
    last_error: str | None = None
    polled_individually: bool = False
    tick: int | None = None


@attrs.define
class ListSchedule:
    """When a list was sent last, and when it will be next: loop times, infinitely long ago where there is none."""

    last_sent: float = float("-inf")
    next_due: float = float("-inf")


@attrs.define(eq=False)
class WatchedCustomer:
    """A customer's watches by their keys: those that its list is trusted to show, and those that are alone.

    A listed watch that does not stand in the schedule itself falls due with its customer. `last_wait_at` is when the
    newest wait began, `failures` counts lists that did not come since the last good response, `last_error` is the error
    of the last one, `list_poll` is a list under way.
    """

    id: str | None
    last_wait_at: float
    listed: dict[str, Watch] = attrs.field(factory=dict[str, Watch])
    individual: dict[str, Watch] = attrs.field(factory=dict[str, Watch])
    list_schedule: ListSchedule = attrs.field(factory=ListSchedule)
    list_poll: ListPoll | None = None
    failures: int = 0
    last_error: str | None = None
    tick: int | None = None

    def watches(self) -> list[Watch]:
        """All watches, listed and alone."""
        return [*self.listed.values(), *self.individual.values()]

    @property
    def is_empty(self) -> bool:
        return not self.listed and not self.individual

    def batched(self) -> list[Watch]:
        """The watches that fall due with the customer."""
        return [watch for watch in self.listed.values() if watch.tick is None]


@attrs.define(eq=False)
class ListPoll:
    """A list that is being read, sent at `sent_at`: a customer's, or that of everything.

    `pending` holds the watches that have not come yet. `unmoved` is the one that has not changed for the most lists in
    a row, `UNCHANGED_LISTS_BEFORE_VERIFYING` or more.
    """

    scope: ListScope
    sent_at: float
    customers: Sequence[WatchedCustomer]
    pending: dict[str, Watch]
    list_schedule: ListSchedule
    longest_unchanged: Watch | None = None


class Watchlist:
    """All that one client waits for. `list_schedule` is that of the list of everything."""

    def __init__(self) -> None:
        self.customers: dict[str | None, WatchedCustomer] = {}
        self.size: int = 0
        self.list_schedule: ListSchedule = ListSchedule()

    def add(self, audience_id: RecordId, customer_id: str | None, part: RecordPart) -> Wait:
        """Begin a wait, and a watch unless the audience has one already."""
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
        wait = Wait(watch, part, now, loop.create_future())
        watch.waits.append(wait)
        return wait

    def remove(self, wait: Wait) -> bool:
        """End a wait. Returns whether nobody waits for its audience any more."""
        watch = wait.watch
        watch.waits.remove(wait)
        if watch.waits:
            return False
        customer = watch.customer
        del (customer.individual if watch.polled_individually else customer.listed)[watch.key]
        self.size -= 1
        if customer.is_empty:
            del self.customers[customer.id]
        return True

    def waits(self) -> list[Wait]:
        """All waits that there are."""
        watches = (watch for customer in self.customers.values() for watch in customer.watches())
        return [wait for watch in watches for wait in watch.waits]


def set_polled_individually(watch: Watch, *, polled_individually: bool) -> None:
    """Say whether a watch is to be looked for in lists."""
    if watch.polled_individually is polled_individually:
        return
    customer = watch.customer
    old, new = (customer.listed, customer.individual) if polled_individually else (customer.individual, customer.listed)
    del old[watch.key]
    new[watch.key] = watch
    watch.polled_individually = polled_individually


class _UploadView(Protocol):
    @property
    def status(self) -> str | None: ...


class _ExportView(Protocol):
    @property
    def id(self) -> RecordId | None: ...
    @property
    def status(self) -> str | None: ...
    @property
    def download_url(self) -> str | None: ...


class _RecordView(Protocol):
    @property
    def status(self) -> str | None: ...
    @property
    def uploaded_audience_csv(self) -> _UploadView | None: ...
    @property
    def csv_exports(self) -> Sequence[_ExportView]: ...


def extract_view(record: _RecordView, part: RecordPart) -> object:
    """What of a record, or of a list's row, matters to a wait, to be compared; None where that is not shown.

    URLs count by being there: signed ones differ from look to look. Exports that lack both status and URL, or that are
    done and lack the URL, count as not shown.
    """
    if part is _STATUS:
        return record.status or None
    if part is _UPLOAD:
        upload = record.uploaded_audience_csv
        return (record.status or "", upload.status) if upload is not None and upload.status else None
    exports = record.csv_exports
    if not exports or not all(_shows_state(export) for export in exports):
        return None
    shown = ((str(export.id), export.status or "", bool(export.download_url)) for export in exports)
    return (record.status or "", *shown)


def _shows_state(export: _ExportView) -> bool:
    return bool(export.download_url) or (export.status or ExportStatus.ACTIVE).upper() != ExportStatus.ACTIVE
