"""`indigo-async export`: price, buy within a limit, download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from cyclopts import Parameter
from rich.console import Group, RenderableType

from indigo_async._text import format_dollars
from indigo_async._validation import InputCheck
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import (
    CONNECTION,
    OUTPUT,
    WAITING,
    AudienceId,
    ConnectionOptions,
    OptionalCustomer,
    OutputOptions,
    WaitOptions,
    WholeNumber,
    open_client,
    run_async,
)
from indigo_async.cli.render.output import Justify, format_file_size, make_table
from indigo_async.errors import BudgetExceededError, DownloadError, EmptyAudienceError, ExportExistsError, IndigoError
from indigo_async.events import Event
from indigo_async.inputs import OptionalFieldType
from indigo_async.models import CsvExport
from indigo_async.workflows import ExportPurchased, ExportReceipt, download_export, export_audience

__all__ = ["export"]

_HINTS: Mapping[type[IndigoError], str] = {
    DownloadError: "Here that is --export-id, with the export's ID, in place of --field.",
    EmptyAudienceError: "Here that is --allow-empty.",
    ExportExistsError: "Here that is --reuse-purchased, or --export-id with the ID of the export.",
}
"""What the errors' advice means on this command line."""


def export(
    audience_id: AudienceId,
    /,
    *,
    out: Annotated[Path, Parameter(help="The file for the CSV; one that is there is replaced.")],
    customer: OptionalCustomer = None,
    field: Annotated[
        tuple[str, ...],
        Parameter(help=f"A paid field type: {', '.join(OptionalFieldType)}. Repeatable; the standard fields are free."),
    ] = (),
    max_cost_cents: Annotated[
        WholeNumber, Parameter(help="The most that may be spent, in cents: 80000 is $800.00. With 0 nothing is bought.")
    ] = 0,
    reuse_purchased: Annotated[
        bool | None,
        Parameter(
            negative="--buy-another",
            help="Where it is not shown with which fields an export was bought before: download that one, or buy "
            "another, each time that the command runs. Else the command stops.",
        ),
    ] = None,
    allow_empty: Annotated[
        bool, Parameter(negative=(), help="Buy the export even if the audience is known to hold nobody.")
    ] = False,
    export_id: Annotated[
        str | None, Parameter(help="Download this export, which was bought before, and buy nothing.")
    ] = None,
    connection: ConnectionOptions = CONNECTION,
    waiting: WaitOptions = WAITING,
    output: OutputOptions = OUTPUT,
) -> ExitCode:
    """Price an export of an audience, buy it within a limit, and download it."""
    if export_id is not None:
        _reject_export_options(field, reuse_purchased, allow_empty=allow_empty)
    words = output.create_output()
    spent: list[int] = []

    def note_purchases(event: Event) -> None:
        if isinstance(event, ExportPurchased):
            spent.append(event.cost_cents)

    async def work() -> ExportReceipt:
        async with open_client(
            connection, words, poll_interval=waiting.poll_interval, on_event=note_purchases
        ) as client:
            audience = await client.get_audience(audience_id, customer)
            if export_id is not None:
                return await download_export(
                    client,
                    audience,
                    customer_id=customer,
                    destination=out,
                    export_id=export_id,
                    timeout=waiting.timeout,
                )
            return await export_audience(
                client,
                audience,
                customer_id=customer,
                destination=out,
                optional_field_types=field,
                max_cost_cents=max_cost_cents,
                reuse_purchased=reuse_purchased,
                allow_empty=allow_empty,
                timeout=waiting.timeout,
            )

    try:
        receipt = run_async(work)
    except BudgetExceededError as error:
        if error.export is None or error.export.cost_cents is None:
            raise
        words.write_json(_to_json(audience_id, error.export, max_cost_cents))
        words.show(_render_price(error.export))
        words.error(
            f"export {error.export.id} costs {format_dollars(error.export.cost_cents)} and the limit is "
            f"{format_dollars(max_cost_cents)}: nothing was bought. To buy it, run the same command with "
            f"--max-cost-cents {error.export.cost_cents}"
        )
        return ExitCode.OVER_LIMIT
    except (DownloadError, EmptyAudienceError, ExportExistsError) as error:
        words.note(next(hint for kind, hint in _HINTS.items() if isinstance(error, kind)))
        raise
    words.write_json(_to_json(audience_id, receipt.export, max_cost_cents, spent_cents=sum(spent), receipt=receipt))
    words.show(_render_receipt(receipt, sum(spent)))
    return ExitCode.SUCCESS


def _reject_export_options(field: tuple[str, ...], reuse_purchased: bool | None, *, allow_empty: bool) -> None:
    check = InputCheck()
    if field:
        check.add("--field", "says nothing further beside --export-id: give one of them")
    if reuse_purchased is not None:
        check.add("--export-id", "buys nothing: leave out --reuse-purchased and --buy-another")
    if allow_empty:
        check.add("--export-id", "buys nothing: leave out --allow-empty")
    check.raise_if_invalid()


def _to_json(
    audience_id: str,
    export: CsvExport,
    limit_cents: int,
    *,
    spent_cents: int = 0,
    receipt: ExportReceipt | None = None,
) -> dict[str, object]:
    """What became of an export, as one JSON object; its keys are always the same."""
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
    """The price, and how it comes about, in whatever shape the server says it."""
    breakdown: Any = export.cost_breakdown
    items = cast("list[Any]", breakdown) if isinstance(breakdown, list) else []
    if not items or not all(isinstance(item, dict) and item.keys() == items[0].keys() for item in items):
        return f"price {format_dollars(export.cost_cents)}"
    rows = [[_format_cell(value) for value in item.values()] for item in items]
    columns: dict[str, Justify] = {str(key): _justify(value) for key, value in items[0].items()}
    return Group(make_table(columns, rows), f"price {format_dollars(export.cost_cents)}")


def _format_cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def _justify(value: object) -> Justify:
    return "right" if isinstance(value, (int, float)) else "left"


def _render_receipt(receipt: ExportReceipt, spent_cents: int) -> RenderableType:
    paid = f"{format_dollars(spent_cents)} paid now" if spent_cents else "nothing paid now"
    return f"{receipt.path}: {format_file_size(receipt.size_bytes)}, export {receipt.export.id}, {paid}"
