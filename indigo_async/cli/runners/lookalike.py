"""`indigo-async lookalike`: create a lookalike audience."""

from __future__ import annotations

from indigo_async.cli.client import create_and_show, read_audience
from indigo_async.cli.options.common import WaitOptions
from indigo_async.cli.options.filters import FilterOptions
from indigo_async.client import IndigoClient
from indigo_async.errors import NotFoundError
from indigo_async.events import Stage
from indigo_async.inputs import LookalikeFilters
from indigo_async.models import Audience
from indigo_async.workflows import create_lookalike

__all__ = ["lookalike_and_show"]


def lookalike_and_show(
    base: str,
    customer: str,
    name: str,
    options: WaitOptions,
    *,
    size: int,
    include_original_audience: bool | None,
    filters: FilterOptions,
) -> None:
    """Create a lookalike of an audience, wait for it, and show it."""

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
            filters=LookalikeFilters(
                states=filters.state,
                counties=filters.county,
                congressional_districts=filters.congressional_district,
                upper_state_legislative_districts=filters.upper_district,
                lower_state_legislative_districts=filters.lower_district,
            ),
            timeout=seconds_left,
        )

    create_and_show(create, options.create_output(), options)
