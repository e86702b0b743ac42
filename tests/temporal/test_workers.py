"""Workers that can't do jobs: a rejected token, exports that can't be written. They hand jobs over and fail none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from indigo_async.errors import AuthenticationError, ClientNotOpenError, InvalidInputError
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.temporal import BatchSummary, connect, create_worker, export_store, run_batch, run_job
from indigo_async.temporal.ids import job_workflow_id
from tests.support.temporal_jobs import PRICE_CENTS, PURCHASE, TemporalEnvironment, make_client, make_job

BAD_TOKEN = "not-the-token"
EVERYWHERE: dict[str, Any] = {"kind": FaultKind.ERROR_BEFORE, "status": 401, "times": None}


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


@pytest.mark.parametrize("stage", ["POST /match_uploaded_csv", PURCHASE])
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
    temporal_environment: TemporalEnvironment, tmp_path: Path, find_exports: Callable[[Path], Path], problem: str
):
    exports = export_store(str(find_exports(tmp_path)))
    with pytest.raises(InvalidInputError, match=problem):
        async with temporal_environment.running_worker(exports=exports):
            await asyncio.Event().wait()
    assert temporal_environment.sandbox.log.count() == 0
