"""`indigo-async watch`: show audiences until the server is done with them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import PACING, WAITING, OptionalCustomer, PacingOptions, WaitOptions

__all__ = ["watch"]


def watch(
    audience_ids: Annotated[tuple[str, ...], Parameter(help="The IDs of the audiences.")],
    /,
    *,
    customer: OptionalCustomer = None,
    pacing: PacingOptions = PACING,
    options: WaitOptions = WAITING,
) -> ExitCode:
    """Show audiences until each is done."""
    from indigo_async.cli.runners.watch import watch_audiences

    return watch_audiences(audience_ids, customer, pacing, options)
