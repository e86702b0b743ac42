"""`indigo-async lookalike`: create a lookalike audience."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.options.common import WAITING, Customer, NewAudienceName, WaitOptions, WholeNumber
from indigo_async.cli.options.filters import FilterOptions

__all__ = ["lookalike"]


_NO_FILTERS = FilterOptions()


def lookalike(
    base: Annotated[
        str, Parameter(help="The ID of the base audience: matched from a CSV, with at least 1,000 people.")
    ],
    /,
    *,
    customer: Customer,
    name: NewAudienceName,
    size: Annotated[WholeNumber, Parameter(help="How many people to ask for.")],
    include_original_audience: Annotated[
        bool | None,
        Parameter(help="Whether to include the base audience's people. Default: the server decides."),
    ] = None,
    filters: FilterOptions = _NO_FILTERS,
    options: WaitOptions = WAITING,
) -> None:
    """Create a lookalike of a matched audience, and wait for the result."""
    from indigo_async.cli.runners.lookalike import lookalike_and_show

    lookalike_and_show(
        base,
        customer,
        name,
        options,
        size=size,
        include_original_audience=include_original_audience,
        filters=filters,
    )
