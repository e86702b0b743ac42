"""One job as one workflow, on a real Temporal server and a sandbox over sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import attrs
import pytest
from temporalio.client import Client

from indigo_async import workflows
from indigo_async.errors import WorkflowError
from indigo_async.sandbox import Dialect, Fault, FaultKind
from indigo_async.temporal import AudienceWorkflow, run_job
from indigo_async.temporal.ids import job_workflow_id
from indigo_async.workflows import ExportStep
from tests.support.temporal_jobs import (
    PRICE_CENTS,
    PURCHASE,
    TemporalEnvironment,
    event_types,
    history_text,
    lite_sandbox,
    make_client,
    make_job,
)


async def test_a_job_gives_what_it_gives_in_one_process(bench: TemporalEnvironment, customer: str, tmp_path: Path):
    async with bench.running_worker():
        end = await run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue)
    step = ExportStep(destination=tmp_path / "here.csv", optional_field_types=["phone"], max_cost_cents=1_000_000)
    here = make_job(1, customer=customer, export=step)
    async with lite_sandbox() as other, make_client(other) as client:
        result = await workflows.run_job(client, here)
        counts = other.counts()
    assert result.receipt is not None
    assert result.lookalike is not None
    assert end.delivered is not None
    assert end.quote is not None
    assert (end.matched_id, end.lookalike_id) == (result.matched.id, result.lookalike.id)
    assert (end.quote.cost_cents, end.spent_cents) == (result.receipt.export.cost_cents, PRICE_CENTS)
    assert (end.delivered.sha256, end.delivered.size_bytes) == (result.receipt.sha256, result.receipt.size_bytes)
    assert Path(end.delivered.path).read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert bench.sandbox.counts() == counts


async def test_starting_a_job_twice_is_starting_it_once(bench: TemporalEnvironment, customer: str):
    async with bench.running_worker():
        both = await asyncio.gather(
            *(run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue) for _ in range(2))
        )
        again = await run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue)
    assert both == [again, again]
    assert bench.sandbox.log.count(PURCHASE) == 1
    assert bench.sandbox.log.count("POST /upload_csv") == 1


async def test_a_job_with_other_terms_is_another_job_on_the_same_audience(bench: TemporalEnvironment, customer: str):
    async with bench.running_worker():
        priced = await run_job(
            bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue, purchase=False
        )
        assert (priced.spent_cents, priced.delivered, bench.purchase_count()) == (0, None, 0)
        bought = await run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue)
    assert bought.matched_id == priced.matched_id
    assert bought.quote is not None
    assert priced.quote is not None
    assert bought.quote.export_id == priced.quote.export_id
    assert bench.purchase_count() == 1


async def test_a_job_under_way_is_not_taken_for_one_with_other_terms(bench: TemporalEnvironment, customer: str):
    doing = asyncio.create_task(run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue))
    async with bench.running_worker():
        while bench.sandbox.log.count("POST /upload_csv") == 0:
            await asyncio.sleep(0.02)
        other = make_job(1, customer=customer, max_cost_cents=5)
        with pytest.raises(WorkflowError, match="is under way with other inputs or terms"):
            await run_job(bench.temporal, other, task_queue=bench.task_queue)
        assert (await doing).spent_cents == PRICE_CENTS


async def test_nothing_is_bought_above_the_limit(bench: TemporalEnvironment, customer: str):
    async with bench.running_worker():
        with pytest.raises(WorkflowError, match=r"purchase: BudgetExceededError: .*8000 cents and the limit is 7999"):
            await run_job(
                bench.temporal,
                make_job(1, customer=customer, max_cost_cents=PRICE_CENTS - 1),
                task_queue=bench.task_queue,
            )
        assert bench.purchase_count() == 0
        raised = make_job(1, customer=customer, max_cost_cents=PRICE_CENTS)
        assert (await run_job(bench.temporal, raised, task_queue=bench.task_queue)).spent_cents == PRICE_CENTS


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT_AFTER, FaultKind.ERROR_AFTER, FaultKind.DISCONNECT_BEFORE])
async def test_a_purchase_whose_answers_are_lost_is_made_once(
    bench: TemporalEnvironment, customer: str, kind: FaultKind
):
    bench.sandbox.faults.add(Fault(kind=kind, endpoint=PURCHASE, times=3, status=502))
    async with bench.running_worker():
        end = await run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue)
    assert end.spent_cents == PRICE_CENTS
    assert bench.purchase_count() == 1


async def test_a_priced_export_that_is_not_shown_at_first_is_looked_for_again(
    bench: TemporalEnvironment, customer: str
):
    for endpoint in ("GET /audience", "GET /audiences"):
        fault = Fault(kind=FaultKind.FIELD_MISSING, field="csvExports", endpoint=endpoint, times=None)
        bench.sandbox.faults.add(fault)
    handle = bench.temporal.get_workflow_handle(job_workflow_id(customer, "List 1"))
    small = make_job(1, customer=customer, lookalike=None)
    async with bench.running_worker():
        doing = asyncio.create_task(run_job(bench.temporal, small, task_queue=bench.task_queue))
        while bench.sandbox.log.count("POST /create_preview_csv_export") == 0:
            await asyncio.sleep(0.02)
        failed: list[str] = []
        while not failed and not doing.done():
            pending = (await handle.describe()).raw_description.pending_activities
            failed = [
                activity.last_failure.application_failure_info.type for activity in pending if activity.attempt > 1
            ]
        assert bench.sandbox.log.count(PURCHASE) == 0
        bench.sandbox.faults.clear()
        end = await doing
    assert failed == ["PurchaseInDoubtError"]
    assert (end.spent_cents, bench.purchase_count()) == (end.quote.cost_cents if end.quote else None, 1)
    assert bench.sandbox.log.count("POST /create_preview_csv_export") == 1


async def test_a_refusal_that_stays_is_not_asked_again(bench: TemporalEnvironment, customer: str):
    bench.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /create_preview_csv_export", times=100, status=400)
    )
    async with bench.running_worker():
        with pytest.raises(WorkflowError, match="preview: ApiError"):
            await run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue)
    assert bench.sandbox.log.count("POST /create_preview_csv_export") == 1


async def test_histories_are_short_and_hold_neither_token_nor_download_url(bench: TemporalEnvironment, customer: str):
    async with bench.running_worker():
        await run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue)
    workflow_id = job_workflow_id(customer, "List 1")
    text = await history_text(bench.temporal, workflow_id)
    assert '"audience_name":"List 1"' in text.replace("\\", "")
    assert bench.sandbox.token not in text
    assert "/downloads/" not in text
    kinds = await event_types(bench.temporal, workflow_id)
    assert kinds.count("ACTIVITY_TASK_SCHEDULED") == 5
    assert len(kinds) <= 40


async def test_the_intent_of_a_purchase_is_in_the_history_before_it_is_sent(bench: TemporalEnvironment, customer: str):
    workflow_id = job_workflow_id(customer, "List 1")
    bench.sandbox.faults.add(Fault(kind=FaultKind.RATE_LIMITED, endpoint=PURCHASE, times=1, retry_after=3600))
    async with bench.running_worker():
        doing = asyncio.create_task(
            run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue)
        )
        while bench.sandbox.log.count(PURCHASE) == 0:
            await asyncio.sleep(0.05)
        text = (await history_text(bench.temporal, workflow_id)).replace("\\", "")
        progress = await bench.temporal.get_workflow_handle_for(AudienceWorkflow.run, workflow_id).query(
            AudienceWorkflow.progress
        )
        await bench.temporal.get_workflow_handle(workflow_id).terminate()
        with pytest.raises(WorkflowError, match="TerminatedError"):
            await doing
    assert progress.stage == "purchase"
    assert f'"cost_cents":{PRICE_CENTS}' in text
    assert bench.purchase_count() == 0


async def test_a_worker_that_ends_hands_its_waits_over_at_once(
    temporal_address: str, temporal: Client, customer: str, tmp_path: Path
):
    async with lite_sandbox(speed=20.0) as sandbox:
        bench = TemporalEnvironment(sandbox, temporal, temporal_address, customer, tmp_path / "exports")
        doing = asyncio.create_task(run_job(temporal, make_job(1, customer=customer), task_queue=customer))
        async with bench.running_worker():
            while sandbox.log.count("POST /match_uploaded_csv") == 0:
                await asyncio.sleep(0.02)
        assert sandbox.log.count("POST /create_lookalike_audience") == 0  # its match was waited for until now
        async with asyncio.timeout(60), bench.running_worker():  # a worker that is missed is missed for two minutes
            assert (await doing).spent_cents == PRICE_CENTS
    assert sandbox.log.count("POST /match_uploaded_csv") == 1


async def test_a_workflow_reset_to_before_its_purchase_buys_nothing_again(bench: TemporalEnvironment, customer: str):
    from temporalio.api.common.v1 import WorkflowExecution  # noqa: PLC0415 - this test alone
    from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest  # noqa: PLC0415 - as above

    workflow_id = job_workflow_id(customer, "List 1")
    async with bench.running_worker():
        first = await run_job(bench.temporal, make_job(1, customer=customer), task_queue=bench.task_queue)
        kinds = await event_types(bench.temporal, workflow_id)
        after_lookalike = [n for n, kind in enumerate(kinds, 1) if kind == "WORKFLOW_TASK_COMPLETED"][2]
        run_id = (await bench.temporal.get_workflow_handle(workflow_id).describe()).run_id
        await bench.temporal.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=bench.temporal.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
                reason="a test",
                workflow_task_finish_event_id=after_lookalike,
                request_id="once",
            )
        )
        second = await bench.temporal.get_workflow_handle_for(AudienceWorkflow.run, workflow_id).result()
    assert bench.purchase_count() == 1
    assert second == attrs.evolve(first, spent_cents=0)


async def test_lists_that_lag_decide_no_purchase(bench: TemporalEnvironment, customer: str):
    """Each job runs twice beside an older preview with other fields, on a server that charges a repeated purchase."""
    dialect = Dialect(list_lag=2_000.0, repeated_purchase="charge")  # one second, at this speed
    jobs = [make_job(number, customer=customer) for number in range(4)]
    async with lite_sandbox(dialect=dialect) as sandbox:
        lagging = attrs.evolve(bench, sandbox=sandbox)
        async with lagging.running_worker():

            async def run_all(**changes: Any) -> None:
                async with asyncio.TaskGroup() as group:
                    for each in jobs:
                        assert each.export is not None
                        export = attrs.evolve(each.export, **changes)
                        priced = "address" in export.optional_field_types
                        changed = attrs.evolve(each, export=export)
                        group.create_task(
                            run_job(bench.temporal, changed, task_queue=bench.task_queue, purchase=not priced)
                        )

            await run_all(optional_field_types=["address"])
            await asyncio.sleep(1.1)  # the lists show the audiences now, each with that preview
            await run_all()
            assert lagging.purchase_count() == len(jobs)
            await run_all(max_cost_cents=900_000)
        assert lagging.purchase_count() == len(jobs)
        assert sandbox.counts().charged_cents == len(jobs) * PRICE_CENTS
