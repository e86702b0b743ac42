"""`indigo-async lookalike`: create a lookalike audience."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Group, Parameter

from indigo_async.cli.client import create_and_show, read_audience
from indigo_async.cli.options.common import WAITING, Customer, NewAudienceName, WaitOptions, WholeNumber
from indigo_async.client import IndigoClient
from indigo_async.errors import NotFoundError
from indigo_async.events import Stage
from indigo_async.inputs import LookalikeFilters
from indigo_async.models import Audience
from indigo_async.workflows import create_lookalike

__all__ = ["lookalike"]


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

    def to_filters(self) -> LookalikeFilters:
        return LookalikeFilters(
            states=self.state,
            counties=self.county,
            congressional_districts=self.congressional_district,
            upper_state_legislative_districts=self.upper_district,
            lower_state_legislative_districts=self.lower_district,
        )


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

    async def create(client: IndigoClient) -> Audience:
        base_audience: Audience | str
        seconds_left = options.timeout
        try:
            base_audience, seconds_left = await read_audience(
                client, base, customer, stage=Stage.LOOKALIKE, seconds=options.timeout
            )
        except NotFoundError:
            base_audience = base  # may have been made in the web app, without a customer: let the server decide
        return await create_lookalike(
            client,
            base_audience,
            customer_id=customer,
            audience_name=name,
            size=size,
            include_original_audience=include_original_audience,
            filters=filters.to_filters(),
            timeout=seconds_left,
        )

    create_and_show(create, options.create_output(), options)
