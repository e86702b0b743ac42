"""One job as a workflow, on a real Temporal server and a sandbox over sockets."""

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


async def test_a_job_has_the_same_result_as_in_a_single_process(
    temporal_environment: TemporalEnvironment, customer: str, tmp_path: Path
):
    async with temporal_environment.running_worker():
        summary = await run_job(
            temporal_environment.temporal, make_job(1, customer=customer), task_queue=temporal_environment.task_queue
        )
    step = ExportStep(destination=tmp_path / "local.csv", optional_field_types=["phone"], max_cost_cents=1_000_000)
    local_job = make_job(1, customer=customer, export=step)
    async with lite_sandbox() as other, make_client(other) as client:
        result = await workflows.run_job(client, local_job)
        counts = other.counts()
    assert result.receipt is not None
    assert result.lookalike is not None
    assert summary.delivered is not None
    assert summary.quote is not None
    assert (summary.matched_id, summary.lookalike_id) == (result.matched.id, result.lookalike.id)
    assert (summary.quote.cost_cents, summary.spent_cents) == (result.receipt.export.cost_cents, PRICE_CENTS)
    assert (summary.delivered.sha256, summary.delivered.size_bytes) == (
        result.receipt.sha256,
        result.receipt.size_bytes,
    )
    assert Path(summary.delivered.path).read_bytes() == (tmp_path / "local.csv").read_bytes()
    assert temporal_environment.sandbox.counts() == counts


async def test_a_job_started_twice_runs_once(temporal_environment: TemporalEnvironment, customer: str):
    async with temporal_environment.running_worker():
        both = await asyncio.gather(
            *(
                run_job(
                    temporal_environment.temporal,
                    make_job(1, customer=customer),
                    task_queue=temporal_environment.task_queue,
                )
                for _ in range(2)
            )
        )
        again = await run_job(
            temporal_environment.temporal, make_job(1, customer=customer), task_queue=temporal_environment.task_queue
        )
    assert both == [again, again]
    assert temporal_environment.sandbox.log.count(PURCHASE) == 1
    assert temporal_environment.sandbox.log.count("POST /upload_csv") == 1


async def test_a_job_with_other_options_is_another_job_on_the_same_audience(
    temporal_environment: TemporalEnvironment, customer: str
):
    async with temporal_environment.running_worker():
        priced = await run_job(
            temporal_environment.temporal,
            make_job(1, customer=customer),
            task_queue=temporal_environment.task_queue,
            purchase=False,
        )
        assert (priced.spent_cents, priced.delivered, temporal_environment.purchase_count()) == (0, None, 0)
        purchased = await run_job(
            temporal_environment.temporal, make_job(1, customer=customer), task_queue=temporal_environment.task_queue
        )
    assert purchased.matched_id == priced.matched_id
    assert purchased.quote is not None
    assert priced.quote is not None
    assert purchased.quote.export_id == priced.quote.export_id
    assert temporal_environment.purchase_count() == 1


async def test_a_job_in_progress_is_not_reused_for_other_options(
    temporal_environment: TemporalEnvironment, customer: str
):
    running = asyncio.create_task(
        run_job(
            temporal_environment.temporal, make_job(1, customer=customer), task_queue=temporal_environment.task_queue
        )
    )
    async with temporal_environment.running_worker():
        while temporal_environment.sandbox.log.count("POST /upload_csv") == 0:
            await asyncio.sleep(0.02)
        other = make_job(1, customer=customer, max_cost_cents=5)
        with pytest.raises(WorkflowError, match="is in progress with other inputs or options"):
            await run_job(temporal_environment.temporal, other, task_queue=temporal_environment.task_queue)
        assert (await running).spent_cents == PRICE_CENTS


async def test_nothing_is_purchased_above_the_limit(temporal_environment: TemporalEnvironment, customer: str):
    async with temporal_environment.running_worker():
        with pytest.raises(
            WorkflowError, match=r"purchase: BudgetExceededError: .* costs \$80\.00, above the limit of \$79\.99"
        ):
            await run_job(
                temporal_environment.temporal,
                make_job(1, customer=customer, max_cost_cents=PRICE_CENTS - 1),
                task_queue=temporal_environment.task_queue,
            )
        assert temporal_environment.purchase_count() == 0
        raised = make_job(1, customer=customer, max_cost_cents=PRICE_CENTS)
        assert (
            await run_job(temporal_environment.temporal, raised, task_queue=temporal_environment.task_queue)
        ).spent_cents == PRICE_CENTS


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT_AFTER, FaultKind.ERROR_AFTER, FaultKind.DISCONNECT_BEFORE])
async def test_a_purchase_with_lost_responses_is_made_once(
    temporal_environment: TemporalEnvironment, customer: str, kind: FaultKind
):
    temporal_environment.sandbox.faults.add(Fault(kind=kind, endpoint=PURCHASE, times=3, status=502))
    async with temporal_environment.running_worker():
        summary = await run_job(
            temporal_environment.temporal, make_job(1, customer=customer), task_queue=temporal_environment.task_queue
        )
    assert summary.spent_cents == PRICE_CENTS
    assert temporal_environment.purchase_count() == 1


async def test_a_priced_export_that_is_not_shown_at_first_is_read_again(
    temporal_environment: TemporalEnvironment, customer: str
):
    for endpoint in ("GET /audience", "GET /audiences"):
        fault = Fault(kind=FaultKind.FIELD_MISSING, field="csvExports", endpoint=endpoint, times=None)
        temporal_environment.sandbox.faults.add(fault)
    handle = temporal_environment.temporal.get_workflow_handle(job_workflow_id(customer, "List 1"))
    small = make_job(1, customer=customer, lookalike=None)
    async with temporal_environment.running_worker():
        running = asyncio.create_task(
            run_job(temporal_environment.temporal, small, task_queue=temporal_environment.task_queue)
        )
        while temporal_environment.sandbox.log.count("POST /create_preview_csv_export") == 0:
            await asyncio.sleep(0.02)
        failed: list[str] = []
        while not failed and not running.done():
            pending = (await handle.describe()).raw_description.pending_activities
            failed = [
                activity.last_failure.application_failure_info.type for activity in pending if activity.attempt > 1
            ]
        assert temporal_environment.sandbox.log.count(PURCHASE) == 0
        temporal_environment.sandbox.faults.clear()
        summary = await running
    assert failed == ["PurchaseInDoubtError"]
    assert (summary.spent_cents, temporal_environment.purchase_count()) == (
        summary.quote.cost_cents if summary.quote else None,
        1,
    )
    assert temporal_environment.sandbox.log.count("POST /create_preview_csv_export") == 1


async def test_a_final_error_is_not_retried(temporal_environment: TemporalEnvironment, customer: str):
    temporal_environment.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /create_preview_csv_export", times=100, status=400)
    )
    async with temporal_environment.running_worker():
        with pytest.raises(WorkflowError, match="preview: ApiError"):
            await run_job(
                temporal_environment.temporal,
                make_job(1, customer=customer),
                task_queue=temporal_environment.task_queue,
            )
    assert temporal_environment.sandbox.log.count("POST /create_preview_csv_export") == 1


async def test_histories_are_short_and_contain_neither_the_token_nor_a_download_url(
    temporal_environment: TemporalEnvironment, customer: str
):
    async with temporal_environment.running_worker():
        await run_job(
            temporal_environment.temporal, make_job(1, customer=customer), task_queue=temporal_environment.task_queue
        )
    workflow_id = job_workflow_id(customer, "List 1")
    text = await history_text(temporal_environment.temporal, workflow_id)
    assert '"audience_name":"List 1"' in text.replace("\\", "")
    assert temporal_environment.sandbox.token not in text
    assert "/downloads/" not in text
    kinds = await event_types(temporal_environment.temporal, workflow_id)
    assert kinds.count("ACTIVITY_TASK_SCHEDULED") == 6
    assert len(kinds) <= 52


async def test_the_intent_is_in_the_history_before_the_purchase_is_sent(
    temporal_environment: TemporalEnvironment, customer: str
):
    workflow_id = job_workflow_id(customer, "List 1")
    temporal_environment.sandbox.faults.add(
        Fault(kind=FaultKind.RATE_LIMITED, endpoint=PURCHASE, times=1, retry_after=3600)
    )
    async with temporal_environment.running_worker():
        running = asyncio.create_task(
            run_job(
                temporal_environment.temporal,
                make_job(1, customer=customer),
                task_queue=temporal_environment.task_queue,
            )
        )
        while temporal_environment.sandbox.log.count(PURCHASE) == 0:
            await asyncio.sleep(0.05)
        text = (await history_text(temporal_environment.temporal, workflow_id)).replace("\\", "")
        progress = await temporal_environment.temporal.get_workflow_handle_for(AudienceWorkflow.run, workflow_id).query(
            AudienceWorkflow.progress
        )
        await temporal_environment.temporal.get_workflow_handle(workflow_id).terminate()
        with pytest.raises(WorkflowError, match="TerminatedError"):
            await running
    assert progress.stage == "purchase"
    assert f'"cost_cents":{PRICE_CENTS}' in text
    assert temporal_environment.purchase_count() == 0


async def test_a_worker_that_shuts_down_hands_its_waits_over_at_once(
    temporal_address: str, temporal: Client, customer: str, tmp_path: Path
):
    async with lite_sandbox(speed=20.0) as sandbox:
        temporal_environment = TemporalEnvironment(sandbox, temporal, temporal_address, customer, tmp_path / "exports")
        running = asyncio.create_task(run_job(temporal, make_job(1, customer=customer), task_queue=customer))
        async with temporal_environment.running_worker():
            while sandbox.log.count("POST /match_uploaded_csv") == 0:
                await asyncio.sleep(0.02)
        assert sandbox.log.count("POST /create_lookalike_audience") == 0  # it was still waiting for the match
        async with (
            asyncio.timeout(60),
            temporal_environment.running_worker(),
        ):  # a lost worker would be noticed only after two minutes
            assert (await running).spent_cents == PRICE_CENTS
    assert sandbox.log.count("POST /match_uploaded_csv") == 1


async def test_a_workflow_reset_to_before_its_purchase_does_not_purchase_again(
    temporal_environment: TemporalEnvironment, customer: str
):
    from temporalio.api.common.v1 import WorkflowExecution  # noqa: PLC0415 - this test alone
    from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest  # noqa: PLC0415 - as above

    workflow_id = job_workflow_id(customer, "List 1")
    async with temporal_environment.running_worker():
        first = await run_job(
            temporal_environment.temporal, make_job(1, customer=customer), task_queue=temporal_environment.task_queue
        )
        kinds = await event_types(temporal_environment.temporal, workflow_id)
        after_lookalike = [n for n, kind in enumerate(kinds, 1) if kind == "WORKFLOW_TASK_COMPLETED"][2]
        run_id = (await temporal_environment.temporal.get_workflow_handle(workflow_id).describe()).run_id
        await temporal_environment.temporal.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=temporal_environment.temporal.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
                reason="a test",
                workflow_task_finish_event_id=after_lookalike,
                request_id="once",
            )
        )
        second = await temporal_environment.temporal.get_workflow_handle_for(AudienceWorkflow.run, workflow_id).result()
    assert temporal_environment.purchase_count() == 1
    assert second == attrs.evolve(first, spent_cents=0)


async def test_no_purchase_is_decided_by_lists_that_lag(temporal_environment: TemporalEnvironment, customer: str):
    """Each job runs twice with an older preview of other fields, on a server that charges a repeated purchase."""
    dialect = Dialect(list_lag=2_000.0, repeated_purchase="charge")  # one second, at this speed
    jobs = [make_job(number, customer=customer) for number in range(4)]
    async with lite_sandbox(dialect=dialect) as sandbox:
        lagging = attrs.evolve(temporal_environment, sandbox=sandbox)
        async with lagging.running_worker():

            async def run_all(**changes: Any) -> None:
                async with asyncio.TaskGroup() as group:
                    for each in jobs:
                        assert each.export is not None
                        export = attrs.evolve(each.export, **changes)
                        priced = "address" in export.optional_field_types
                        changed = attrs.evolve(each, export=export)
                        group.create_task(
                            run_job(
                                temporal_environment.temporal,
                                changed,
                                task_queue=temporal_environment.task_queue,
                                purchase=not priced,
                            )
                        )

            await run_all(optional_field_types=["address"])
            await asyncio.sleep(1.1)  # the lists show the audiences now, each with that preview
            await run_all()
            assert lagging.purchase_count() == len(jobs)
            await run_all(max_cost_cents=900_000)
        assert lagging.purchase_count() == len(jobs)
        assert sandbox.counts().charged_cents == len(jobs) * PRICE_CENTS


async def test_a_job_without_a_destination_is_purchased_and_not_delivered(
    temporal_environment: TemporalEnvironment, customer: str
):
    env = temporal_environment
    step = ExportStep(destination=None, optional_field_types=["phone"], max_cost_cents=PRICE_CENTS)
    job = make_job(1, customer=customer, export=step)
    async with env.running_worker():
        summary = await run_job(env.temporal, job, task_queue=env.task_queue)
        again = await run_job(env.temporal, job, task_queue=env.task_queue)
    assert (summary.delivered, summary.spent_cents, again) == (None, PRICE_CENTS, summary)
    assert summary.lookalike_id is not None
    async with make_client(env.sandbox) as client:
        purchased = await workflows.export_audience(
            client, summary.lookalike_id, customer_id=customer, destination=None, optional_field_types=["phone"]
        )
    assert (env.purchase_count(), list(env.exports.iterdir())) == (1, [])
    signature = purchased.download_url.rpartition("=")[2]
    assert signature
    assert signature not in await history_text(env.temporal, job_workflow_id(customer, job.audience_name))


async def test_a_base_that_is_too_small_is_reported_before_its_lookalike_is_requested(
    temporal_environment: TemporalEnvironment, customer: str, caplog: pytest.LogCaptureFixture
):
    env = temporal_environment
    job = make_job(1, customer=customer)
    async with env.running_worker():
        await run_job(env.temporal, attrs.evolve(job, lookalike=None, export=None), task_queue=env.task_queue)
        async with make_client(env.sandbox) as client:
            (matched,) = await client.list_audiences(customer)
        backend = env.sandbox._started.app.backend
        members = await backend.engine.sample(999)
        backend.store.update_audience(matched.id, lambda record: attrs.evolve(record, members=members))
        with pytest.raises(WorkflowError, match="BaseAudienceNotEligible"):
            await run_job(env.temporal, attrs.evolve(job, export=None), task_queue=env.task_queue)
    warnings = [record.getMessage() for record in caplog.records if record.name == "indigo_async.recipes"]
    assert any(f"audience {matched.id} has 999 matched people; a lookalike needs" in warning for warning in warnings)
