"""`indigo-async audiences`: list audiences."""

from __future__ import annotations

from indigo_async.cli.options.common import CONNECTION, ConnectionOptions, OptionalCustomer
from indigo_async.cli.render.audiences import audience_to_json, render_audiences
from indigo_async.cli.signals import run_async
from indigo_async.models import Audience

__all__ = ["audiences"]


def audiences(
    *,
    customer: OptionalCustomer = None,
    options: ConnectionOptions = CONNECTION,
) -> None:
    """List a customer's audiences, or all audiences of the organization."""
    from indigo_async.cli.client import open_client  # noqa: PLC0415 - keeps --help fast

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
