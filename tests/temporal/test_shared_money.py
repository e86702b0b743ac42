"""What batches spend together: exact budgets and one purchase for each job, whatever happens to workers and ledgers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from indigo_async.sandbox import Fault, FaultKind
from indigo_async.temporal import BatchSummary, BudgetWorkflow, run_batch
from indigo_async.temporal.ids import budget_workflow_id, shard_workflow_id
from indigo_async.temporal.workflows import budget as budget_workflow
from indigo_async.temporal.workflows import claims as claims_workflow
from indigo_async.workflows import AudienceJob
from indigo_async.workflows.sharding.ledger import Ledger
from tests.support.temporal_jobs import PRICE_CENTS, PURCHASE, TemporalEnvironment, make_job


def batch(env: TemporalEnvironment, jobs: list[AudienceJob], **options: Any) -> Any:
    settings: dict[str, Any] = {"name": env.task_queue, "shard_size": 4} | options
    return run_batch(env.temporal, jobs, task_queue=env.task_queue, **settings)


def make_jobs(customer: str, count: int) -> list[AudienceJob]:
    return [make_job(number, customer=f"{customer} {number % 3}") for number in range(count)]


async def read_ledger(env: TemporalEnvironment) -> Ledger:
    budget = env.temporal.get_workflow_handle_for(BudgetWorkflow.run, budget_workflow_id(env.task_queue))
    return await budget.query(BudgetWorkflow.ledger)


async def test_a_budget_for_some_jobs_is_exact_while_ledger_and_claims_continue_as_new(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    env = temporal_environment
    monkeypatch.setattr(budget_workflow, "_MAX_HISTORY_LENGTH", 12)
    monkeypatch.setattr(claims_workflow, "_MAX_HISTORY_LENGTH", 8)
    async with env.running_worker(), env.running_worker():
        summary: BatchSummary = await batch(env, make_jobs(customer, 20), budget_cents=11 * PRICE_CENTS)
        ledger = await read_ledger(env)
    assert (summary.done, summary.failed_by_error) == (11, {"BudgetExceededError": 9})
    assert (env.purchase_count(), summary.spent_cents) == (11, 11 * PRICE_CENTS)
    assert (ledger.spent_cents, ledger.reserved, ledger.holders) == (11 * PRICE_CENTS, {}, {})


async def test_a_run_with_a_limit_counts_what_an_earlier_run_spent_without_one(
    temporal_environment: TemporalEnvironment, customer: str
):
    env, jobs = temporal_environment, make_jobs(customer, 9)
    too_expensive = [make_job(number, customer=f"{customer} {number % 3}", max_cost_cents=0) for number in range(5, 9)]
    async with env.running_worker():
        first: BatchSummary = await batch(env, [*jobs[:5], *too_expensive])
        assert (first.done, first.spent_cents) == (5, 5 * PRICE_CENTS)
        second: BatchSummary = await batch(env, jobs, budget_cents=7 * PRICE_CENTS)
        ledger = await read_ledger(env)
    assert (second.done, second.recalled, second.failed_by_error) == (7, 5, {"BudgetExceededError": 2})
    assert (env.purchase_count(), ledger.spent_cents) == (7, 7 * PRICE_CENTS)


async def test_a_terminated_shard_and_another_batch_purchase_once(
    temporal_environment: TemporalEnvironment, customer: str
):
    env, jobs = temporal_environment, make_jobs(customer, 4)
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=PURCHASE, delay=1.0, times=4))
    async with env.running_worker(), env.running_worker():
        first = asyncio.create_task(batch(env, jobs, name=f"{customer} 1"))
        while env.sandbox.log.count(PURCHASE) < 1:
            await asyncio.sleep(0.02)
        await env.temporal.get_workflow_handle(shard_workflow_id(f"{customer} 1", 0)).terminate()
        second: BatchSummary = await batch(env, jobs, name=f"{customer} 2")
        await first
    assert second.done == 4
    assert env.purchase_count() == 4
