"""Which audiences a customer has, by name: one list for a customer, shared by all who ask."""

from __future__ import annotations

import asyncio

from indigo_async.client import IndigoClient
from indigo_async.models import Audience

__all__ = ["Directory"]


class Directory:
    """Looks audiences up by name. Where the server shows no names, it finds none."""

    def __init__(self, client: IndigoClient) -> None:
        self._client = client
        self._locks: dict[str, asyncio.Lock] = {}
        self._by_name: dict[str, dict[str, Audience]] = {}
        self._read_at: dict[str, float] = {}

    async def find(self, customer_id: str, name: str) -> Audience | None:
        """The customer's audience of that name, as it was when this directory first read the customer's list."""
        return await self._find(customer_id, name, not_before=0.0)

    async def find_now(self, customer_id: str, name: str) -> Audience | None:
        """The same, from a list that is asked for after this call began; those who ask meanwhile share it."""
        return await self._find(customer_id, name, not_before=asyncio.get_running_loop().time())

    async def _find(self, customer_id: str, name: str, *, not_before: float) -> Audience | None:
        async with self._locks.setdefault(customer_id, asyncio.Lock()):
            if customer_id not in self._read_at or self._read_at[customer_id] < not_before:
                began = asyncio.get_running_loop().time()
                audiences = await self._client.list_audiences(customer_id)
                self._by_name[customer_id] = {
                    audience.name: audience for audience in audiences if audience.name is not None
                }
                self._read_at[customer_id] = began
        return self._by_name[customer_id].get(name)
