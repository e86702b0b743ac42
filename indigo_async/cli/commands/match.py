"""`indigo-async match`: match a CSV to the voter file."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.options.columns import ColumnOptions
from indigo_async.cli.options.common import WAITING, Csv, Customer, NewAudienceName, Publish, WaitOptions

_NO_COLUMNS = ColumnOptions()

__all__ = ["match"]


def match(
    csv: Csv | None = None,
    /,
    *,
    customer: Customer,
    name: NewAudienceName,
    columns: ColumnOptions = _NO_COLUMNS,
    uploaded: Annotated[str | None, Parameter(help="The ID of an audience made by `upload`, instead of a CSV.")] = None,
    publish: Publish = None,
    options: WaitOptions = WAITING,
) -> None:
    """Match a CSV to the voter file, and wait for the result."""
    from indigo_async.cli.runners.match import match_and_show

    match_and_show(csv, customer, name, columns, options, uploaded=uploaded, publish=publish)
