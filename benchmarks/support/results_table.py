"""Write the tables of docs/performance.md from the benchmarks' JSON.

The page says where: each table stands between `<!-- figures: calls imports -->`, which names its parts, and
`<!-- end of figures -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.support.figures import format_number

__all__ = ["write_tables"]

_TABLE = re.compile(r"(<!-- figures: (.*?) -->\n).*?(<!-- end of figures -->\n)", re.DOTALL)


def write_tables(results: Mapping[str, Any], page: Path) -> None:
    """Write the figures of the parts that each table names.

    Raises:
        KeyError: there are no results of a part.
    """

    def replace(match: re.Match[str]) -> str:
        begin, parts, end = match.groups()
        return begin + "\n".join(_table(results["parts"][part] for part in parts.split())) + "\n" + end

    page.write_text(_TABLE.sub(replace, page.read_text()))


def _table(parts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield ""
    yield "| measure | goal | result | spread | command |"
    yield "|---|---|---|---|---|"
    for part in parts:
        for figure in part["figures"]:
            result = f"{format_number(figure['value'])} {figure['unit']}".strip()
            if figure["is_reached"] is not None:
                result = f"{result}, {'yes' if figure['is_reached'] else '**no**'}"
            low, high = figure["low"], figure["high"]
            between = "" if low is None or low == high else f"{format_number(low)} to {format_number(high)}"
            goal = figure["goal"].replace("<=", "≤").replace(">=", "≥")
            yield f"| {figure['measure']} | {goal} | {result} | {between} | `{part['command']}` |"
    yield ""
