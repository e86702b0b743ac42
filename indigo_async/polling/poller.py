"""Looks at audiences until what is waited for has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeVar
from weakref import WeakKeyDictionary

from indigo_async.client import IndigoClient
from indigo_async.models import Audience, RecordId

__all__ = ["Needs", "Poller", "poller_of"]

T = TypeVar("T")


class Needs(Enum):
    """Which part of a record a wait depends on."""

    STATUS = auto()
    UPLOAD = auto()
    EXPORTS = auto()


class Poller:
    """Looks at audiences on behalf of all waits of one client."""

    def __init__(self, client: IndigoClient) -> None:
        self._client = client

    async def watch(self, audience_id: RecordId, customer_id: str | None, check: Callable[[Audience], T | None]) -> T:
        """Look at an audience until `check` returns something, and return that. What `check` raises ends the wait."""
        while True:
            audience = await self._client.get_audience(audience_id, customer_id)
            found = check(audience)
            if found is not None:
                return found
            await asyncio.sleep(self._client.poll_interval)


_pollers: WeakKeyDictionary[IndigoClient, Poller] = WeakKeyDictionary()


def poller_of(client: IndigoClient) -> Poller:
    """The one poller of a client."""
    poller = _pollers.get(client)
    if poller is None:
        poller = _pollers[client] = Poller(client)
    return poller
