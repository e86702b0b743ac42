"""Batches on Temporal: a budget shared by all workers, shards, repeated runs, cancellation and killed workers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from indigo_async.errors import InvalidInputError
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.temporal import BatchSummary, BatchWorkflow, BudgetWorkflow, run_batch
from indigo_async.temporal.ids import batch_workflow_id, budget_workflow_id, shard_workflow_id
from indigo_async.temporal.workflows import batch as batch_workflow
from indigo_async.temporal.workflows import budget as budget_workflow
from indigo_async.temporal.workflows.shard import ShardWorkflow
from indigo_async.workflows import AudienceJob, ExportStep
from tests.support.temporal_jobs import (
    PRICE_CENTS,
    PURCHASE,
    TemporalEnvironment,
    history_text,
    make_job,
    worker_process,
)


def batch(temporal_environment: TemporalEnvironment, jobs: list[AudienceJob], **options: Any) -> Any:
    settings: dict[str, Any] = {"name": temporal_environment.task_queue, "shard_size": 5} | options
    return run_batch(temporal_environment.temporal, jobs, task_queue=temporal_environment.task_queue, **settings)


async def test_a_budget_is_exact_across_workers_and_later_runs(
    temporal_environment: TemporalEnvironment, customer: str
):
    jobs = [make_job(number, customer=customer) for number in range(8)]
    async with temporal_environment.running_worker(), temporal_environment.running_worker():
        summary: BatchSummary = await batch(temporal_environment, jobs, budget_cents=5 * PRICE_CENTS + 1)
        assert (summary.done, summary.failed, summary.failed_by_error) == (5, 3, {"BudgetExceededError": 3})
        assert {failure.stage for failure in summary.failures} == {"purchase"}
        assert (summary.spent_cents, temporal_environment.purchase_count()) == (5 * PRICE_CENTS, 5)
        again: BatchSummary = await batch(temporal_environment, jobs, budget_cents=5 * PRICE_CENTS + 1)
        assert (again.done, again.recalled, again.failed, temporal_environment.purchase_count()) == (5, 5, 3, 5)
        raised: BatchSummary = await batch(temporal_environment, jobs, budget_cents=8 * PRICE_CENTS)
        held = temporal_environment.temporal.get_workflow_handle_for(
            BudgetWorkflow.run, budget_workflow_id(temporal_environment.task_queue)
        )
        ledger = await held.query(BudgetWorkflow.ledger)
    assert (raised.done, raised.recalled, raised.failed) == (8, 5, 0)
    assert (raised.spent_cents, temporal_environment.purchase_count()) == (3 * PRICE_CENTS, 8)
    assert len(list(temporal_environment.exports.glob("*/*.csv"))) == 8
    assert (ledger.spent_cents, ledger.reserved) == (8 * PRICE_CENTS, {})


async def test_an_outage_fails_no_job(temporal_environment: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer) for number in range(6)]
    sandbox = temporal_environment.sandbox
    async with temporal_environment.running_worker():
        async with sandbox.refuse_connections():
            running = asyncio.create_task(batch(temporal_environment, jobs))
            await asyncio.sleep(2)
        while not temporal_environment.purchase_count():
            await asyncio.sleep(0.02)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, status=503, times=None))
        await asyncio.sleep(2)
        sandbox.faults.clear()
        summary: BatchSummary = await running
    assert (summary.done, summary.failed, temporal_environment.purchase_count()) == (6, 0, 6)
    # The jobs waited themselves, so no shard was repeated.
    for number in range(2):
        history = await history_text(temporal_environment.temporal, shard_workflow_id(customer, number))
        assert "attempt: 1" in history
        assert "attempt: 2" not in history


async def test_a_batch_continues_without_its_caller_and_can_be_awaited_again(
    temporal_environment: TemporalEnvironment, customer: str
):
    jobs = [make_job(number, customer=customer) for number in range(10)]
    caller = asyncio.create_task(batch(temporal_environment, jobs, max_in_flight=5))
    async with temporal_environment.running_worker():
        while temporal_environment.sandbox.log.count("POST /match_uploaded_csv") == 0:
            await asyncio.sleep(0.02)
        caller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caller
        summary: BatchSummary = await batch(temporal_environment, jobs, max_in_flight=5)
    assert (summary.done, summary.recalled, summary.failed) == (10, 0, 0)
    assert (
        temporal_environment.sandbox.log.count("POST /match_uploaded_csv")
        == temporal_environment.sandbox.log.count(PURCHASE)
        == 10
    )


async def test_a_batch_with_another_name_waits_for_jobs_in_progress(
    temporal_environment: TemporalEnvironment, customer: str
):
    jobs = [make_job(number, customer=customer) for number in range(3)]
    async with temporal_environment.running_worker():
        first, second = await asyncio.gather(
            batch(temporal_environment, jobs, name=f"{customer} 1"),
            batch(temporal_environment, jobs, name=f"{customer} 2"),
        )
    assert (first.done, second.done) == (3, 3)
    assert first.recalled + second.recalled == 3
    assert temporal_environment.purchase_count() == 3


async def test_a_batch_in_progress_accepts_no_other_jobs(temporal_environment: TemporalEnvironment, customer: str):
    caller = asyncio.create_task(batch(temporal_environment, [make_job(1, customer=customer)]))
    async with temporal_environment.running_worker():
        while temporal_environment.sandbox.log.count("POST /upload_csv") == 0:
            await asyncio.sleep(0.02)
        with pytest.raises(InvalidInputError, match="is in progress with other jobs"):
            await batch(temporal_environment, [make_job(2, customer=customer)])
        assert (await caller).done == 1


async def test_jobs_are_checked_before_anything_is_started(temporal_environment: TemporalEnvironment, customer: str):
    invalid = make_job(1, customer=customer, audience_name=" ")
    with pytest.raises(InvalidInputError, match="must not be empty"):
        await batch(temporal_environment, [invalid])
    with pytest.raises(InvalidInputError, match="names are unique"):
        await batch(temporal_environment, [make_job(1, customer=customer), make_job(1, customer=customer)])
    async for _ in temporal_environment.temporal.list_workflows(f"IndigoBatch = '{temporal_environment.task_queue}'"):
        pytest.fail("something was started")


async def test_a_dropped_job_is_one_failure_of_its_batch(temporal_environment: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer) for number in range(3)]
    sandbox = temporal_environment.sandbox
    shard = temporal_environment.temporal.get_workflow_handle_for(ShardWorkflow.run, shard_workflow_id(customer, 0))
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint="POST /match_uploaded_csv", delay=1.0, times=None))
    async with temporal_environment.running_worker():
        caller = asyncio.create_task(batch(temporal_environment, jobs, heartbeat_seconds=1.0))
        while sandbox.log.count("POST /upload_csv") < 3:
            await asyncio.sleep(0.02)
        await shard.signal(ShardWorkflow.drop, jobs[1].key)
        summary: BatchSummary = await caller
        assert (summary.done, summary.failed, summary.failed_by_error) == (2, 1, {"CancelledError": 1})
        assert summary.failures[0].key == jobs[1].key
        again: BatchSummary = await batch(temporal_environment, jobs)
    assert (again.done, again.recalled, temporal_environment.purchase_count()) == (3, 2, 3)
    assert sandbox.log.count("POST /upload_csv") == 3


async def test_a_canceled_batch_cancels_its_jobs(temporal_environment: TemporalEnvironment, customer: str):
    caller = asyncio.create_task(
        batch(temporal_environment, [make_job(number, customer=customer) for number in range(3)])
    )
    first = temporal_environment.temporal.get_workflow_handle(shard_workflow_id(customer, 0))
    async with temporal_environment.running_worker():
        while temporal_environment.sandbox.log.count("POST /upload_csv") == 0:
            await asyncio.sleep(0.02)
        await temporal_environment.temporal.get_workflow_handle(
            batch_workflow_id(temporal_environment.task_queue)
        ).cancel()
        summary: BatchSummary = await caller
        assert summary.done + summary.failed_by_error.get("CancelledError", 0) == 3
        assert (await first.describe()).status is WorkflowExecutionStatus.CANCELED


async def test_queries_show_progress(temporal_environment: TemporalEnvironment, customer: str):
    async with temporal_environment.running_worker():
        await batch(temporal_environment, [make_job(number, customer=customer) for number in range(3)])
    handle = temporal_environment.temporal.get_workflow_handle_for(
        BatchWorkflow.run, batch_workflow_id(temporal_environment.task_queue)
    )
    async with temporal_environment.running_worker():
        progress = await handle.query(BatchWorkflow.progress)
    assert (progress.pages, progress.complete, progress.so_far.done) == (1, True, 3)


async def test_batches_and_budgets_with_long_histories_continue_as_new(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batch_workflow, "_MAX_HISTORY_LENGTH", 25)
    monkeypatch.setattr(budget_workflow, "_MAX_HISTORY_LENGTH", 15)
    jobs = [make_job(number, customer=customer) for number in range(8)]
    async with temporal_environment.running_worker():
        summary: BatchSummary = await batch(
            temporal_environment, jobs, shard_size=1, max_in_flight=2, budget_cents=8 * PRICE_CENTS
        )
        held = temporal_environment.temporal.get_workflow_handle_for(
            BudgetWorkflow.run, budget_workflow_id(temporal_environment.task_queue)
        )
        ledger = await held.query(BudgetWorkflow.ledger)
    assert (summary.done, summary.failed, summary.spent_cents) == (8, 0, 8 * PRICE_CENTS)
    assert (ledger.spent_cents, ledger.reserved, temporal_environment.purchase_count()) == (8 * PRICE_CENTS, {}, 8)
    for workflow_id in (
        batch_workflow_id(temporal_environment.task_queue),
        budget_workflow_id(temporal_environment.task_queue),
    ):
        first = (await temporal_environment.temporal.get_workflow_handle(workflow_id).describe()).raw_info
        assert first.first_run_id != first.execution.run_id


async def test_killed_workers_lose_nothing_and_purchase_nothing_twice(
    temporal_environment: TemporalEnvironment, customer: str, tmp_path: Path
):
    jobs = [make_job(number, customer=customer) for number in range(12)]
    log = tmp_path / "workers.log"
    with (
        worker_process(temporal_environment, log) as first,
        worker_process(temporal_environment, log) as second,
    ):
        caller = asyncio.create_task(
            batch(temporal_environment, jobs, budget_cents=12 * PRICE_CENTS, heartbeat_seconds=2.0)
        )
        for victim, seen in ((first, "POST /match_uploaded_csv"), (second, PURCHASE)):
            while temporal_environment.sandbox.log.count(seen) < 2:
                await asyncio.sleep(0.02)
            victim.send_signal(signal.SIGKILL)
        with worker_process(temporal_environment, log):
            summary: BatchSummary = await caller
    assert (summary.done, summary.failed, summary.spent_cents) == (12, 0, 12 * PRICE_CENTS), log.read_text()
    assert temporal_environment.purchase_count() == 12
    assert set(temporal_environment.sandbox.counts().purchases_by_audience.values()) == {1}
    assert len(list(temporal_environment.exports.glob("*/*.csv"))) == 12


async def test_exports_without_a_destination_count_against_the_budget(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    step = ExportStep(destination=None, optional_field_types=["phone"], max_cost_cents=PRICE_CENTS)
    jobs = [make_job(number, customer=customer, export=step) for number in range(3)]
    async with env.running_worker():
        summary: BatchSummary = await batch(env, jobs, budget_cents=2 * PRICE_CENTS)
    assert (summary.done, summary.spent_cents) == (2, 2 * PRICE_CENTS)
    assert (summary.failed_by_error, env.purchase_count()) == ({"BudgetExceededError": 1}, 2)
