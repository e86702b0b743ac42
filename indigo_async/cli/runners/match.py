"""`indigo-async match`: match a CSV to the voter file."""

from __future__ import annotations

from indigo_async.cli.client import create_and_show, open_publisher
from indigo_async.cli.options.columns import ColumnOptions
from indigo_async.cli.options.common import WaitOptions
from indigo_async.cli.runners.column_selections import load_selections
from indigo_async.client import IndigoClient
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.models import Audience
from indigo_async.workflows import upload_and_match, wait_until_active

__all__ = ["match_and_show"]


def match_and_show(
    csv: str | None,
    customer: str,
    name: str,
    columns: ColumnOptions,
    options: WaitOptions,
    *,
    uploaded: str | None,
    publish: str | None,
) -> None:
    """Match a CSV, or an audience made by `upload`, wait for the result, and show it."""
    if (csv is None) == (uploaded is None):
        raise InvalidInputError([Problem("CSV", "give either a CSV or --uploaded with an audience made by `upload`")])
    selections = load_selections(columns)

    async def match_uploaded(client: IndigoClient, audience_id: str) -> Audience:
        stub = await client.get_audience(audience_id, customer)  # for the ID as the server spells it
        audience = await client.match_uploaded_csv(
            audience_id=stub.id, customer_id=customer, audience_name=name, column_selections=selections
        )
        return await wait_until_active(client, audience, customer_id=customer, timeout=options.timeout)

    async def create(client: IndigoClient) -> Audience:
        if uploaded is not None:
            return await match_uploaded(client, uploaded)
        async with open_publisher(client, publish) as publisher:
            return await upload_and_match(
                client,
                csv or "",
                customer_id=customer,
                audience_name=name,
                column_selections=selections,
                publisher=publisher,
                timeout=options.timeout,
            )

    create_and_show(create, options.create_output(), options)
