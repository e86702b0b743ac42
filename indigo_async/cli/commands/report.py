"""`indigo-async report`: summarize a batch from its journal, even while the batch is running."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.options.common import OUTPUT, OutputOptions

__all__ = ["report"]


def report(
    journal: Annotated[Path, Parameter(help="The batch's journal. It is only read, and may be in use.")],
    *,
    html: Annotated[
        Path | None, Parameter(help="Write an HTML page with charts to this file. It works offline.")
    ] = None,
    options: OutputOptions = OUTPUT,
) -> None:
    """Summarize a batch: jobs, durations, costs, failures with advice, and requests."""
    from indigo_async.cli.runners.report import show_report

    show_report(journal, html, options.create_output())
