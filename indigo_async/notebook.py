"""Tables for notebooks: `table(audiences)` shows many records. One record, or a batch's report, displays itself.

All text is escaped, and no signed or download URL is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Protocol

import attrs

from indigo_async._redaction import redact

__all__ = ["Record", "Table", "table"]

_MAX_ROWS = 200
_LEFT = 'style="text-align:left"'


class Record(Protocol):
    """An `Audience` or a `CsvExport`."""

    def display_fields(self) -> dict[str, object]:
        """Return what to show of the record, by heading."""
        ...


@attrs.frozen
class Table:
    """Audiences or exports, one per row. Notebooks display it as HTML."""

    records: tuple[Record, ...]

    def _repr_html_(self) -> str:
        return rows_html([record.display_fields() for record in self.records])


def table(records: Iterable[Record]) -> Table:
    """Show audiences or exports as one table. A notebook displays the first 200."""
    return Table(tuple(records))


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
