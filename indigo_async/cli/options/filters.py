"""The filters of `lookalike`."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Group, Parameter

__all__ = ["FilterOptions"]


@Parameter(name="*", group=Group("Filters: where people live (repeatable; all filters apply)", sort_key=5))
@attrs.frozen(kw_only=True)
class FilterOptions:
    """The filters of a lookalike."""

    state: Annotated[tuple[str, ...] | None, Parameter(help="A state, such as PA.")] = None
    county: Annotated[tuple[str, ...] | None, Parameter(help="A county, as the server spells it.")] = None
    congressional_district: Annotated[
        tuple[str, ...] | None, Parameter(help="A congressional district, as the server spells it.")
    ] = None
    upper_district: Annotated[tuple[str, ...] | None, Parameter(help="A district of the upper state legislature.")] = (
        None
    )
    lower_district: Annotated[tuple[str, ...] | None, Parameter(help="A district of the lower state legislature.")] = (
        None
    )
