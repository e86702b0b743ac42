"""How records show themselves in a notebook: small tables, with everything escaped and no URL that grants anything.

`table(audiences)` shows many of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

import attrs

from indigo_async.hidden import hide_secrets

if TYPE_CHECKING:
    from indigo_async.models import Audience, CsvExport
    from indigo_async.workflows.report import BatchReport

__all__ = ["Table", "audience_html", "export_html", "report_html", "table"]

_FAILURES_SHOWN = 20
_ROWS_SHOWN = 200


@attrs.frozen
class Table:
    """Audiences or exports, a line for each, as a notebook shows them."""

    records: tuple[Audience | CsvExport, ...]

    def _repr_html_(self) -> str:
        return _table_html([_facts(record) for record in self.records])


def table(records: Iterable[Audience | CsvExport]) -> Table:
    """Audiences or exports as one table; of many, a notebook shows the first 200."""
    return Table(tuple(records))


def audience_html(audience: Audience) -> str:
    """One audience, with a table of its exports. No URL is shown."""
    html = _facts_html("Audience", _audience_facts(audience))
    if audience.csv_exports:
        html += _table_html([_export_facts(export) for export in audience.csv_exports])
    return html


def export_html(export: CsvExport) -> str:
    """One export. Its URL is not shown, since whoever has that can download the people."""
    return _facts_html("Export", _export_facts(export))


def report_html(report: BatchReport) -> str:
    """A batch in numbers, with its first failures."""
    left = "" if report.budget_cents is None else f" of a budget of {_dollars(report.budget_cents)}"
    facts = {
        "done": f"{report.done:,}",
        "failed": f"{report.failed:,}",
        "stopped": report.stopped,
        "spent": f"{_dollars(report.spent_cents)}{left}",
        "unsettled": _dollars(report.unsettled_cents) if report.unsettled_cents else None,
        "seconds": f"{report.seconds:,.1f}",
        "requests": f"{sum(report.requests.values()):,}",
        "reads saved": f"{report.reads_saved:,}",
    }
    failures: list[dict[str, object]] = [
        {"job": failure.key, "stage": failure.stage, "error": failure.error_type, "message": failure.message}
        for failure in report.failures[:_FAILURES_SHOWN]
    ]
    html = _facts_html("Batch", facts)
    return html + _table_html(failures, of=report.failed) if failures else html


def _facts(record: Audience | CsvExport) -> dict[str, object]:
    from indigo_async.models import CsvExport  # noqa: PLC0415 - the records show themselves by this module

    return _export_facts(record) if isinstance(record, CsvExport) else _audience_facts(record)


def _audience_facts(audience: Audience) -> dict[str, object]:
    csv = audience.uploaded_audience_csv
    return {
        "id": audience.id,
        "name": audience.name,
        "status": audience.status,
        "customer": audience.customer_id,
        "grown from": audience.base_audience_id,
        "CSV": csv.status if csv is not None else None,
        "exports": len(audience.csv_exports) or None,
    }


def _export_facts(export: CsvExport) -> dict[str, object]:
    fields = export.optional_field_types
    return {
        "id": export.id,
        "status": export.status,
        "cost": _dollars(export.cost_cents) if export.cost_cents is not None else None,
        "fields": ", ".join(fields) if fields is not None else None,
        "can be downloaded": "yes" if export.download_url is not None else "no",
    }


def _dollars(cents: int) -> str:
    return f"${cents / 100:,.2f}"


def _facts_html(title: str, facts: Mapping[str, object]) -> str:
    rows = (
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{_cell(value)}</td></tr>'
        for name, value in facts.items()
        if value is not None
    )
    return f'<table><caption style="text-align:left"><b>{escape(title)}</b></caption>{"".join(rows)}</table>'


def _table_html(rows: list[dict[str, object]], of: int | None = None) -> str:
    """A line for each row; `of` is how many there are, where these are not all."""
    headings = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f'<th style="text-align:left">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{_cell(row.get(name))}</td>' for name in headings) + "</tr>"
        for row in rows[:_ROWS_SHOWN]
    )
    more = (len(rows) if of is None else of) - min(len(rows), _ROWS_SHOWN)
    note = f"<p>and {more:,} more</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cell(value: object) -> str:
    return "" if value is None else f"<bdi>{escape(hide_secrets(str(value)))}</bdi>"
