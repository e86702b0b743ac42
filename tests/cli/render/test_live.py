from __future__ import annotations

import asyncio
import io
import re
import sys

import anyio
import pytest
from rich.console import Console
from rich.text import Text

from indigo_async.cli.render.live import redrawn
from tests.support.servers.scripted import wait_until


async def test_rows_that_a_narrower_terminal_wrapped_are_erased_too():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=50, legacy_windows=False)
    frames = 0

    def render() -> Text:
        nonlocal frames
        frames += 1
        return Text("\n".join(("a" * 60, "b" * 20, "c" * 45 + " " * 30)), no_wrap=True, overflow="crop")

    def written() -> str:
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    async with redrawn(console, render, interval=0.01):
        await wait_until(lambda: frames == 2)
        await anyio.lowlevel.checkpoint()
        before = written()
        assert before.count("\x1b[2K") == 3  # the first frame's lines
        console.width = 20
        await wait_until(lambda: frames == 3)
        await anyio.lowlevel.checkpoint()
        assert written()[len(before) :].count("\x1b[2K") == 3 + 1 + 3


async def test_log_lines_appear_above_the_view(monkeypatch: pytest.MonkeyPatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console(file=terminal, force_terminal=True, width=60, height=20, color_system=None)
    lines = [f"GET /audience: status 200, attempt {number}" for number in range(5)]
    async with redrawn(console, lambda: Text("30 of 90 jobs done"), interval=0.005):
        for line in lines:
            await asyncio.sleep(0.01)
            print(line, file=sys.stderr)  # as a handler does that looks up the current stream
    shown = show_on_screen(terminal.getvalue())
    assert [line for line in shown if line] == lines


def show_on_screen(written: str) -> list[str]:
    """The lines of a terminal after this text: the cursor can return, go up, and erase its line."""
    screen, row = [""], 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", written):
        if part == "\n":
            row += 1
            screen += [""] * (row + 1 - len(screen))
        elif part.endswith("A") and part.startswith("\x1b"):
            row = max(0, row - 1)
        elif part == "\x1b[2K":
            screen[row] = ""
        elif part and not part.startswith("\x1b") and part != "\r":
            screen[row] += part
    return screen
