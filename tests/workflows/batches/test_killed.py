from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from indigo_async.sandbox import Sandbox
from tests.support.jobs import lite_sandbox, make_jobs
from tests.support.processes import ROOT

KILLS = 20
JOBS = 40
PROGRAM = "tests.support.processes.batch"


async def start(sandbox: Sandbox, folder: Path, journal: Path | None) -> anyio.abc.Process:
    command = [sys.executable, "-m", PROGRAM, sandbox.base_url, sandbox.token, str(JOBS), str(folder)]
    return await anyio.open_process([*command, str(journal or "")], stderr=subprocess.PIPE, cwd=ROOT)


async def kill_after(process: anyio.abc.Process, sandbox: Sandbox, requests: int) -> bool:
    """Kill the process after this many more requests; False if it ended first."""
    goal = sandbox.log.count() + requests
    while sandbox.log.count() < goal:
        if process.returncode is not None:
            return False
        await anyio.sleep(0.0005)
    process.kill()
    await process.wait()
    return True


@pytest.mark.parametrize("with_journal", [True, False], ids=["with a journal", "without one"])
async def test_a_batch_killed_at_random_finishes_every_job_exactly_once(tmp_path: Path, with_journal: bool):
    seed = random.randrange(1_000_000)
    print("seed", seed)
    chance = random.Random(seed)
    journal = tmp_path / "run.sqlite" if with_journal else None
    async with lite_sandbox() as sandbox:
        killed = 0
        while killed < KILLS:
            async with await start(sandbox, tmp_path, journal) as process:
                killed += await kill_after(process, sandbox, chance.randint(1, JOBS // 2))
                if process.returncode == 0 and killed < KILLS:
                    break  # all is done already, so nothing is left to kill
        async with await start(sandbox, tmp_path, journal) as process:
            printed = b"".join([chunk async for chunk in process.stdout])
            errors = b"".join([chunk async for chunk in process.stderr])
        assert printed, errors.decode()
        report = json.loads(printed)
        counts = sandbox.counts()
    print("killed", killed, "times;", counts.purchases, "purchases")
    assert (report["done"], report["failed"]) == (JOBS, 0), report["failures"]
    named = {name: count for (_, name), count in counts.audiences.items() if name is not None}
    assert set(named.values()) == {1}
    assert len(named) == 2 * JOBS
    assert set(counts.purchases_by_audience.values()) == {1}
    assert counts.purchases == JOBS
    assert killed > 0
    if with_journal:
        assert report["spent_cents"] == counts.charged_cents
    for one in make_jobs(JOBS, tmp_path):
        assert one.export is not None
        assert Path(one.export.destination).stat().st_size > 0
