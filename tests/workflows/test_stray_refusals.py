"""Refusals that another attempt would not get: a 401 for a good token, a 408, a 425."""

from __future__ import annotations

from pathlib import Path

import pytest

from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import run_batch
from tests.support.jobs import POSTS_PER_JOB, lite_sandbox, make_client, make_jobs

JOBS = 40
ENDPOINTS = (*POSTS_PER_JOB, "GET /audience", "GET /audiences")


async def run_with(sandbox: Sandbox, folder: Path, *faults: Fault, jobs: int = JOBS):
    async with make_client(sandbox) as client:
        assert (await run_batch(client, make_jobs(1, folder, customer="before"))).done == 1  # the token has worked
        sandbox.log.clear()
        sandbox.faults.add(*faults)
        return await run_batch(client, make_jobs(jobs, folder), journal=folder / "run.sqlite")


@pytest.mark.parametrize("status", [401, 408, 425])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_one_on_each_endpoint_fails_no_job_and_buys_nothing_twice(tmp_path: Path, endpoint: str, status: int):
    kinds = [FaultKind.ERROR_BEFORE] if status == 401 else [FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER]
    async with lite_sandbox() as sandbox:
        faults = [Fault(kind=kind, endpoint=endpoint, status=status, skip_first=2) for kind in kinds]
        report = await run_with(sandbox, tmp_path, *faults, jobs=6)
        assert (report.done, report.stopped) == (6, None)
        assert sandbox.counts().purchases == 7
        assert set(sandbox.counts().purchases_by_audience.values()) == {1}


async def test_a_401_now_and_then_stops_no_batch(tmp_path: Path):
    async with lite_sandbox() as sandbox:
        stray = Fault(kind=FaultKind.ERROR_BEFORE, status=401, probability=0.03, times=None)
        report = await run_with(sandbox, tmp_path, stray)
        assert report.failed_requests["401"] > 1
        assert (report.done, report.stopped) == (JOBS, None)
        assert sandbox.counts().purchases == JOBS + 1


async def test_a_token_that_is_revoked_stops_the_batch_after_few_requests(tmp_path: Path):
    async with lite_sandbox() as sandbox:
        revoked = Fault(kind=FaultKind.ERROR_BEFORE, status=401, times=None, skip_first=100)
        report = await run_with(sandbox, tmp_path, revoked)
        assert report.stopped is not None
        assert "401" in report.stopped
        assert report.failed_requests["401"] <= 3 * JOBS + 20
        assert sandbox.counts().purchases == report.done + 1 + report.failed_by_stage.get("download", 0)
