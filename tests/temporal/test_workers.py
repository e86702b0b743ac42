"""Workers that can't do jobs: a rejected token, exports that can't be written. They hand jobs over and fail none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from indigo_async.errors import AuthenticationError, ClientNotOpenError, InvalidInputError, WorkflowError
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.temporal import (
    AudienceWorkflow,
    BatchSummary,
    connect,
    create_worker,
    export_store,
    run_batch,
    run_job,
)
from indigo_async.temporal.ids import job_workflow_id
from indigo_async.temporal.workers.guard import WorkerGuard
from indigo_async.temporal.workers.load import WorkerLoad
from indigo_async.temporal.workers.monitoring import create_runtime
from indigo_async.temporal.workers.worker import create_guarded_worker
from tests.support.temporal_jobs import PRICE_CENTS, PURCHASE, TemporalEnvironment, make_client, make_job

BAD_TOKEN = "not-the-token"
EVERYWHERE: dict[str, Any] = {"kind": FaultKind.ERROR_BEFORE, "status": 401, "times": None}
STAGES_BEFORE_THE_LAST_REQUEST = ("POST /match_uploaded_csv", "POST /create_lookalike_audience")
"""Stages after which a job certainly sends more requests, so that its worker learns of a revoked token."""


async def run_until_rejected(env: TemporalEnvironment, token: str | None = None) -> None:
    with pytest.raises(AuthenticationError, match=r"\(401"):
        async with env.running_worker(token=token):
            await asyncio.Event().wait()


async def last_failure(handle: WorkflowHandle[Any, Any]) -> str:
    """The last failure of the workflow's pending activity, as an operator sees it. Waits for one."""
    while True:
        for pending in (await handle.describe()).raw_description.pending_activities:
            if pending.last_failure.message:
                return pending.last_failure.message
        await asyncio.sleep(0.02)


async def test_a_worker_with_a_bad_token_fails_no_job(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(6)]
    rejected = asyncio.create_task(run_until_rejected(env, BAD_TOKEN))
    async with env.running_worker():
        summary: BatchSummary = await run_batch(env.temporal, jobs, name=customer, task_queue=env.task_queue)
    await rejected
    assert (summary.done, summary.failed, env.purchase_count()) == (6, 0, 6)


async def test_jobs_wait_if_all_workers_have_bad_tokens(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    running = asyncio.create_task(run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue))
    await run_until_rejected(env, BAD_TOKEN)
    await run_until_rejected(env, BAD_TOKEN)
    assert not running.done()
    assert env.sandbox.log.count("POST /upload_csv") == 0
    async with env.running_worker():
        assert (await running).spent_cents == PRICE_CENTS


@pytest.mark.parametrize("stage", STAGES_BEFORE_THE_LAST_REQUEST)
async def test_a_token_that_is_revoked_stops_its_worker_and_fails_no_job(
    temporal_environment: TemporalEnvironment, customer: str, stage: str
):
    env = temporal_environment
    running = asyncio.create_task(run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue))
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=stage, delay=0.3))
    rejected = asyncio.create_task(run_until_rejected(env))
    while env.sandbox.log.count(stage) == 0:
        await asyncio.sleep(0.01)
    env.sandbox.faults.add(Fault(**EVERYWHERE))
    await rejected
    handle = env.temporal.get_workflow_handle(job_workflow_id(customer, "List 1"))
    message = await last_failure(handle)
    assert "check the token" in message
    assert "another one continues" in message
    env.sandbox.faults.clear()
    async with env.running_worker():
        assert (await running).spent_cents in {0, PRICE_CENTS}  # it may find the purchase made
    assert env.purchase_count() == 1


@pytest.mark.parametrize("stage", STAGES_BEFORE_THE_LAST_REQUEST)
async def test_a_token_that_is_revoked_during_a_shard_fails_no_job(
    temporal_environment: TemporalEnvironment, customer: str, stage: str
):
    env = temporal_environment
    jobs = [make_job(number, customer=customer) for number in range(6)]
    running = asyncio.create_task(
        run_batch(env.temporal, jobs, name=customer, task_queue=env.task_queue, budget_cents=6 * PRICE_CENTS)
    )
    rejected = asyncio.create_task(run_until_rejected(env))
    while env.sandbox.log.count(stage) < 2:
        await asyncio.sleep(0.01)
    env.sandbox.faults.add(Fault(**EVERYWHERE))
    await rejected
    env.sandbox.faults.clear()
    async with env.running_worker():
        summary = await running
    assert (summary.done, summary.failed, env.purchase_count()) == (6, 0, 6)
    assert summary.spent_cents == 6 * PRICE_CENTS
    assert set(env.sandbox.counts().purchases_by_audience.values()) == {1}


@pytest.mark.parametrize("endpoint", ["GET /audiences", "POST /upload_csv", "GET /audience", PURCHASE])
async def test_unexpected_401s_stop_no_worker(temporal_environment: TemporalEnvironment, customer: str, endpoint: str):
    env = temporal_environment
    async with env.running_worker():
        await run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue)
        env.sandbox.faults.add(Fault(**EVERYWHERE | {"times": 4, "endpoint": endpoint, "customer_id": customer}))
        await run_job(env.temporal, make_job(2, customer=customer), task_queue=env.task_queue)
    assert env.purchase_count() == 2


async def test_a_job_that_alone_gets_401_fails(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    env.sandbox.faults.add(Fault(**EVERYWHERE | {"endpoint": "POST /upload_csv", "customer_id": customer}))
    async with env.running_worker():
        summary = await run_batch(
            env.temporal, [make_job(1, customer=customer)], name=customer, task_queue=env.task_queue
        )
        env.sandbox.faults.clear()
        await run_job(env.temporal, make_job(2, customer=customer), task_queue=env.task_queue)
    assert summary.failed_by_error == {"AuthenticationError": 1}


async def test_a_token_that_is_replaced_stops_no_worker(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    tokens = [BAD_TOKEN, env.sandbox.token]

    def source() -> str:
        return tokens.pop(0) if tokens[1:] else tokens[0]

    async with env.running_worker(token=source):
        await run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue)
    assert env.purchase_count() == 1


async def test_a_worker_waits_for_an_api_that_cannot_be_reached_at_its_start(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    running = asyncio.create_task(run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue))
    async with env.sandbox.refuse_connections(), asyncio.timeout(30):
        async with env.running_worker():
            await asyncio.sleep(0.5)
        async with env.running_worker():  # leaving the block ended the first one, although it never began
            await asyncio.sleep(0.2)
    assert not running.done()
    async with env.running_worker():
        assert (await running).spent_cents == PRICE_CENTS


async def test_run_raises_what_stopped_the_worker(temporal_environment: TemporalEnvironment, temporal: Client):
    env = temporal_environment
    exports = export_store(str(env.exports))
    async with make_client(env.sandbox, BAD_TOKEN) as client:
        worker = create_worker(temporal, client, exports=exports, task_queue=env.task_queue)
        with pytest.raises(AuthenticationError):
            await worker.run()
    worker = create_worker(await connect(env.address), client, exports=exports, task_queue=env.task_queue)
    with pytest.raises(ClientNotOpenError):
        await worker.run()


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file"


@pytest.mark.parametrize(
    ("find_exports", "problem"),
    [
        (a_file, "is not a folder"),
        (lambda folder: a_file(folder) / "exports", "can't be created: Not a directory"),
        (lambda folder: folder / "unmounted" / "exports", "unmounted does not exist"),
        (lambda _: Path("/proc"), "cannot be written"),
    ],
    ids=["a file", "below a file", "no parent", "not writable"],
)
async def test_a_worker_whose_exports_cannot_be_written_takes_no_job(
    temporal_environment: TemporalEnvironment,
    tmp_path: Path,
    find_exports: Callable[[Path], Path],
    problem: str,
    caplog: pytest.LogCaptureFixture,
):
    exports = export_store(str(find_exports(tmp_path)))
    with pytest.raises(InvalidInputError, match=problem):
        async with temporal_environment.running_worker(exports=exports):
            await asyncio.Event().wait()
    assert temporal_environment.sandbox.log.count() == 0
    assert "hands its jobs over" not in caplog.text, "it had none"


async def lose_exports(env: TemporalEnvironment) -> None:
    """Replace the exports folder by a file before an export has been priced."""
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint="POST /create_preview_csv_export", delay=0.3))
    while env.sandbox.log.count("POST /create_preview_csv_export") == 0:
        await asyncio.sleep(0.01)
    env.exports.rmdir()
    env.exports.touch()


async def test_exports_that_cannot_be_written_later_are_found_before_paying(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    async with env.running_worker():
        running = asyncio.create_task(run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue))
        await lose_exports(env)
        message = await last_failure(env.temporal.get_workflow_handle(job_workflow_id(customer, "List 1")))
        assert f"the exports folder {env.exports} is not a folder; nothing was purchased" in message
        assert env.purchase_count() == 0
        env.exports.unlink()
        env.exports.mkdir()
        assert (await running).spent_cents == PRICE_CENTS


async def test_a_job_out_of_time_names_its_last_problem(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    problem = "purchase: WaitTimeoutError: not done after 5 s; .* The last attempt failed: the exports folder"
    async with env.running_worker():
        losing = asyncio.create_task(lose_exports(env))
        with pytest.raises(WorkflowError, match=problem):
            await run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue, timeout=5.0)
        await losing
    assert env.purchase_count() == 0


@pytest.mark.parametrize("end", ["cancel", "terminate"])
async def test_a_stopped_job_names_its_stage(temporal_environment: TemporalEnvironment, customer: str, end: str):
    env = temporal_environment
    env.sandbox.faults.add(
        Fault(kind=FaultKind.RATE_LIMITED, endpoint="POST /create_lookalike_audience", times=None, retry_after=3600)
    )
    async with env.running_worker():
        running = asyncio.create_task(run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue))
        while env.sandbox.log.count("POST /create_lookalike_audience") == 0:
            await asyncio.sleep(0.02)
        handle = env.temporal.get_workflow_handle(job_workflow_id(customer, "List 1"))
        await (handle.cancel() if end == "cancel" else handle.terminate())
        with pytest.raises(WorkflowError, match=r"lookalike: (Cancelled|Terminated)Error: "):
            await running


async def test_a_job_restarted_soon_after_a_cancel_finds_its_audience(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    job = make_job(1, customer=customer)
    env.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint="POST /match_uploaded_csv", delay=2.0))
    async with env.running_worker():
        canceled = asyncio.create_task(run_job(env.temporal, job, task_queue=env.task_queue, heartbeat_seconds=1.0))
        while env.sandbox.log.count("POST /match_uploaded_csv") == 0:
            await asyncio.sleep(0.02)
        await env.temporal.get_workflow_handle(job_workflow_id(customer, "List 1")).cancel()
        with pytest.raises(WorkflowError, match="CancelledError: canceled"):
            await canceled
        assert (await run_job(env.temporal, job, task_queue=env.task_queue)).spent_cents == PRICE_CENTS
    assert env.sandbox.log.count("POST /upload_csv") == 1


async def test_a_finished_job_shows_that_its_export_was_purchased(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    async with env.running_worker():
        summary = await run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue)
        handle = env.temporal.get_workflow_handle_for(AudienceWorkflow.run, job_workflow_id(customer, "List 1"))
        progress = await handle.query(AudienceWorkflow.progress)
    assert summary.quote is not None
    assert summary.quote.downloadable
    assert (progress.stage, progress.quote) == ("done", summary.quote)


def activity_logs(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.name == "temporalio.activity"]
    assert [record.exc_info for record in records] == [None] * len(records)
    return [record.getMessage() for record in records]


async def test_a_failed_stage_is_one_line_of_the_log(
    temporal_environment: TemporalEnvironment, customer: str, caplog: pytest.LogCaptureFixture
):
    env = temporal_environment
    async with env.running_worker():
        with pytest.raises(WorkflowError):
            await run_job(env.temporal, make_job(1, customer=customer, max_cost_cents=5), task_queue=env.task_queue)
    (line,) = activity_logs(caplog)
    assert line.startswith(f"purchase of audience/{customer}/List 1 ended (attempt 1): BudgetExceededError: ")
    assert "\n" not in line


async def test_an_attempt_that_temporal_gave_up_is_one_line_of_the_log(
    temporal_environment: TemporalEnvironment, customer: str, caplog: pytest.LogCaptureFixture
):
    env = temporal_environment
    env.sandbox.faults.add(
        Fault(kind=FaultKind.RATE_LIMITED, endpoint="POST /match_uploaded_csv", times=None, retry_after=3600)
    )
    async with env.running_worker():
        running = asyncio.create_task(
            run_job(env.temporal, make_job(1, customer=customer), task_queue=env.task_queue, heartbeat_seconds=1.0)
        )
        while env.sandbox.log.count("POST /match_uploaded_csv") == 0:
            await asyncio.sleep(0.02)
        await env.temporal.get_workflow_handle(job_workflow_id(customer, "List 1")).terminate()
        with pytest.raises(WorkflowError):
            await running
        while not activity_logs(caplog):
            await asyncio.sleep(0.02)
    (line,) = activity_logs(caplog)
    assert "Temporal gave up on it" in line


def test_an_outage_of_temporal_is_one_line_a_minute(caplog: pytest.LogCaptureFixture):
    create_runtime(None)
    core = logging.getLogger("temporalio.core")
    for attempt in range(5):
        core.warning("gRPC call poll_activity_task_queue retried %d times", attempt)
    core.error('Error when recording heartbeat: Status { code: Unavailable, message: "tcp connect error" }')
    core.warning("something else")
    assert caplog.messages == ["Temporal is not responding. Requests are retried until it does", "something else"]


async def test_a_full_worker_takes_no_more_shards(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    env.sandbox.faults.add(
        Fault(kind=FaultKind.DELAY_BEFORE, endpoint="POST /match_uploaded_csv", times=None, delay=0.2)
    )
    jobs = [make_job(number, customer=customer, lookalike=None, export=None) for number in range(10)]
    most = 0

    async def watch(load: WorkerLoad) -> None:
        nonlocal most
        while True:
            most = max(most, load.shards)
            assert load.jobs <= load.shards
            await asyncio.sleep(0.01)

    own = await connect(env.address)
    exports = export_store(str(env.exports))
    async with make_client(env.sandbox) as client:
        load = WorkerLoad(max_jobs=200)
        worker = create_guarded_worker(
            own,
            client,
            WorkerGuard(client, exports),
            load,
            exports=exports,
            publisher=None,
            task_queue=env.task_queue,
            graceful_seconds=1.0,
        )
        async with worker:
            watching = asyncio.create_task(watch(load))
            summary = await run_batch(env.temporal, jobs, name=customer, task_queue=env.task_queue, shard_size=1)
            watching.cancel()
    assert (summary.done, load.shards, load.jobs) == (10, 0, 0)
    assert 2 <= most <= 2 + 5  # each of Temporal's five pollers may have a slot already
