"""`indigo-async audiences` and `indigo-async audience`: what is there. Both only read."""

from __future__ import annotations

from indigo_async.cli.options.common import (
    CONNECTION,
    OUTPUT,
    AudienceId,
    ConnectionOptions,
    OptionalCustomer,
    OutputOptions,
    open_client,
    run_async,
)
from indigo_async.cli.render.audiences import audience_to_json, render_audience, render_audiences
from indigo_async.models import Audience

__all__ = ["audience", "audiences"]


def audiences(
    *, customer: OptionalCustomer = None, connection: ConnectionOptions = CONNECTION, output: OutputOptions = OUTPUT
) -> None:
    """List the audiences of a customer, or of all."""
    out = output.create_output()

    async def work() -> list[Audience]:
        async with open_client(connection, out) as client:
            return await client.list_audiences(customer)

    found = run_async(work)
    for one in found:
        out.write_json(audience_to_json(one))
    if found:
        out.show(render_audiences(found))
    whose = "in all" if customer is None else f"of customer {customer}"
    out.note(f"{len(found):,} audience{'' if len(found) == 1 else 's'} {whose}.")


def audience(
    audience_id: AudienceId,
    /,
    *,
    customer: OptionalCustomer = None,
    connection: ConnectionOptions = CONNECTION,
    output: OutputOptions = OUTPUT,
) -> None:
    """Show one audience with its exports."""
    out = output.create_output()

    async def work() -> Audience:
        async with open_client(connection, out) as client:
            return await client.get_audience(audience_id, customer)

    found = run_async(work)
    out.write_json(audience_to_json(found))
    out.show(render_audience(found))
