from __future__ import annotations

import random
import signal
from pathlib import Path

import anyio
import pytest

from indigo_async.sandbox import Sandbox
from tests.support.jobs import lite_sandbox, make_jobs
from tests.support.processes.batch import write_report
from tests.support.processes.forked import ForkedProcess, fork

KILLS = 20
JOBS = 40


async def kill_after(process: ForkedProcess, sandbox: Sandbox, requests: int) -> bool:
    """Kill the process after this many more requests; False if it ended first."""
    goal = sandbox.log.count() + requests
    while sandbox.log.count() < goal:
        if not process.process.is_alive():
            return False
        await anyio.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    return True


@pytest.mark.parametrize("with_journal", [True, False], ids=["with a journal", "without one"])
async def test_a_batch_killed_at_random_finishes_every_job_exactly_once(tmp_path: Path, with_journal: bool):
    seed = random.randrange(1_000_000)
    print("seed", seed)
    chance = random.Random(seed)
    journal = tmp_path / "run.sqlite" if with_journal else None
    async with lite_sandbox() as sandbox:
        arguments = tmp_path / "report.json", sandbox.base_url, sandbox.token, JOBS, tmp_path, journal
        killed = 0
        while killed < KILLS:
            async with fork(write_report, *arguments) as process:
                killed += await kill_after(process, sandbox, chance.randint(1, JOBS // 2))
            if process.process.exitcode == 0 and killed < KILLS:
                break  # all is done already, so nothing is left to kill
        async with fork(write_report, *arguments) as process:
            report = await process.report()
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
