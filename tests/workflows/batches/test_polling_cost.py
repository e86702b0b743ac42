from __future__ import annotations

from pathlib import Path

import attrs

from indigo_async.sandbox import Fault, FaultKind, Sandbox, StageTimes
from indigo_async.workflows import run_batch
from tests.support.jobs import make_client, make_jobs

JOBS = 40
VERIFIED = 20


async def test_audiences_without_exports_do_not_imply_that_lists_omit_them(tmp_path: Path):
    slow_exports = StageTimes(export=1_000.0)  # half a second, which is 25 poll intervals
    async with Sandbox(lite=True, speed=2_000.0, export_flow="asynchronous", stage_times=slow_exports) as sandbox:
        unexported = [attrs.evolve(job, export=None) for job in make_jobs(JOBS, tmp_path, lookalike=False)]
        async with make_client(sandbox) as client:
            await run_batch(client, unexported)
        sandbox.log.clear()
        async with make_client(sandbox) as client:
            report = await run_batch(
                client, make_jobs(JOBS, tmp_path, lookalike=False), journal=tmp_path / "run.sqlite"
            )
    assert report.done == JOBS
    # Three decisions rest on a read of the audience itself: to reuse it, to price an export, to buy at that price. All
    # waiting is in lists, which single reads verify now and then.
    assert sandbox.log.count("GET /audience") <= 3 * JOBS + VERIFIED
    assert sandbox.log.count("GET /audiences") <= 120


async def test_failed_reads_do_not_count_as_negative_savings(tmp_path: Path):
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, status=503, endpoint="GET /audience", times=4))
        async with make_client(sandbox) as client:
            report = await run_batch(client, make_jobs(1, tmp_path))
    assert report.done == 1
    assert report.failed_requests == {"503": 4}
    assert report.reads_saved >= 0
