from __future__ import annotations

from pathlib import Path

import attrs
from batches import client_of, jobs

from indigo_async.sandbox import Sandbox, StageTimes
from indigo_async.workflows import run_batch

JOBS = 40


async def test_audiences_without_exports_do_not_teach_that_lists_show_none(tmp_path: Path):
    slow_exports = StageTimes(export=1_000.0)  # half a second, which is 25 poll intervals
    async with Sandbox(lite=True, speed=2_000.0, export_flow="asynchronous", stage_times=slow_exports) as sandbox:
        unexported = [attrs.evolve(job, export=None) for job in jobs(JOBS, tmp_path, lookalike=False)]
        async with client_of(sandbox) as client:
            await run_batch(client, unexported)
        sandbox.log.clear()
        async with client_of(sandbox) as client:
            report = await run_batch(client, jobs(JOBS, tmp_path, lookalike=False), journal=tmp_path / "run.sqlite")
    assert report.done == JOBS
    # An audience is reused by its own record, and whether it has exports is read there, once. All waiting is in lists.
    assert sandbox.log.count("GET /audience") <= 2 * JOBS + JOBS // 4
    assert sandbox.log.count("GET /audiences") <= 120
