"""`indigo-async export`: price an export, purchase it within a limit, download it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import WAITING, AudienceId, OptionalCustomer, WaitOptions, WholeNumber
from indigo_async.inputs import OptionalFieldType

__all__ = ["export"]


def export(
    audience_id: AudienceId,
    /,
    *,
    out: Annotated[  # text, because `Path` drops a slash at the end, which names a folder
        str, Parameter(help="The file for the CSV. An existing file is replaced.")
    ],
    customer: OptionalCustomer = None,
    field: Annotated[
        tuple[str, ...],
        Parameter(help=f"A paid field type: {', '.join(OptionalFieldType)}. Repeatable. Standard fields are free."),
    ] = (),
    max_cost_cents: Annotated[
        WholeNumber,
        Parameter(help="The most to spend, in cents: 80000 is $800.00. With 0, only free exports are purchased."),
    ] = 0,
    reuse_purchased: Annotated[
        bool | None,
        Parameter(
            negative="--buy-another",
            help="If an export was purchased earlier and its fields are unknown: download that one, or purchase "
            "another one every time this command runs. By default, the command stops.",
        ),
    ] = None,
    allow_empty: Annotated[
        bool, Parameter(negative=(), help="Purchase the export even if the audience is known to be empty.")
    ] = False,
    export_id: Annotated[
        str | None, Parameter(help="Download this export, which was purchased earlier. Purchases nothing.")
    ] = None,
    options: WaitOptions = WAITING,
) -> ExitCode:
    """Price an export of an audience, purchase it within a limit, and download it."""
    from indigo_async.cli.runners.export import export_and_show

    return export_and_show(
        audience_id,
        customer,
        options,
        out=out,
        fields=field,
        max_cost_cents=max_cost_cents,
        reuse_purchased=reuse_purchased,
        allow_empty=allow_empty,
        export_id=export_id,
    )
