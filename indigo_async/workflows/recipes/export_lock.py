"""Exports of the same audience take turns within a process, so that a double click buys once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import attrs

from indigo_async.client import IndigoClient
from indigo_async.models import RecordId

__all__ = ["export_lock"]


@attrs.define(eq=False)
class _SharedLock:
    lock: asyncio.Lock = attrs.Factory(asyncio.Lock)
    users: int = 0


_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], _SharedLock]] = WeakKeyDictionary()


@asynccontextmanager
async def export_lock(client: IndigoClient, audience_id: RecordId) -> AsyncGenerator[None]:
    """Hold the only turn to price and buy exports of an audience, for all clients of this server in the event loop."""
    turns = _locks.setdefault(asyncio.get_running_loop(), {})
    key = (client.settings.base_url, str(audience_id))
    turn = turns.setdefault(key, _SharedLock())
    turn.users += 1
    try:
        async with turn.lock:
            yield
    finally:
        turn.users -= 1
        if not turn.users:
            del turns[key]
