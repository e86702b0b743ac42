"""`indigo-async columns`: suggest which CSV columns to match by, ready to paste or save."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.options.common import OUTPUT, OutputOptions

__all__ = ["columns"]


def columns(csv: Annotated[Path, Parameter(help="A local CSV file.")], *, options: OutputOptions = OUTPUT) -> None:
    """Suggest which columns of a CSV to match by, with the reasons."""
    from indigo_async.cli.runners.columns import show_suggestion

    show_suggestion(csv, options.create_output())
