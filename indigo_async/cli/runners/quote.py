"""`indigo-async quote`: price the exports of a manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import attrs
from rich.console import Group, RenderableType
from rich.text import Text

from indigo_async._text import format_dollars
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.batch import BatchOptions
from indigo_async.cli.options.common import ConnectionOptions, PacingOptions
from indigo_async.cli.render.output import Justify, make_table
from indigo_async.cli.render.results import (
    BatchResult,
    render_failed_jobs,
    render_job_warnings,
    render_stop_reason,
    summary_to_json,
)
from indigo_async.cli.report.formatting import format_count
from indigo_async.cli.runners.batch import explain_exit, run_manifest
from indigo_async.cli.signals import run_async
from indigo_async.workflows import CustomerTotals, JobOutcome

__all__ = ["CustomerQuote", "quote_manifest"]

_INTRODUCTION = (
    "Only existing audiences have prices, so this uploads, matches, creates lookalikes and previews exports on the "
    "server, as `run` would. All of that is free. Nothing is purchased."
)


@attrs.define
class CustomerQuote:
    """The prices of a customer's exports, in cents. `above_limit` counts exports above their job's limit."""

    priced: int = 0
    bought_before: int = 0
    unknown: int = 0
    above_limit: int = 0
    total_cents: int = 0
    dearest_cents: int = 0

    def add(self, outcome: JobOutcome) -> None:
        """Count a job's export."""
        export = outcome.result.quote if outcome.result is not None else None
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


def quote_manifest(manifest: Path, batch: BatchOptions, pacing: PacingOptions, options: ConnectionOptions) -> ExitCode:
    """Price the exports of a manifest, and show the prices by customer."""
    output = options.create_output()
    total = CustomerQuote()
    quotes: defaultdict[str, CustomerQuote] = defaultdict(CustomerQuote)

    def count(outcome: JobOutcome) -> None:
        quotes[outcome.job.customer_id].add(outcome)
        total.add(outcome)

    output.note(_INTRODUCTION)
    result = run_async(
        lambda: run_manifest(
            manifest, batch, pacing, options, output, purchase=False, budget_cents=None, on_outcome=count
        )
    )
    for customer_id, customer_quote in sorted(quotes.items()):
        totals = result.report.by_customer[customer_id]
        counts = {"jobs": totals.done + totals.failed, "failed": totals.failed}
        output.write_json({"type": "customer", "customer_id": customer_id, **counts, **attrs.asdict(customer_quote)})
    output.write_json({**summary_to_json(result), "price_cents": total.total_cents})
    output.show(_render_quotes(result, quotes, total))
    if result.exit_code is not ExitCode.SUCCESS:
        output.error(explain_exit(result))
    return result.exit_code


def _render_quotes(result: BatchResult, quotes: Mapping[str, CustomerQuote], total: CustomerQuote) -> RenderableType:
    columns: dict[str, Justify] = {
        "customer": "left",
        "jobs": "right",
        "to purchase": "right",
        "total price": "right",
        "highest": "right",
        "above limit": "right",
        "already purchased": "right",
        "failed": "right",
    }
    by_customer = result.report.by_customer
    rows: list[tuple[object, ...]] = [
        _quote_row(customer_id, by_customer[customer_id], price) for customer_id, price in sorted(quotes.items())
    ]
    if len(rows) != 1:
        everyone = CustomerTotals(done=result.report.done, failed=result.report.failed)
        rows.append(tuple(Text(cell, style="bold") for cell in _quote_row("all", everyone, total)))
    parts: list[RenderableType] = [make_table(columns, rows)]
    if total.unknown:
        exports = format_count(total.unknown, "export")
        parts.append(Text(f"The price of {exports} could not be read.", style="yellow"))
    if total.above_limit:
        exports = format_count(total.above_limit, "export costs", "exports cost")
        them = "it" if total.above_limit == 1 else "them"
        message = f"{exports} more than export.max_cost_cents allows: `run` would not purchase {them}."
        parts.append(Text(message, style="yellow"))
    if result.unfinished:
        message = f"{result.unfinished:,} of {result.total:,} jobs are unfinished and not included."
        parts.append(Text(message, style="yellow"))
    warnings = render_job_warnings(result.report)
    return Group(*parts, *render_stop_reason(result), *warnings, *render_failed_jobs(result))


def _quote_row(customer_id: str, totals: CustomerTotals, price: CustomerQuote) -> tuple[str, ...]:
    counts = (price.above_limit, price.bought_before, totals.failed)
    return (
        customer_id,
        f"{totals.done + totals.failed:,}",
        f"{price.priced:,}",
        format_dollars(price.total_cents),
        format_dollars(price.dearest_cents),
        *(f"{count:,}" if count else "" for count in counts),
    )
