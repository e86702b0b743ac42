"""`indigo-async doctor`: check everything that the other commands need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import CONNECTION, ConnectionOptions

__all__ = ["doctor"]


def doctor(
    *,
    journal_folder: Annotated[Path, Parameter(help="The folder where `run` will keep its journal.")] = Path(),
    options: ConnectionOptions = CONNECTION,
) -> ExitCode:
    """Check everything that the other commands need."""
    from indigo_async.cli.runners.doctor import check_everything

    return check_everything(journal_folder, options)
