"""Purchasing one export. This is the only code that spends money.

Before each send, a record that is at most 30 s old says that the export is for sale, at a price within every limit. The
intent is recorded, and the request is sent once. Whatever comes back, the server's record decides what happened.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import nullcontext
from typing import Any

import attrs

from indigo_async._transport.cancellation import run_to_completion, wait_shielded
from indigo_async._transport.prices import find_price_amounts
from indigo_async._transport.transport import SendState, SendTooLateError
from indigo_async.client import PURCHASE_EXPORT, send_purchase
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
from indigo_async.events import ExportPurchased, RequestRetried, Stage, emit
from indigo_async.models import CsvExport, RecordId
from indigo_async.workflows.recipes.adoption import same_id
from indigo_async.workflows.recipes.budget import Reservation
from indigo_async.workflows.recipes.context import RecipeContext
from indigo_async.workflows.recipes.existing_exports import ExportState, export_state
from indigo_async.workflows.recipes.export_options import ExportOptions
from indigo_async.workflows.recipes.preview import NEVER, ExportRead, read_until_shown

__all__ = ["check_price", "purchase_export"]

_logger = logging.getLogger("indigo_async")

_MAX_AGE_SECONDS = 30.0
"""How old the record may be on which a purchase rests."""

_CANCEL_GRACE_SECONDS = 60.0
"""How long a cancelled purchase may take to find out whether it was carried out."""

_TIMED_OUT_OR_CONFLICTING = frozenset({408, 409, 425})
"""Client errors after which the request may still be carried out."""


def check_price(context: RecipeContext, export: CsvExport, limit_cents: int) -> int:
    """Return the export's price in cents, which is within the limit.

    Raises:
        BudgetExceededError: it is above the limit, or it cannot be read for certain.
    """
    if export.cost_cents is None:
        message = f"the price of export {export.id} cannot be read for certain ({_price_problem(export)})"
        advice = "nothing was bought"
    elif export.cost_cents > limit_cents:
        message = f"export {export.id} costs {export.cost_cents} cents and the limit is {limit_cents}"
        advice = "nothing was bought. Raise max_cost_cents to buy this preview"
    else:
        return export.cost_cents
    raise BudgetExceededError(
        f"{message}; {advice}", stage=Stage.PURCHASE, audience=context.audience, export=export, limit_cents=limit_cents
    )


def _price_problem(export: CsvExport) -> str:
    amounts = find_price_amounts(export)
    if len(set(amounts.values())) > 1:
        return "amounts disagree: " + ", ".join(f"{key} {cents}" for key, cents in sorted(amounts.items()))
    return f"further keys: {', '.join(sorted(export.extra)) or 'none'}"


@attrs.define
class _Purchase:
    """One purchase in progress. `intent_cents` is the price in the open intent.

    `is_sent` says that a request reached the server. `failures` counts the sends that failed, `unknown_outcomes` those
    whose outcome stays unknown.
    """

    run: RecipeContext
    audience_id: RecordId
    export_id: RecordId
    terms: ExportOptions
    send_state: SendState
    reservation: Reservation
    intent_cents: int | None = None
    is_sent: bool = False
    failures: int = 0
    unknown_outcomes: int = 0
    is_booked: bool = False


async def purchase_export(
    context: RecipeContext, audience_id: RecordId, read: ExportRead, options: ExportOptions
) -> CsvExport:
    """Buy an export and return it as the server shows it afterwards.

    Cancelled before the request leaves, nothing is bought. Cancelled later, the outcome is found out first, for at most
    a minute, and nothing more is sent.

    Raises:
        BudgetExceededError: it costs more than the terms or the batch's budget allow; nothing was bought.
        PurchaseInDoubtError: it may have been purchased, and the server's records don't settle it.
    """
    send_state = SendState(may_resend=False)
    reservation = Reservation(context.budget, _already_counted_cents(context, read.export.id))
    purchase = _Purchase(context, audience_id, read.export.id, options, send_state, reservation)
    task = asyncio.create_task(_purchase(purchase, read))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        send_state.stop_requested = True
        if send_state.outcome_unknown:
            _logger.warning(
                "cancelled while the purchase of export %s is in flight: checking whether it was made (%d s at most)",
                read.export.id,
                _CANCEL_GRACE_SECONDS,
            )
            await wait_shielded(task, seconds=_CANCEL_GRACE_SECONDS)
        task.cancel()
        await wait_shielded(task)
        raise
    finally:
        del task  # break the exception-frame reference cycle


def _already_counted_cents(context: RecipeContext, export_id: RecordId) -> int:
    """What the budget counts already for a purchase that an earlier run made or may have made."""
    known = (context.job_log.open_intent(Stage.PURCHASE), context.job_log.result(Stage.PURCHASE))
    same = (facts for facts in known if facts is not None and same_id(facts["export_id"], export_id))
    return max((int(facts["cost_cents"]) for facts in same), default=0)


async def _purchase(purchase: _Purchase, read: ExportRead) -> CsvExport:
    run = purchase.run
    try:
        async with nullcontext() if read.export.cost_cents == 0 else run.budget.purchase_lock():
            return await _send_until_certain(purchase, read)
    except JournalError:
        if not purchase.is_booked:
            purchase.reservation.release()
        raise
    except BaseException:
        if not (purchase.is_booked or purchase.unknown_outcomes or purchase.send_state.outcome_unknown):
            purchase.reservation.release()
            await _cancel_intent(purchase)
        raise


async def _send_until_certain(purchase: _Purchase, read: ExportRead) -> CsvExport:
    """Send, find out what happened, and send again only if the server's record says that it is needed."""
    while True:
        if not _is_recent(read):
            read = await read_until_shown(purchase.run, purchase.audience_id, purchase.export_id)
        if export_state(read.export) is not ExportState.FOR_SALE:
            return await _book(purchase, read.export) if purchase.is_sent else read.export
        outcome = await _attempt(purchase, read)
        if isinstance(outcome, CsvExport):
            return outcome
        read = outcome


async def _attempt(purchase: _Purchase, read: ExportRead) -> CsvExport | ExportRead:
    """Send once. Returns the purchased export, or a record on which another attempt may rest."""
    cost = check_price(purchase.run, read.export, purchase.terms.max_cost_cents)
    await _reserve_and_record(purchase, read.export, cost)
    error: IndigoError | None = None
    try:
        response = await _send(purchase, read)
    except IndigoError as caught:
        error = caught.with_traceback(None)
    else:
        return await _book(purchase, await _confirm(purchase, response, cost))
    try:
        purchase.is_sent |= not isinstance(error, (ConnectionFailedError, SendTooLateError))
        if isinstance(error, AlreadyPurchasedError):
            return await _book(purchase, await _confirm(purchase, read.export, cost))
        if _was_not_carried_out(error, purchase.send_state):
            await _wait_after_no_send(purchase, error)
            return attrs.evolve(read, read_at=NEVER)
        return await _resolve_failure(purchase, error)
    finally:
        del error  # break the exception-frame reference cycle


async def _wait_after_no_send(purchase: _Purchase, error: IndigoError) -> None:
    """Wait after a request that was certainly not carried out, as often as the retry policy and its kind allow."""
    retry, delay = purchase.run.client.transport.retry, 0.0
    try:
        if isinstance(error, ConnectionFailedError):
            purchase.failures += 1
            delay = retry.backoff(purchase.failures, _jitter())
        elif isinstance(error, RateLimitedError):
            delay = retry.wait_max if error.retry_after is None else max(error.retry_after, retry.wait_initial)
        if purchase.send_state.stop_requested or purchase.failures >= retry.attempts:
            raise error
        await _wait_to_resend(purchase, error, delay)
    finally:
        del error  # break the exception-frame reference cycle


async def _resolve_failure(purchase: _Purchase, error: IndigoError) -> CsvExport | ExportRead:
    """Read the server's record after a failure: purchased after all, refused, or to be sent again.

    Raises:
        PurchaseInDoubtError: the outcome stays unknown.
    """
    retry = purchase.run.client.transport.retry
    try:
        read = await _read_back(purchase, error)
        if export_state(read.export) is not ExportState.FOR_SALE:
            return await _book(purchase, read.export)
        if not _is_unknown(error):
            raise error
        purchase.unknown_outcomes += 1
        purchase.failures += 1
        if purchase.send_state.stop_requested or purchase.failures >= retry.attempts or _is_about_another(error):
            raise _in_doubt_error(purchase, error, read.export)
        await _wait_to_resend(purchase, error, retry.backoff(purchase.failures, _jitter()))
    finally:
        del error  # break the exception-frame reference cycle
    return read


async def _wait_to_resend(purchase: _Purchase, error: IndigoError, delay: float) -> None:
    reason = str(error.status) if isinstance(error, ApiError) else type(error).__name__
    attempt = max(1, purchase.failures)
    emit(RequestRetried(endpoint=PURCHASE_EXPORT.name, attempt=attempt, delay=delay, reason=reason))
    await asyncio.sleep(delay)


def _jitter() -> float:
    return random.random()  # noqa: S311 - jitter needs no secrecy


def _is_recent(read: ExportRead) -> bool:
    return asyncio.get_running_loop().time() - read.read_at <= _MAX_AGE_SECONDS


async def _reserve_and_record(purchase: _Purchase, export: CsvExport, cost: int) -> None:
    """Reserve the price in the budget, and record the intent at that price before anything is sent."""
    run = purchase.run
    run.raise_if_stopped()
    if not purchase.reservation.reserve(cost):
        raise BudgetExceededError(
            f"export {export.id} costs {cost} cents and the batch has {run.budget.left_cents} left of its budget; "
            "nothing was bought. Raise the budget to buy this preview",
            stage=Stage.PURCHASE,
            audience=run.audience,
            export=export,
            limit_cents=run.budget.limit_cents or 0,
        )
    if purchase.intent_cents == cost:
        return
    if not purchase.unknown_outcomes:
        await _cancel_intent(purchase)
    # Written whole even if cancelled, so that an intent that no purchase follows can be canceled.
    purchase.intent_cents = cost
    await run_to_completion(asyncio.ensure_future(run.job_log.record_intent(Stage.PURCHASE, _facts(purchase, cost))))


async def _cancel_intent(purchase: _Purchase) -> None:
    if purchase.intent_cents is not None:
        purchase.intent_cents = None
        await purchase.run.job_log.cancel_intent(Stage.PURCHASE)


def _facts(purchase: _Purchase, cost: int) -> dict[str, Any]:
    about = {"audience_id": purchase.audience_id, "export_id": purchase.export_id, "cost_cents": cost}
    return purchase.terms.journal_facts | about


async def _send(purchase: _Purchase, read: ExportRead) -> CsvExport:
    """Send once. Until `_book` or a read says otherwise, the outcome counts as unknown."""
    state, run = purchase.send_state, purchase.run
    state.send_by = read.read_at + _MAX_AGE_SECONDS
    response = await send_purchase(run.client, purchase.export_id, run.customer_id, state)
    state.outcome_unknown = True
    run.client.purchased_exports[str(purchase.export_id)] = frozenset(purchase.terms.optional_field_types)
    if response.audience is not None and not same_id(response.audience.id, purchase.audience_id):
        raise RecordMismatchError(
            endpoint=PURCHASE_EXPORT.name,
            record_kind="audience",
            requested=purchase.audience_id,
            received=response.audience.id,
        )
    return response


def _was_not_carried_out(error: IndigoError, state: SendState) -> bool:
    """Whether the server certainly did nothing: it never got the request, or put it off."""
    if isinstance(error, AuthenticationError):
        return state.token_refreshed
    return isinstance(error, (RateLimitedError, ConnectionFailedError, SendTooLateError))


def _is_unknown(error: IndigoError) -> bool:
    """Whether the request may still be carried out although the record shows that it was not yet."""
    if isinstance(error, ServerError):
        return True
    if isinstance(error, ApiError):
        return error.status in _TIMED_OUT_OR_CONFLICTING
    return isinstance(error, (AmbiguousOutcomeError, ResponseDecodeError)) or _is_about_another(error)


def _is_about_another(error: IndigoError) -> bool:
    """Whether the response was about another record, which may then have been purchased instead."""
    return isinstance(error, (RecordMismatchError, CustomerMismatchError))


async def _read_back(purchase: _Purchase, error: IndigoError) -> ExportRead:
    """Read the export after a send that failed.

    Raises:
        PurchaseInDoubtError: it cannot be read.
    """
    purchase.send_state.outcome_unknown = True
    try:
        read = await read_until_shown(purchase.run, purchase.audience_id, purchase.export_id)
    except IndigoError as unread:
        if isinstance(error, AuthenticationError) and isinstance(unread, AuthenticationError):
            purchase.send_state.outcome_unknown = False
            raise error from None  # the token is refused everywhere, so the purchase was refused, too
        purchase.unknown_outcomes += 1
        raise _in_doubt_error(purchase, error, None, unread) from None
    finally:
        del error  # break the exception-frame reference cycle
    purchase.send_state.outcome_unknown = False
    return read


async def _confirm(purchase: _Purchase, response: CsvExport, quoted_cents: int) -> CsvExport:
    """Return a record that shows the purchase and what it cost: the response's own, or the server's record.

    Raises:
        PurchaseInDoubtError: the server reports the purchase, but goes on showing the export as unpaid.
    """
    says_purchased = export_state(response) is not ExportState.FOR_SALE
    if says_purchased and (response.cost_cents is not None or quoted_cents == 0):
        return response
    retry = purchase.run.client.transport.retry
    purchase.send_state.outcome_unknown = True
    for attempt in range(1, retry.attempts + 1):
        try:
            shown = (await read_until_shown(purchase.run, purchase.audience_id, purchase.export_id)).export
        except IndigoError:
            return response
        if says_purchased:
            return attrs.evolve(response, cost_cents=shown.cost_cents)
        if export_state(shown) is not ExportState.FOR_SALE or not shown.status.strip():
            return shown
        await asyncio.sleep(retry.backoff(attempt, _jitter()))
    purchase.unknown_outcomes += 1
    raise _in_doubt_error(purchase, None, response)


def _in_doubt_error(
    purchase: _Purchase, error: IndigoError | None, export: CsvExport | None, unread: IndigoError | None = None
) -> PurchaseInDoubtError:
    what = "the server reported success" if error is None else f"{error}"
    then = f"its record could not be read ({unread})" if unread is not None else "its record still shows it as unpaid"
    return PurchaseInDoubtError(
        f"export {purchase.export_id} of audience {purchase.audience_id} may or may not have been purchased for "
        f"{purchase.intent_cents} cents: {what}; {then}. The amount stays reserved. The same call reads the server "
        "before it buys anything; if in doubt, ask the vendor first",
        stage=Stage.PURCHASE,
        audience=purchase.run.audience,
        export=export,
    )


async def _book(purchase: _Purchase, export: CsvExport) -> CsvExport:
    """Count the purchase at what was charged, remember it, and report a difference to the quote."""
    run, quoted = purchase.run, purchase.intent_cents or 0
    charged = export.cost_cents
    if charged is None:
        charged = max([quoted, *find_price_amounts(export).values()])
    purchase.is_booked = True
    purchase.reservation.spend(charged)
    run.budget.record_charge(quoted_cents=quoted, charged_cents=charged)
    run.client.purchased_exports[str(purchase.export_id)] = frozenset(purchase.terms.optional_field_types)
    emit(
        ExportPurchased(
            customer_id=run.customer_id, audience_name=run.audience_name, export_id=export.id, cost_cents=charged
        )
    )
    if charged != quoted:
        run.warn(f"export {export.id} was quoted at {quoted} cents and charged at {charged} cents")
    if charged > purchase.terms.max_cost_cents:
        run.stop_flag.reason = run.stop_flag.reason or (
            f"export {export.id} was charged at {charged} cents, above the limit of {purchase.terms.max_cost_cents}; "
            "the server does not charge what it quotes"
        )
    await run.job_log.record_result(Stage.PURCHASE, _facts(purchase, charged))
    purchase.send_state.outcome_unknown = False
    return export
