"""Single jobs and batches claim their jobs, so that the same job never runs in both at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from indigo_async.errors import WorkflowError
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.temporal import BatchSummary, run_batch, run_job
from indigo_async.temporal.ids import claims_workflow_id, job_workflow_id, shard_workflow_id
from indigo_async.temporal.shards import claims as shard_claims
from indigo_async.temporal.shards.history import read_ends
from indigo_async.temporal.workflows.claims import ClaimsWorkflow
from indigo_async.workflows.sharding.split import bucket_of, job_ref
from tests.support.temporal_jobs import PRICE_CENTS, TemporalEnvironment, event_types, make_job


async def batch(env: TemporalEnvironment, customer: str, *, number: int = 1, **changes: Any) -> BatchSummary:
    return await run_batch(
        env.temporal, [make_job(number, customer=customer, **changes)], name=customer, task_queue=env.task_queue
    )


async def wait_for_claim(env: TemporalEnvironment, customer: str) -> None:
    ref = job_ref(customer, "List 1")
    handle = env.temporal.get_workflow_handle_for(
        ClaimsWorkflow.run, claims_workflow_id(env.task_queue, bucket_of(ref))
    )
    while True:
        try:
            if (await handle.query(ClaimsWorkflow.claims)).held:
                return
        except RPCError:  # not started yet
            await asyncio.sleep(0.05)


async def test_a_job_that_a_batch_runs_is_recalled(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint="POST /match_uploaded_csv", delay=1.0))
    async with env.running_worker():
        running = asyncio.create_task(batch(env, customer))
        await wait_for_claim(env, customer)
        recalled = await run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue)
        summary = await running
    assert (summary.done, summary.spent_cents, recalled.spent_cents) == (1, PRICE_CENTS, 0)
    assert recalled.delivered is not None
    assert recalled.quote is not None
    assert recalled.quote.downloadable
    assert (env.purchase_count(), env.sandbox.log.count("POST /upload_csv")) == (1, 1)


async def test_a_batch_recalls_a_job_that_runs_alone(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint="POST /match_uploaded_csv", delay=1.0))
    async with env.running_worker():
        running = asyncio.create_task(run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue))
        await wait_for_claim(env, customer)
        summary = await batch(env, customer)
        assert (await running).spent_cents == PRICE_CENTS
    assert (summary.done, summary.recalled, summary.spent_cents) == (1, 1, 0)
    assert (env.purchase_count(), env.sandbox.log.count("POST /upload_csv")) == (1, 1)


async def test_the_result_of_a_job_that_has_released_its_claim_but_not_ended_is_waited_for(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint="POST /match_uploaded_csv", delay=1.0))
    async with env.running_worker():
        running = asyncio.create_task(run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue))
        await wait_for_claim(env, customer)
        described = await env.temporal.get_workflow_handle(job_workflow_id(customer, "List 1")).describe()
        assert described.status is WorkflowExecutionStatus.RUNNING
        [(_, end)] = (await read_ends(env.temporal, described.id, described.run_id)).values()
        assert end.summary == await running


async def test_a_job_with_other_options_reuses_what_a_batch_purchased(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    async with env.running_worker():
        summary = await batch(env, customer)
        job = make_job(1, customer=customer, max_cost_cents=PRICE_CENTS)
        again = await run_job(env.temporal, job, task_queue=env.task_queue)
    assert (summary.spent_cents, again.spent_cents, env.purchase_count()) == (PRICE_CENTS, 0, 1)
    assert again.delivered is not None


@pytest.mark.parametrize("end", ["cancel", "terminate"])
async def test_a_job_that_was_stopped_is_free(
    temporal_environment: TemporalEnvironment, customer: str, end: str, monkeypatch: pytest.MonkeyPatch
):
    env = temporal_environment
    monkeypatch.setattr(shard_claims, "_MAX_SECONDS_UNAWARE", 3.0)  # its worker learns of it within a second
    monkeypatch.setattr(shard_claims, "_MAX_WAIT_SECONDS", 1.0)
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint="POST /match_uploaded_csv", delay=3.0))
    async with env.running_worker():
        running = asyncio.create_task(
            run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue, heartbeat_seconds=1.0)
        )
        while env.sandbox.log.count("POST /match_uploaded_csv") == 0:
            await asyncio.sleep(0.02)
        handle = env.temporal.get_workflow_handle(job_workflow_id(customer, "List 1"))
        await (handle.cancel() if end == "cancel" else handle.terminate())
        with pytest.raises(WorkflowError):
            await running
        summary = await batch(env, customer)
    assert (summary.done, summary.recalled, env.purchase_count()) == (1, 0, 1)


async def test_a_job_of_a_terminated_batch_is_free(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    env.sandbox.faults.add(
        Fault(kind=FaultKind.RATE_LIMITED, endpoint="POST /match_uploaded_csv", times=None, retry_after=3600)
    )
    async with env.running_worker():
        running = asyncio.create_task(batch(env, customer))
        while env.sandbox.log.count("POST /match_uploaded_csv") == 0:
            await asyncio.sleep(0.02)
        await env.temporal.get_workflow_handle(shard_workflow_id(customer, 0)).terminate()
        await running
    env.sandbox.faults.clear()
    async with env.running_worker():
        summary = await run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue)
    assert (summary.spent_cents, env.purchase_count()) == (PRICE_CENTS, 1)


async def test_a_claim_adds_few_events(temporal_environment: TemporalEnvironment, customer: str, temporal: Client):
    env = temporal_environment
    async with env.running_worker():
        await run_job(temporal, make_job(1, customer=customer), task_queue=env.task_queue)
    claims = claims_workflow_id(env.task_queue, bucket_of(job_ref(customer, "List 1")))
    assert len(await event_types(temporal, claims)) <= 12
    assert len(await event_types(temporal, job_workflow_id(customer, "List 1"))) <= 52
