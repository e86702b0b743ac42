"""A fence: what runs on several machines share, so that each job has one owner and all obey one budget.

Each run is an owner. It claims its jobs in the log and renews a lease. A job of a killed owner is taken over when that
lease has ended, by the store's own clock. A paused owner that continues later finds its jobs taken over, and purchases
nothing.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from enum import Enum, auto
from pathlib import Path
from typing import TypeAlias

import attrs

from indigo_async._text import format_dollars
from indigo_async._transport.cancellation import cleanup, run_in_thread, shorten_timeouts, wait_shielded
from indigo_async._transport.proxies import Proxies
from indigo_async.errors import (
    BudgetExceededError,
    FenceError,
    FenceInUseError,
    FenceLostError,
    PurchaseInDoubtError,
)
from indigo_async.events import Stage
from indigo_async.files.publishing.stores import SigningStore
from indigo_async.workflows.fence.job_log import FencedJobLog
from indigo_async.workflows.fence.leases import Leases, lease_seconds
from indigo_async.workflows.fence.log import FenceLog, FenceStore
from indigo_async.workflows.fence.state import Entry, PurchaseFacts
from indigo_async.workflows.fence.stores import open_fence_store
from indigo_async.workflows.recipes.context import JobLog
from indigo_async.workflows.sharding.ledger import Grant
from indigo_async.workflows.sharding.split import job_ref

__all__ = ["Fence"]

_SERVER_DIGITS = 8
_MAX_REQUESTS_PER_ENTRY = 1_000
_GATHER_SECONDS = 0.01
_GATHER_SECONDS_PER_FOREIGN_ENTRY = 0.1
_MAX_GATHER_SECONDS = 5.0
_WAIT_INITIAL = 0.5
_WAIT_MAX = 10.0
_CLOSE_SECONDS = 20.0

_Reply: TypeAlias = Grant | str | None
"""Whether an intent was granted, or which other owner has the job that was to be claimed."""


class _Kind(Enum):
    CLAIM = auto()
    INTENT = auto()
    WITHDRAWAL = auto()
    RESULT = auto()


@attrs.frozen(kw_only=True, eq=False)
class _Request:
    """A request of one job, which goes into the next entry. `reply` is its result."""

    kind: _Kind
    job: str
    facts: PurchaseFacts | None = None
    gone: Sequence[str] = ()
    reply: asyncio.Future[_Reply] = attrs.Factory(lambda: asyncio.get_running_loop().create_future())


class Fence:
    """One run's part of a fence. Open it with `Fence.open`; each job writes through its own `FencedJobLog`."""

    def __init__(self, store: FenceStore, *, limit_cents: int | None) -> None:
        self._store = store
        self._limit_cents = limit_cents
        self._owner = secrets.token_hex(8)
        self._log = FenceLog(store)
        self._leases = Leases(store, self._owner)
        self._pending: list[_Request] = []
        self._sender: asyncio.Task[None] | None = None
        self._foreign_entries = 0
        """How many entries others appended since this owner's last one."""
        self._waits: set[asyncio.Timeout] = set()
        self._closes_at: float | None = None
        self._last_problem: str | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, place: str | Path | SigningStore, *, base_url: str, limit_cents: int | None, proxies: Proxies
    ) -> AsyncGenerator[Fence]:
        """Open a fence for as long as the block runs, and release this run's jobs at its end.

        Each server (`base_url`) has its own part of a fence, so the sandbox never shares one with production.

        Raises:
            FenceError: it can't be read and written, or it doesn't refuse to create an object twice.
            InvalidInputError, MissingPackageError: see `open_fence_store`.
        """
        prefix = hashlib.sha256(base_url.encode()).hexdigest()[:_SERVER_DIGITS]
        store = await run_in_thread(lambda: open_fence_store(place, prefix, proxies=proxies))
        try:
            async with cls.open_in(store, limit_cents=limit_cents) as fence:
                yield fence
        finally:
            store.close()

    @classmethod
    @asynccontextmanager
    async def open_in(cls, store: FenceStore, *, limit_cents: int | None) -> AsyncGenerator[Fence]:
        """Open the fence in an open store; see `open`."""
        fence = cls(store, limit_cents=limit_cents)
        await fence._leases.take()
        await fence._log.open()
        renewing = asyncio.create_task(fence._leases.renew_regularly())
        try:
            yield fence
        finally:
            closing = asyncio.create_task(fence._close())
            if_aborted = f"the jobs of this run stay taken in {fence.label} for {lease_seconds():.0f} s"
            with cleanup("releasing this run's jobs", if_aborted, seconds=_CLOSE_SECONDS):
                await wait_shielded(closing, seconds=_CLOSE_SECONDS)
            for task in (closing, renewing):
                task.cancel()
                await wait_shielded(task)

    @property
    def label(self) -> str:
        return self._store.label

    @property
    def spent_cents(self) -> int:
        """What all runs have spent and reserved, as far as this run has read the log."""
        ledger = self._log.state.ledger
        return ledger.spent_cents + ledger.reserved_cents

    async def claim(self, jobs: Iterable[str], *, seconds: float) -> None:
        """Claim jobs, given their references, before they start. Those that others hold are left to `job_log`.

        Raises:
            FenceError: the fence could not be reached for that long.
        """
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._request(_Request(kind=_Kind.CLAIM, job=job), until) for job in jobs))

    async def job_log(self, customer_id: str, audience_name: str, inner: JobLog, *, seconds: float) -> FencedJobLog:
        """Claim a job, and return its log: its purchases come from the fence, everything else from `inner`.

        Waits until an owner that may have been killed has not renewed its lease for a minute. `seconds` is how long the
        job may take: its later requests to the fence give up after that.

        Raises:
            FenceInUseError: another run that is alive has the job.
            FenceError: the fence could not be reached for that long.
        """
        job = job_ref(customer_id, audience_name)
        until = asyncio.get_running_loop().time() + seconds
        gone: list[str] = []
        state = self._log.state
        while not state.owns(self._owner, job):
            owner = await self._request(_Request(kind=_Kind.CLAIM, job=job, gone=tuple(gone)), until)
            if not isinstance(owner, str):
                break
            if not await self._leases.has_ended(owner):
                raise FenceInUseError(
                    f"{self.label}: another run owns this job and is alive ({self._leases.describe(owner)}). Nothing "
                    "was sent for it. Run this again when that run has ended"
                )
            gone.append(owner)
        purchase, intents = state.purchases.get(job), state.intents.get(job, ())
        return FencedJobLog(self, job, inner, until, purchase=purchase, intents=tuple(intents))

    async def reserve(self, job: str, facts: PurchaseFacts, until: float) -> None:
        """Record that an export is about to be purchased, and reserve its price.

        Raises:
            BudgetExceededError: less is left of the budget that all runs share.
            PurchaseInDoubtError: the job may have purchased another export.
            FenceLostError: another run has taken over the job.
            FenceError: it may not be recorded.
        """
        grant = await self._request(_Request(kind=_Kind.INTENT, job=job, facts=facts), until)
        if not isinstance(grant, Grant) or grant.granted:
            return
        if grant.is_superseded:
            raise FenceLostError(
                f"{self.label}: another run took over this job, because this run did not renew its lease for "
                f"{lease_seconds():.0f} s: it was paused, or could not reach the fence. Nothing was purchased now. "
                "If no other run is active, run this again"
            )
        if grant.held:
            raise PurchaseInDoubtError(
                f"export {grant.held} may have been purchased for this job by an earlier run, so export "
                f"{facts.export_id} was not purchased. Run the job once with that export's field types, which checks "
                "it, or ask Indigo about it",
                stage=Stage.PURCHASE,
            )
        raise BudgetExceededError(
            f"export {facts.export_id} costs {format_dollars(facts.cost_cents)}, and "
            f"{format_dollars(grant.left_cents)} is left of the budget of all runs with {self.label}; nothing was "
            "purchased. To purchase this preview, raise the budget",
            stage=Stage.PURCHASE,
            limit_cents=self._limit_cents or 0,
        )

    async def withdraw(self, job: str, until: float) -> None:
        """Record that the last purchase that this run intended for a job was certainly not carried out."""
        await self._request(_Request(kind=_Kind.WITHDRAWAL, job=job), _not_too_soon(until))

    async def settle(self, job: str, facts: PurchaseFacts, until: float) -> None:
        """Record what was charged for a purchase, even if the job has run out of time in the meantime."""
        await self._request(_Request(kind=_Kind.RESULT, job=job, facts=facts), _not_too_soon(until))

    def hurry(self) -> None:
        """Wait only a few more seconds for a failing store, because the run is ending."""
        if self._closes_at is None:
            self._closes_at = asyncio.get_running_loop().time() + _CLOSE_SECONDS
            shorten_timeouts(self._waits, self._closes_at)

    async def _request(self, request: _Request, until: float) -> _Reply:
        """Put a request into the next entry, and wait for the reply.

        Raises:
            FenceError: the store can't be used, or no reply came in time. The request may be recorded or not.
        """
        self._pending.append(request)
        if self._sender is None:
            # An empty context, because entries also carry the requests of other jobs.
            self._sender = asyncio.get_running_loop().create_task(self._send_pending(), context=Context())
        wait = asyncio.timeout_at(until if self._closes_at is None else min(until, self._closes_at))
        try:
            async with wait:
                self._waits.add(wait)
                return await request.reply
        except TimeoutError:
            problem = self._last_problem or f"{self.label}: no reply"
            raise FenceError(f"{problem}. Nothing more was sent for this job; run this again later") from None
        finally:
            self._waits.discard(wait)

    async def _send_pending(self) -> None:
        """Append entries until no request is left. Those that arrive in the meantime share the next one."""
        try:
            while self._pending:
                # However many owners there are, together they append about ten entries a second.
                gather = _GATHER_SECONDS + self._foreign_entries * _GATHER_SECONDS_PER_FOREIGN_ENTRY
                await asyncio.sleep(min(gather, _MAX_GATHER_SECONDS))
                requests = self._take_pending()
                if requests:
                    await self._send(requests)
        finally:
            self._sender = None

    def _take_pending(self) -> Sequence[_Request]:
        """Take the requests for the next entry, one of each job."""
        taken: dict[str, _Request] = {}
        later: list[_Request] = []
        for request in self._pending:
            if request.reply.done():  # its job no longer waits
                continue
            if request.job in taken or len(taken) == _MAX_REQUESTS_PER_ENTRY:
                later.append(request)
            else:
                taken[request.job] = request
        self._pending = later
        return list(taken.values())

    async def _send(self, requests: Sequence[_Request]) -> None:
        """Append an entry with these requests, and give everyone the reply, or the error."""
        replies: Sequence[_Reply] = ()
        failure: Exception | None = None
        try:
            replies = await self._append(_make_entry(self._owner, self._limit_cents, requests), requests)
        except Exception as error:  # noqa: BLE001 - every job that waits gets the error
            failure = error
        for number, request in enumerate(requests):
            if request.reply.done():
                continue
            if failure is None:
                request.reply.set_result(replies[number])
            else:
                request.reply.set_exception(copy.copy(failure))  # raising adds to the traceback of each
        del failure  # break the exception-frame reference cycle

    async def _append(self, entry: Entry, requests: Sequence[_Request]) -> Sequence[_Reply]:
        """Append an entry. While the store fails and a job still waits, try again.

        Raises:
            FenceError: trying again is useless. The entry may be in the log or not.
        """
        delay = _WAIT_INITIAL
        while True:
            before = self._log.applied
            try:
                replies = await self._log.append(entry)
            except FenceError as error:
                self._last_problem = str(error)
                if error.permanent or all(request.reply.done() for request in requests):
                    raise
                await asyncio.sleep(delay)
                delay = min(2 * delay, _WAIT_MAX)
                continue
            self._last_problem = None
            self._foreign_entries = self._log.applied - before - 1
            with suppress(FenceError):  # opening takes longer until the next snapshot
                await self._log.write_due_snapshot()
            return [replies.grants.get(request.job, replies.held.get(request.job)) for request in requests]

    async def _close(self) -> None:
        """Record what is pending, then release the jobs of this run."""
        self.hurry()
        await self._leases.close()
        with suppress(FenceError):
            if self._sender is not None:
                await self._sender
            await self._log.append(Entry(id=secrets.token_hex(8), owner=self._owner, leaves=True))
            await self._log.write_due_snapshot()
            await self._leases.end()


def _not_too_soon(until: float) -> float:
    """A deadline that leaves time to record the outcome of a purchase."""
    return max(until, asyncio.get_running_loop().time() + _CLOSE_SECONDS)


def _make_entry(owner: str, limit_cents: int | None, requests: Sequence[_Request]) -> Entry:
    def jobs_of(kind: _Kind) -> tuple[str, ...]:
        return tuple(request.job for request in requests if request.kind is kind)

    def facts_of(kind: _Kind) -> dict[str, PurchaseFacts]:
        return {request.job: request.facts for request in requests if request.kind is kind and request.facts}

    return Entry(
        id=secrets.token_hex(8),
        owner=owner,
        limit_cents=limit_cents,
        gone=tuple(dict.fromkeys(owner for request in requests for owner in request.gone)),
        claims=jobs_of(_Kind.CLAIM),
        results=facts_of(_Kind.RESULT),
        withdrawals=jobs_of(_Kind.WITHDRAWAL),
        intents=facts_of(_Kind.INTENT),
    )
