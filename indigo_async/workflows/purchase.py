"""Buying one export: bounded by a limit, sent only when the server's state says that it is needed, settled always."""

from __future__ import annotations

import asyncio

from indigo_async.errors import AlreadyPurchasedError, BudgetExceededError
from indigo_async.models import CsvExport, RecordId
from indigo_async.transport.events import emit
from indigo_async.transport.session import Flight
from indigo_async.transport.shield import outlast
from indigo_async.workflows.events import ExportPurchased, Stage
from indigo_async.workflows.rules import ExportState, export_state, find_export
from indigo_async.workflows.run import Run
from indigo_async.workflows.settle import settled

__all__ = ["check_price", "purchased_export"]

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


async def purchased_export(run: Run, audience_id: RecordId, export: CsvExport, *, limit_cents: int) -> CsvExport:
    """Buy an export whose price was just read, and return it as the server shows it afterwards.

    Cancelled before the request leaves, nothing is bought. Cancelled later, it is first found out what happened, within
    a bound, and nothing more is sent.
    """
    cost = check_price(run, export, limit_cents)
    await run.memory.intend(Stage.PURCHASE, {"export_id": export.id, "cost_cents": cost})
    flight = Flight()
    purchase = asyncio.create_task(_purchase(run, audience_id, export, cost, flight))
    try:
        return await asyncio.shield(purchase)
    except asyncio.CancelledError:
        flight.stop = True
        if flight.uncertain:
            await outlast(purchase, seconds=_SETTLE_SECONDS)
        purchase.cancel()
        await outlast(purchase)
        raise


async def _purchase(run: Run, audience_id: RecordId, export: CsvExport, cost: int, flight: Flight) -> CsvExport:
    async def send() -> CsvExport:
        try:
            return await run.client.purchase_csv_export(export_id=export.id, customer_id=run.customer_id, flight=flight)
        except AlreadyPurchasedError:
            # By an attempt whose answer was lost. Its record is read from the audience from now on.
            flight.uncertain = False
            return export

    async def look() -> CsvExport | None:
        audience = await run.client.get_audience(audience_id, run.customer_id)
        shown = find_export(audience, export.id)
        bought = shown is not None and export_state(shown) in {ExportState.DOWNLOADABLE, ExportState.IN_PROGRESS}
        return shown if bought else None

    bought = await settled(send, look, retry=run.client.transport.retry, flight=flight)
    emit(
        ExportPurchased(
            customer_id=run.customer_id, audience_name=run.audience_name, export_id=export.id, cost_cents=cost
        )
    )
    await run.memory.remember(Stage.PURCHASE, {"export_id": export.id, "cost_cents": cost})
    return bought
