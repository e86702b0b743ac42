"""`indigo-async quote`: what a manifest would cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.text import Text

from indigo_async._text import format_dollars
from indigo_async.cli.batch_runner import BATCH, BatchOptions, resume_command, run_manifest
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import CONNECTION, OUTPUT, ConnectionOptions, OutputOptions, run_async
from indigo_async.cli.render.output import Justify, make_table
from indigo_async.cli.render.results import BatchResult, render_failures, render_stop_reason, summary_to_json
from indigo_async.workflows import JobOutcome

__all__ = ["CustomerQuote", "quote"]

_INTRODUCTION = (
    "A price is the price of an audience that exists, so this uploads, matches, grows and previews at the server, as "
    "`run` would, all of it free of charge. Nothing is bought."
)


@attrs.define
class CustomerQuote:
    """Prices of a customer's exports, in cents. `above_limit` counts those above their job's own limit."""

    jobs: int = 0
    priced: int = 0
    bought_before: int = 0
    unknown: int = 0
    failed: int = 0
    above_limit: int = 0
    total_cents: int = 0
    dearest_cents: int = 0

    def add(self, outcome: JobOutcome) -> None:
        """Count a job."""
        self.jobs += 1
        export = outcome.result.quote if outcome.result is not None else None
        if outcome.error is not None:
            self.failed += 1
        if export is None or outcome.job.export is None:
            return
        if export.download_url is not None:
            self.bought_before += 1
        elif export.cost_cents is None:
            self.unknown += 1
        else:
            self.priced += 1
            self.total_cents += export.cost_cents
            self.dearest_cents = max(self.dearest_cents, export.cost_cents)
            self.above_limit += export.cost_cents > outcome.job.export.max_cost_cents


def quote(
    manifest: Annotated[Path, Parameter(help="The jobs: a .yaml, .csv or .jsonl file.")],
    *,
    batch: BatchOptions = BATCH,
    connection: ConnectionOptions = CONNECTION,
    output: OutputOptions = OUTPUT,
) -> ExitCode:
    """Price the exports of a manifest without buying. A later `run` of it buys these same previews."""
    words = output.create_output()
    prices: dict[str, CustomerQuote] = {}

    def take(outcome: JobOutcome) -> None:
        prices.setdefault(outcome.job.customer_id, CustomerQuote()).add(outcome)

    async def work() -> BatchResult:
        return await run_manifest(
            manifest, batch, connection, words, purchase=False, budget_cents=None, on_outcome=take
        )

    words.note(_INTRODUCTION)
    end = run_async(work)
    for customer, price in sorted(prices.items()):
        words.write_json({"type": "customer", "customer_id": customer, **attrs.asdict(price)})
    words.write_json({**summary_to_json(end), **_total_to_json(prices)})
    words.show(_render_quote(end, prices))
    if end.exit_code is not ExitCode.SUCCESS:
        words.error(f"not every job was priced. Go on with:\n  {resume_command()}")
    return end.exit_code


def _total_to_json(prices: Mapping[str, CustomerQuote]) -> dict[str, Any]:
    return {"price_cents": sum(price.total_cents for price in prices.values())}


def _render_quote(end: BatchResult, prices: Mapping[str, CustomerQuote]) -> RenderableType:
    columns: dict[str, Justify] = {
        "customer": "left",
        "jobs": "right",
        "to buy": "right",
        "price": "right",
        "dearest": "right",
        "above limit": "right",
        "bought before": "right",
        "failed": "right",
    }
    everybody = CustomerQuote()
    for price in prices.values():
        for name in attrs.fields_dict(CustomerQuote):
            value = getattr(price, name)
            together = max if name == "dearest_cents" else int.__add__
            setattr(everybody, name, together(getattr(everybody, name), value))
    rows = [_quote_row(customer, price) for customer, price in sorted(prices.items())]
    total = [Text(cell, style="bold") for cell in _quote_row("all", everybody)]
    parts: list[RenderableType] = [make_table(columns, [*rows, total] if len(rows) != 1 else rows)]
    if everybody.unknown:
        parts.append(Text(f"{everybody.unknown:,} exports show no price that can be read.", style="yellow"))
    if everybody.above_limit:
        limit = f"{everybody.above_limit:,} cost more than their export.max_cost_cents: `run` would not buy them."
        parts.append(Text(limit, style="yellow"))
    return Group(*parts, *render_stop_reason(end.report), *render_failures(end))


def _quote_row(customer: str, price: CustomerQuote) -> tuple[str, ...]:
    counts = (price.above_limit, price.bought_before, price.failed)
    return (
        customer,
        f"{price.jobs:,}",
        f"{price.priced:,}",
        format_dollars(price.total_cents),
        format_dollars(price.dearest_cents),
        *(f"{count:,}" if count else "" for count in counts),
    )
