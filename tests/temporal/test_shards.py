"""Shards on Temporal: what a job costs, who runs it, and that every purchase is made and counted once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from indigo_async._validation import InputCheck
from indigo_async.errors import AuthenticationError
from indigo_async.sandbox import Dialect, Fault, FaultKind
from indigo_async.temporal import BatchSummary, BatchWorkflow, BudgetWorkflow, run_batch
from indigo_async.temporal.budget_client import BudgetClient
from indigo_async.temporal.failures import create_handover
from indigo_async.temporal.ids import batch_workflow_id, budget_workflow_id, claims_workflow_id, shard_workflow_id
from indigo_async.temporal.job_inputs import build_job_input
from indigo_async.temporal.payloads import BeginRequest, Turn
from indigo_async.temporal.shards import attempt as shard_attempt
from indigo_async.temporal.shards import claims as shard_claims
from indigo_async.temporal.shards.history import read_shard
from indigo_async.temporal.shards.payloads import JobState, ShardTask, pack_jobs
from indigo_async.temporal.workers.export_stores import ObjectExportStore
from indigo_async.temporal.workers.guard import WorkerGuard
from indigo_async.temporal.workflows import batch as batch_workflow
from indigo_async.temporal.workflows.claims import ClaimsWorkflow
from indigo_async.temporal.workflows.shard import ShardWorkflow
from indigo_async.workflows import AudienceJob
from indigo_async.workflows.batches.jobs import check_job
from indigo_async.workflows.sharding.ledger import Ledger
from indigo_async.workflows.sharding.split import bucket_of, job_ref
from tests.support.temporal_jobs import (
    PRICE_CENTS,
    PURCHASE,
    TemporalEnvironment,
    event_types,
    history_text,
    lite_sandbox,
    make_job,
    worker_process,
)

UPLOAD, MATCH, PREVIEW = "POST /upload_csv", "POST /match_uploaded_csv", "POST /create_preview_csv_export"


async def run(environment: TemporalEnvironment, jobs: Sequence[AudienceJob], **options: Any) -> BatchSummary:
    settings: dict[str, Any] = {"name": environment.task_queue, "heartbeat_seconds": 6.0} | options
    return await run_batch(environment.temporal, jobs, task_queue=environment.task_queue, **settings)


async def read_ledger(environment: TemporalEnvironment, name: str | None = None) -> Ledger:
    workflow_id = budget_workflow_id(name or environment.task_queue)
    handle = environment.temporal.get_workflow_handle_for(BudgetWorkflow.run, workflow_id)
    return await handle.query(BudgetWorkflow.ledger)


def count_requests(environment: TemporalEnvironment) -> dict[str, int]:
    by_endpoint = environment.sandbox.log.count_by_endpoint()
    return {endpoint: sum(statuses.values()) for endpoint, statuses in by_endpoint.items()}


async def read_ledger_or_empty(environment: TemporalEnvironment) -> Ledger:
    try:
        return await read_ledger(environment)
    except RPCError:  # not started yet
        return Ledger()


async def wait_for(environment: TemporalEnvironment, endpoint: str, count: int = 1) -> None:
    while environment.sandbox.log.count(endpoint) < count:
        await asyncio.sleep(0.02)


async def wait_until_ended(environment: TemporalEnvironment, workflow_id: str) -> WorkflowExecutionStatus | None:
    handle = environment.temporal.get_workflow_handle(workflow_id)
    while (status := (await handle.describe()).status) is WorkflowExecutionStatus.RUNNING:
        await asyncio.sleep(0.05)
    return status


async def wait_until_scheduled(shard: WorkflowHandle[Any, Any]) -> None:
    """Wait until the activity of a shard waits for a worker."""
    while True:
        with contextlib.suppress(RPCError):  # not started yet
            if (await shard.describe()).raw_description.pending_activities:
                return
        await asyncio.sleep(0.05)


async def run_until_rejected(environment: TemporalEnvironment) -> None:
    with pytest.raises(AuthenticationError):
        async with environment.running_worker():
            await asyncio.Event().wait()


def customers_of(customer: str, jobs: int, customers: int) -> list[AudienceJob]:
    return [make_job(number, customer=f"{customer} {number % customers}") for number in range(jobs)]


async def test_a_job_costs_few_requests_and_events(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    jobs = customers_of(customer, 60, 3)
    async with env.running_worker(), env.running_worker():
        summary = await run(env, jobs, budget_cents=60 * PRICE_CENTS, shard_size=20)
    assert (summary.done, summary.failed, env.purchase_count()) == (60, 0, 60)
    requests = sum(count for endpoint, count in count_requests(env).items() if endpoint != "GET download")
    assert requests / len(jobs) < 6
    shards = [len(await event_types(env.temporal, shard_workflow_id(customer, number))) for number in range(3)]
    assert max(shards) <= 25
    buckets = {bucket_of(job_ref(job.customer_id, job.audience_name)) for job in jobs}
    shared = [
        batch_workflow_id(customer),
        budget_workflow_id(customer),
        *(claims_workflow_id(customer, bucket) for bucket in buckets),
    ]
    events = sum(shards) + sum([len(await event_types(env.temporal, workflow_id)) for workflow_id in shared])
    assert events / len(jobs) < 4


async def test_a_finished_job_has_its_file_and_a_downloadable_export(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    job = make_job(1, customer=customer)
    async with env.running_worker():
        await run(env, [job])
    record = await read_shard(env.temporal, shard_workflow_id(customer, 0))
    assert record is not None
    [end] = record.ends.values()
    assert end.summary is not None
    assert end.summary.quote is not None
    assert end.summary.quote.downloadable
    assert end.summary.delivered is not None
    assert Path(end.summary.delivered.path) == env.exports / f"{customer}/1.csv"
    assert Path(end.summary.delivered.path).stat().st_size == end.summary.delivered.size_bytes
    assert (end.spent_cents, end.summary.spent_cents) == (PRICE_CENTS, PRICE_CENTS)
    [status] = record.statuses()
    assert (status.state, status.key, status.spent_cents) == (JobState.DONE, job.key, PRICE_CENTS)


async def test_exports_are_delivered_to_an_object_store(temporal_environment: TemporalEnvironment, customer: str):
    from obstore.store import MemoryStore  # noqa: PLC0415 - the extra

    env = temporal_environment
    store = MemoryStore()
    jobs = [make_job(number, customer=customer) for number in range(3)]
    async with env.running_worker(exports=ObjectExportStore("s3://bucket", store)):
        summary = await run(env, jobs)
    assert (summary.done, env.purchase_count()) == (3, 3)
    for number in range(3):
        assert (await (await store.get_async(f"{customer}/{number}.csv")).bytes_async()).to_bytes()


async def test_a_rerun_recalls_finished_jobs_without_requests(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(4)]
    async with env.running_worker():
        await run(env, jobs)
        requests = count_requests(env)
        again = await run(env, jobs, shard_size=3)
        other = await run(env, jobs[1:], name=f"{customer} too")
        assert count_requests(env) == requests
    assert (again.done, again.recalled, again.spent_cents) == (4, 4, 0)
    assert (other.done, other.recalled, other.spent_cents) == (3, 3, 0)
    assert other.quoted_cents == 3 * PRICE_CENTS


async def test_a_job_with_a_higher_limit_continues_where_it_stopped(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    async with env.running_worker():
        cheap = await run(env, [make_job(1, customer=customer, max_cost_cents=0)])
        assert cheap.failed_by_error == {"BudgetExceededError": 1}
        before = count_requests(env)
        raised = await run(env, [make_job(1, customer=customer)])
        after = count_requests(env)
    assert (raised.done, raised.recalled, raised.spent_cents) == (1, 0, PRICE_CENTS)
    for endpoint in (UPLOAD, MATCH, PREVIEW):
        assert after[endpoint] == before[endpoint]


async def test_overlapping_batches_run_each_job_once(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    jobs = customers_of(customer, 30, 6)
    async with env.running_worker(), env.running_worker():
        first, second = await asyncio.gather(
            run(env, jobs[:20], name=f"{customer} a", shard_size=7),
            run(env, jobs[10:], name=f"{customer} b", shard_size=6),
        )
    assert (first.done, first.failed, second.done, second.failed) == (20, 0, 20, 0)
    assert first.recalled + second.recalled == 10
    assert first.spent_cents + second.spent_cents == 30 * PRICE_CENTS
    assert set(env.sandbox.counts().purchases_by_audience.values()) == {1}
    assert (env.purchase_count(), env.sandbox.log.count(UPLOAD)) == (30, 30)


async def test_a_job_that_another_batch_keeps_running_fails_at_its_deadline(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    jobs = [make_job(1, customer=customer)]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=MATCH, delay=5.0))
    async with env.running_worker():
        first = asyncio.create_task(run(env, jobs, name=f"{customer} a"))
        await wait_for(env, UPLOAD)
        second = await run(env, jobs, name=f"{customer} b", job_timeout=2.0)
        assert (second.failed_by_error, second.failures[0].message) == (
            {"WaitTimeoutError": 1},
            "not done after 2 s; the server continues, and running the same job again resumes it",
        )
        assert (await first).done == 1


async def test_a_shard_that_waits_for_another_gives_way_to_it_on_a_full_worker(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    env = temporal_environment
    monkeypatch.setattr(shard_claims, "_MIN_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(shard_claims, "_MAX_WAIT_SECONDS", 0.5)
    jobs = [make_job(1, customer=customer)]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=MATCH, delay=60.0, times=1))
    async with env.running_worker(max_jobs=1):
        first = asyncio.create_task(run(env, jobs, heartbeat_seconds=60.0))
        await wait_for(env, UPLOAD)
        second = asyncio.create_task(run(env, jobs, name=f"{customer} too"))
        waiting = env.temporal.get_workflow_handle(shard_workflow_id(f"{customer} too", 0))
        await wait_until_scheduled(waiting)
    async with env.running_worker(max_jobs=1):
        summaries = [await first, await second]
    assert [(summary.done, summary.recalled) for summary in summaries] == [(1, 0), (1, 1)]


async def test_claims_are_released_when_a_batch_ends(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    job = make_job(1, customer=customer)
    bucket = bucket_of(job_ref(job.customer_id, job.audience_name))
    async with env.running_worker():
        await run(env, [job])
        handle = env.temporal.get_workflow_handle_for(ClaimsWorkflow.run, claims_workflow_id(customer, bucket))
        claims = await handle.query(ClaimsWorkflow.claims)
    assert not claims.held


async def test_a_terminated_shard_leaves_its_jobs_to_others(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(3)]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=MATCH, delay=1.0, times=None))
    async with env.running_worker():
        lost = asyncio.create_task(run(env, jobs))
        await wait_for(env, UPLOAD, 3)
        await env.temporal.get_workflow_handle(shard_workflow_id(customer, 0)).terminate()
        assert (await lost).failed_by_error == {"TerminatedError": 3}
        env.sandbox.faults.clear()
        summary = await run(env, jobs, name=f"{customer} too")
    assert (summary.done, summary.failed, env.purchase_count()) == (3, 0, 3)


@pytest.mark.parametrize("same_name", [True, False])
async def test_a_purchase_of_a_terminated_shard_is_not_made_again(
    temporal_environment: TemporalEnvironment, customer: str, same_name: bool
):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(2)]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=PURCHASE, delay=1.5, times=1))
    async with env.running_worker():
        lost = asyncio.create_task(run(env, jobs, heartbeat_seconds=30.0))
        while not (await read_ledger_or_empty(env)).holders:
            await asyncio.sleep(0.02)
        await env.temporal.get_workflow_handle(shard_workflow_id(customer, 0)).terminate()
        assert (await lost).failed_by_error == {"TerminatedError": 2}
        summary = await run(env, jobs, name=customer if same_name else f"{customer} too")
        await asyncio.sleep(1.5)
    assert (summary.done, summary.failed, env.purchase_count()) == (2, 0, 2)
    assert set(env.sandbox.counts().purchases_by_audience.values()) == {1}


async def test_a_terminated_batch_can_be_run_again_at_once(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    env = temporal_environment
    monkeypatch.setattr(batch_workflow, "_SECONDS_BETWEEN_STARTS", 0.2)
    jobs = [make_job(number, customer=customer) for number in range(2)]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, delay=1.0, times=1))
    async with env.running_worker():
        lost = asyncio.create_task(run(env, jobs))
        await wait_for(env, PURCHASE)
        await env.temporal.get_workflow_handle(batch_workflow_id(customer)).terminate()
        await lost
        summary = await run(env, jobs)
        ledger = await read_ledger(env)
    assert (summary.done, summary.failed, env.purchase_count()) == (2, 0, 2)
    assert (ledger.spent_cents, ledger.reserved) == (2 * PRICE_CENTS, {})


async def test_a_batch_without_jobs_ends(temporal_environment: TemporalEnvironment):
    async with temporal_environment.running_worker():
        assert await run(temporal_environment, []) == BatchSummary()


async def test_a_defect_is_reported_without_its_message(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    env = temporal_environment
    calls = 0

    async def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("a secret")
        return await wait_until_ready(*_)

    wait_until_ready = WorkerGuard.wait_until_ready
    monkeypatch.setattr(WorkerGuard, "wait_until_ready", fail)
    async with env.running_worker():
        summary = await run(env, [make_job(1, customer=customer)])
    history = await history_text(env.temporal, shard_workflow_id(customer, 0))
    assert summary.done == 1
    assert "ValueError" in history
    assert "a secret" not in history


async def test_a_superseded_attempt_purchases_nothing(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PREVIEW, delay=1.0, times=1))
    async with env.running_worker():
        running = asyncio.create_task(run(env, [make_job(1, customer=customer)]))
        await wait_for(env, PREVIEW)
        ledger = await read_ledger(env)
        turn = Turn(shard="0", run=ledger.run, attempt=ledger.attempts["0"] + 3_000)
        await BudgetClient().begin(env.temporal, budget_workflow_id(customer), BeginRequest(turn=turn, jobs=()))
        summary = await running
        ledger = await read_ledger(env)
    assert (summary.done, summary.failed, env.purchase_count()) == (1, 0, 1)
    assert ledger.attempts["0"] > turn.attempt
    assert (ledger.spent_cents, ledger.reserved) == (PRICE_CENTS, {})


async def test_an_overcharge_stops_the_shard(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    jobs = [make_job(number, customer=customer, max_cost_cents=PRICE_CENTS) for number in range(6)]
    env.sandbox.faults.add(Fault(kind=FaultKind.OVERCHARGED, endpoint=PURCHASE, cost_cents=2 * PRICE_CENTS))
    async with env.running_worker():
        summary = await run(env, jobs)
        ledger = await read_ledger(env)
    assert (summary.done, summary.failed_by_error) == (1, {"WorkflowError": 5})
    assert (summary.spent_cents, ledger.spent_cents, env.purchase_count()) == (2 * PRICE_CENTS, 2 * PRICE_CENTS, 1)


@pytest.mark.parametrize("stage", [MATCH, "POST /create_lookalike_audience"])
async def test_a_token_that_is_revoked_stops_its_worker_and_fails_no_job(
    temporal_environment: TemporalEnvironment, customer: str, stage: str
):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(6)]
    running = asyncio.create_task(run(env, jobs, heartbeat_seconds=30.0))
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=stage, delay=0.3, times=None))
    rejected = asyncio.create_task(run_until_rejected(env))
    await wait_for(env, stage, 2)
    env.sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, status=401, times=None))
    await rejected
    env.sandbox.faults.clear()
    async with env.running_worker():
        summary = await running
        ledger = await read_ledger(env)
    assert (summary.done, summary.failed, summary.spent_cents) == (6, 0, 6 * PRICE_CENTS)
    assert set(env.sandbox.counts().purchases_by_audience.values()) == {1}
    assert (ledger.spent_cents, ledger.reserved) == (6 * PRICE_CENTS, {})


async def test_a_worker_that_shuts_down_does_not_wait_for_a_ledger_that_nobody_serves(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    env = temporal_environment
    monkeypatch.setattr(shard_attempt, "_MAX_BOOKING_SECONDS_AT_END", 0.2)
    is_asked, nobody_serves = asyncio.Event(), asyncio.Event()
    book = BudgetClient.book

    async def book_without_reply(*arguments: Any) -> Any:
        is_asked.set()
        await nobody_serves.wait()
        return await book(*arguments)

    running = asyncio.create_task(run(env, [make_job(1, customer=customer)], heartbeat_seconds=30.0))
    with monkeypatch.context() as patch:
        patch.setattr(BudgetClient, "book", book_without_reply)
        async with env.running_worker():
            await is_asked.wait()
    assert env.purchase_count() == 0
    async with env.running_worker():
        summary = await running
    assert (summary.done, summary.spent_cents, env.purchase_count()) == (1, PRICE_CENTS, 1)


async def test_a_canceled_batch_settles_its_purchases_first(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(3)]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, delay=1.5, times=None))
    async with env.running_worker():
        canceled = asyncio.create_task(run(env, jobs, budget_cents=3 * PRICE_CENTS))
        await wait_for(env, PURCHASE)
        await env.temporal.get_workflow_handle_for(BatchWorkflow.run, batch_workflow_id(customer)).cancel()
        await canceled
        assert await wait_until_ended(env, shard_workflow_id(customer, 0)) is WorkflowExecutionStatus.CANCELED
        purchased = env.purchase_count()
        ledger = await read_ledger(env)
        assert purchased > 0
        assert (ledger.spent_cents, ledger.reserved, ledger.holders) == (purchased * PRICE_CENTS, {}, {})
        env.sandbox.faults.clear()
        summary = await run(env, jobs, budget_cents=3 * PRICE_CENTS, continue_changed=True)
        ledger = await read_ledger(env)
    assert (summary.done, summary.failed, env.purchase_count()) == (3, 0, 3)
    assert (ledger.spent_cents, ledger.reserved) == (3 * PRICE_CENTS, {})


async def test_a_transient_failure_is_tried_again_by_the_same_attempt(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(3)]
    env.sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET download", status=503, times=12))
    async with env.running_worker():
        summary = await run(env, jobs)
    assert (summary.done, summary.failed, env.purchase_count()) == (3, 0, 3)
    events = await event_types(env.temporal, shard_workflow_id(customer, 0))
    assert events.count("ACTIVITY_TASK_STARTED") == 1


async def test_a_worker_that_shuts_down_hands_its_shard_over(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(4)]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=MATCH, delay=1.0, times=None))
    async with contextlib.AsyncExitStack() as stack:
        async with env.running_worker():
            running = asyncio.create_task(run(env, jobs, heartbeat_seconds=60.0))
            await wait_for(env, MATCH, 4)
            await stack.enter_async_context(env.running_worker())
        summary = await running
    assert (summary.done, summary.failed, env.purchase_count()) == (4, 0, 4)
    assert env.sandbox.log.count(UPLOAD) == 4


async def test_a_stopped_worker_that_goes_on_purchases_nothing_again(
    temporal_environment: TemporalEnvironment, customer: str, tmp_path: Path
):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(8)]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PREVIEW, delay=1.0, times=8))
    log = tmp_path / "workers.log"
    with worker_process(env, log) as stopped:
        running = asyncio.create_task(run(env, jobs, budget_cents=8 * PRICE_CENTS, heartbeat_seconds=2.0))
        await wait_for(env, PREVIEW, 4)
        stopped.send_signal(signal.SIGSTOP)
        with worker_process(env, log):
            await wait_for(env, PURCHASE)
            stopped.send_signal(signal.SIGCONT)
            summary = await running
            ledger = await read_ledger(env)
    assert (summary.done, summary.failed, summary.spent_cents) == (8, 0, 8 * PRICE_CENTS), log.read_text()
    assert set(env.sandbox.counts().purchases_by_audience.values()) == {1}
    assert (ledger.spent_cents, ledger.reserved, ledger.holders) == (8 * PRICE_CENTS, {}, {})


async def test_a_purchase_of_a_killed_worker_is_found_and_counted_once(
    temporal_environment: TemporalEnvironment, customer: str, tmp_path: Path
):
    env = temporal_environment
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, delay=30.0, times=1))
    log = tmp_path / "workers.log"
    with worker_process(env, log) as killed:
        running = asyncio.create_task(
            run(env, [make_job(1, customer=customer)], budget_cents=PRICE_CENTS, heartbeat_seconds=2.0)
        )
        while not env.purchase_count():
            await asyncio.sleep(0.02)
        killed.kill()
        async with env.running_worker():
            summary = await running
            ledger = await read_ledger(env)
    assert (summary.done, summary.failed_by_error, summary.spent_cents) == (1, {}, PRICE_CENTS), log.read_text()
    assert (ledger.spent_cents, ledger.reserved, env.purchase_count()) == (PRICE_CENTS, {}, 1)


async def test_a_job_dropped_from_a_killed_worker_stops_alone(
    temporal_environment: TemporalEnvironment, customer: str, tmp_path: Path
):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(3)]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=MATCH, delay=3.0, times=3))
    shard = env.temporal.get_workflow_handle_for(ShardWorkflow.run, shard_workflow_id(customer, 0))
    with worker_process(env, tmp_path / "workers.log") as killed:
        running = asyncio.create_task(run(env, jobs, heartbeat_seconds=3.0))
        await wait_for(env, UPLOAD, 3)
        killed.kill()
    async with env.running_worker():
        await shard.signal(ShardWorkflow.drop, jobs[1].key)
        summary = await running
    assert (summary.done, summary.failed_by_error) == (2, {"CancelledError": 1})
    assert env.purchase_count() == 2


async def test_a_purchase_of_which_a_canceled_shard_lost_track_is_not_made_again(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    made = make_job(1, customer=customer)
    assert made.export is not None
    jobs = [attrs.evolve(made, export=attrs.evolve(made.export, reuse_purchased=False))]
    async with lite_sandbox(dialect=Dialect(shows_field_types=False)) as sandbox:
        env = attrs.evolve(temporal_environment, sandbox=sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, delay=0.5, times=1))
        async with env.running_worker():
            running = asyncio.create_task(run(env, jobs))
            while not env.purchase_count():
                await asyncio.sleep(0.02)
        began = asyncio.Event()

        async def hand_over(*_: object) -> None:
            began.set()
            raise create_handover("not ready", delay=timedelta(minutes=5))

        with monkeypatch.context() as patch:
            patch.setattr(WorkerGuard, "wait_until_ready", hand_over)
            async with env.running_worker():
                await began.wait()
                await env.temporal.get_workflow_handle(batch_workflow_id(customer)).cancel()
                await running
        async with env.running_worker():
            summary = await run(env, jobs, name=f"{customer} too")
        assert (summary.done, summary.failed_by_error, env.purchase_count()) == (1, {}, 1)


async def test_a_job_that_is_dropped_while_no_activity_runs_never_starts(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(2)]
    checked = await asyncio.to_thread(lambda: [check_job(InputCheck(), job, can_publish=False) for job in jobs])
    inputs = [await build_job_input(job) for job in checked]
    async with env.running_worker():
        summary: BatchSummary = await env.temporal.execute_workflow(
            ShardWorkflow.run,
            ShardTask(batch=customer, number=0, run_ms=1, jobs=pack_jobs(inputs)),
            id=shard_workflow_id(customer, 0),
            task_queue=env.task_queue,
            start_signal="drop",
            start_signal_args=[jobs[0].key],
        )
    assert (summary.done, summary.failed_by_error) == (1, {"CancelledError": 1})
    assert (env.purchase_count(), env.sandbox.log.count(UPLOAD)) == (1, 1)


async def test_a_worker_whose_clock_is_wrong_has_as_much_time_for_its_jobs(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86_400)
    async with temporal_environment.running_worker():
        summary = await run(temporal_environment, [make_job(1, customer=customer)])
    assert (summary.done, summary.failed_by_error) == (1, {})


async def test_purchases_without_a_budget_are_counted(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(4)]
    async with env.running_worker():
        await run(env, jobs[:2])
        summary = await run(env, jobs, budget_cents=3 * PRICE_CENTS, continue_changed=True)
        ledger = await read_ledger(env)
    assert (summary.done, summary.failed_by_error) == (3, {"BudgetExceededError": 1})
    assert (ledger.spent_cents, env.purchase_count()) == (3 * PRICE_CENTS, 3)


async def test_running_shards_show_their_jobs_without_a_worker(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    jobs = [make_job(1, customer=customer), attrs.evolve(make_job(2, customer=customer), csv="https://x.test/a.csv")]
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=MATCH, delay=20.0, times=None))
    async with env.running_worker():
        running = asyncio.create_task(run(env, jobs))
        while True:
            record = None
            with contextlib.suppress(ValueError):
                record = await read_shard(env.temporal, shard_workflow_id(customer, 0))
            if record is not None and {status.stage for status in record.statuses()} == {"match"}:
                break
            await asyncio.sleep(0.1)
        assert {status.state for status in record.statuses()} == {JobState.RUNNING}
        await env.temporal.get_workflow_handle(batch_workflow_id(customer)).cancel()
        summary = await running
        assert [failure.stage for failure in summary.failures] == ["match", "match"]
    await wait_until_ended(env, shard_workflow_id(customer, 0))
    record = await read_shard(env.temporal, shard_workflow_id(customer, 0))
    assert record is not None
    assert {(status.state, status.stage) for status in record.statuses()} == {(JobState.CANCELED, "match")}
