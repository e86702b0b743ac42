from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import anyio
import pytest

from indigo_async.errors import IndigoError
from indigo_async.sandbox import Sandbox

PROGRAM = """\
import functools, anyio
from indigo_async.sandbox.command import serve
anyio.run(functools.partial(serve, lite=True, port=0, speed=10))
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_prints_its_address_and_stops_cleanly(stop: signal.Signals):
    process = await anyio.open_process([sys.executable, "-W", "error", "-c", PROGRAM], stderr=subprocess.PIPE)
    async with process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = ""
        while said.count("\n") < 3:
            said += (await process.stdout.receive()).decode()
        assert said.endswith("\n# Press Ctrl-C to stop. All data is lost when it stops.\n")
        variables = dict(
            line.removeprefix("export ").split("=", 1) for line in said.splitlines() if line.startswith("export ")
        )
        headers = {"Authorization": f"Bearer {variables['INDIGO_API_TOKEN']}"}
        async with (
            aiohttp.ClientSession(variables["INDIGO_BASE_URL"] + "/", headers=headers) as session,
            session.get("audiences") as response,
        ):
            assert (response.status, await response.json()) == (200, [])
        process.send_signal(stop)
        assert await process.wait() == 0
        with pytest.raises(anyio.EndOfStream):
            await process.stderr.receive()


def test_the_fixture_gives_users_a_sandbox(tmp_path: Path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["indigo_async.testing"]\n')
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "@pytest.mark.anyio\n"
        "@pytest.mark.parametrize('anyio_backend', ['asyncio'])\n"
        "async def test_mine(indigo_sandbox):\n"
        "    assert indigo_sandbox.base_url.startswith('http://127.0.0.1:')\n"
        "    await indigo_sandbox.seed_app_audience(size=1_000)\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-p",
            "no:schemathesis",
            str(tmp_path),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_sandbox_outside_its_block_says_how_to_use_it():
    with pytest.raises(IndigoError, match="use it inside `async with`"):
        _ = Sandbox(lite=True).base_url
