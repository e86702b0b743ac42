from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from indigo_async.sandbox import Fault, FaultKind, Sandbox
from tests.support.command_line import RunCommand
from tests.support.processes.commands import command, environment_for, write_manifest

JOBS = 40
FAST = ("--poll-interval", "0.02")


@asynccontextmanager
async def running(sandbox: Sandbox, manifest: Path, *options: str, name: str = "run") -> AsyncGenerator[Process]:
    """Run the command; kill it at the end of the block if it is still running."""
    arguments = command(name, manifest, *options, *FAST)
    async with await anyio.open_process(arguments, env=environment_for(sandbox)) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def wait_until_purchased(sandbox: Sandbox, count: int, process: Process) -> None:
    while sandbox.counts().purchases < count:
        assert process.returncode is None
        await anyio.sleep(0.001)


async def read_until(process: Process, text: str) -> str:
    """Read stderr up to this text, or to the end."""
    assert process.stderr is not None
    stderr = ""
    async for chunk in process.stderr:
        stderr += chunk.decode()
        if text in stderr:
            break
    return stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_first_signal_finishes_purchases_and_prints_the_command_to_resume(
    command_line: RunCommand, tmp_path: Path, number: signal.Signals
):
    manifest = write_manifest(tmp_path, JOBS)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        slow = Fault(
            kind=FaultKind.DELAY_AFTER, endpoint="POST /purchase_csv_export", times=None, skip_first=3, delay=1.0
        )
        sandbox.faults.add(slow)
        with anyio.fail_after(120):
            async with running(sandbox, manifest) as process:
                await wait_until_purchased(sandbox, 4, process)
                process.send_signal(number)
                stderr = await read_until(process, "no such text")
                await process.wait()
        interrupted = sandbox.counts()
        sandbox.faults.clear()
        resume = shlex.split(stderr.splitlines()[-1])
        result = await command_line(sandbox, *resume[3:])
        counts = sandbox.counts()
    assert process.returncode == 130
    assert re.search(r"Stopping: checking purchases in flight \(\d+\); at most 20 s left. Press Ctrl-C again", stderr)
    assert "interrupted. Work already requested continues on the server. Resume with:" in stderr
    assert "Traceback" not in stderr
    assert 4 <= interrupted.purchases < JOBS
    assert resume[1:] == ["-m", "indigo_async", "run", str(manifest), *FAST]
    assert result.exit_code == 0, result.stderr + result.stdout
    assert f"{JOBS} of {JOBS} jobs done" in result.stdout
    assert counts.purchases == JOBS
    assert set(counts.purchases_by_export.values()) == {1}
    assert len(list(tmp_path.glob("exports/*/*.csv"))) == JOBS


@pytest.mark.parametrize("name", ["run", "quote"])
async def test_figures_and_the_error_of_an_interrupted_command_in_json(tmp_path: Path, name: str):
    manifest = write_manifest(tmp_path, JOBS)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        endpoint = "POST /create_lookalike_audience"
        slow = Fault(kind=FaultKind.DELAY_AFTER, endpoint=endpoint, times=10, skip_first=3, delay=30.0)
        sandbox.faults.add(slow)
        with anyio.fail_after(120):
            async with running(sandbox, manifest, "--json", name=name) as process:
                assert process.stdout is not None
                stdout = (await process.stdout.receive()).decode()  # the first outcome
                process.send_signal(signal.SIGINT)
                async for chunk in process.stdout:
                    stdout += chunk.decode()
                stderr = await read_until(process, "no such text")
                await process.wait()
    *results, summary = [json.loads(line) for line in stdout.splitlines()]
    outcomes = [result for result in results if result["type"] == "outcome"]
    error = json.loads(stderr.splitlines()[-1])["error"]
    assert (process.returncode, error["type"]) == (130, "Interrupted")
    assert error["advice"].startswith("Resume with: ")
    assert summary["interrupted"] is True
    assert summary["stopped"] == "interrupted before all jobs had ended"
    assert summary["done"] >= len(outcomes) >= 1  # outcomes that were not read yet are not printed
    assert summary["done"] + summary["failed"] + summary["unfinished"] == summary["jobs"] == JOBS
    assert summary["canceled"] <= summary["unfinished"]
    assert summary["spent_cents"] <= summary["quoted_cents"]


async def test_second_signal_quits_immediately_and_nothing_is_purchased_twice(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 4)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        slow = Fault(
            kind=FaultKind.DELAY_AFTER, endpoint="POST /purchase_csv_export", times=None, skip_first=1, delay=30.0
        )
        sandbox.faults.add(slow)
        with anyio.fail_after(20):  # before the server responds to the delayed purchases
            async with running(sandbox, manifest) as process:
                await wait_until_purchased(sandbox, 4, process)
                process.send_signal(signal.SIGINT)
                stderr = await read_until(process, "quit immediately")
                assert process.returncode is None
                process.send_signal(signal.SIGINT)
                said = await read_until(process, "no such text")
                await process.wait()
        sandbox.faults.clear()
        result = await command_line(sandbox, "run", manifest, *FAST)
        counts = sandbox.counts()
    assert "Stopping" in stderr
    assert "quit without waiting for:\n  export exp-" in said
    assert "(customer c" in said
    assert "may have been purchased: check that before you purchase it again" in said
    assert "`run` checks what its journal lists before it purchases anything" in said
    assert process.returncode == -signal.SIGINT
    assert result.exit_code == 0, result.stderr + result.stdout
    assert counts.purchases == 4
    assert set(counts.purchases_by_export.values()) == {1}


SIGNALLED_WHILE_CLOSING = """
import signal, sys
from contextlib import asynccontextmanager
import anyio
from indigo_async.cli.runners import batch
from indigo_async.cli.app import run

@asynccontextmanager
async def publisher(*_):
    try:
        yield None
    finally:
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep(0.01)
        print("closed", file=sys.stderr)

batch.open_publisher = publisher
sys.exit(run(sys.argv[1:]))
"""


async def test_signal_while_closing_still_closes_everything(tmp_path: Path):
    manifest = write_manifest(tmp_path, 1)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        with anyio.fail_after(60):
            result = await anyio.run_process(
                [sys.executable, "-c", SIGNALLED_WHILE_CLOSING, "run", str(manifest), *FAST],
                env=environment_for(sandbox),
                check=False,
            )
    assert result.returncode == 0
    assert b"closed" in result.stderr
    assert b"1 of 1 jobs done" in result.stdout


async def test_run_reports_an_outage_and_finishes_all_jobs_after_it(tmp_path: Path):
    manifest = write_manifest(tmp_path, JOBS)
    async with Sandbox(lite=True, speed=200.0) as sandbox:
        with anyio.fail_after(60):
            async with running(sandbox, manifest) as process:
                await wait_until_purchased(sandbox, 1, process)
                async with sandbox.refuse_connections():
                    stderr = await read_until(process, "is not responding")
                    assert "requests wait for it, each until its own deadline" in stderr
                stderr = await read_until(process, "finish line that never comes")
                assert await process.wait() == 0
        assert sandbox.counts().purchases == JOBS
    assert "is responding again after" in stderr
