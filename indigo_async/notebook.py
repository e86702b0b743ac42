"""Tables for notebooks: `table(audiences)` shows many records. One record, or a batch's report, displays itself.

All text is escaped, and no signed or download URL is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

import attrs

from indigo_async._redaction import redact
from indigo_async._text import format_dollars
from indigo_async.models import Audience, CsvExport

__all__ = ["Table", "table"]

_MAX_ROWS = 200
_LEFT = 'style="text-align:left"'


@attrs.frozen
class Table:
    """Audiences or exports, one per row. Notebooks display it as HTML."""

    records: tuple[Audience | CsvExport, ...]

    def _repr_html_(self) -> str:
        return rows_html([_display_fields(record) for record in self.records])


def table(records: Iterable[Audience | CsvExport]) -> Table:
    """Show audiences or exports as one table. A notebook displays the first 200."""
    return Table(tuple(records))


def record_html(record: Audience | CsvExport) -> str:
    """Render one record, with a table of its exports if it is an audience that has some."""
    if isinstance(record, CsvExport):
        return fields_html("Export", _display_fields(record))
    html = fields_html("Audience", _display_fields(record))
    return html + rows_html([_display_fields(export) for export in record.csv_exports]) if record.csv_exports else html


def fields_html(title: str, fields: Mapping[str, object]) -> str:
    """Render named values, one per row. Values that are None are left out."""
    rows = (
        f"<tr><th {_LEFT}>{escape(name)}</th><td {_LEFT}>{_cell_html(value)}</td></tr>"
        for name, value in fields.items()
        if value is not None
    )
    return f"<table><caption {_LEFT}><b>{escape(title)}</b></caption>{''.join(rows)}</table>"


def rows_html(rows: Sequence[Mapping[str, object]], total: int | None = None) -> str:
    """Render rows under their headings, at most 200. Pass `total` if `rows` is only the beginning of more."""
    headings = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th {_LEFT}>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td {_LEFT}>{_cell_html(row.get(name))}</td>" for name in headings) + "</tr>"
        for row in rows[:_MAX_ROWS]
    )
    more = (len(rows) if total is None else total) - min(len(rows), _MAX_ROWS)
    note = f"<p>and {more:,} more</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cell_html(value: object) -> str:
    return "" if value is None else f"<bdi>{escape(redact(str(value)))}</bdi>"


def _display_fields(record: Audience | CsvExport) -> dict[str, object]:
    """Select what to show of a record. URLs are left out: anyone who has one can download the people."""
    if isinstance(record, Audience):
        csv = record.uploaded_audience_csv
        return {
            "id": record.id,
            "name": record.name,
            "status": record.status,
            "customer": record.customer_id,
            "grown from": record.base_audience_id,
            "CSV": csv.status if csv is not None else None,
            "exports": len(record.csv_exports) or None,
        }
    fields = record.optional_field_types
    return {
        "id": record.id,
        "status": record.status,
        "cost": format_dollars(record.cost_cents) if record.cost_cents is not None else None,
        "fields": ", ".join(fields) if fields is not None else None,
        "can be downloaded": "yes" if record.download_url is not None else "no",
    }
