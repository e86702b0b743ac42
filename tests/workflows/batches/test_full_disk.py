from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio

from tests.support.jobs import POSTS_PER_JOB, lite_sandbox
from tests.support.processes import ROOT

JOBS = 300
PROGRAM = "tests.support.processes.batch"


async def test_a_full_disk_stops_the_batch_before_the_next_post(tmp_path: Path):
    journal = tmp_path / "run.sqlite"
    async with lite_sandbox() as sandbox:
        child = [sys.executable, "-m", PROGRAM, sandbox.base_url, sandbox.token, str(JOBS), str(tmp_path), str(journal)]
        # No file may grow past 100 KiB, which the exports stay below.
        limited = await anyio.run_process(["sh", "-c", 'ulimit -f 200; exec "$@"', "sh", *child], check=False, cwd=ROOT)
        stopped = json.loads(limited.stdout)
        assert "run.sqlite" in stopped["stopped"]
        assert "JournalWriteError" in stopped["failed_by_error"]
        assert stopped["done"] < JOBS
        sent = sum(sandbox.log.count(endpoint) for endpoint in POSTS_PER_JOB)
        roomy = await anyio.run_process(child, cwd=ROOT)
        finished = json.loads(roomy.stdout)
        counts = sandbox.counts()
    assert (finished["done"], finished["failed"]) == (JOBS, 0), finished["failures"][:3]
    assert sent < 5 * JOBS
    assert set(counts.purchases_by_audience.values()) == {1}
    assert counts.purchases == JOBS
    assert finished["spent_cents"] == counts.charged_cents
