"""A worker in a process of its own, killed while its server goes wrong by chance: SIGKILL itself, for a few runs."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path

import anyio
import pytest

from benchmarks.stress.soak_sandbox import faults
from indigo_async.sandbox import Sandbox
from indigo_async.workflows.journal import Journal
from tests.support.journals import spent_cents
from tests.support.processes import ROOT

JOBS, KILLS = 20, 4
PLENTY_CENTS = 1_000_000


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(1_000_000)
    print("seed", seed)
    return random.Random(seed)


async def test_a_worker_killed_among_faults_ends_with_every_job_done_and_nothing_twice(
    tmp_path: Path, chance: random.Random
):
    async with Sandbox(lite=True, speed=500.0, seed=chance.randrange(1_000), download_lifetime=1e9) as sandbox:
        where = [sandbox.base_url, sandbox.token, str(JOBS), str(PLENTY_CENTS), str(tmp_path)]
        worker = [sys.executable, "-m", "benchmarks.stress.soak_worker", *where]
        sandbox.faults.add(*faults(0.1))
        for _ in range(KILLS):
            async with await anyio.open_process(worker, cwd=ROOT) as process:
                goal = sandbox.log.count() + chance.randint(5, 2 * JOBS)
                while sandbox.log.count() < goal and process.returncode is None:
                    await anyio.sleep(0.001)
                if process.returncode is None:
                    process.kill()
                    assert await process.wait() == -signal.SIGKILL
        sandbox.faults.clear()
        assert (await anyio.run_process(worker, cwd=ROOT)).returncode == 0
        counts = sandbox.counts()
    named = [count for (_, name), count in counts.audiences.items() if name is not None]
    assert set(named) == {1}
    assert counts.purchases == len(counts.purchases_by_audience) == JOBS
    async with Journal.open(tmp_path / "run.sqlite") as journal:
        assert await spent_cents(journal) == counts.charged_cents
    assert {path.name for path in (tmp_path / "exports").glob("[0-9]*.csv")} == {f"{each}.csv" for each in range(JOBS)}
