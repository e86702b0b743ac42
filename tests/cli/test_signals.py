"""Signals end commands promptly, with a countdown while a purchase is checked. A second signal quits at once."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from anyio.abc import Process

from indigo_async.sandbox import Fault, FaultKind, Sandbox
from tests.support.processes.commands import command, environment_for
from tests.support.servers.scripted import scripted_server, wait_until

PURCHASE = "POST /purchase_csv_export"
FAST = ("--poll-interval", "0.02")


@asynccontextmanager
async def sandbox_that_answers_after(seconds: float, endpoint: str) -> AsyncGenerator[Sandbox]:
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        await sandbox.seed_audiences(1, "42")
        sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=endpoint, times=None, delay=seconds))
        yield sandbox


@asynccontextmanager
async def purchasing(sandbox: Sandbox, folder: Path, *prefix: str, **streams: int) -> AsyncGenerator[Process]:
    """Run `export`, up to the moment at which its purchase is in flight."""
    export = command(
        *("export", "aud-1", "--customer", "42", "--out", folder / "x.csv", "--field", "phone"),
        *("--max-cost-cents", "10000000", *FAST),
    )
    process = await anyio.open_process([*prefix, *export], env=environment_for(sandbox) | {"TERM": "xterm"}, **streams)
    async with process:
        try:
            await wait_until(lambda: sandbox.counts().purchases == 1)
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def read_to_end(process: Process) -> str:
    assert process.stderr is not None
    return b"".join([chunk async for chunk in process.stderr]).decode()


async def test_ctrl_c_checks_the_purchase_in_flight_then_ends(tmp_path: Path):
    async with sandbox_that_answers_after(1.0, PURCHASE) as sandbox:
        with anyio.fail_after(30):
            async with purchasing(sandbox, tmp_path) as process:
                process.send_signal(signal.SIGINT)
                stderr = await read_to_end(process)
                assert await process.wait() == 130
    stopping, purchased, ended = stderr.splitlines()[-3:]
    assert stopping.startswith("Stopping: checking purchases in flight (1); at most 20 s left. Press Ctrl-C again")
    assert purchased == "export exp-2 purchased for $60.00"
    assert "interrupted" in ended


async def test_second_ctrl_c_ends_at_once_and_says_what_is_unknown(tmp_path: Path):
    async with sandbox_that_answers_after(30.0, PURCHASE) as sandbox:
        with anyio.fail_after(20):
            async with purchasing(sandbox, tmp_path) as process:
                for _ in range(2):
                    process.send_signal(signal.SIGINT)
                    await anyio.sleep(0.5)
                stderr = await read_to_end(process)
                assert await process.wait() == -signal.SIGINT
    assert "quit without waiting for:\n  export exp-2 of audience aud-1 (customer 42) may have been purc" in stderr
    assert "`indigo-async audience` shows the exports of an audience" in stderr
    assert "Traceback" not in stderr


async def test_countdown_is_redrawn_in_a_terminal(tmp_path: Path):
    controller, terminal = pty.openpty()
    async with sandbox_that_answers_after(2.5, PURCHASE) as sandbox:
        with anyio.fail_after(30):
            async with purchasing(sandbox, tmp_path, stderr=terminal) as process:
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 130
    os.close(terminal)
    screen = os.read(controller, 1_000_000).decode()
    os.close(controller)
    assert all(f"; at most {seconds} s left" in screen for seconds in (20, 19, 18))
    assert screen.count("\n") < 15  # one line, redrawn
    assert screen.rstrip().endswith("run the same command to resume\x1b[0m")
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")  # the cursor is shown again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("arguments", ["watch aud-1", "audience aud-1", "export aud-1 --out x.csv"])
async def test_request_that_purchases_nothing_delays_no_exit(arguments: str, number: signal.Signals):
    never = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    async with scripted_server(answer) as server:
        variables = os.environ | {"INDIGO_BASE_URL": f"{server.origin}/api/v1", "INDIGO_API_TOKEN": "token"}
        with anyio.fail_after(20):
            process = await anyio.open_process(command(*arguments.split(), "--customer", "42"), env=variables)
            async with process:
                await server.request_received.wait()
                process.send_signal(number)
                stderr = await read_to_end(process)
                assert await process.wait() == 130
        never.set()
    assert stderr.splitlines()[-1].startswith("indigo-async: interrupted.")
    assert "Traceback" not in stderr


async def test_closed_terminal_stops_cleanly_even_if_reported_twice(tmp_path: Path):
    controller, terminal = pty.openpty()
    async with sandbox_that_answers_after(1.5, PURCHASE) as sandbox:
        with anyio.fail_after(30):
            async with purchasing(sandbox, tmp_path, stdout=terminal, stderr=terminal) as process:
                os.close(terminal)
                os.close(controller)
                for _ in range(2):
                    process.send_signal(signal.SIGHUP)
                    await anyio.sleep(0.3)
                assert await process.wait() == 130


async def test_signals_that_nohup_ignores_stay_ignored(tmp_path: Path):
    async with sandbox_that_answers_after(1.0, PURCHASE) as sandbox:
        with anyio.fail_after(30):
            ignoring = ("bash", "-c", 'trap "" HUP INT; exec "$@"', "bash")
            async with purchasing(sandbox, tmp_path, *ignoring, stderr=subprocess.DEVNULL) as process:
                process.send_signal(signal.SIGHUP)
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 0
    assert (tmp_path / "x.csv").exists()
