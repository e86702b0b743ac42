"""The column selection of `match`, given as options or as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Group, Parameter

__all__ = ["ColumnOptions"]


@Parameter(name="*", group=Group("Columns", sort_key=5))
@attrs.frozen(kw_only=True)
class ColumnOptions:
    """Columns as `FIELD=COLUMN`, or a file with all of them."""

    required: Annotated[
        tuple[str, ...],
        Parameter(help="FIELD=COLUMN, such as first_name='First Name': people match only if it agrees. Repeatable."),
    ] = ()
    optional: Annotated[
        tuple[str, ...], Parameter(help="FIELD=COLUMN: improves the match, but need not agree. Repeatable.")
    ] = ()
    columns: Annotated[
        Path | None,
        Parameter(
            help="A YAML or JSON file with all columns: "
            "{first_name: {column_name: First Name, is_required: true}, ...}."
        ),
    ] = None
