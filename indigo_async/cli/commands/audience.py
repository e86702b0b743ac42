"""`indigo-async audience`: show one audience."""

from __future__ import annotations

from indigo_async.cli.options.common import CONNECTION, AudienceId, ConnectionOptions, OptionalCustomer
from indigo_async.cli.render.audiences import audience_to_json, render_audience
from indigo_async.cli.signals import run_async
from indigo_async.models import Audience

__all__ = ["audience"]


def audience(
    audience_id: AudienceId,
    /,
    *,
    customer: OptionalCustomer = None,
    options: ConnectionOptions = CONNECTION,
) -> None:
    """Show one audience with its exports."""
    from indigo_async.cli.client import open_client  # noqa: PLC0415 - keeps --help fast

    output = options.create_output()

    async def work() -> Audience:
        async with open_client(options, output) as client:
            return await client.get_audience(audience_id, customer)

    found = run_async(work)
    output.write_json(audience_to_json(found))
    output.show(render_audience(found))
