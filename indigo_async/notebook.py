"""Many records at once in a notebook: `table(audiences)`. One record, or a batch's report, shows itself."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from indigo_async._html_tables import table_html
from indigo_async.models import Audience, CsvExport, display_fields

__all__ = ["Table", "table"]


@attrs.frozen
class Table:
    """Audiences or exports, a line for each, as a notebook shows them."""

    records: tuple[Audience | CsvExport, ...]

    def _repr_html_(self) -> str:
        return table_html([display_fields(record) for record in self.records])


def table(records: Iterable[Audience | CsvExport]) -> Table:
    """Audiences or exports as one table; of many, a notebook shows the first 200."""
    return Table(tuple(records))
