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


def test_the_help_waits_for_no_library():
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "indigo_async", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "cyclopts" in imported
    assert not imported & {"aiohttp", "cattrs", "duckdb", "numpy", "sqlite3", "yaml", "asyncio"}


def test_the_command_has_fewer_garbage_collections_and_the_library_leaves_them_alone():
    assert threshold_after("import indigo_async.workflows") == threshold_after("pass")
    assert threshold_after("from indigo_async.cli import main; main()") == GC_THRESHOLD


def threshold_after(program: str) -> int:
    """How many young objects begin a collection at the end of a process that runs this."""
    told = f"import atexit, gc; atexit.register(lambda: print(gc.get_threshold()[0])); {program}"
    ended = subprocess.run(
        [sys.executable, "-c", told, "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    return int(ended.stdout.split()[-1])


async def test_a_reader_that_went_away_is_no_error():
    async with Sandbox(lite=True) as sandbox:
        await sandbox.seed_audiences(3, "42")
        for form in ((), ("--json",)):
            reader, writer = os.pipe()
            os.close(reader)
            ended = await anyio.run_process(
                command("audiences", "--quiet", *form), env=environment_for(sandbox), stdout=writer, check=False
            )
            os.close(writer)
            assert (ended.returncode, ended.stderr) == (141, b"")


async def test_a_reader_of_a_watch_that_went_away_is_no_error():
    async with Sandbox(lite=True) as sandbox:
        ids = await sandbox.seed_audiences(3, "42")
        reader, writer = os.pipe()
        os.close(reader)
        watch = command("watch", *ids, "--customer", "42", "--json", "--quiet")
        ended = await anyio.run_process(watch, env=environment_for(sandbox), stdout=writer, check=False)
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


async def test_an_interrupted_command_ends_at_once_and_says_that_it_can_go_on():
    async with Sandbox(lite=True, clock=ManualClock()) as sandbox:
        await sandbox.seed_audiences(1, "42")
        upload = command("upload", "https://files.example.org/x.csv", "--customer", "42", "--poll-interval", "0.02")
        for number, sign in enumerate((signal.SIGINT, signal.SIGTERM), 1):
            process = await anyio.open_process(upload, env=environment_for(sandbox) | {"PYTHONUNBUFFERED": "1"})
            assert process.stderr is not None
            with anyio.fail_after(60):
                looks = sandbox.log.count("GET /audience")
                await wait_until(lambda number=number: sandbox.log.count("POST /upload_csv") == number)
                await wait_until(lambda looks=looks: sandbox.log.count("GET /audience") > looks)
                os.kill(process.pid, sign)
                errors = b"".join([chunk async for chunk in process.stderr]).decode()
                assert await process.wait() == 130
            assert "interrupted. Work already requested continues on the server" in errors
            assert "Traceback" not in errors
            await process.aclose()


def read_all(terminal: int) -> bytes:
    """What was written to a terminal whose other end everybody has closed."""
    written = b""
    try:
        while chunk := os.read(terminal, 65_536):
            written += chunk
    except OSError:  # how Linux tells a terminal's end
        pass
    return written


@pytest.mark.parametrize("results_in_terminal", [True, False])
async def test_records_of_a_watch_in_a_terminal_are_written_to_stdout(tmp_path: Path, results_in_terminal: bool):
    async with Sandbox(lite=True) as sandbox:
        ids = await sandbox.seed_audiences(3, "42")
        ours, theirs = pty.openpty()
        path = tmp_path / "records"
        try:
            with path.open("wb") as file:
                process = await anyio.open_process(
                    command("watch", *ids, "--customer", "42", "--json"),
                    env=environment_for(sandbox) | {"TERM": "xterm"},
                    stdin=subprocess.DEVNULL,
                    stdout=theirs if results_in_terminal else file,
                    stderr=theirs,
                )
        finally:
            os.close(theirs)
        async with process:
            with anyio.fail_after(60):
                written = await anyio.to_thread.run_sync(read_all, ours)
                assert await process.wait() == 0
        os.close(ours)
    screen = written.decode()
    records = path.read_text()
    if results_in_terminal:
        assert "\x1b[2K" not in screen  # no table is drawn over the records
        records = "\n".join(line for line in screen.splitlines() if line.startswith("{"))
    else:
        assert '{"' not in screen
        assert "\x1b[2K" in screen
    assert {json.loads(line)["id"] for line in records.splitlines()} == set(ids)
