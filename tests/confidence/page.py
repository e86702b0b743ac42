"""The page of the docs with the figures. Each table stands between two comments with its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["publish_table"]

_PAGE = Path("docs/project/test-coverage.md")


def publish_table(name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, and put it in its place on the page. All columns but the first are numbers."""
    head = [columns, ["---", *["--:"] * (len(columns) - 1)]]
    table = "\n".join(f"| {' | '.join(map(_format_cell, row))} |" for row in [*head, *rows])
    print(f"\n{table}\n")
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, _, after = re.split(f"({re.escape(begin)}.*?{re.escape(end)})", _PAGE.read_text("utf-8"), flags=re.DOTALL)
    _PAGE.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", "utf-8")


def _format_cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
