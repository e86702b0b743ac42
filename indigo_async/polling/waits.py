"""What is waited for: each audience once, however many wait for it, under the customer whose list shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

import attrs

from indigo_async.models import Audience, ExportStatus, RecordId
from indigo_async.polling.costs import Scope

__all__ = [
    "UNMOVED",
    "Cadence",
    "Customer",
    "ListLook",
    "Needs",
    "News",
    "Wait",
    "Watch",
    "Watchlist",
    "set_alone",
    "view_of",
]

UNMOVED = 6
"""So many lists in a row must show no change of an audience before it is read singly, to verify them."""


class Needs(Enum):
    """Which part of a record a wait depends on; the audience's status always counts, too."""

    STATUS = auto()
    UPLOAD = auto()
    EXPORTS = auto()


# For each row of a list: with Python 3.11, to name a member of an enum is a call of Python code.
_STATUS, _UPLOAD = Needs.STATUS, Needs.UPLOAD

News = Audience | Exception
"""What a wait is told: a record that may have changed, or an error that ends it."""


@attrs.define(eq=False)
class Wait:
    """One caller's wait. `since` is when it began; `seen` is its view of the record that it was given last."""

    watch: Watch
    needs: Needs
    since: float
    news: asyncio.Future[News]
    seen: object = None

    def tell(self, news: News) -> None:
        """Give the wait news, unless it has not yet taken the last ones."""
        if not self.news.done():
            self.news.set_result(news)


@attrs.define(eq=False)
class Watch:
    """An audience that is waited for. `key` is its ID as text, by which rows are compared.

    `asked_at` is when its newest wait began. `failures`, `refusals` and `absences` count looks in a row that failed,
    were refused, and lists in which it was missing; `problem` is the error of the last one that failed. `unmoved`
    counts lists in a row that showed no change since a single read verified them. While it is `alone`, it is not looked
    for in lists.
    """

    id: RecordId
    key: str
    customer: Customer
    asked_at: float
    waits: list[Wait] = attrs.field(factory=list[Wait])
    failures: int = 0
    refusals: int = 0
    absences: int = 0
    unmoved: int = 0
    problem: str | None = None
    alone: bool = False
    instant: int | None = None


@attrs.define
class Cadence:
    """When a list was sent last, and when it will be next: loop times, infinitely long ago where there is none."""

    last: float = float("-inf")
    next: float = float("-inf")


@attrs.define(eq=False)
class Customer:
    """A customer's watches by their keys: those that its list is trusted to show, and those that are alone.

    A listed watch that does not stand in the schedule itself falls due with its customer. `asked_at` is when the newest
    wait began, `failures` counts lists that did not come since the last good response, `problem` is the error of the
    last one, `look` is a list under way.
    """

    id: str | None
    asked_at: float
    listed: dict[str, Watch] = attrs.field(factory=dict[str, Watch])
    alone: dict[str, Watch] = attrs.field(factory=dict[str, Watch])
    cadence: Cadence = attrs.field(factory=Cadence)
    look: ListLook | None = None
    failures: int = 0
    problem: str | None = None
    instant: int | None = None

    def watches(self) -> list[Watch]:
        """All watches, listed and alone."""
        return [*self.listed.values(), *self.alone.values()]

    @property
    def is_empty(self) -> bool:
        return not self.listed and not self.alone

    def riders(self) -> list[Watch]:
        """The watches that fall due with the customer."""
        return [watch for watch in self.listed.values() if watch.instant is None]


@attrs.define(eq=False)
class ListLook:
    """A list that is being read, sent at `sent`: a customer's, or that of everything.

    `wanted` holds the watches that have not come yet. `unmoved` is the one that has not changed for the most lists in a
    row, `UNMOVED` or more.
    """

    scope: Scope
    sent: float
    customers: Sequence[Customer]
    wanted: dict[str, Watch]
    cadence: Cadence
    unmoved: Watch | None = None


class Watchlist:
    """All that one client waits for. `cadence` is that of the list of everything."""

    def __init__(self) -> None:
        self.customers: dict[str | None, Customer] = {}
        self.size: int = 0
        self.cadence: Cadence = Cadence()

    def add(self, audience_id: RecordId, customer_id: str | None, needs: Needs) -> Wait:
        """Begin a wait, and a watch unless the audience has one already."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        customer = self.customers.get(customer_id)
        if customer is None:
            customer = self.customers[customer_id] = Customer(customer_id, now)
        key = str(audience_id)
        watch = customer.listed.get(key) or customer.alone.get(key)
        if watch is None:
            watch = customer.listed[key] = Watch(audience_id, key, customer, now)
            self.size += 1
        watch.asked_at = customer.asked_at = now
        wait = Wait(watch, needs, now, loop.create_future())
        watch.waits.append(wait)
        return wait

    def remove(self, wait: Wait) -> bool:
        """End a wait. Returns whether nobody waits for its audience any more."""
        watch = wait.watch
        watch.waits.remove(wait)
        if watch.waits:
            return False
        customer = watch.customer
        del (customer.alone if watch.alone else customer.listed)[watch.key]
        self.size -= 1
        if customer.is_empty:
            del self.customers[customer.id]
        return True

    def waits(self) -> list[Wait]:
        """All waits that there are."""
        watches = (watch for customer in self.customers.values() for watch in customer.watches())
        return [wait for watch in watches for wait in watch.waits]


def set_alone(watch: Watch, *, alone: bool) -> None:
    """Say whether a watch is to be looked for in lists."""
    if watch.alone is alone:
        return
    customer = watch.customer
    old, new = (customer.listed, customer.alone) if alone else (customer.alone, customer.listed)
    del old[watch.key]
    new[watch.key] = watch
    watch.alone = alone


class _Upload(Protocol):
    @property
    def status(self) -> str | None: ...


class _Export(Protocol):
    @property
    def id(self) -> RecordId | None: ...
    @property
    def status(self) -> str | None: ...
    @property
    def download_url(self) -> str | None: ...


class _Record(Protocol):
    @property
    def status(self) -> str | None: ...
    @property
    def uploaded_audience_csv(self) -> _Upload | None: ...
    @property
    def csv_exports(self) -> Sequence[_Export]: ...


def view_of(record: _Record, needs: Needs) -> object:
    """What of a record, or of a list's row, matters to a wait, to be compared; None where that is not shown.

    URLs count by being there: signed ones differ from look to look. Exports that lack both status and URL, or that are
    done and lack the URL, count as not shown.
    """
    if needs is _STATUS:
        return record.status or None
    if needs is _UPLOAD:
        upload = record.uploaded_audience_csv
        return (record.status or "", upload.status) if upload is not None and upload.status else None
    exports = record.csv_exports
    if not exports or not all(_is_shown(export) for export in exports):
        return None
    shown = ((str(export.id), export.status or "", bool(export.download_url)) for export in exports)
    return (record.status or "", *shown)


def _is_shown(export: _Export) -> bool:
    return bool(export.download_url) or (export.status or ExportStatus.ACTIVE).upper() != ExportStatus.ACTIVE
