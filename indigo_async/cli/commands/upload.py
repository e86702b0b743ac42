"""`indigo-async upload`: upload a CSV without matching it."""

from __future__ import annotations

from indigo_async.cli.options.common import WAITING, Csv, Customer, Publish, WaitOptions

__all__ = ["upload"]


def upload(
    csv: Csv,
    /,
    *,
    customer: Customer,
    publish: Publish = None,
    options: WaitOptions = WAITING,
) -> None:
    """Have the server read a CSV, and wait until it has."""
    from indigo_async.cli.runners.upload import upload_and_show

    upload_and_show(csv, customer, publish, options)
