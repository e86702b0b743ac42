"""Shards as separate processes that share a fence in a folder, with kills and pauses."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from indigo_async.sandbox import Sandbox
from tests.support.fences import read_entries
from tests.support.jobs import lite_sandbox
from tests.support.processes.forked import ForkedProcess, fork
from tests.support.processes.sharded import write_report

JOBS = 24
PRICE = 8_000
LONG, SHORT = 60.0, 1.5
"""Seconds for which leases last: a process that is killed or paused is taken over after a short one."""

PURCHASE = "POST /purchase_csv_export"


@attrs.frozen
class Shards:
    """Starts processes that run shards of the same jobs with the same fence."""

    sandbox: Sandbox
    folder: Path
    fence: Path

    def start(
        self, shard: str, *, budget: int | None = None, lease: float = LONG
    ) -> AbstractAsyncContextManager[ForkedProcess]:
        disk = Path(tempfile.mkdtemp(dir=self.folder))  # as on another machine
        arguments = self.sandbox.base_url, self.sandbox.token, JOBS, disk, self.fence, shard, lease, budget
        return fork(write_report, disk / "report.json", *arguments)

    async def run(self, *shards: str, budget: int | None = None, lease: float = LONG) -> list[dict[str, Any]]:
        """Run shards at once, to their ends."""
        reports: dict[int, dict[str, Any]] = {}

        async def run(number: int, shard: str) -> None:
            async with self.start(shard, budget=budget, lease=lease) as process:
                reports[number] = await process.report()

        async with anyio.create_task_group() as group:
            for number, shard in enumerate(shards):
                group.start_soon(run, number, shard)
        return [reports[number] for number in range(len(shards))]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(50):
            while not condition():
                await anyio.sleep(0.002)

    def has_purchased(self, count: int) -> bool:
        return self.sandbox.log.count(PURCHASE) >= count


@pytest.fixture
async def shards(tmp_path: Path) -> AsyncIterator[Shards]:
    fence = tmp_path / "fence"
    fence.mkdir()
    async with lite_sandbox() as sandbox:
        yield Shards(sandbox, tmp_path, fence)


def assert_each_job_was_purchased_once(shards: Shards) -> None:
    counts = shards.sandbox.counts()
    assert set(counts.purchases_by_audience.values()) == {1}
    assert (counts.purchases, counts.charged_cents) == (JOBS, JOBS * PRICE)
    named = {name: count for (_, name), count in counts.audiences.items() if name is not None}
    assert set(named.values()) == {1}


async def test_shards_purchase_each_job_once_and_their_sum_is_exact(shards: Shards):
    reports = await shards.run("1/3", "2/3", "3/3")
    assert_each_job_was_purchased_once(shards)
    assert sum(report["done"] for report in reports) == JOBS
    assert sum(report["spent_cents"] for report in reports) == JOBS * PRICE
    (again,) = await shards.run("1/1")
    assert (again["done"], again["spent_cents"], again["fence_spent_cents"]) == (JOBS, 0, JOBS * PRICE)
    assert_each_job_was_purchased_once(shards)


async def test_overlapping_runs_never_run_a_job_at_once(shards: Shards):
    reports = await shards.run("1/2", "2/2", "1/2", "1/3", "2/3")
    failed = [failure for report in reports for failure in report["failures"]]
    assert {failure["error_type"] for failure in failed} <= {"FenceInUseError"}
    assert sum(report["spent_cents"] for report in reports) == JOBS * PRICE
    assert_each_job_was_purchased_once(shards)


async def test_a_killed_shard_is_taken_over_and_nothing_is_purchased_twice(shards: Shards):
    for purchases in (3, 10, 17):
        async with shards.start("1/1", budget=JOBS * PRICE, lease=SHORT):
            await shards.wait_until(lambda purchases=purchases: shards.has_purchased(purchases))
    (report,) = await shards.run("1/1", budget=JOBS * PRICE, lease=SHORT)
    assert (report["done"], report["failed"]) == (JOBS, 0), report["failures"]
    assert report["fence_spent_cents"] == JOBS * PRICE
    assert_each_job_was_purchased_once(shards)


async def test_a_paused_shard_that_was_taken_over_purchases_nothing_and_says_so(shards: Shards):
    async with shards.start("1/1", lease=60.0) as paused:  # so that it takes nothing back from the second run
        await shards.wait_until(lambda: shards.sandbox.log.count("POST /upload_csv") >= 4)
        paused.send_signal(signal.SIGSTOP)
        async with shards.start("1/1", lease=SHORT) as second:
            await shards.wait_until(lambda: any(entry.gone for entry in read_entries(shards.fence)))
            second.send_signal(signal.SIGSTOP)
            purchases = shards.sandbox.log.count(PURCHASE)
            paused.send_signal(signal.SIGCONT)
            superseded = await paused.report()
            assert shards.sandbox.log.count(PURCHASE) == purchases
            assert "took over" in superseded["stopped"]
            assert superseded["failed_by_error"]["FenceLostError"] > 0
            second.send_signal(signal.SIGCONT)
            report = await second.report()
    assert (report["done"], report["failed"]) == (JOBS, 0), report["failures"]
    assert_each_job_was_purchased_once(shards)


async def test_a_shard_that_was_paused_amid_purchases_finds_what_the_next_run_purchased(shards: Shards):
    async with shards.start("1/1", lease=SHORT) as paused:
        await shards.wait_until(lambda: shards.has_purchased(5))
        paused.send_signal(signal.SIGSTOP)
        (report,) = await shards.run("1/1", lease=SHORT)
        assert (report["done"], report["failed"]) == (JOBS, 0), report["failures"]
        paused.send_signal(signal.SIGCONT)
        await paused.report()
    assert_each_job_was_purchased_once(shards)


async def test_four_shards_spend_a_budget_to_the_cent(shards: Shards):
    budget = 13 * PRICE
    reports = await shards.run("1/4", "2/4", "3/4", "4/4", budget=budget)
    counts = shards.sandbox.counts()
    assert (counts.purchases, counts.charged_cents) == (13, budget)
    assert sum(report["done"] for report in reports) == 13
    assert {failure["error_type"] for report in reports for failure in report["failures"]} == {"BudgetExceededError"}
    (raised,) = await shards.run("1/1", budget=JOBS * PRICE)
    assert (raised["done"], raised["fence_spent_cents"]) == (JOBS, JOBS * PRICE)
    assert_each_job_was_purchased_once(shards)
