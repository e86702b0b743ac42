"""`run --shard` and `run --fence`: one part of a manifest, and what all parts share."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from indigo_async._transport.proxies import Proxies
from indigo_async.sandbox import Sandbox
from indigo_async.workflows.fence import leases as fence_leases
from indigo_async.workflows.fence.fence import Fence
from indigo_async.workflows.recipes.context import NullJobLog
from tests.support.command_line import RunCommand
from tests.support.processes.commands import json_lines, run_command, write_manifest

FAST = ("--poll-interval", "0.02")
JOBS = 6
PRICE = 800


@pytest.fixture
def fence(tmp_path: Path) -> Path:
    path = tmp_path / "fence"
    path.mkdir()
    return path


async def test_shards_at_once_share_the_fence_and_have_journals_of_their_own(tmp_path: Path, fence: Path):
    manifest = write_manifest(tmp_path, JOBS, customers=JOBS)
    results = {}

    async def run(shard: str) -> None:
        options = ("--shard", shard, "--fence", fence, "--budget-cents", "1000000", "--json")
        results[shard] = await run_command(sandbox, "run", manifest, *options, *FAST)

    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        async with anyio.create_task_group() as group:
            for shard in ("1/2", "2/2"):
                group.start_soon(run, shard)
        again = await run_command(sandbox, "run", manifest, "--fence", fence, *FAST)
        counts = sandbox.counts()
    assert [result.returncode for result in results.values()] == [0, 0], results
    summaries = [json_lines(result.stdout)[-1] for result in results.values()]
    assert sum(summary["done"] for summary in summaries) == counts.purchases == JOBS
    assert sum(summary["spent_cents"] for summary in summaries) == counts.charged_cents
    assert (tmp_path / "jobs.yaml.1-of-2.journal").is_file()
    assert (tmp_path / "jobs.yaml.2-of-2.journal").is_file()
    assert again.returncode == 0, again.stderr
    spent = f"${counts.charged_cents / 100:,.2f} spent by all runs with this"
    assert f"{spent} fence" in again.stdout
    assert "$0.00 spent by all runs with this journal" in again.stdout
    assert "earlier runs with this fence spent" in again.stderr


async def test_a_shard_that_may_purchase_is_refused_without_a_fence(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, JOBS, customers=JOBS)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        for check in ((), ("--check",)):
            refused = await command_line(sandbox, "run", manifest, "--shard", "1/2", *check)
            assert refused.exit_code == 2
            assert "--shard: needs a fence to purchase anything" in refused.stderr
            assert "pass the same --fence s3://bucket/prefix, or a folder that all machines share" in refused.stderr
            assert "or use --no-purchase" in refused.stderr
        wrong = await command_line(sandbox, "run", manifest, "--shard", "3/2", "--fence", "ftp://x", "--no-purchase")
        assert wrong.exit_code == 2
        assert "--shard: must be the number of a shard and how many there are" in wrong.stderr
        assert sandbox.log.count() == 0
        quoted = [
            await command_line(sandbox, "run", manifest, "--shard", shard, "--no-purchase", "--json", *FAST)
            for shard in ("1/2", "2/2")
        ]
        assert sandbox.counts().purchases == 0
    assert sum(result.records[-1]["done"] for result in quoted) == JOBS


async def test_a_check_shows_the_jobs_of_the_shard(command_line: RunCommand, tmp_path: Path, fence: Path):
    manifest = write_manifest(tmp_path, 20, customers=20)
    async with Sandbox(lite=True) as sandbox:
        options = ("--check", "--fence", fence)
        plans = [
            (await command_line(sandbox, "run", manifest, "--shard", f"{number}/3", "--json", *options)).records[-1]
            for number in (1, 2, 3)
        ]
        shown = await command_line(sandbox, "run", manifest, "--shard", "1/3", *options)
        assert sandbox.log.count() == 0
    assert sum(plan["jobs"] for plan in plans) == 20
    assert all(0 < plan["jobs"] < 20 for plan in plans)
    assert (plans[0]["shard"], plans[0]["fence"]) == ("1/3", str(fence))
    assert f"{plans[0]['jobs']} jobs for {plans[0]['jobs']} customers in shard 1/3 of 20 jobs" in shown.stdout
    assert list(fence.iterdir()) == []


async def test_an_empty_shard_succeeds_and_says_so(command_line: RunCommand, tmp_path: Path, fence: Path):
    manifest = write_manifest(tmp_path, 1, customers=1)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        results = [
            await command_line(sandbox, "run", manifest, "--shard", f"{number}/3", "--fence", fence, *FAST)
            for number in (1, 2, 3)
        ]
    assert [result.exit_code for result in results] == [0, 0, 0]
    empty = [
        result for result in results if "has no jobs (1 in all shards), so there is nothing to do" in result.stderr
    ]
    assert len(empty) == 2


async def test_jobs_of_another_run_are_refused_and_a_missing_fence_is_not_created(
    command_line: RunCommand,
    tmp_path: Path,
    fence: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(fence_leases, "_RENEW_SECONDS", 0.05)
    monkeypatch.setattr(fence_leases, "_CHECK_SECONDS", 0.05)
    manifest = write_manifest(tmp_path, 1, customers=1)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        missing = await command_line(sandbox, "run", manifest, "--fence", tmp_path / "missing", *FAST)
        assert missing.exit_code == 1
        assert "does not exist: create the folder once, on storage that all machines mount" in missing.stderr
        proxies = Proxies.resolve(None)
        async with Fence.open(fence, base_url=sandbox.base_url, limit_cents=None, proxies=proxies) as other:
            await other.job_log("c0", "List 0", NullJobLog(), seconds=10)
            refused = await command_line(sandbox, "run", manifest, "--fence", fence, *FAST)
        assert refused.exit_code == 1
        assert "another run owns this job and is alive" in refused.stdout + refused.stderr
        assert "Run the batch again when that run has ended" in refused.stdout + refused.stderr
        assert sandbox.log.count("POST /upload_csv") == 0
        assert (await command_line(sandbox, "run", manifest, "--fence", fence, *FAST)).exit_code == 0


async def test_temporal_divides_jobs_itself(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 1)
    options = ("--temporal", "127.0.0.1:1", "--shard", "1/2", "--fence", "s3://bucket/x")
    refused = await command_line(None, "run", manifest, *options)
    assert refused.exit_code == 2
    for option in ("--shard", "--fence"):
        assert (
            f"{option}: has no effect with --temporal, which divides the jobs among its workers itself"
            in refused.stderr
        )
