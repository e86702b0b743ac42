"""Small tables in HTML, for notebooks: everything is escaped, and no URL that grants anything is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from indigo_async._redaction import redact

__all__ = ["format_dollars", "record_html", "table_html"]

_MAX_ROWS = 200


def format_dollars(cents: int) -> str:
    return f"${cents / 100:,.2f}"


def record_html(title: str, fields: Mapping[str, object]) -> str:
    """What is known of one thing, a line for each fact; those that are None are left out."""
    rows = (
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{_cell_html(value)}</td></tr>'
        for name, value in fields.items()
        if value is not None
    )
    return f'<table><caption style="text-align:left"><b>{escape(title)}</b></caption>{"".join(rows)}</table>'


def table_html(rows: Sequence[Mapping[str, object]], total: int | None = None) -> str:
    """A line for each row; `total` is how many there are, where these are not all."""
    headings = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f'<th style="text-align:left">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{_cell_html(row.get(name))}</td>' for name in headings) + "</tr>"
        for row in rows[:_MAX_ROWS]
    )
    more = (len(rows) if total is None else total) - min(len(rows), _MAX_ROWS)
    note = f"<p>and {more:,} more</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cell_html(value: object) -> str:
    return "" if value is None else f"<bdi>{escape(redact(str(value)))}</bdi>"
