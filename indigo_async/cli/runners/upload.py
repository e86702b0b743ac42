"""`indigo-async upload`: upload a CSV without matching it."""

from __future__ import annotations

import shlex
from contextlib import AsyncExitStack

from indigo_async.cli.client import create_and_show, open_publisher, publish_csv
from indigo_async.cli.options.common import WaitOptions
from indigo_async.client import IndigoClient
from indigo_async.models import Audience
from indigo_async.workflows import wait_for_column_selection

__all__ = ["upload_and_show"]


def upload_and_show(csv: str, customer: str, publish: str | None, options: WaitOptions) -> None:
    """Have the server read a CSV, wait until it has, and show the audience."""
    output = options.create_output()

    async def create(client: IndigoClient) -> Audience:
        async with open_publisher(client, publish) as publisher, AsyncExitStack() as published:
            url = await publish_csv(published, client, csv, publisher, output)
            stub = await client.upload_csv(customer_id=customer, url=url)
            output.note(f"audience {stub.id}: the server is reading the CSV")
            return await wait_for_column_selection(client, stub, customer_id=customer, timeout=options.timeout)

    stub = create_and_show(create, output, options)
    profile = "" if options.profile is None else f" --profile {shlex.quote(options.profile)}"
    known = f"--uploaded {stub.id} --customer {shlex.quote(customer)}{profile}"
    output.note(f"Next: indigo-async match {known} --name ... --required ...")
