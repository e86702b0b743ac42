"""Audiences and exports as JSON and as tables. Neither contains URLs, which may be signed."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from indigo_async._text import format_dollars
from indigo_async.cli.render.output import make_table, replace_control_characters
from indigo_async.models import Audience, CsvExport, is_failure_status
from indigo_async.workflows.recipes.waits import is_active

__all__ = ["audience_to_json", "csv_status", "effective_status", "format_status", "render_audience", "render_audiences"]

_SUCCESS_STATUSES = {"ACTIVE", "READY_FOR_COLUMN_SELECTION"}


def audience_to_json(audience: Audience) -> dict[str, object]:
    """An audience as a JSON object, always with the same keys."""
    return {
        "id": audience.id,
        "name": audience.name,
        "status": audience.status,
        "customer_id": audience.customer_id,
        "base_audience_id": audience.base_audience_id,
        "csv_status": csv_status(audience),
        "size": audience.size,
        "row_count": csv.row_count if (csv := audience.uploaded_audience_csv) is not None else None,
        "matched_count": audience.matched_count,
        "match_rate": None if audience.match_rate is None else round(audience.match_rate, 4),
        "exports": [_export_to_json(export) for export in audience.csv_exports],
    }


def _export_to_json(export: CsvExport) -> dict[str, object]:
    return {
        "id": export.id,
        "status": export.status,
        "cost_cents": export.cost_cents,
        "optional_field_types": export.optional_field_types,
        "downloadable": export.download_url is not None,
    }


def render_audiences(audiences: Iterable[Audience]) -> RenderableType:
    """A table of audiences."""
    return make_table(
        {
            "id": "left",
            "name": "left",
            "customer": "left",
            "made from": "left",
            "status": "left",
            "people": "right",
            "exports": "right",
        },
        (
            (
                audience.id,
                audience.name,
                audience.customer_id,
                _describe_source(audience),
                format_status(effective_status(audience)),
                _format_count(audience.size),
                len(audience.csv_exports) or "-",
            )
            for audience in audiences
        ),
    )


def render_audience(audience: Audience) -> RenderableType:
    """One audience and its exports."""
    grid = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    is_matched = audience.name is not None and is_active(audience)
    upload_status = None if is_matched else csv_status(audience)
    fields: dict[str, object] = {
        "audience": audience.id,
        "name": audience.name,
        "customer": audience.customer_id,
        "made from": _describe_source(audience),
        "status": format_status(audience.status),
        "CSV": None if upload_status is None else format_status(upload_status),
        "people": _format_count(audience.size),
        "matched": audience.describe_match(),
    }
    for name, value in fields.items():
        if value is not None and value != "-":
            grid.add_row(
                Text(name, style="dim"), value if isinstance(value, Text) else replace_control_characters(value)
            )
    if not audience.csv_exports:
        return grid
    return Group(grid, "", _render_exports(audience.csv_exports))


def _render_exports(exports: Iterable[CsvExport]) -> RenderableType:
    """A table of exports."""
    return make_table(
        {"export": "left", "status": "left", "price": "right", "paid fields": "left", "file": "left"},
        (
            (
                export.id,
                format_status(export.status),
                format_dollars(export.cost_cents),
                "unknown" if export.optional_field_types is None else ", ".join(export.optional_field_types) or "none",
                Text("ready to download", style="green") if export.download_url is not None else "-",
            )
            for export in exports
        ),
    )


def _describe_source(audience: Audience) -> object:
    """What the audience was made from: the base audience of a lookalike, or a CSV. None if the server doesn't say."""
    if audience.base_audience_id is not None:
        return audience.base_audience_id
    return "a CSV" if audience.uploaded_audience_csv is not None else None


def effective_status(audience: Audience) -> str:
    """The most informative status: the CSV's until the match starts, then the audience's."""
    upload = csv_status(audience)
    is_stub = audience.name is None and not is_active(audience)
    return upload if upload and is_stub else audience.status


def csv_status(audience: Audience) -> str | None:
    """The status of the audience's CSV; None without a CSV."""
    return audience.uploaded_audience_csv.status if audience.uploaded_audience_csv is not None else None


def _format_count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def format_status(status: str) -> Text:
    """A status in color: green when done, red when failed, yellow in between."""
    if not status:
        return Text("-", style="dim")
    style = "red" if is_failure_status(status) else "green" if status.upper() in _SUCCESS_STATUSES else "yellow"
    return Text(replace_control_characters(status), style=style)
