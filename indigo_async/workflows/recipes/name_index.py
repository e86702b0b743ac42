"""A customer's audiences by name, from one list that all jobs share."""

from __future__ import annotations

import asyncio
import unicodedata
from enum import IntEnum
from sys import intern

import attrs

from indigo_async._polling.api import AudienceApi
from indigo_async._redaction import sanitize_text
from indigo_async._transport.audience_list import ListedAudience, RowSlice
from indigo_async._transport.errors import is_transient, rejects_token
from indigo_async._transport.retry import MAX_UNEXPECTED_401S
from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError, RateLimitedError
from indigo_async.models import Audience, RecordId, is_failure_status
from indigo_async.workflows.recipes.reconcile import retry_delays

__all__ = ["NameIndex", "NameMatch", "NameSimilarity", "compare_names", "normalize_name", "truncated_keys"]

_MAX_BYTES = 2_000_000_000
_MAX_REREADS = 3
_MAX_SIGN_LENGTH = 40
_MIN_PREFIX_LENGTH = 15
"""Characters of a name that may be a longer name cut short. A shorter one is more likely another name."""


class NameSimilarity(IntEnum):
    """How a name that the server shows compares with the requested one, best first."""

    EXACT = 0
    NORMALIZED = 1
    """Equal except for case, Unicode form and whitespace."""
    TRUNCATED = 2
    """The beginning of the requested name."""


@attrs.frozen
class NameMatch:
    """An audience listed under the requested name, or under a name that a server may have made from it."""

    id: RecordId
    similarity: NameSimilarity


def compare_names(shown: str, name: str) -> NameSimilarity | None:
    """Compare the name in a record with the requested one; None if it is another name."""
    if shown == name:
        return NameSimilarity.EXACT
    key, wanted = normalize_name(shown), normalize_name(name)
    if key == wanted:
        return NameSimilarity.NORMALIZED
    return NameSimilarity.TRUNCATED if len(key) >= _MIN_PREFIX_LENGTH and wanted.startswith(key) else None


def normalize_name(name: str) -> str:
    """Normalize a name as servers do: NFKC, case-folded, whitespace collapsed."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def truncated_keys(key: str, *, longest: int) -> list[str]:
    """The normalized names that a longer name may have if it was cut short, longest first."""
    return [key[:length] for length in range(min(len(key) - 1, longest), _MIN_PREFIX_LENGTH - 1, -1)]


class NameIndex:
    """Finds audiences by name. If the server shows no names, it finds none.

    It stores only the names, IDs and statuses of a list: an organization may have 200,000 audiences.
    """

    def __init__(self, client: IndigoClient) -> None:
        self._api = AudienceApi(client.transport, client.options)
        self._transport = client.transport
        self._locks: dict[str, asyncio.Lock] = {}
        self._lists: dict[str, _AudienceNames] = {}
        self._first_ids: dict[str, frozenset[str]] = {}
        self._read_at: dict[str, float] = {}
        self._unread: dict[str, str] = {}
        self._failures: dict[str, tuple[float, IndigoError]] = {}

    async def find(self, customer_id: str, name: str) -> tuple[NameMatch, ...]:
        """Return the customer's audiences that may have this name, best first: the name itself, then similar ones.

        The list is read once, at the first call for a customer. Among audiences with the same name, those that haven't
        failed come first, newest first.

        Raises:
            ApiError, TransportError, ResponseDecodeError: the list can't be read.
        """
        return (await self._list(customer_id, not_before=0.0)).matches(name)

    async def find_fresh(self, customer_id: str, name: str) -> tuple[NameMatch, ...]:
        """Like `find`, from a list requested after this call started. Concurrent callers share it."""
        return (await self._list(customer_id, not_before=asyncio.get_running_loop().time())).matches(name)

    async def find_after_refusal(
        self, customer_id: str, name: str, *, is_name_taken: bool, interval: float
    ) -> tuple[NameMatch, ...]:
        """Like `find_fresh`, after the server refused to create an audience.

        If the name `is_name_taken` and not listed yet, the list is read a few more times, `interval` seconds apart.
        """
        found = await self.find_fresh(customer_id, name)
        rereads = _MAX_REREADS if is_name_taken and not self._lists[customer_id].hides_names else 0
        while not found and rereads:
            rereads -= 1
            await asyncio.sleep(interval)
            found = await self.find_fresh(customer_id, name)
        return found

    def existed_before(self, customer_id: str, audience_id: RecordId) -> bool:
        """Whether the first list read for the customer showed this ID."""
        return str(audience_id) in self._first_ids.get(customer_id, ())

    def may_have_existed(self, customer_id: str, uploaded: Audience) -> bool:
        """Whether an upload's response may be an existing audience: listed, or named while the list was incomplete."""
        is_unlisted = uploaded.name is not None and customer_id in self._unread
        return is_unlisted or self.existed_before(customer_id, uploaded.id)

    def shows_names(self, customer_id: str) -> bool:
        """Whether the last list read for the customer showed any name."""
        return customer_id in self._lists and self._lists[customer_id].shows_names

    def hides_names(self, customer_id: str) -> bool:
        """Whether the last list read for the customer showed audiences, but no names."""
        return customer_id in self._lists and self._lists[customer_id].hides_names

    def describe_unread(self, customer_id: str, name: str) -> str | None:
        """Say that a name may be in a part of the list that can't be read. None if the whole list was read.

        The absence of a name in such a list proves nothing.
        """
        sign = self._unread.get(customer_id)
        if sign is None:
            return None
        return (
            f"no audience named {name!r} is in the list, but the list says that there are more audiences "
            f"({sanitize_text(sign)[:_MAX_SIGN_LENGTH]}) and not how to read them"
        )

    async def _list(self, customer_id: str, *, not_before: float) -> _AudienceNames:
        clock = asyncio.get_running_loop().time
        called_at = clock()
        async with self._locks.setdefault(customer_id, asyncio.Lock()):
            if customer_id not in self._read_at or self._read_at[customer_id] < not_before:
                failed_at, failure = self._failures.get(customer_id, (0.0, None))
                if failure is not None and failed_at >= called_at:
                    raise failure.with_traceback(None)  # it failed while this call queued, and would fail again
                started_at = clock()
                try:
                    self._lists[customer_id], ids = await self._read(customer_id)
                except IndigoError as error:
                    self._failures[customer_id] = (clock(), error)
                    raise
                self._first_ids.setdefault(customer_id, frozenset(ids))
                self._read_at[customer_id] = started_at
        return self._lists[customer_id]

    async def _read(self, customer_id: str) -> tuple[_AudienceNames, set[str]]:
        retry = self._api.options.retry
        delays = retry_delays(retry)
        clock = asyncio.get_running_loop().time
        attempt = 0
        while True:
            attempt += 1
            started_at = clock()
            audiences = _AudienceNames()
            ids: set[str] = set()
            unread: list[str] = []

            def add_rows(rows: RowSlice, audiences: _AudienceNames = audiences, ids: set[str] = ids) -> None:
                for row in rows.iter_listed(customer_id):
                    audiences.add(row)
                    ids.add(str(row.id))

            try:
                await self._api.read_list(customer_id, add_rows, limit=_MAX_BYTES, on_unread=unread.append)
            except IndigoError as error:
                if not self._may_read_again(error, attempt):
                    raise
                delay = next(delays, None)
                if isinstance(error, RateLimitedError):  # obeyed however long; the recipe's deadline bounds it
                    delay = max(retry.wait_max if delay is None else delay, error.retry_after or 0.0)
                elif delay is None:
                    if not self._transport.is_waiting_out_outage(since=started_at):
                        raise
                    delay, delays = 0.0, retry_delays(retry)
                await asyncio.sleep(delay)
            else:
                self._unread.pop(customer_id, None)
                self._unread.update((customer_id, sign) for sign in unread)
                return audiences, ids

    def _may_read_again(self, error: IndigoError, attempt: int) -> bool:
        """Whether a list may arrive after all. One that gets a 401 may, twice, if the token has worked before."""
        if rejects_token(error):
            return self._transport.first_success.is_set() and attempt <= MAX_UNEXPECTED_401S
        return is_transient(error)


class _AudienceNames:
    """The named audiences of one list, by normalized name. Most names have one audience, stored without a list."""

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
        """Whether there are audiences and none shows a name. An empty list may only lag."""
        return self._has_rows and not self._by_key

    def add(self, row: ListedAudience) -> None:
        self._has_rows = True
        if row.name is None:
            return
        key = normalize_name(row.name)
        compact = ListedAudience(row.id, key if key == row.name else row.name, intern(row.status))
        self._longest = max(self._longest, len(key))
        others = self._by_key.setdefault(key, compact)
        if isinstance(others, list):
            others.append(compact)
        elif others is not compact:
            self._by_key[key] = [others, compact]

    def matches(self, name: str) -> tuple[NameMatch, ...]:
        """Return the audiences that may have a name, best first."""
        key = normalize_name(name)
        same = self._newest_first(key)
        exact = [NameMatch(row.id, NameSimilarity.EXACT) for row in same if row.name == name]
        normalized = [NameMatch(row.id, NameSimilarity.NORMALIZED) for row in same if row.name != name]
        truncated = [
            NameMatch(row.id, NameSimilarity.TRUNCATED)
            for prefix in truncated_keys(key, longest=self._longest)
            for row in self._newest_first(prefix)
        ]
        return (*exact, *normalized, *truncated)

    def _newest_first(self, key: str) -> list[ListedAudience]:
        """The audiences with a normalized name, the last in the list first, those that failed after all others."""
        rows = self._by_key.get(key, [])
        newest_first = rows[::-1] if isinstance(rows, list) else [rows]
        return sorted(newest_first, key=lambda row: is_failure_status(row.status))
