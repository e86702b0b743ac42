from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from indigo_async.cli import GC_THRESHOLD
from indigo_async.sandbox import ManualClock, Sandbox
from tests.support.processes.commands import command, environment_for
from tests.support.servers.scripted import wait_until


def test_only_the_command_changes_the_gc_threshold():
    assert threshold_after("import indigo_async.workflows") == threshold_after("pass")
    assert threshold_after("from indigo_async.cli import main; main()") == GC_THRESHOLD


def threshold_after(program: str) -> int:
    """The GC threshold at the end of a process that runs this program."""
    output = f"import atexit, gc; atexit.register(lambda: print(gc.get_threshold()[0])); {program}"
    result = subprocess.run(
        [sys.executable, "-c", output, "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    return int(result.stdout.split()[-1])


async def test_closed_output_pipe_is_not_an_error():
    async with Sandbox(lite=True) as sandbox:
        await sandbox.seed_audiences(3, "42")
        for form in ((), ("--json",)):
            reader, writer = os.pipe()
            os.close(reader)
            result = await anyio.run_process(
                command("audiences", "--quiet", *form), env=environment_for(sandbox), stdout=writer, check=False
            )
            os.close(writer)
            assert (result.returncode, result.stderr) == (141, b"")


async def test_closed_output_pipe_of_watch_is_not_an_error():
    async with Sandbox(lite=True) as sandbox:
        ids = await sandbox.seed_audiences(3, "42")
        reader, writer = os.pipe()
        os.close(reader)
        watch = command("watch", *ids, "--customer", "42", "--json", "--quiet")
        result = await anyio.run_process(watch, env=environment_for(sandbox), stdout=writer, check=False)
        os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")


async def test_interrupted_command_exits_immediately_and_says_how_to_resume():
    async with Sandbox(lite=True, clock=ManualClock()) as sandbox:
        await sandbox.seed_audiences(1, "42")
        upload = command("upload", "https://files.example.org/x.csv", "--customer", "42", "--poll-interval", "0.02")
        for number, sign in enumerate((signal.SIGINT, signal.SIGTERM), 1):
            process = await anyio.open_process(upload, env=environment_for(sandbox) | {"PYTHONUNBUFFERED": "1"})
            assert process.stderr is not None
            with anyio.fail_after(60):
                polls = sandbox.log.count("GET /audience")
                await wait_until(lambda number=number: sandbox.log.count("POST /upload_csv") == number)
                await wait_until(lambda polls=polls: sandbox.log.count("GET /audience") > polls)
                os.kill(process.pid, sign)
                errors = b"".join([chunk async for chunk in process.stderr]).decode()
                assert await process.wait() == 130
            assert "interrupted. Work already requested continues on the server" in errors
            assert "Traceback" not in errors
            await process.aclose()


def read_all(descriptor: int) -> bytes:
    """Everything written to a pseudo-terminal, until its other end is closed."""
    written = b""
    try:
        while chunk := os.read(descriptor, 65_536):
            written += chunk
    except OSError:  # Linux reports the end this way
        pass
    return written


@pytest.mark.parametrize("results_in_terminal", [True, False])
async def test_watch_writes_json_to_stdout_even_in_a_terminal(tmp_path: Path, results_in_terminal: bool):
    async with Sandbox(lite=True) as sandbox:
        ids = await sandbox.seed_audiences(3, "42")
        controller, terminal = pty.openpty()
        path = tmp_path / "records"
        try:
            with path.open("wb") as file:
                process = await anyio.open_process(
                    command("watch", *ids, "--customer", "42", "--json"),
                    env=environment_for(sandbox) | {"TERM": "xterm"},
                    stdin=subprocess.DEVNULL,
                    stdout=terminal if results_in_terminal else file,
                    stderr=terminal,
                )
        finally:
            os.close(terminal)
        async with process:
            with anyio.fail_after(60):
                written = await anyio.to_thread.run_sync(read_all, controller)
                assert await process.wait() == 0
        os.close(controller)
    screen = written.decode()
    records = path.read_text()
    if results_in_terminal:
        assert "\x1b[2K" not in screen  # no table is drawn over the records
        records = "\n".join(line for line in screen.splitlines() if line.startswith("{"))
    else:
        assert '{"' not in screen
        assert "\x1b[2K" in screen
    assert {json.loads(line)["id"] for line in records.splitlines()} == set(ids)
