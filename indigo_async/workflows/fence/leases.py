"""Leases: each owner renews its own, and an owner whose lease has ended is considered dead.

Only the store's clock counts, so the clocks of machines may differ.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress

import attrs
import msgspec

from indigo_async.errors import FenceError
from indigo_async.workflows.fence.log import OWNERS, FenceStore, StoredObject

__all__ = ["Leases", "lease_seconds"]

_logger = logging.getLogger("indigo_async")

_RENEW_SECONDS = 15.0
_CHECK_SECONDS = 5.0
_LEASE_SECONDS = 60.0
_MAX_NAME_LENGTH = 100


def lease_seconds() -> float:
    """How long a lease lasts after it was renewed."""
    return _LEASE_SECONDS


@attrs.frozen(kw_only=True)
class _Process:
    """The process of an owner, for messages."""

    host: str
    process: int

    def __str__(self) -> str:
        return f"process {self.process} on {self.host[:_MAX_NAME_LENGTH]}"


class Leases:
    """The lease of one owner, and what it knows about the leases of others."""

    def __init__(self, store: FenceStore, owner: str) -> None:
        self._store = store
        self._name = _lease_name(owner)
        self._content = msgspec.json.encode(_Process(host=socket.gethostname(), process=os.getpid()))
        self._alive_until: dict[str, float] = {}
        self._processes: dict[str, str] = {}
        self._checks: dict[str, asyncio.Task[bool]] = {}

    async def take(self) -> None:
        """Create this owner's lease, and check that the store refuses to create it again.

        Raises:
            FenceError: the store can't be used.
        """
        await self._store.create(self._name, self._content)
        if await self._store.create(self._name, self._content):
            raise FenceError(
                f"{self._store.label}: this store creates an object that exists, so it can't keep two runs apart. Use "
                "a bucket that honors conditional writes, or a shared folder",
                permanent=True,
            )

    async def renew_regularly(self) -> None:
        """Renew this owner's lease until canceled."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            with suppress(FenceError, TimeoutError):  # the next request to the log says more
                async with asyncio.timeout(_RENEW_SECONDS):
                    await self._renew()

    async def end(self) -> None:
        """End this owner's lease.

        Raises:
            FenceError: the store failed, so the lease ends only once it is no longer renewed.
        """
        await self._store.delete(self._name)

    async def close(self) -> None:
        """Stop all checks of other leases."""
        checks = list(self._checks.values())
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    def describe(self, owner: str) -> str:
        """Where an owner runs, if its lease said so."""
        return self._processes.get(owner, f"owner {owner}")

    async def has_ended(self, owner: str) -> bool:
        """Whether another owner's lease has ended. Waits until it is renewed or ends.

        Raises:
            FenceError: the store can't be used.
        """
        if asyncio.get_running_loop().time() < self._alive_until.get(owner, 0.0):
            return False
        if owner not in self._checks:
            check = asyncio.create_task(self._check(owner))
            self._checks[owner] = check
            check.add_done_callback(lambda ended: self._forget(owner, ended))
        return await asyncio.shield(self._checks[owner])

    def _forget(self, owner: str, check: asyncio.Task[bool]) -> None:
        del self._checks[owner]
        if not check.cancelled():
            check.exception()  # mark it as retrieved: everyone who waited may have been canceled

    async def _check(self, owner: str) -> bool:
        """Watch a lease until it is renewed or has ended, judged by the store's clock."""
        first: float | None = None
        while True:
            try:
                theirs = await self._store.read(_lease_name(owner))
                if theirs is None or await self._is_too_old(theirs):
                    return True
            except FenceError as error:
                if error.permanent:
                    raise
            else:
                if first is None:
                    first = theirs.written_at
                    self._report_wait(owner, theirs)
                elif theirs.written_at > first:
                    self._alive_until[owner] = asyncio.get_running_loop().time() + _LEASE_SECONDS
                    return False
            await asyncio.sleep(_CHECK_SECONDS)

    async def _is_too_old(self, theirs: StoredObject) -> bool:
        await self._renew()
        own = await self._store.read(self._name)
        return own is not None and own.written_at - theirs.written_at >= _LEASE_SECONDS

    def _report_wait(self, owner: str, theirs: StoredObject) -> None:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            self._processes[owner] = str(msgspec.json.decode(theirs.content, type=_Process))
        _logger.warning(
            "another run (%s) owns jobs of this run: waiting up to %.0f s to see whether it is alive",
            self.describe(owner),
            _LEASE_SECONDS,
        )

    async def _renew(self) -> None:
        await self._store.replace(self._name, self._content)


def _lease_name(owner: str) -> str:
    return f"{OWNERS}/{owner}.json"
