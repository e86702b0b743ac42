"""Buying one export: bounded by a limit, sent only when the server's state says that it is needed, settled always."""

from __future__ import annotations

import asyncio
import logging

from indigo_async.errors import (
    AlreadyPurchasedError,
    BudgetExceededError,
    CustomerMismatchError,
    IndigoError,
    JournalError,
)
from indigo_async.models import CsvExport, RecordId
from indigo_async.transport.events import emit
from indigo_async.transport.session import Flight
from indigo_async.transport.shield import outlast, to_the_end
from indigo_async.workflows.events import ExportPurchased, Stage
from indigo_async.workflows.export_rules import ExportState, export_state, find_export
from indigo_async.workflows.rules import same_id
from indigo_async.workflows.run import Run
from indigo_async.workflows.settle import UNCERTAIN
from indigo_async.workflows.terms import ExportTerms

__all__ = ["check_price", "purchased_export"]

_logger = logging.getLogger("indigo_async")

_SETTLE_SECONDS = 60.0
"""How long a cancelled purchase may take to find out whether it was carried out."""


def check_price(run: Run, export: CsvExport, limit_cents: int) -> int:
    """The export's price in cents, which is within the limit.

    Raises:
        BudgetExceededError: it is above the limit, or the server does not show it where this SDK looks.
    """
    if export.cost_cents is None:
        keys = ", ".join(sorted(export.extra)) or "no others"
        message = f"the server shows no cost for export {export.id} that can be read (further keys: {keys})"
    elif export.cost_cents > limit_cents:
        message = f"export {export.id} costs {export.cost_cents} cents and the limit is {limit_cents}"
    else:
        return export.cost_cents
    raise BudgetExceededError(
        f"{message}; nothing was bought. Raise max_cost_cents to buy this preview",
        stage=Stage.PURCHASE,
        audience=run.audience,
        export=export,
        limit_cents=limit_cents,
    )


async def purchased_export(run: Run, audience_id: RecordId, export: CsvExport, terms: ExportTerms) -> CsvExport:
    """Buy an export whose price was just read, and return it as the server shows it afterwards.

    Cancelled before the request leaves, nothing is bought. Cancelled later, it is first found out what happened, within
    a bound, and nothing more is sent.

    Raises:
        BudgetExceededError: it costs more than the terms or the batch's budget allow; nothing was bought.
    """
    flight = Flight()
    purchase = asyncio.create_task(_purchase(run, audience_id, export, terms, flight))
    try:
        return await asyncio.shield(purchase)
    except asyncio.CancelledError:
        flight.stop = True
        if flight.uncertain:
            _logger.warning(
                "cancelled while the purchase of export %s is under way: finding out first whether it was made, "
                "which takes %d s at most",
                export.id,
                _SETTLE_SECONDS,
            )
            await outlast(purchase, seconds=_SETTLE_SECONDS)
        purchase.cancel()
        await outlast(purchase)
        raise
    finally:
        del purchase  # it keeps what it raised, which refers to this frame: only a collection would free them


async def _purchase(
    run: Run, audience_id: RecordId, export: CsvExport, terms: ExportTerms, flight: Flight
) -> CsvExport:
    cost = check_price(run, export, terms.max_cost_cents)
    reserved = _reserve(run, export, cost)
    facts = terms.facts | {"export_id": export.id, "cost_cents": cost}

    async def send() -> CsvExport:
        try:
            return await run.client.purchase_csv_export(export_id=export.id, customer_id=run.customer_id, flight=flight)
        except AlreadyPurchasedError:
            return export  # bought by an attempt whose answer was lost; the audience shows the rest

    async def look() -> CsvExport | None:
        audience = await run.client.get_audience(audience_id, run.customer_id)
        shown = find_export(audience.csv_exports, export.id)
        bought = shown is not None and export_state(shown) in {ExportState.DOWNLOADABLE, ExportState.IN_PROGRESS}
        return shown if bought else None

    try:
        # Whole, so that an intent that no purchase follows can be withdrawn.
        await to_the_end(asyncio.ensure_future(run.memory.intend(Stage.PURCHASE, facts)))
        bought = await run.post(send, look, flight)
    except (*UNCERTAIN, CustomerMismatchError):
        raise  # it may have been bought: its money stays reserved and its intent without a result
    except JournalError:
        run.budget.release(reserved)
        raise
    except (IndigoError, asyncio.CancelledError):
        if not (flight.uncertain or flight.doubts):
            run.budget.release(reserved)
            await run.memory.withdraw(Stage.PURCHASE)
        raise
    run.budget.spend(reserved)
    emit(
        ExportPurchased(
            customer_id=run.customer_id, audience_name=run.audience_name, export_id=export.id, cost_cents=cost
        )
    )
    await run.memory.remember(Stage.PURCHASE, facts)
    return bought


def _reserve(run: Run, export: CsvExport, cost: int) -> int:
    """Set the price aside in the batch's budget. Returns how much that took.

    A purchase that an earlier run made, or began and never saw the end of, is counted in the budget already.
    """
    known = (run.memory.intended(Stage.PURCHASE), run.memory.recall(Stage.PURCHASE))
    ours = (facts for facts in known if facts is not None and same_id(facts["export_id"], export.id))
    counted = max((int(facts["cost_cents"]) for facts in ours), default=0)
    reserved = max(0, cost - counted)
    if run.budget.reserve(reserved):
        return reserved
    raise BudgetExceededError(
        f"export {export.id} costs {cost} cents and the batch has {run.budget.left_cents} left of its budget; "
        "nothing was bought. Raise the budget to buy this preview",
        stage=Stage.PURCHASE,
        audience=run.audience,
        export=export,
        limit_cents=run.budget.limit_cents or 0,
    )
