"""Small tables in HTML, for notebooks: everything is escaped, and no URL that grants anything is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from indigo_async.hidden import hide_secrets

__all__ = ["dollars", "facts_html", "table_html"]

_ROWS_SHOWN = 200


def dollars(cents: int) -> str:
    return f"${cents / 100:,.2f}"


def facts_html(title: str, facts: Mapping[str, object]) -> str:
    """What is known of one thing, a line for each fact; those that are None are left out."""
    rows = (
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{_cell(value)}</td></tr>'
        for name, value in facts.items()
        if value is not None
    )
    return f'<table><caption style="text-align:left"><b>{escape(title)}</b></caption>{"".join(rows)}</table>'


def table_html(rows: Sequence[Mapping[str, object]], of: int | None = None) -> str:
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
