"""What a client shares with its views: the connection to the server, polling, and the memory of purchases."""

from __future__ import annotations

import asyncio
import warnings
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from indigo_async._settings import Settings
from indigo_async._transport.options import RequestOptions
from indigo_async._transport.transport import Transport

if TYPE_CHECKING:
    from indigo_async._polling.poller import Poller

__all__ = ["MAX_CONCURRENT_DOWNLOADS", "ClientCore"]

MAX_CONCURRENT_DOWNLOADS = 16


class ClientCore:
    """The shared part of a client, opened and closed once. `options` are the client's own, which polls use.

    The core never refers to the client, so it is freed together with the client and its views.
    """

    download_slots: asyncio.Semaphore
    """Bounds the concurrent downloads of exports."""

    def __init__(
        self, settings: Settings, transport: Transport, options: RequestOptions, *, poll_interval: float
    ) -> None:
        self.settings = settings
        self.transport = transport
        self.poll_interval = poll_interval
        self.purchased_exports: dict[str, frozenset[str] | None] = {}
        """Exports that this client purchased, by ID as text, with the paid field types requested (None: unknown)."""
        self.poller: Poller | None = None
        """The loop behind all waits on this client; created by the first one."""
        self._options = options
        self._exit_stack = AsyncExitStack()
        """What is closed with the client, in reverse order."""

    def __repr__(self) -> str:
        profile = f", profile={self.settings.profile.name!r}" if self.settings.profile is not None else ""
        return f"IndigoClient(base_url={self.settings.base_url!r}{profile})"

    async def open(self) -> None:
        """Open the client in the running event loop.

        Raises:
            ClientNotOpenError: it is open already, or no session can be used in this event loop.
            InvalidInputError: the token or the environment's certificates can't be used.
        """
        self._forget_closed_loop()
        await self.transport.open()
        self.download_slots = asyncio.Semaphore(MAX_CONCURRENT_DOWNLOADS)
        self._exit_stack.push_async_callback(self.transport.close)

    async def close(self) -> None:
        """Close the client. Nothing happens if it isn't open.

        Raises:
            ClientNotOpenError: another event loop has opened it.
        """
        self._forget_closed_loop()
        self.transport.http.require_own_loop()
        await self._exit_stack.aclose()

    def _forget_closed_loop(self) -> None:
        """Drop resources of an event loop that was closed while the client was open, as in a notebook."""
        if self.transport.http.forget_closed_loop():
            self._exit_stack.pop_all()
            self.poller = None

    def require_poller(self) -> Poller:
        """Return the polling loop, created on first use.

        Raises:
            ClientNotOpenError: the client is not open.
        """
        from indigo_async._polling.api import AudienceApi  # noqa: PLC0415 - a client that never waits needs none
        from indigo_async._polling.pace import Pace  # noqa: PLC0415 - as above
        from indigo_async._polling.poller import Poller  # noqa: PLC0415 - as above

        self.transport.require_open()
        if self.poller is None:
            # The poller must not refer to the core: a reference cycle would keep both alive.
            api = AudienceApi(self.transport, self._options)
            self.poller = Poller(api, self._exit_stack, pace=Pace(self.poll_interval))
        return self.poller

    def __del__(self) -> None:
        """Close the connections of a client that nobody closed, and name it."""
        if not self.transport.http.is_open:
            return
        if self.poller is not None:
            self.poller.abandon()
        self.transport.abandon()
        warnings.warn(
            f"{self!r} was never closed: use `async with`, or call `await client.aclose()`",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
