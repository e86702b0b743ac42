"""Purchasing one export. This is the only code that spends money.

Before each send, a record at most 30 s old shows that the export is for sale, at a price within every limit. The intent
is recorded, and the request is sent once. Whatever comes back, the server's record decides what happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, nullcontext
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from indigo_async._listeners import emit
from indigo_async._redaction import sanitize_text
from indigo_async._text import format_dollars
from indigo_async._transport.cancellation import cleanup, run_to_completion, wait_shielded
from indigo_async._transport.endpoints import PURCHASE_EXPORT
from indigo_async._transport.errors import rejects_token
from indigo_async._transport.prices import find_price_amounts
from indigo_async._transport.transport import SendState, SendTooLateError
from indigo_async.client import IndigoClient, send_purchase
from indigo_async.errors import (
    AlreadyPurchasedError,
    AmbiguousOutcomeError,
    ApiError,
    AuthenticationError,
    BudgetExceededError,
    ConnectionFailedError,
    CustomerMismatchError,
    IndigoError,
    JournalError,
    PurchaseInDoubtError,
    RateLimitedError,
    RecordMismatchError,
    ResponseDecodeError,
    ServerError,
)
from indigo_async.events import ExportPurchased, RequestRetried, Stage
from indigo_async.models import CsvExport, RecordId, same_id
from indigo_async.workflows.recipes.budget import Reservation
from indigo_async.workflows.recipes.context import RecipeContext
from indigo_async.workflows.recipes.existing_exports import ExportState, export_state
from indigo_async.workflows.recipes.export_options import ExportOptions
from indigo_async.workflows.recipes.preview import NEVER, ExportRead, read_until_shown
from indigo_async.workflows.recipes.reconcile import reports_success, retry_delays

__all__ = ["check_price", "export_lock", "purchase_export"]

_logger = logging.getLogger("indigo_async.recipes")

_MAX_AGE_SECONDS = 30.0
"""How old the record may be that a purchase relies on."""

_CANCEL_GRACE_SECONDS = 20.0
"""How long a canceled purchase may take to find out whether it was made."""

_TIMED_OUT_OR_CONFLICTING = frozenset({408, 409, 425})
"""Client errors after which the request may still be carried out."""


@attrs.define(eq=False)
class _SharedLock:
    lock: asyncio.Lock = attrs.Factory(asyncio.Lock)
    users: int = 0


_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], _SharedLock]] = WeakKeyDictionary()


@asynccontextmanager
async def export_lock(client: IndigoClient, audience_id: RecordId) -> AsyncGenerator[None]:
    """Price and purchase exports of an audience one call at a time, so that a double click purchases once.

    The lock is shared by all clients of the same server in this event loop.
    """
    locks = _locks.setdefault(asyncio.get_running_loop(), {})
    key = (client.settings.base_url, str(audience_id))
    shared = locks.setdefault(key, _SharedLock())
    shared.users += 1
    try:
        async with shared.lock:
            yield
    finally:
        shared.users -= 1
        if not shared.users:
            del locks[key]


def check_price(context: RecipeContext, export: CsvExport, limit_cents: int) -> int:
    """Return the export's price in cents, if it is within the limit.

    Raises:
        BudgetExceededError: the price is above the limit, or can't be read for certain.
    """
    price = export.cost_cents
    if price is not None and price <= limit_cents:
        return price
    if price is None:
        problem = f"cannot be read for certain ({_price_problem(export)})"
        message = f"the price of export {export.id} {problem}; nothing was purchased"
    else:
        message = (
            f"export {export.id} costs {format_dollars(price)}, above the limit of {format_dollars(limit_cents)}; "
            f"nothing was purchased. To purchase this preview, pass max_cost_cents={price} or more"
        )
    raise BudgetExceededError(
        message, stage=Stage.PURCHASE, audience=context.audience, export=export, limit_cents=limit_cents
    )


def _price_problem(export: CsvExport) -> str:
    amounts = find_price_amounts(export)
    if len(set(amounts.values())) > 1:
        return "amounts disagree: " + ", ".join(
            f"{key} {format_dollars(cents)}" for key, cents in sorted(amounts.items())
        )
    return f"other fields: {sanitize_text(', '.join(sorted(export.extra))) or 'none'}"


async def purchase_export(
    context: RecipeContext, audience_id: RecordId, read: ExportRead, options: ExportOptions
) -> CsvExport:
    """Purchase an export, and return it as the server shows it afterwards.

    If canceled before the request is sent, nothing is purchased. If canceled later, the outcome is checked first, for
    20 s at most, and nothing more is sent.

    Raises:
        BudgetExceededError: it costs more than the options or the batch's budget allow; nothing was purchased.
        PurchaseInDoubtError: it may have been purchased, and the server's records don't show whether it was.
    """
    purchase = _Purchase(context, audience_id, read.export.id, options)
    task = asyncio.create_task(purchase.run(read))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        purchase.send_state.stop_requested = True
        if purchase.send_state.outcome_unknown:
            await purchase.check_outcome(task)
        task.cancel()
        await wait_shielded(task)
        if not task.cancelled():
            task.exception()  # mark it as retrieved: an intent that can't be taken back is read by the next run
        raise
    finally:
        del task  # break the exception-frame reference cycle


class _Purchase:
    """One purchase in progress."""

    def __init__(
        self, context: RecipeContext, audience_id: RecordId, export_id: RecordId, options: ExportOptions
    ) -> None:
        self.send_state = SendState(may_resend=False)
        self._context = context
        self._client = context.client
        self._audience_id = audience_id
        self._export_id = export_id
        self._options = options
        self._reservation = Reservation(context.budget, context.recorded_price(export_id), context.account)
        self._delays: Iterator[float] = retry_delays(context.client.options.retry)
        self._failures = 0
        self._intent_cents: int | None = None
        """The price in the open intent."""
        self._is_sent = False
        """Whether a request may have reached the server."""
        self._is_in_doubt = False
        """Whether the outcome of some request stays unknown."""

    async def check_outcome(self, task: asyncio.Task[CsvExport]) -> None:
        """Wait for the outcome of a canceled purchase, at most `_CANCEL_GRACE_SECONDS`."""
        customer = "" if self._context.customer_id is None else f" (customer {self._context.customer_id})"
        export = f"export {self._export_id} of audience {self._audience_id}{customer}"
        _logger.warning(
            "canceled while the purchase of %s is in flight: checking whether it was made (%d s at most)",
            export,
            _CANCEL_GRACE_SECONDS,
        )
        in_doubt = f"{export} may have been purchased: check that before you purchase it again"
        with cleanup("checking purchases in flight", in_doubt, seconds=_CANCEL_GRACE_SECONDS):
            await wait_shielded(task, seconds=_CANCEL_GRACE_SECONDS)
        if not task.done():
            self._context.warn(f"no outcome after {_CANCEL_GRACE_SECONDS:.0f} s: {in_doubt}")

    async def run(self, read: ExportRead) -> CsvExport:
        """Send, find out what happened, and send again only if the server's record shows that this is needed."""
        is_free = read.export.cost_cents == 0
        try:
            async with nullcontext() if is_free else self._context.budget.purchase_lock():
                while True:
                    if asyncio.get_running_loop().time() - read.read_at > _MAX_AGE_SECONDS:
                        read = await self._read_record()
                    if export_state(read.export) is not ExportState.FOR_SALE:
                        if self._is_sent:
                            return await self._book(read.export)
                        self._reservation.release()
                        await self._cancel_intent()
                        return read.export
                    outcome = await self._attempt(read)
                    if isinstance(outcome, CsvExport):
                        return outcome
                    read = outcome
        except BaseException as error:
            if not (self._is_in_doubt or self.send_state.outcome_unknown):
                self._reservation.release()
                if not isinstance(error, JournalError):
                    await self._cancel_intent()
            raise

    async def _read_record(self) -> ExportRead:
        return await read_until_shown(self._context, self._audience_id, self._export_id)

    async def _attempt(self, read: ExportRead) -> CsvExport | ExportRead:
        """Send once. Returns the purchased export, or a record for the next attempt."""
        cost = check_price(self._context, read.export, self._options.max_cost_cents)
        await self._reserve_and_record(read.export, cost)
        self.send_state.send_by = read.read_at + _MAX_AGE_SECONDS
        try:
            response = await send_purchase(self._client, self._export_id, self._context.customer_id, self.send_state)
            self._accept(response)
        except IndigoError as caught:
            error = caught.with_traceback(None)
        else:
            return await self._book(await self._confirm(response))
        try:
            self._is_sent |= not isinstance(error, (ConnectionFailedError, SendTooLateError))
            if isinstance(error, AlreadyPurchasedError):
                return await self._book(await self._confirm(read.export))
            if _was_not_carried_out(error, self.send_state):
                await self._wait_after_no_send(error)
                return attrs.evolve(read, read_at=NEVER)
            return await self._resolve_failure(error)
        finally:
            del error  # break the exception-frame reference cycle

    def _accept(self, response: CsvExport) -> None:
        """Note that the server reported success.

        Raises:
            RecordMismatchError: the response is about another audience.
        """
        self._remember_in_client()
        if response.audience is not None and not same_id(response.audience.id, self._audience_id):
            raise RecordMismatchError(
                endpoint=PURCHASE_EXPORT.name,
                record_kind="audience",
                requested=self._audience_id,
                received=response.audience.id,
            )

    def _remember_in_client(self) -> None:
        self._client.purchased_exports[str(self._export_id)] = _field_set(self._options.optional_field_types)

    async def _reserve_and_record(self, export: CsvExport, cost: int) -> None:
        """Reserve the price in the budget, and record the intent at that price."""
        context = self._context
        context.raise_if_stopped()
        if not self._reservation.reserve(cost):
            left = format_dollars(context.budget.left_cents)
            raise BudgetExceededError(
                f"export {export.id} costs {format_dollars(cost)}, and {left} of the batch's budget is left; nothing "
                "was purchased. To purchase this preview, raise the budget",
                stage=Stage.PURCHASE,
                audience=context.audience,
                export=export,
                limit_cents=context.budget.limit_cents or 0,
            )
        if self._intent_cents == cost:
            return
        if not self._is_in_doubt:
            await self._cancel_intent()
        # The write completes even if canceled, so that an intent without a purchase can be canceled.
        self._intent_cents = cost
        await run_to_completion(
            asyncio.ensure_future(context.job_log.record_intent(Stage.PURCHASE, self._journal_facts(cost)))
        )

    async def _cancel_intent(self) -> None:
        if self._intent_cents is not None:
            self._intent_cents = None
            await self._context.job_log.cancel_intent(Stage.PURCHASE)

    def _journal_facts(self, cost: int) -> dict[str, Any]:
        about = {"audience_id": self._audience_id, "export_id": self._export_id, "cost_cents": cost}
        return self._options.journal_facts | about

    async def _wait_after_no_send(self, error: IndigoError) -> None:
        """Wait after a request that was certainly not carried out.

        Raises:
            IndigoError: the error itself, if no attempt is left.
        """
        retry = self._client.options.retry
        delay: float | None = 0.0
        try:
            if isinstance(error, ConnectionFailedError):
                delay = self._next_delay()
            elif isinstance(error, RateLimitedError):
                delay = retry.wait_max if error.retry_after is None else max(error.retry_after, retry.wait_initial)
            if delay is None or self.send_state.stop_requested:
                raise error
            await self._wait_to_resend(error, delay)
        finally:
            del error  # break the exception-frame reference cycle

    async def _resolve_failure(self, error: IndigoError) -> CsvExport | ExportRead:
        """Read the server's record after a failure: purchased after all, refused, or to be sent again.

        Raises:
            IndigoError: the error itself, if it means that the purchase was refused.
            PurchaseInDoubtError: the outcome stays unknown.
        """
        try:
            read = await self._read_back(error)
            if export_state(read.export) is not ExportState.FOR_SALE:
                return await self._book(read.export)
            is_unexpected_401 = rejects_token(error)
            if not (is_unexpected_401 or _is_unknown(error)):
                raise error
            delay = self._next_delay()
            if is_unexpected_401:  # the read worked, so the token is valid; a request with a 401 is not processed
                if delay is None or self.send_state.stop_requested:
                    raise error
            else:
                self._is_in_doubt = True
                if delay is None or self.send_state.stop_requested or _is_about_another(error):
                    raise self._in_doubt_error(error, read.export)
                if reports_success(error):  # sent again, it would get the same response
                    await asyncio.sleep(delay)
                    return await self._resolve_failure(error)
            await self._wait_to_resend(error, delay)
        finally:
            del error  # break the exception-frame reference cycle
        return read

    def _next_delay(self) -> float | None:
        """Count a failure. Returns the seconds to wait, or None if no attempt is left."""
        self._failures += 1
        return next(self._delays, None)

    async def _wait_to_resend(self, error: IndigoError, delay: float) -> None:
        reason = str(error.status) if isinstance(error, ApiError) else type(error).__name__
        attempt = max(1, self._failures)
        emit(RequestRetried(endpoint=PURCHASE_EXPORT.name, attempt=attempt, delay=delay, reason=reason))
        await asyncio.sleep(delay)

    async def _read_back(self, error: IndigoError) -> ExportRead:
        """Read the export after a send that failed.

        Raises:
            PurchaseInDoubtError: it can't be read.
            AuthenticationError: the token is refused everywhere, so the purchase was refused, too.
        """
        self.send_state.outcome_unknown = True
        try:
            read = await self._read_record()
        except IndigoError as read_error:
            if isinstance(error, AuthenticationError) and isinstance(read_error, AuthenticationError):
                self.send_state.outcome_unknown = False
                raise error from None
            raise self._in_doubt_error(error, None, read_error) from None
        finally:
            del error  # break the exception-frame reference cycle
        self.send_state.outcome_unknown = False
        return read

    async def _confirm(self, response: CsvExport) -> CsvExport:
        """Return a record that shows the purchase and its cost: the response itself, or the server's record.

        Raises:
            PurchaseInDoubtError: the server reported the purchase, but keeps showing the export as unpaid.
        """
        shows_purchase = export_state(response) is not ExportState.FOR_SALE
        if shows_purchase and (response.cost_cents is not None or self._intent_cents == 0):
            return response
        self.send_state.outcome_unknown = True
        delays = retry_delays(self._client.options.retry)
        while True:
            try:
                shown = (await self._read_record()).export
            except IndigoError:
                return response
            if shows_purchase:
                return attrs.evolve(response, cost_cents=shown.cost_cents)
            if export_state(shown) is not ExportState.FOR_SALE or not shown.status.strip():
                return shown
            delay = next(delays, None)
            if delay is None:
                raise self._in_doubt_error(None, response)
            await asyncio.sleep(delay)

    def _in_doubt_error(
        self, error: IndigoError | None, export: CsvExport | None, read_error: IndigoError | None = None
    ) -> PurchaseInDoubtError:
        outcome = "the server reported success" if error is None else str(error)
        record = "still shows it as unpaid" if read_error is None else f"could not be read ({read_error})"
        return PurchaseInDoubtError(
            f"export {self._export_id} of audience {self._audience_id} may or may not have been purchased for "
            f"{format_dollars(self._intent_cents)}: {outcome}; its record {record}. The amount stays reserved. "
            "The same call checks the server before it purchases anything; if in doubt, ask Indigo first",
            stage=Stage.PURCHASE,
            audience=self._context.audience,
            export=export,
        )

    async def _book(self, export: CsvExport) -> CsvExport:
        """Book what was charged, record it, and report a difference from the quote."""
        context, limit, quoted = self._context, self._options.max_cost_cents, self._intent_cents or 0
        charged = export.cost_cents
        if charged is None:
            charged = max([quoted, *find_price_amounts(export).values()])
        self.send_state.outcome_unknown = True  # until the charge is recorded
        self._reservation.spend(charged)
        context.budget.record_charge(quoted_cents=quoted, charged_cents=charged)
        self._remember_in_client()
        context.emit(ExportPurchased, export_id=export.id, cost_cents=charged)
        charge = f"charged at {format_dollars(charged)}"
        if charged != quoted:
            context.warn(f"export {export.id} was quoted at {format_dollars(quoted)} and {charge}")
        if charged > limit:
            context.stop_flag.reason = context.stop_flag.reason or (
                f"export {export.id} was {charge}, above the limit of {format_dollars(limit)}: "
                "the server charges more than it quotes"
            )
        await context.job_log.record_result(Stage.PURCHASE, self._journal_facts(charged))
        self.send_state.outcome_unknown = False
        return export


@lru_cache(maxsize=256)
def _field_set(field_types: tuple[str, ...]) -> frozenset[str]:
    """One set for all exports with these fields, because the client remembers every export that it purchased."""
    return frozenset(field_types)


def _was_not_carried_out(error: IndigoError, state: SendState) -> bool:
    """Whether the server certainly did nothing: it never got the request, or put it off."""
    if isinstance(error, AuthenticationError):
        return state.token_refreshed
    return isinstance(error, (RateLimitedError, ConnectionFailedError, SendTooLateError))


def _is_unknown(error: IndigoError) -> bool:
    """Whether the request may still be carried out although the record shows the export as unpaid."""
    if isinstance(error, ServerError):
        return True
    if isinstance(error, ApiError):
        return error.status in _TIMED_OUT_OR_CONFLICTING
    return isinstance(error, (AmbiguousOutcomeError, ResponseDecodeError)) or _is_about_another(error)


def _is_about_another(error: IndigoError) -> bool:
    """Whether the response was about another record, which may then have been purchased instead."""
    return isinstance(error, (RecordMismatchError, CustomerMismatchError))
