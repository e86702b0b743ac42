"""Which audiences a customer has, by name: one list for a customer, shared by all who ask."""

from __future__ import annotations

import asyncio
import random
from sys import intern

import attrs

from indigo_async._polling.api import AudienceApi
from indigo_async._transport.audience_list import ListedAudience, RowSlice
from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError, RateLimitedError, ResponseDecodeError, ServerError, TransportError
from indigo_async.models import RecordId, is_failure_status
from indigo_async.workflows.recipes.adoption import NameSimilarity, normalize_name, truncated_keys

__all__ = ["NameIndex", "NameMatch"]

_TRANSIENT = (TransportError, RateLimitedError, ServerError, ResponseDecodeError)
_MAX_BYTES = 2_000_000_000


@attrs.frozen
class NameMatch:
    """An audience that the list shows under the requested name, or under one that a server may have made of it."""

    id: RecordId
    similarity: NameSimilarity


_MAX_REREADS = 3


class NameIndex:
    """Finds audiences by name. Where the server shows no names, it finds none.

    It stores the names, IDs and statuses of a list and nothing else: an organization may have 200,000 audiences.
    """

    def __init__(self, client: IndigoClient) -> None:
        self._api = AudienceApi(client.transport)
        self._retry = client.transport.retry
        self._locks: dict[str, asyncio.Lock] = {}
        self._lists: dict[str, _AudienceNames] = {}
        self._first_ids: dict[str, frozenset[str]] = {}
        self._read_at: dict[str, float] = {}
        self._failures: dict[str, tuple[float, IndigoError]] = {}

    async def find(self, customer_id: str, name: str) -> tuple[NameMatch, ...]:
        """The customer's audiences that may have that name, best first: the name itself, then a similar one.

        The list is read once, at the first call for a customer. Of several audiences with one name, those that have not
        failed come first, and the newest of them.

        Raises:
            ApiError, TransportError, ResponseDecodeError: the list could not be read.
        """
        return (await self._list(customer_id, not_before=0.0)).matches(name)

    async def find_fresh(self, customer_id: str, name: str) -> tuple[NameMatch, ...]:
        """The same, from a list that is requested after this call began; concurrent callers share it."""
        return (await self._list(customer_id, not_before=asyncio.get_running_loop().time())).matches(name)

    async def find_after_refusal(
        self, customer_id: str, name: str, *, is_name_taken: bool, interval: float
    ) -> tuple[NameMatch, ...]:
        """The same after a create was refused. While a name `is_name_taken` and the list lags, it is read again.

        `interval` is the seconds between two reads.
        """
        found = await self.find_fresh(customer_id, name)
        reads = _MAX_REREADS if is_name_taken and not self._lists[customer_id].hides_names else 0
        for _ in range(reads):
            if found:
                break
            await asyncio.sleep(interval)
            found = await self.find_fresh(customer_id, name)
        return found

    def existed_before(self, customer_id: str, audience_id: RecordId) -> bool:
        """Whether the first list that was read of the customer showed this ID: the audience existed before."""
        return str(audience_id) in self._first_ids.get(customer_id, ())

    def shows_names(self, customer_id: str) -> bool:
        """Whether the last list that was read of the customer showed any name."""
        return customer_id in self._lists and self._lists[customer_id].shows_names

    async def _list(self, customer_id: str, *, not_before: float) -> _AudienceNames:
        clock = asyncio.get_running_loop().time
        asked = clock()
        async with self._locks.setdefault(customer_id, asyncio.Lock()):
            if customer_id not in self._read_at or self._read_at[customer_id] < not_before:
                failed_at, failure = self._failures.get(customer_id, (0.0, None))
                if failure is not None and failed_at >= asked:
                    raise failure.with_traceback(None)  # it came while this call queued, and would come again
                began = clock()
                try:
                    self._lists[customer_id], ids = await self._read(customer_id)
                except IndigoError as error:
                    self._failures[customer_id] = (clock(), error)
                    raise
                self._first_ids.setdefault(customer_id, frozenset(ids))
                self._read_at[customer_id] = began
        return self._lists[customer_id]

    async def _read(self, customer_id: str) -> tuple[_AudienceNames, set[str]]:
        attempt = 0
        while True:
            attempt += 1
            audiences = _AudienceNames()
            ids: set[str] = set()

            def take(rows: RowSlice, audiences: _AudienceNames = audiences, ids: set[str] = ids) -> None:
                for row in rows.iter_listed(customer_id):
                    audiences.add(row)
                    ids.add(str(row.id))

            try:
                await self._api.read_list(customer_id, take, limit=_MAX_BYTES)
            except _TRANSIENT as error:
                wait = self._retry.backoff(attempt, random.random())  # noqa: S311 - jitter needs no secrecy
                if isinstance(error, RateLimitedError):  # obeyed however long; the recipe's deadline bounds it
                    wait = max(wait, error.retry_after or 0.0)
                elif attempt >= self._retry.attempts:
                    raise
                await asyncio.sleep(wait)
            else:
                return audiences, ids


class _AudienceNames:
    """The audiences of one list that show a name, by the key of that name. Most keys have one, which stands alone."""

    __slots__ = ("_by_key", "_has_rows", "_longest")

    def __init__(self) -> None:
        self._by_key: dict[str, ListedAudience | list[ListedAudience]] = {}
        self._has_rows = False
        self._longest = 0

    @property
    def shows_names(self) -> bool:
        return bool(self._by_key)

    @property
    def hides_names(self) -> bool:
        """Whether there are audiences, and none shows a name. An empty list may only lag."""
        return self._has_rows and not self._by_key

    def add(self, row: ListedAudience) -> None:
        self._has_rows = True
        if row.name is None:
            return
        key = normalize_name(row.name)
        kept = ListedAudience(row.id, key if key == row.name else row.name, intern(row.status))
        self._longest = max(self._longest, len(key))
        others = self._by_key.setdefault(key, kept)
        if isinstance(others, list):
            others.append(kept)
        elif others is not kept:
            self._by_key[key] = [others, kept]

    def matches(self, name: str) -> tuple[NameMatch, ...]:
        """The audiences that may have a name, best first."""
        key = normalize_name(name)
        same = self._newest(key)
        exact = [NameMatch(row.id, NameSimilarity.EXACT) for row in same if row.name == name]
        normalized = [NameMatch(row.id, NameSimilarity.NORMALIZED) for row in same if row.name != name]
        cut = [
            NameMatch(row.id, NameSimilarity.TRUNCATED)
            for shorter in truncated_keys(key, longest=self._longest)
            for row in self._newest(shorter)
        ]
        return (*exact, *normalized, *cut)

    def _newest(self, key: str) -> list[ListedAudience]:
        """Those under a key, last in the list first, and those that failed after all others."""
        rows = self._by_key.get(key, [])
        newest_first = rows[::-1] if isinstance(rows, list) else [rows]
        return sorted(newest_first, key=lambda row: is_failure_status(row.status))
