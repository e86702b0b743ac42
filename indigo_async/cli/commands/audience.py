"""`indigo-async audience`: show one audience."""

from __future__ import annotations

from indigo_async.cli.options.common import CONNECTION, AudienceId, ConnectionOptions, OptionalCustomer

__all__ = ["audience"]


def audience(
    audience_id: AudienceId,
    /,
    *,
    customer: OptionalCustomer = None,
    options: ConnectionOptions = CONNECTION,
) -> None:
    """Show one audience with its exports."""
    from indigo_async.cli.runners.audiences import show_audience

    show_audience(audience_id, customer, options)
