"""Jobs for the benchmarks: match a list, create a lookalike, export it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indigo_async import ColumnSelection, ColumnSelections
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep

__all__ = ["COLUMNS", "make_jobs"]

COLUMNS = ColumnSelections(first_name=ColumnSelection("First", required=True))


def make_jobs(
    count: int, folder: Path, *, customers: int = 1, customer: str = "customer", size: int = 5_000, **export: Any
) -> Iterator[AudienceJob]:
    """Make jobs of `customers` customers in turn, named `{customer}-0` and so on. `export` goes to `ExportStep`."""
    for number in range(count):
        yield AudienceJob(
            customer_id=f"{customer}-{number % customers}",
            audience_name=f"List {number}",
            csv=f"https://files.example.org/{number}.csv",
            column_selections=COLUMNS,
            lookalike=LookalikeStep(audience_name=f"List {number}, grown", size=size),
            export=ExportStep(destination=folder / f"{number}.csv", **export),
        )
