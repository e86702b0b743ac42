"""Shards while workers are killed at random and replaced. `python -m benchmarks.temporal --kill --stop` does more."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from temporalio.client import Client

from benchmarks.support.temporal_processes import Workers
from indigo_async.temporal import BatchSummary, BudgetWorkflow, run_batch
from indigo_async.temporal.ids import budget_workflow_id
from tests.support.temporal_jobs import PRICE_CENTS, TemporalEnvironment, lite_sandbox, make_job

JOBS, SHARD_SIZE, KILLS = 60, 20, 2
HEARTBEAT_SECONDS = 1.0


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(1_000_000)
    print("seed", seed)
    return random.Random(seed)


def worker_processes(env: TemporalEnvironment, folder: Path) -> Workers:
    options = ["--temporal", env.address, "--task-queue", env.task_queue, "--exports", env.exports]
    options += ["--poll-interval", "0.1", "--graceful", "1"]
    variables = {"INDIGO_BASE_URL": env.sandbox.base_url, "INDIGO_API_TOKEN": env.sandbox.token}
    return Workers(options, variables, folder)


async def wait_for_requests(env: TemporalEnvironment, more: int, running: asyncio.Future[BatchSummary]) -> None:
    goal = env.sandbox.log.count() + more
    while env.sandbox.log.count() < goal and not running.done():
        await asyncio.sleep(0.005)


async def test_killed_workers_purchase_each_job_of_their_shards_once(
    temporal: Client, temporal_address: str, customer: str, tmp_path: Path, chance: random.Random
):
    jobs = [make_job(number, customer=f"{customer}-{number % 5}") for number in range(JOBS)]
    async with lite_sandbox(speed=100.0) as sandbox:
        env = TemporalEnvironment(sandbox, temporal, temporal_address, customer, tmp_path / "exports")
        workers = worker_processes(env, tmp_path)
        running = asyncio.ensure_future(
            run_batch(
                temporal,
                jobs,
                name=customer,
                task_queue=customer,
                budget_cents=JOBS * PRICE_CENTS,
                shard_size=SHARD_SIZE,
                heartbeat_seconds=HEARTBEAT_SECONDS,
            )
        )
        try:
            workers.start()
            workers.start()
            for _ in range(KILLS):
                await wait_for_requests(env, chance.randint(20, 150), running)
                workers.kill_one()
                workers.start()
            summary = await running
            ledger = await temporal.get_workflow_handle_for(BudgetWorkflow.run, budget_workflow_id(customer)).query(
                BudgetWorkflow.ledger
            )
        finally:
            running.cancel()
            workers.end()
        counts = sandbox.counts()
    assert (summary.done, summary.failed) == (JOBS, 0), summary
    assert counts.purchases == len(counts.purchases_by_audience) == JOBS
    assert (ledger.spent_cents, ledger.reserved) == (counts.charged_cents, {}) == (JOBS * PRICE_CENTS, {})
    assert len(list(env.exports.glob("*/*.csv"))) == JOBS
