"""Show audiences for `audience` and `audiences`."""

from __future__ import annotations

from indigo_async.cli.client import open_client
from indigo_async.cli.options.common import ConnectionOptions
from indigo_async.cli.render.audiences import audience_to_json, render_audience, render_audiences
from indigo_async.cli.signals import run_async
from indigo_async.models import Audience

__all__ = ["show_audience", "show_audiences"]


def show_audience(audience_id: str, customer: str | None, options: ConnectionOptions) -> None:
    """Show one audience with its exports."""
    output = options.create_output()

    async def work() -> Audience:
        async with open_client(options, output) as client:
            return await client.get_audience(audience_id, customer)

    found = run_async(work)
    output.write_json(audience_to_json(found))
    output.show(render_audience(found))


def show_audiences(customer: str | None, options: ConnectionOptions) -> None:
    """Show a customer's audiences, or all audiences of the organization."""
    output = options.create_output()

    async def work() -> list[Audience]:
        async with open_client(options, output) as client:
            return await client.list_audiences(customer)

    found = run_async(work)
    for audience in found:
        output.write_json(audience_to_json(audience))
    if found:
        output.show(render_audiences(found))
    scope = "in total" if customer is None else f"for customer {customer}"
    output.note(f"{len(found):,} audience{'' if len(found) == 1 else 's'} {scope}.")
