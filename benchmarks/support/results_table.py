"""Write the table of docs/performance.md from the benchmarks' JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["write_table"]

_BEGIN, _END = "<!-- figures: python -m benchmarks --draw -->\n", "<!-- end of figures -->\n"


def write_table(results: Mapping[str, Any], page: Path) -> None:
    """Write the figures between the two markers of the page."""
    before, _, rest = page.read_text().partition(_BEGIN)
    page.write_text(before + _BEGIN + "\n".join(_lines(results)) + "\n" + _END + rest.partition(_END)[2])


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "| measure | goal | reached | spread | command |"
    yield "|---|---|---|---|---|"
    for part in results["parts"].values():
        for figure in part["figures"]:
            value = (
                f"{figure['value']:,.3g} {figure['unit']}".strip()
                if figure["value"] < 1_000
                else f"{figure['value']:,.0f}"
            )
            if figure["is_reached"] is not None:
                value = f"{value}, {'yes' if figure['is_reached'] else '**no**'}"
            between = "" if figure["low"] is None else f"{figure['low']:.3g} to {figure['high']:.3g}"
            yield f"| {figure['measure']} | {figure['goal']} | {value} | {between} | `{part['command']}` |"
    yield ""
