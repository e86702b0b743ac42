"""Audiences and exports, as JSON records for machines and as tables for people.

Neither holds a URL: it may be signed.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from indigo_async.cli.output import dollars, plain_table, printable, status_text
from indigo_async.models import Audience, AudienceStatus, CsvExport

__all__ = ["audience_record", "audience_view", "audiences_table", "csv_status", "status_of"]


def audience_record(audience: Audience) -> dict[str, object]:
    """An audience as one JSON object; its keys are always the same."""
    return {
        "id": audience.id,
        "name": audience.name,
        "status": audience.status,
        "customer_id": audience.customer_id,
        "base_audience_id": audience.base_audience_id,
        "csv_status": csv_status(audience),
        "size": _people_in(audience),
        "exports": [_export_record(export) for export in audience.csv_exports],
    }


def _export_record(export: CsvExport) -> dict[str, object]:
    return {
        "id": export.id,
        "status": export.status,
        "cost_cents": export.cost_cents,
        "optional_field_types": export.optional_field_types,
        "downloadable": export.download_url is not None,
    }


def audiences_table(audiences: Iterable[Audience]) -> Table:
    """Audiences, a line each."""
    return plain_table(
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
                _source_of(audience),
                status_text(status_of(audience)),
                _count(_people_in(audience)),
                len(audience.csv_exports) or "-",
            )
            for audience in audiences
        ),
    )


def audience_view(audience: Audience) -> RenderableType:
    """One audience with its exports."""
    grid = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    facts: dict[str, object] = {
        "audience": audience.id,
        "name": audience.name,
        "customer": audience.customer_id,
        "made from": _source_of(audience),
        "status": status_text(audience.status),
        "CSV": None if (status := csv_status(audience)) is None else status_text(status),
        "people": _count(_people_in(audience)),
    }
    for name, fact in facts.items():
        if fact is not None and fact != "-":
            grid.add_row(Text(name, style="dim"), fact if isinstance(fact, Text) else printable(fact))
    if not audience.csv_exports:
        return grid
    return Group(grid, "", _exports_table(audience.csv_exports))


def _exports_table(exports: Iterable[CsvExport]) -> Table:
    """Exports, a line each."""
    return plain_table(
        {"export": "left", "status": "left", "price": "right", "paid fields": "left", "file": "left"},
        (
            (
                export.id,
                status_text(export.status),
                dollars(export.cost_cents),
                "unknown" if export.optional_field_types is None else ", ".join(export.optional_field_types) or "none",
                Text("can be downloaded", style="green") if export.download_url is not None else "-",
            )
            for export in exports
        ),
    )


def _source_of(audience: Audience) -> object:
    """What an audience was made from, as far as the server shows it: the base of a lookalike, or a CSV."""
    if audience.base_audience_id is not None:
        return audience.base_audience_id
    return "a CSV" if audience.uploaded_audience_csv is not None else None


def status_of(audience: Audience) -> str:
    """The status that tells most: the CSV's, while the audience waits for it or for its columns."""
    upload = csv_status(audience)
    is_stub = audience.name is None and audience.status.upper() != AudienceStatus.ACTIVE
    return upload if upload and is_stub else audience.status


def csv_status(audience: Audience) -> str | None:
    """The status of the CSV behind an audience; None where there is none."""
    return audience.uploaded_audience_csv.status if audience.uploaded_audience_csv is not None else None


def _people_in(audience: Audience) -> int | None:
    """How many people are in an audience, where the server says so. It is no documented field."""
    size: object = audience.extra.get("size")
    return size if isinstance(size, int) and not isinstance(size, bool) else None


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
