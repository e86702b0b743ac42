"""`indigo-async audiences`: list audiences."""

from __future__ import annotations

from indigo_async.cli.options.common import CONNECTION, ConnectionOptions, OptionalCustomer

__all__ = ["audiences"]


def audiences(
    *,
    customer: OptionalCustomer = None,
    options: ConnectionOptions = CONNECTION,
) -> None:
    """List a customer's audiences, or all audiences of the organization."""
    from indigo_async.cli.runners.audiences import show_audiences

    show_audiences(customer, options)
