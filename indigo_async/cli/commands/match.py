"""`indigo-async upload`, `match` and `lookalike`: what makes audiences. Recipes run again use what exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Annotated, TypeAlias

import attrs
from cyclopts import Group, Parameter

from indigo_async._validation import InputCheck
from indigo_async.cli.options.columns import ColumnOptions
from indigo_async.cli.options.common import (
    CONNECTION,
    OUTPUT,
    WAITING,
    ConnectionOptions,
    Customer,
    OutputOptions,
    WaitOptions,
    WholeNumber,
    open_client,
    run_async,
)
from indigo_async.cli.options.publish import Publish, open_publisher, publish_csv
from indigo_async.cli.render.audiences import audience_to_json, render_audience
from indigo_async.cli.render.output import Output
from indigo_async.client import IndigoClient
from indigo_async.errors import NotFoundError
from indigo_async.inputs import LookalikeFilters
from indigo_async.models import Audience
from indigo_async.workflows import create_lookalike, upload_and_match, wait_for_column_selection, wait_until_active

__all__ = ["lookalike", "match", "upload"]

Name: TypeAlias = Annotated[str, Parameter("--name", help="The new audience's name, unique among the customer's.")]
Csv: TypeAlias = Annotated[str, Parameter(help="The CSV: a URL that the server can fetch, or a local file.")]

_NO_COLUMNS = ColumnOptions()
_FILTER_GROUP = Group("Where the people live (all must hold; each can be repeated)", sort_key=5)


@Parameter(name="*", group=_FILTER_GROUP)
@attrs.frozen(kw_only=True)
class LookalikeFilterOptions:
    """The filters of a lookalike."""

    state: Annotated[tuple[str, ...] | None, Parameter(help="Such as PA.")] = None
    county: Annotated[tuple[str, ...] | None, Parameter(help="As the server spells it.")] = None
    congressional_district: Annotated[tuple[str, ...] | None, Parameter(help="As the server spells it.")] = None
    upper_district: Annotated[tuple[str, ...] | None, Parameter(help="Of the upper state legislature.")] = None
    lower_district: Annotated[tuple[str, ...] | None, Parameter(help="Of the lower state legislature.")] = None

    def to_filters(self) -> LookalikeFilters:
        """The same as the SDK takes it."""
        return LookalikeFilters(
            states=self.state,
            counties=self.county,
            congressional_districts=self.congressional_district,
            upper_state_legislative_districts=self.upper_district,
            lower_state_legislative_districts=self.lower_district,
        )


_NO_FILTERS = LookalikeFilterOptions()


def upload(
    csv: Csv,
    /,
    *,
    customer: Customer,
    publish: Publish = None,
    connection: ConnectionOptions = CONNECTION,
    waiting: WaitOptions = WAITING,
    output: OutputOptions = OUTPUT,
) -> None:
    """Have the server read a CSV, and wait until it has."""

    async def make(client: IndigoClient) -> Audience:
        async with open_publisher(client, publish) as publisher, AsyncExitStack() as published:
            stub = await client.upload_csv(customer_id=customer, url=await publish_csv(published, csv, publisher))
            out.note(f"audience {stub.id}: the server reads the CSV")
            return await wait_for_column_selection(client, stub, customer_id=customer, timeout=waiting.timeout)

    out = output.create_output()
    stub = _create_and_show(make, out, connection, waiting)
    out.note(f"Next: indigo-async match --uploaded {stub.id} --customer ... --name ... --required ...")


def match(
    csv: Csv | None = None,
    /,
    *,
    customer: Customer,
    name: Name,
    columns: ColumnOptions = _NO_COLUMNS,
    uploaded: Annotated[str | None, Parameter(help="Instead of a CSV: the audience that `upload` made.")] = None,
    publish: Publish = None,
    connection: ConnectionOptions = CONNECTION,
    waiting: WaitOptions = WAITING,
    output: OutputOptions = OUTPUT,
) -> None:
    """Match a CSV of people to the voter file, and wait until that is done."""
    if (csv is None) == (uploaded is None):
        check = InputCheck()
        check.add("CSV", "give a CSV, or --uploaded with the audience that `upload` made")
        check.raise_if_invalid()
    selections = columns.load_selections()

    async def match_uploaded(client: IndigoClient, audience_id: str) -> Audience:
        stub = await client.get_audience(audience_id, customer)  # for its ID as the server sends it
        audience = await client.match_uploaded_csv(
            audience_id=stub.id, customer_id=customer, audience_name=name, column_selections=selections
        )
        return await wait_until_active(client, audience, customer_id=customer, timeout=waiting.timeout)

    async def make(client: IndigoClient) -> Audience:
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
                timeout=waiting.timeout,
            )

    _create_and_show(make, output.create_output(), connection, waiting)


def lookalike(
    base: Annotated[str, Parameter(help="The ID of the audience to grow: matched from a CSV, 1,000 people or more.")],
    /,
    *,
    customer: Customer,
    name: Name,
    size: Annotated[WholeNumber, Parameter(help="How many people are wanted.")],
    include_original_audience: Annotated[
        bool | None, Parameter(help="Whether the base's people are in it; else the server decides.")
    ] = None,
    places: LookalikeFilterOptions = _NO_FILTERS,
    connection: ConnectionOptions = CONNECTION,
    waiting: WaitOptions = WAITING,
    output: OutputOptions = OUTPUT,
) -> None:
    """Grow a lookalike from a matched audience, and wait until it is done."""

    async def make(client: IndigoClient) -> Audience:
        try:
            known = await client.get_audience(base, customer)
        except NotFoundError:
            known = base  # made in the app, perhaps, and no customer's: the server judges
        return await create_lookalike(
            client,
            known,
            customer_id=customer,
            audience_name=name,
            size=size,
            include_original_audience=include_original_audience,
            filters=places.to_filters(),
            timeout=waiting.timeout,
        )

    _create_and_show(make, output.create_output(), connection, waiting)


def _create_and_show(
    make: Callable[[IndigoClient], Awaitable[Audience]],
    out: Output,
    connection: ConnectionOptions,
    waiting: WaitOptions,
) -> Audience:
    """Make an audience and show it."""

    async def work() -> Audience:
        async with open_client(connection, out, poll_interval=waiting.poll_interval) as client:
            return await make(client)

    audience = run_async(work)
    out.write_json(audience_to_json(audience))
    out.show(render_audience(audience))
    return audience
