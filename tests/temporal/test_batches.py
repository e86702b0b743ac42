"""Batches on Temporal: one budget over all workers, fed in pages, run again, cancelled, and cut by killed workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from indigo_async.errors import InvalidInputError
from indigo_async.temporal import BatchSummary, BatchWorkflow, BudgetWorkflow, run_batch
from indigo_async.temporal.ids import batch_workflow_id, budget_workflow_id, job_workflow_id
from indigo_async.temporal.workflows import batch as batch_workflow
from indigo_async.temporal.workflows import budget as budget_workflow
from indigo_async.workflows import AudienceJob
from tests.support.temporal_jobs import PRICE_CENTS, PURCHASE, TemporalEnvironment, event_types, make_job


def batch(bench: TemporalEnvironment, jobs: list[AudienceJob], **options: Any) -> Any:
    settings: dict[str, Any] = {"name": bench.task_queue, "page_size": 5} | options
    return run_batch(bench.temporal, jobs, task_queue=bench.task_queue, **settings)


async def test_a_budget_is_exact_over_workers_and_holds_for_later_runs(bench: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer) for number in range(8)]
    async with bench.running_worker(), bench.running_worker():
        end: BatchSummary = await batch(bench, jobs, budget_cents=5 * PRICE_CENTS + 1)
        assert (end.done, end.failed, end.failed_by_error) == (5, 3, {"BudgetExceededError": 3})
        assert {failure.stage for failure in end.failures} == {"purchase"}
        assert (end.spent_cents, bench.purchase_count()) == (5 * PRICE_CENTS, 5)
        again: BatchSummary = await batch(bench, jobs, budget_cents=5 * PRICE_CENTS + 1)
        assert (again.done, again.recalled, again.failed, bench.purchase_count()) == (5, 5, 3, 5)
        raised: BatchSummary = await batch(bench, jobs, budget_cents=8 * PRICE_CENTS)
        held = bench.temporal.get_workflow_handle_for(BudgetWorkflow.run, budget_workflow_id(bench.task_queue))
        ledger = await held.query(BudgetWorkflow.ledger)
    assert (raised.done, raised.recalled, raised.failed) == (8, 5, 0)
    assert (raised.spent_cents, bench.purchase_count()) == (3 * PRICE_CENTS, 8)
    assert len(list(bench.exports.glob("*/*.csv"))) == 8
    assert (ledger.spent_cents, ledger.reserved) == (8 * PRICE_CENTS, {})


async def test_a_batch_that_lost_its_caller_goes_on_and_is_waited_for_again(bench: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer) for number in range(10)]
    caller = asyncio.create_task(batch(bench, jobs, max_in_flight=5))
    async with bench.running_worker():
        while bench.sandbox.log.count("POST /match_uploaded_csv") == 0:
            await asyncio.sleep(0.02)
        caller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caller
        end: BatchSummary = await batch(bench, jobs, max_in_flight=5)
    assert (end.done, end.recalled, end.failed) == (10, 0, 0)
    assert bench.sandbox.log.count("POST /match_uploaded_csv") == bench.sandbox.log.count(PURCHASE) == 10


async def test_a_batch_of_another_name_waits_for_jobs_that_are_under_way(bench: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer) for number in range(3)]
    async with bench.running_worker():
        one, other = await asyncio.gather(
            batch(bench, jobs, name=f"{customer} 1"), batch(bench, jobs, name=f"{customer} 2")
        )
    assert (one.done, other.done) == (3, 3)
    assert one.recalled + other.recalled == 3
    assert bench.purchase_count() == 3


async def test_a_batch_under_way_takes_no_other_jobs(bench: TemporalEnvironment, customer: str):
    caller = asyncio.create_task(batch(bench, [make_job(1, customer=customer)]))
    async with bench.running_worker():
        while bench.sandbox.log.count("POST /upload_csv") == 0:
            await asyncio.sleep(0.02)
        with pytest.raises(InvalidInputError, match="is under way with other jobs"):
            await batch(bench, [make_job(2, customer=customer)])
        assert (await caller).done == 1


async def test_jobs_are_checked_before_anything_is_started(bench: TemporalEnvironment, customer: str):
    bad = make_job(1, customer=customer, audience_name=" ")
    with pytest.raises(InvalidInputError, match="must not be empty"):
        await batch(bench, [bad])
    with pytest.raises(InvalidInputError, match="names are unique"):
        await batch(bench, [make_job(1, customer=customer), make_job(1, customer=customer)])
    async for _ in bench.temporal.list_workflows(f"IndigoBatch = '{bench.task_queue}'"):
        pytest.fail("something was started")


async def test_a_job_cancelled_by_an_operator_is_one_failure_of_its_batch(bench: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer) for number in range(3)]
    async with bench.running_worker():
        caller = asyncio.create_task(batch(bench, jobs))
        while True:
            try:
                await bench.temporal.get_workflow_handle(job_workflow_id(customer, "List 1")).cancel()
            except RPCError:  # it is not there yet
                await asyncio.sleep(0.01)
            else:
                break
        end: BatchSummary = await caller
        assert (end.done, end.failed, end.failed_by_error) == (2, 1, {"CancelledError": 1})
        again: BatchSummary = await batch(bench, jobs)
    assert (again.done, again.recalled, bench.purchase_count()) == (3, 2, 3)


async def test_a_cancelled_batch_cancels_its_jobs(bench: TemporalEnvironment, customer: str):
    caller = asyncio.create_task(batch(bench, [make_job(number, customer=customer) for number in range(3)]))
    first = bench.temporal.get_workflow_handle(job_workflow_id(customer, "List 0"))
    async with bench.running_worker():
        while bench.sandbox.log.count("POST /upload_csv") == 0:
            await asyncio.sleep(0.02)
        await bench.temporal.get_workflow_handle(batch_workflow_id(bench.task_queue)).cancel()
        with pytest.raises(Exception, match="Workflow execution failed"):
            await caller
        while (await first.describe()).status is WorkflowExecutionStatus.RUNNING:
            await asyncio.sleep(0.05)
        assert (await first.describe()).status is WorkflowExecutionStatus.CANCELED


async def test_progress_is_told_by_queries_and_search_attributes(bench: TemporalEnvironment, customer: str):
    async with bench.running_worker():
        await batch(bench, [make_job(number, customer=customer) for number in range(3)])
    handle = bench.temporal.get_workflow_handle_for(BatchWorkflow.run, batch_workflow_id(bench.task_queue))
    async with bench.running_worker():
        progress = await handle.query(BatchWorkflow.progress)
    assert (progress.pages, progress.complete, progress.so_far.done) == (1, True, 3)
    found: list[str] = []
    while len(found) < 3:  # what is found by search comes a moment later
        query = f"IndigoCustomer = '{customer}' AND IndigoBatch = '{bench.task_queue}' AND IndigoStage = 'export'"
        found = [seen.id async for seen in bench.temporal.list_workflows(query)]
    assert sorted(found) == [job_workflow_id(customer, f"List {number}") for number in range(3)]


async def test_the_history_of_a_page_grows_by_nine_events_a_job_at_most(bench: TemporalEnvironment, customer: str):
    async with bench.running_worker():
        await batch(bench, [make_job(number, customer=customer) for number in range(10)], page_size=10)
    page = await event_types(bench.temporal, f"batch/{bench.task_queue}/page/0")
    whole = await event_types(bench.temporal, f"batch/{bench.task_queue}")
    assert len(page) <= 10 + 9 * 10
    assert len(whole) <= 30


async def test_batches_and_budgets_go_on_in_new_histories_when_theirs_have_grown_long(
    bench: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batch_workflow, "_MAX_HISTORY_LENGTH", 25)
    monkeypatch.setattr(budget_workflow, "_MAX_HISTORY_LENGTH", 15)
    jobs = [make_job(number, customer=customer) for number in range(8)]
    async with bench.running_worker():
        end: BatchSummary = await batch(bench, jobs, page_size=1, max_in_flight=2, budget_cents=8 * PRICE_CENTS)
        held = bench.temporal.get_workflow_handle_for(BudgetWorkflow.run, budget_workflow_id(bench.task_queue))
        ledger = await held.query(BudgetWorkflow.ledger)
    assert (end.done, end.failed, end.spent_cents) == (8, 0, 8 * PRICE_CENTS)
    assert (ledger.spent_cents, ledger.reserved, bench.purchase_count()) == (8 * PRICE_CENTS, {}, 8)
    for workflow_id in (batch_workflow_id(bench.task_queue), budget_workflow_id(bench.task_queue)):
        first = (await bench.temporal.get_workflow_handle(workflow_id).describe()).raw_info
        assert first.first_run_id != first.execution.run_id


@contextmanager
def worker_process(
    bench: TemporalEnvironment, address: str, log: Path, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`indigo-async worker` in a process of its own."""
    command = [sys.executable, "-m", "indigo_async", "worker", "--temporal", address, "--task-queue", bench.task_queue]
    command += ["--exports", str(bench.exports), "--poll-interval", "0.05", "--graceful", "5", *options]
    own = {"INDIGO_BASE_URL": bench.sandbox.base_url, "INDIGO_API_TOKEN": bench.sandbox.token}
    with log.open("ab") as errors:
        process = subprocess.Popen(command, env=os.environ | own, stderr=errors)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


async def test_workers_killed_at_any_time_lose_nothing_and_buy_nothing_twice(
    bench: TemporalEnvironment, customer: str, temporal_address: str, tmp_path: Path
):
    jobs = [make_job(number, customer=customer) for number in range(12)]
    log = tmp_path / "workers.log"
    with worker_process(bench, temporal_address, log) as first, worker_process(bench, temporal_address, log) as second:
        caller = asyncio.create_task(batch(bench, jobs, budget_cents=12 * PRICE_CENTS, heartbeat_seconds=2.0))
        for victim, seen in ((first, "POST /match_uploaded_csv"), (second, PURCHASE)):
            while bench.sandbox.log.count(seen) < 2:
                await asyncio.sleep(0.02)
            victim.send_signal(signal.SIGKILL)
        with worker_process(bench, temporal_address, log):
            end: BatchSummary = await caller
    assert (end.done, end.failed, end.spent_cents) == (12, 0, 12 * PRICE_CENTS), log.read_text()
    assert bench.purchase_count() == 12
    assert set(bench.sandbox.counts().purchases_by_audience.values()) == {1}
    assert len(list(bench.exports.glob("*/*.csv"))) == 12
