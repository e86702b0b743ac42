"""Which audiences a customer has, by name: one list for a customer, shared by all who ask."""

from __future__ import annotations

import asyncio
import random

from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError, RateLimitedError, ResponseDecodeError, ServerError, TransportError
from indigo_async.models import RecordId
from indigo_async.polling.source import ApiSource
from indigo_async.transport.list_view import Rows

__all__ = ["Directory"]

_PASSING = (TransportError, RateLimitedError, ServerError, ResponseDecodeError)
_MOST_BYTES = 2_000_000_000


class Directory:
    """Looks audiences up by name. Where the server shows no names, it finds none.

    Of each list only names and IDs are kept: an organisation may have 200,000 audiences.
    """

    def __init__(self, client: IndigoClient) -> None:
        self._source = ApiSource(client.transport)
        self._retry = client.transport.retry
        self._locks: dict[str, asyncio.Lock] = {}
        self._ids: dict[str, dict[str, RecordId]] = {}
        self._read_at: dict[str, float] = {}
        self._failures: dict[str, tuple[float, IndigoError]] = {}

    async def find(self, customer_id: str, name: str) -> RecordId | None:
        """The ID of the customer's audience of that name, as it was when this directory first read the list.

        Raises:
            ApiError, TransportError, ResponseDecodeError: the list could not be read.
        """
        return await self._find(customer_id, name, not_before=0.0)

    async def find_now(self, customer_id: str, name: str) -> RecordId | None:
        """The same, from a list that is asked for after this call began; those who ask meanwhile share it."""
        return await self._find(customer_id, name, not_before=asyncio.get_running_loop().time())

    async def _find(self, customer_id: str, name: str, *, not_before: float) -> RecordId | None:
        clock = asyncio.get_running_loop().time
        asked = clock()
        async with self._locks.setdefault(customer_id, asyncio.Lock()):
            if customer_id not in self._read_at or self._read_at[customer_id] < not_before:
                failed_at, failure = self._failures.get(customer_id, (0.0, None))
                if failure is not None and failed_at >= asked:
                    raise failure.with_traceback(None)  # it came while this call queued, and would come again
                began = clock()
                try:
                    self._ids[customer_id] = await self._read(customer_id)
                except IndigoError as error:
                    self._failures[customer_id] = (clock(), error)
                    raise
                self._read_at[customer_id] = began
        return self._ids[customer_id].get(name)

    async def _read(self, customer_id: str) -> dict[str, RecordId]:
        attempt = 0
        while True:
            attempt += 1
            ids: dict[str, RecordId] = {}

            def take(rows: Rows, ids: dict[str, RecordId] = ids) -> None:
                ids.update(rows.ids_by_name())

            try:
                await self._source.many(customer_id, take, limit=_MOST_BYTES)
            except _PASSING as error:
                wait = self._retry.backoff(attempt, random.random())  # noqa: S311 - jitter needs no secrecy
                if isinstance(error, RateLimitedError):  # obeyed however long; the recipe's deadline bounds it
                    wait = max(wait, error.retry_after or 0.0)
                elif attempt >= self._retry.attempts:
                    raise
                await asyncio.sleep(wait)
            else:
                return ids
