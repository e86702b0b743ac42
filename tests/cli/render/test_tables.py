"""Tables in terminals of any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from indigo_async.cli.render.output import make_table

ROWS = [("great-lakes", "1,234", "$1,234,567.89", ""), ("sun-belt", "4", "$1,234.00", "3")]


def render(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False)
    columns = {"customer of ours": "left", "jobs": "right", "total price": "right", "above limit": "right"}
    console.print(make_table(columns, ROWS))  # type: ignore[arg-type]
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def test_a_wide_terminal_shows_one_line_per_row():
    assert render(80) == [
        "customer of ours   jobs    total price  above limit",
        "great-lakes       1,234  $1,234,567.89",
        "sun-belt              4      $1,234.00            3",
    ]


def test_a_narrower_terminal_wraps_headings_and_text():
    assert render(50) == [
        "                                        above",
        "customer of ours   jobs    total price  limit",
        "great-lakes       1,234  $1,234,567.89",
        "sun-belt              4      $1,234.00      3",
    ]


def test_a_narrow_terminal_shows_each_row_as_a_list():
    assert render(34) == [
        "customer of ours  great-lakes",
        "jobs              1,234",
        "total price       $1,234,567.89",
        "",
        "customer of ours  sun-belt",
        "jobs              4",
        "total price       $1,234.00",
        "above limit       3",
    ]


@pytest.mark.parametrize("width", range(34, 80))
def test_amounts_are_never_broken(width: int):
    text = "\n".join(render(width))
    for _, jobs, price, _ in ROWS:
        assert jobs in text
        assert price in text
    assert max(map(len, render(width))) <= width
