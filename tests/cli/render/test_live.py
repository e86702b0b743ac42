from __future__ import annotations

import io

import anyio
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
