"""`indigo-async export`: price an export, purchase it within a limit, download it."""

from __future__ import annotations

import re
from typing import Any, cast

import attrs
from rich.console import Group, RenderableType

from indigo_async._text import format_dollars
from indigo_async._validation import InputCheck
from indigo_async.cli.client import open_client, read_audience
from indigo_async.cli.errors import describe_error
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import WaitOptions
from indigo_async.cli.render.output import Justify, format_file_size, make_table
from indigo_async.cli.signals import run_async
from indigo_async.errors import BudgetExceededError
from indigo_async.events import Event, Stage
from indigo_async.models import CsvExport
from indigo_async.workflows import ExportPurchased, ExportReceipt, download_export, export_audience

__all__ = ["export_and_show"]

_CENTS = re.compile("cents", re.IGNORECASE)


def export_and_show(
    audience_id: str,
    customer: str | None,
    options: WaitOptions,
    *,
    out: str,
    fields: tuple[str, ...],
    max_cost_cents: int,
    reuse_purchased: bool | None,
    allow_empty: bool,
    export_id: str | None,
) -> ExitCode:
    """Export an audience, or download an export that was purchased earlier, and show the result or the price."""
    if export_id is not None:
        _reject_export_options(fields, reuse_purchased, allow_empty=allow_empty)
    output = options.create_output()
    spent_cents = 0

    def count_spending(event: Event) -> None:
        nonlocal spent_cents
        if isinstance(event, ExportPurchased):
            spent_cents += event.cost_cents

    async def work() -> ExportReceipt:
        async with open_client(options, output, poll_interval=options.poll_interval, on_event=count_spending) as client:
            audience, seconds_left = await read_audience(
                client, audience_id, customer, stage=Stage.PREVIEW, seconds=options.timeout
            )
            if export_id is not None:
                return await download_export(
                    client,
                    audience,
                    customer_id=customer,
                    destination=out,
                    export_id=export_id,
                    timeout=seconds_left,
                )
            return await export_audience(
                client,
                audience,
                customer_id=customer,
                destination=out,
                optional_field_types=fields,
                max_cost_cents=max_cost_cents,
                reuse_purchased=reuse_purchased,
                allow_empty=allow_empty,
                timeout=seconds_left,
            )

    try:
        receipt = run_async(work)
    except BudgetExceededError as error:
        if error.export is None or error.export.cost_cents is None:
            raise
        output.write_json(_to_json(audience_id, error.export, max_cost_cents))
        output.show(_render_price(error.export))
        message = (
            f"export {error.export.id} costs {format_dollars(error.export.cost_cents)} and the limit is "
            f"{format_dollars(max_cost_cents)}: nothing was purchased"
        )
        advice = f"To purchase it, run the same command with --max-cost-cents {error.export.cost_cents}"
        output.error(attrs.evolve(describe_error(error), message=message, advice=advice, text=f"{message}. {advice}"))
        return ExitCode.OVER_LIMIT
    output.write_json(_to_json(audience_id, receipt.export, max_cost_cents, spent_cents=spent_cents, receipt=receipt))
    output.show(_render_receipt(receipt, spent_cents))
    return ExitCode.SUCCESS


def _reject_export_options(fields: tuple[str, ...], reuse_purchased: bool | None, *, allow_empty: bool) -> None:
    check = InputCheck()
    if fields:
        check.add("--field", "can't be combined with --export-id")
    if reuse_purchased is not None:
        check.add("--export-id", "purchases nothing: omit --reuse-purchased and --buy-another")
    if allow_empty:
        check.add("--export-id", "purchases nothing: omit --allow-empty")
    check.raise_if_invalid()


def _to_json(
    audience_id: str,
    export: CsvExport,
    limit_cents: int,
    *,
    spent_cents: int = 0,
    receipt: ExportReceipt | None = None,
) -> dict[str, object]:
    """The result as a JSON object, always with the same keys."""
    return {
        "audience_id": audience_id,
        "export_id": export.id,
        "cost_cents": export.cost_cents,
        "limit_cents": limit_cents,
        "spent_cents": spent_cents,
        "path": None if receipt is None else str(receipt.path),
        "size_bytes": None if receipt is None else receipt.size_bytes,
        "sha256": None if receipt is None else receipt.sha256,
    }


def _render_price(export: CsvExport) -> RenderableType:
    """The price, with its breakdown if that is a list of objects with the same keys."""
    price = f"price {format_dollars(export.cost_cents)}"
    breakdown: Any = export.cost_breakdown
    items = cast("list[Any]", breakdown) if isinstance(breakdown, list) else []
    if not items or not all(isinstance(item, dict) and item.keys() == items[0].keys() for item in items):
        return price
    rows = [[_format_cell(key, value) for key, value in item.items()] for item in items]
    columns: dict[str, Justify] = {_CENTS.sub("price", str(key)): _justify(value) for key, value in items[0].items()}
    return Group(make_table(columns, rows), price)


def _format_cell(key: object, value: object) -> str:
    if isinstance(value, int) and _CENTS.search(str(key)):
        return format_dollars(value)
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def _justify(value: object) -> Justify:
    return "right" if isinstance(value, (int, float)) else "left"


def _render_receipt(receipt: ExportReceipt, spent_cents: int) -> str:
    paid = f"{format_dollars(spent_cents)} paid now" if spent_cents else "nothing paid now"
    return f"{receipt.path}: {format_file_size(receipt.size_bytes)}, export {receipt.export.id}, {paid}"
