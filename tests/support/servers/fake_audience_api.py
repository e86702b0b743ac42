"""A server of audiences whose records are functions of (virtual) time, reached without sockets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import attrs
import msgspec

from indigo_async._polling import Poller
from indigo_async._polling.cost_model import Cost
from indigo_async._polling.pace import Pace
from indigo_async._transport import codec
from indigo_async._transport.audience_list import ListReader
from indigo_async._transport.endpoints import GET_AUDIENCE, LIST_AUDIENCES
from indigo_async.errors import NotFoundError
from indigo_async.models import Audience
from tests.support.virtual_time import now

CHUNK = 64 * 1024
INTERVAL = 5.0
MAX_VERIFICATION_READS = 5
"""Single reads that verify a good list in its first 30 polls: not more than these."""


@attrs.frozen
class Request:
    kind: str
    customer_id: str | None
    audience_id: object
    sent: float


@attrs.define
class FakeAudienceApi:
    """An API in memory: `add` records to it. `fault` is called before each response, and may raise.

    Half of the `latency` passes before the records are read, half after. `padding` is added to the announced size of
    lists. `alter_row` changes the rows of lists, or leaves them out by returning None.
    """

    latency: float = 0.05
    padding: int = 0
    sends_content_length: bool = True
    slot_seconds: float = 0.0
    has_outage: bool = False
    has_worked: bool = False
    fault: Callable[[Request], object] = attrs.field(default=lambda _: None)
    alter_row: Callable[[dict[str, Any]], Any] = attrs.field(default=lambda row: row)
    log: list[Request] = attrs.Factory(list)
    in_flight: int = 0
    _records: dict[str | None, dict[str, Any]] = attrs.Factory(dict)

    def add(self, customer_id, audience_id, record):
        """Add a record: a JSON object, or a function that returns one, or None, for a time."""
        self._records.setdefault(customer_id, {})[str(audience_id)] = record

    def clear(self):
        """Remove all records."""
        self._records.clear()

    @property
    def request_kinds(self):
        return Counter(request.kind for request in self.log)

    def request_times(self, kind):
        return [request.sent for request in self.log if request.kind == kind]

    async def read_one(self, audience_id, customer_id):
        async with self._responding("single", customer_id, audience_id):
            record = _current_record(self._records.get(customer_id, {}).get(str(audience_id)))
        if record is None:
            raise NotFoundError(404, "none", None, GET_AUDIENCE.name)
        body = msgspec.json.encode(record)
        return codec.decode_audience(msgspec.json.decode(body), GET_AUDIENCE.name), Cost(self.latency, len(body))

    async def read_list(self, customer_id, on_rows, *, limit):
        kind = "everything" if customer_id is None else "list"
        reader = ListReader(LIST_AUDIENCES, on_rows, max_bytes=limit, secrets="")
        started = now()
        async with self._responding(kind, customer_id, None):
            customers = self._records.values() if customer_id is None else [self._records.get(customer_id, {})]
            rows = [self.alter_row(_current_record(record)) for records in customers for record in records.values()]
            body = msgspec.json.encode([row for row in rows if row is not None])
        reader.begin(len(body) + self.padding if self.sends_content_length else None)
        for start in range(0, len(body), CHUNK):
            reader.feed(body[start : start + CHUNK])
            await asyncio.sleep(0)
        reader.finish()
        return Cost(now() - started, len(body))

    @asynccontextmanager
    async def _responding(self, kind, customer_id, audience_id):
        request = Request(kind, customer_id, audience_id, now())
        self.log.append(request)
        self.in_flight += 1
        try:
            await asyncio.sleep(self.latency / 2)
            yield
            await asyncio.sleep(self.latency / 2)
            self.fault(request)
        finally:
            self.in_flight -= 1


def _current_record(record):
    return record(now()) if callable(record) else record


def audience(audience_id, status="PROCESSING", **keys):
    return {"id": audience_id, "status": status, "name": f"Audience {audience_id}", "notes": "x" * 700, **keys}


def active_from(start, audience_id, **keys):
    """An audience that becomes ACTIVE at the time `start`."""
    return lambda time: audience(audience_id, "ACTIVE" if time >= start else "PROCESSING", **keys)


def active_or_none(record: Audience) -> Audience | None:
    return record if record.status == "ACTIVE" else None


@asynccontextmanager
async def open_poller(server: FakeAudienceApi, interval: float = INTERVAL, seed: int = 0) -> AsyncGenerator[Poller]:
    async with AsyncExitStack() as resources:
        yield Poller(server, resources, pace=Pace(interval), jitter=Random(seed).random)
