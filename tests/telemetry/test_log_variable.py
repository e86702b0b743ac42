"""`INDIGO_LOG` in scripts: what it writes, and that it leaves an application's own logging alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import anyio
import pytest

from indigo_async.sandbox import Sandbox

CALL = """
import asyncio, logging, sys
from indigo_async import IndigoClient
{before}
async def main():
    async with IndigoClient({arguments}) as client:
        {inside}
        await client.list_audiences("42")
asyncio.run(main())
"""


async def run_script(
    sandbox: Sandbox, level: str, *, before: str = "", inside: str = "", arguments: str = ""
) -> list[str]:
    """What a script that makes one request writes to stderr."""
    own = {"INDIGO_BASE_URL": sandbox.base_url, "INDIGO_API_TOKEN": sandbox.token, "INDIGO_LOG": level}
    script = CALL.format(before=before, inside=inside, arguments=arguments)
    with anyio.fail_after(60):
        ended = await anyio.run_process(
            [sys.executable, "-c", script], env=dict(os.environ) | own, check=False, stderr=subprocess.PIPE
        )
    assert ended.returncode == 0, ended.stderr.decode()
    assert sandbox.token not in ended.stderr.decode()
    return ended.stderr.decode().splitlines()


async def test_debug_writes_a_line_for_each_request():
    async with Sandbox(lite=True) as sandbox:
        (line,) = await run_script(sandbox, "DEBUG ")
    assert re.fullmatch(
        r"[-\d]+ [:,\d]+ DEBUG indigo_async: GET /audiences: 200 after \d\.\d{3} s, attempt 1, request ID req-1", line
    )


@pytest.mark.parametrize("level", ["info", ""])
async def test_info_writes_no_requests(level: str):
    async with Sandbox(lite=True) as sandbox:
        assert await run_script(sandbox, level) == []


async def test_another_value_is_reported_once():
    async with Sandbox(lite=True) as sandbox:
        lines = await run_script(sandbox, "verbose", inside="IndigoClient('t'), IndigoClient('t')")
    assert lines == ["INDIGO_LOG must be debug or info, not 'verbose'; it is ignored"]


@pytest.mark.parametrize(
    ("before", "inside", "expected"),
    [
        ("logging.basicConfig(format='app: %(message)s')", "", ["app: GET"]),
        ("", "logging.basicConfig(format='app: %(message)s')", ["app: GET"]),
        ("logging.getLogger('indigo_async').setLevel('ERROR')", "", []),
        ("logging.getLogger('indigo_async').addHandler(logging.NullHandler())", "", []),
    ],
)
async def test_an_applications_own_logging_is_left_alone(before: str, inside: str, expected: list[str]):
    arguments = "on_event=__import__('indigo_async.logs').logs.log_events"
    async with Sandbox(lite=True) as sandbox:
        lines = await run_script(sandbox, "debug", before=before, inside=inside, arguments=arguments)
    assert [line[: len("app: GET")] for line in lines] == expected


async def test_commands_show_nothing_twice():
    async with Sandbox(lite=True, speed=10_000.0) as sandbox:
        own = {"INDIGO_BASE_URL": sandbox.base_url, "INDIGO_API_TOKEN": sandbox.token, "INDIGO_LOG": "debug"}
        command = [sys.executable, "-m", "indigo_async", "upload", "https://files.example.org/a.csv"]
        with anyio.fail_after(60):
            ended = await anyio.run_process(
                [*command, "--customer", "42", "--poll-interval", "0.01"], env=dict(os.environ) | own, check=False
            )
    lines = ended.stderr.decode().splitlines()
    assert ended.returncode == 0, lines
    assert [line for line in lines if "POST /upload_csv: 200 after" in line]
    assert not [line for line in lines if "indigo_async: " in line and "READY_FOR_COLUMN_SELECTION" in line]
