"""What operators see of a batch and do to it: progress, lists of jobs, drops, cancellations, names and outages."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from temporalio.client import WorkflowExecutionStatus

from indigo_async.errors import InvalidInputError
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.temporal import (
    BatchProgress,
    BatchSummary,
    BudgetWorkflow,
    JobState,
    JobStatus,
    cancel_batch,
    connect,
    drop_job,
    list_jobs,
    run_batch,
)
from indigo_async.temporal.ids import batch_workflow_id, budget_workflow_id, shard_workflow_id
from indigo_async.workflows import AudienceJob
from tests.support.servers.gate import gate_to
from tests.support.servers.temporal import free_port
from tests.support.temporal_jobs import PRICE_CENTS, PURCHASE, TemporalEnvironment, make_job

PREVIEW = "POST /create_preview_csv_export"


def batch(environment: TemporalEnvironment, jobs: Sequence[AudienceJob], **options: Any) -> Any:
    settings: dict[str, Any] = {"name": environment.task_queue, "heartbeat_seconds": 2.0} | options
    return run_batch(
        settings.pop("temporal", environment.temporal), jobs, task_queue=environment.task_queue, **settings
    )


def hold(environment: TemporalEnvironment, customer: str, endpoint: str = PREVIEW) -> None:
    """Let the jobs of a customer get no further than a stage, until the sandbox's faults are cleared."""
    environment.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR_BEFORE, status=503, endpoint=endpoint, customer_id=customer, times=None)
    )


async def statuses_once(
    environment: TemporalEnvironment, is_wanted: Callable[[dict[str, JobStatus]], bool], name: str | None = None
) -> dict[str, JobStatus]:
    """The states of the jobs of a batch once they are as wanted."""
    found: dict[str, JobStatus] = {}
    with anyio.move_on_after(25):
        while True:
            with suppress(InvalidInputError):  # not started yet
                found = {one.key: one for one in await list_jobs(environment.temporal, name or environment.task_queue)}
            if is_wanted(found):
                return found
            await asyncio.sleep(0.05)
    raise AssertionError(states(found))


async def wait_for_previews(environment: TemporalEnvironment, count: int) -> None:
    """Wait until that many jobs are at their preview. They may have the same key."""
    while True:
        with suppress(InvalidInputError):  # not started yet
            found = await list_jobs(environment.temporal, environment.task_queue)
            if sum(one.stage == "preview" for one in found) == count:
                return
        await asyncio.sleep(0.05)


def states(found: dict[str, JobStatus]) -> list[str]:
    return [f"{one.state} {one.stage} {one.error_type}".strip() for one in found.values()]


@asynccontextmanager
async def running(work: Any) -> AsyncGenerator[asyncio.Task[BatchSummary]]:
    task: asyncio.Task[BatchSummary] = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_progress_moves_with_each_job(temporal_environment: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer) for number in range(3)]
    jobs += [
        make_job(1, customer=f"{customer}-b"),
        make_job(9, customer=customer, max_cost_cents=0),
    ]
    hold(temporal_environment, f"{customer}-b")
    seen: list[BatchProgress] = []
    wanted = asyncio.Event()

    def on_progress(progress: BatchProgress) -> None:
        seen.append(progress)
        if progress.so_far.done == 3 and progress.so_far.failed == 1:
            wanted.set()

    async with (
        temporal_environment.running_worker(),
        running(batch(temporal_environment, jobs, on_progress=on_progress)) as caller,
    ):
        with anyio.fail_after(25):
            await wanted.wait()
        assert not caller.done()
        temporal_environment.sandbox.faults.clear()
        summary = await caller
    last = seen[-1]
    assert (last.pages, last.pages_under_way, last.jobs_under_way, dict(last.jobs_by_stage)) == (
        1,
        1,
        1,
        {"preview": 1},
    )
    assert last.so_far.spent_cents == 3 * PRICE_CENTS
    assert [(one.key, one.stage) for one in last.so_far.failures] == [(f"{customer}/List 9", "purchase")]
    assert last.complete
    assert (summary.done, summary.failed) == (4, 1)


async def test_jobs_are_listed_without_a_worker(temporal_environment: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer) for number in range(2)]
    jobs += [
        make_job(1, customer=f"{customer}-b"),
        make_job(9, customer=customer, max_cost_cents=0),
    ]
    hold(temporal_environment, f"{customer}-b")
    wanted = ["done download", "done download", "failed purchase BudgetExceededError", "running preview"]
    async with running(batch(temporal_environment, jobs, shard_size=4, max_in_flight=4)) as caller:
        async with temporal_environment.running_worker():
            found = await statuses_once(temporal_environment, lambda found: sorted(states(found)) == wanted)
        assert sorted(states(await statuses_once(temporal_environment, bool))) == wanted
        assert found[f"{customer}/List 0"].spent_cents == PRICE_CENTS
        assert "above the limit of $0.00" in found[f"{customer}/List 9"].message
        temporal_environment.sandbox.faults.clear()
        async with temporal_environment.running_worker():
            await caller
    ended = await list_jobs(temporal_environment.temporal, temporal_environment.task_queue)
    assert sorted(str(one.state) for one in ended) == ["done", "done", "done", "failed"]


async def test_jobs_of_shards_that_have_not_started_are_waiting(
    temporal_environment: TemporalEnvironment, customer: str
):
    jobs = [make_job(number, customer=customer) for number in range(4)]
    hold(temporal_environment, customer)
    async with (
        temporal_environment.running_worker(),
        running(batch(temporal_environment, jobs, shard_size=2, max_in_flight=2)),
    ):
        found = await statuses_once(
            temporal_environment, lambda found: states(found) == ["running preview"] * 2 + ["waiting"] * 2
        )
        with pytest.raises(InvalidInputError, match="waits for other jobs of its batch"):
            await drop_job(temporal_environment.temporal, temporal_environment.task_queue, list(found)[-1])


async def test_a_dropped_job_is_stopped_and_the_others_continue(
    temporal_environment: TemporalEnvironment, customer: str
):
    stuck = f"{customer}-b"
    jobs = [make_job(0, customer=customer), make_job(1, customer=stuck), make_job(2, customer=stuck)]
    hold(temporal_environment, stuck)
    temporal, name = temporal_environment.temporal, temporal_environment.task_queue
    async with temporal_environment.running_worker(), running(batch(temporal_environment, jobs)) as caller:
        await statuses_once(temporal_environment, lambda found: states(found).count("running preview") == 2)
        dropped = await drop_job(temporal, name, f"{stuck}/List 1")
        assert (dropped.state, dropped.stage, dropped.error_type) == (JobState.CANCELED, "preview", "CancelledError")
        with pytest.raises(InvalidInputError, match=r"has already ended \(canceled\)"):
            await drop_job(temporal, name, f"{stuck}/List 1")
        with pytest.raises(InvalidInputError, match="has no job 'nobody'"):
            await drop_job(temporal, name, "nobody")
        temporal_environment.sandbox.faults.clear()
        summary = await caller
        assert (summary.done, summary.failed_by_error) == (2, {"CancelledError": 1})
        assert [failure.stage for failure in summary.failures] == ["preview"]
        again: BatchSummary = await batch(temporal_environment, jobs)
    assert (again.done, again.recalled, temporal_environment.purchase_count()) == (3, 2, 3)


async def test_a_drop_stops_one_of_the_jobs_with_a_key(temporal_environment: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer, key="same") for number in range(2)]
    hold(temporal_environment, customer)
    temporal, name = temporal_environment.temporal, temporal_environment.task_queue
    async with temporal_environment.running_worker(), running(batch(temporal_environment, jobs)) as caller:
        await wait_for_previews(temporal_environment, 2)
        first = await drop_job(temporal, name, "same")
        second = await drop_job(temporal, name, "same")
        assert {first.audience_name, second.audience_name} == {"List 0", "List 1"}
        assert (await caller).failed_by_error == {"CancelledError": 2}


async def test_a_purchase_in_flight_is_checked_before_its_job_is_dropped(
    temporal_environment: TemporalEnvironment, customer: str
):
    jobs = [make_job(0, customer=customer)]
    temporal_environment.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, delay=4.0))
    temporal, name = temporal_environment.temporal, temporal_environment.task_queue
    async with (
        temporal_environment.running_worker(),
        running(batch(temporal_environment, jobs, budget_cents=PRICE_CENTS)) as caller,
    ):
        await statuses_once(temporal_environment, lambda found: states(found) == ["running purchase"])
        dropped = await drop_job(temporal, name, f"{customer}/List 0")
        assert (dropped.state, dropped.stage, dropped.spent_cents) == (JobState.CANCELED, "purchase", PRICE_CENTS)
        assert (await caller).spent_cents == PRICE_CENTS
        ledger = await temporal.get_workflow_handle_for(BudgetWorkflow.run, budget_workflow_id(name)).query(
            BudgetWorkflow.ledger
        )
        assert (ledger.spent_cents, ledger.reserved) == (PRICE_CENTS, {})
        again: BatchSummary = await batch(temporal_environment, jobs, budget_cents=PRICE_CENTS)
    assert (again.done, again.spent_cents, temporal_environment.purchase_count()) == (1, 0, 1)


async def test_a_canceled_batch_is_summarized_at_the_stages_it_reached(
    temporal_environment: TemporalEnvironment, customer: str
):
    stuck = f"{customer}-b"
    jobs = [make_job(0, customer=customer), make_job(1, customer=stuck), make_job(2, customer=stuck)]
    hold(temporal_environment, stuck)
    async with (
        temporal_environment.running_worker(),
        running(batch(temporal_environment, jobs, budget_cents=10 * PRICE_CENTS)) as caller,
    ):
        await statuses_once(
            temporal_environment, lambda found: sorted(states(found)) == ["done download"] + ["running preview"] * 2
        )
        canceled = await cancel_batch(temporal_environment.temporal, temporal_environment.task_queue)
        assert (canceled.done, canceled.failed_by_error) == (1, {"CancelledError": 2})
        assert canceled.spent_cents == PRICE_CENTS
        assert {failure.stage for failure in canceled.failures} == {"preview"}
        assert await caller == canceled
        with pytest.raises(InvalidInputError, match="has already ended"):
            await cancel_batch(temporal_environment.temporal, temporal_environment.task_queue)
        temporal_environment.sandbox.faults.clear()
        seen: list[BatchProgress] = []
        again: BatchSummary = await batch(
            temporal_environment, jobs, budget_cents=10 * PRICE_CENTS, on_progress=seen.append
        )
    assert (again.done, again.recalled, temporal_environment.purchase_count()) == (3, 1, 3)
    assert seen[0].done_earlier == 1


@pytest.mark.parametrize("what", ["batch", "shard"])
async def test_jobs_of_a_terminated_workflow_are_reported_one_by_one(
    temporal_environment: TemporalEnvironment, customer: str, what: str
):
    stuck = f"{customer}-b"
    jobs = [make_job(0, customer=customer), make_job(1, customer=stuck), make_job(2, customer=stuck)]
    hold(temporal_environment, stuck)
    name = temporal_environment.task_queue
    workflow_id = batch_workflow_id(name) if what == "batch" else shard_workflow_id(name, 0)
    async with temporal_environment.running_worker(), running(batch(temporal_environment, jobs)) as caller:
        await statuses_once(
            temporal_environment, lambda found: sorted(states(found)) == ["done download"] + ["running preview"] * 2
        )
        await temporal_environment.temporal.get_workflow_handle(workflow_id).terminate("by an operator")
        summary = await caller
    assert (summary.done, summary.failed, summary.spent_cents) == (1, 2, PRICE_CENTS)
    assert {failure.stage for failure in summary.failures} == {"preview"}
    assert set(summary.failed_by_error) <= {"TerminatedError", "CancelledError"}


async def test_a_batch_that_no_worker_has_begun_can_be_listed(temporal_environment: TemporalEnvironment, customer: str):
    with pytest.raises(InvalidInputError, match="Temporal has no batch named"):
        await list_jobs(temporal_environment.temporal, f"{customer} nowhere")
    handle = await temporal_environment.temporal.start_workflow(
        "BatchWorkflow",
        {"name": customer, "max_pages_under_way": 1},
        id=batch_workflow_id(customer),
        task_queue="no worker",
    )
    assert await list_jobs(temporal_environment.temporal, customer) == []
    await handle.terminate()


async def test_other_jobs_need_another_name_or_an_explicit_continuation(
    temporal_environment: TemporalEnvironment, customer: str
):
    monday, tuesday = [make_job(1, customer=customer)], [make_job(2, customer=customer)]
    budget = PRICE_CENTS + 1
    async with temporal_environment.running_worker():
        assert (await batch(temporal_environment, monday, budget_cents=budget)).done == 1
        with pytest.raises(InvalidInputError, match=r"had other jobs; choose another name.* continue_changed=True"):
            await batch(temporal_environment, tuesday, budget_cents=budget)
        same = await batch(temporal_environment, tuesday, budget_cents=budget, continue_changed=True)
        other = await batch(temporal_environment, tuesday, budget_cents=budget, name=f"{customer} 2")
    assert same.failed_by_error == {"BudgetExceededError": 1}  # the same budget
    assert (other.done, temporal_environment.purchase_count()) == (1, 2)


async def test_a_batch_stays_on_its_task_queue(temporal_environment: TemporalEnvironment, customer: str):
    jobs = [make_job(1, customer=customer)]
    async with temporal_environment.running_worker():
        await batch(temporal_environment, jobs)
    with pytest.raises(InvalidInputError, match=f"on the task queue '{customer}'; pass that one, or choose another"):
        await run_batch(temporal_environment.temporal, jobs, name=customer, task_queue="another")


async def test_jobs_too_large_for_one_shard_run_in_several(temporal_environment: TemporalEnvironment, customer: str):
    jobs = [
        make_job(
            number,
            customer=customer,
            csv=f"https://files.example.org/{number}.csv?signature={secrets.token_urlsafe(300_000)}",
            lookalike=None,
            export=None,
        )
        for number in range(7)
    ]
    async with temporal_environment.running_worker():
        summary = await batch(temporal_environment, jobs)
    assert (summary.done, summary.failed_by_error) == (7, {})


async def test_batches_and_shards_have_search_attributes(temporal_environment: TemporalEnvironment, customer: str):
    jobs = [make_job(number, customer=customer) for number in range(2)]
    async with temporal_environment.running_worker():
        await batch(temporal_environment, jobs)
    name, found = temporal_environment.task_queue, set[str]()
    while len(found) < 2:  # the search index lags a moment
        found = {seen.id async for seen in temporal_environment.temporal.list_workflows(f"IndigoBatch = '{name}'")}
    assert found == {batch_workflow_id(name), shard_workflow_id(name, 0)}
    query = f"IndigoCustomer = '{customer}' AND IndigoBatch = '{name}'"
    found = {seen.id async for seen in temporal_environment.temporal.list_workflows(query)}
    assert found == {shard_workflow_id(name, 0)}


async def test_an_outage_of_temporal_is_waited_out_with_one_note(
    temporal_environment: TemporalEnvironment, customer: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING, "indigo_async")
    jobs = [make_job(0, customer=customer)]
    hold(temporal_environment, customer)
    async with gate_to(temporal_environment.address, free_port()) as gate, temporal_environment.running_worker():
        await gate.open()
        through_gate = await connect(gate.address)
        async with running(batch(temporal_environment, jobs, temporal=through_gate)) as caller:
            await statuses_once(temporal_environment, lambda found: states(found) == ["running preview"])
            await gate.close()
            while not caplog.messages and not caller.done():
                await asyncio.sleep(0.05)
            temporal_environment.sandbox.faults.clear()
            handle = temporal_environment.temporal.get_workflow_handle(
                batch_workflow_id(temporal_environment.task_queue)
            )
            while (await handle.describe()).status is WorkflowExecutionStatus.RUNNING:
                await asyncio.sleep(0.05)
            await gate.open()
            summary = await caller
    assert (summary.done, summary.failed) == (1, 0)
    notes = [message for message in caplog.messages if "Temporal" in message]
    assert len(notes) == 1, notes
