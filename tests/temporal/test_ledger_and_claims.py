"""The workflows that hold the ledgers of batches and the claims on jobs, on a real server."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from indigo_async.errors import InvalidInputError
from indigo_async.temporal import BudgetWorkflow, connect, create_worker, export_store
from indigo_async.temporal.budget_client import BudgetClient, open_ledger
from indigo_async.temporal.claims_client import claim_jobs
from indigo_async.temporal.ids import budget_workflow_id, claims_workflow_id
from indigo_async.temporal.payloads import (
    BeginRequest,
    Booking,
    BookingKind,
    ClaimReply,
    Hold,
    OpenReply,
    ReleaseRequest,
    Settlement,
    Turn,
)
from indigo_async.temporal.workflows import budget as budget_workflow
from indigo_async.temporal.workflows import claims as claims_workflow
from indigo_async.temporal.workflows.claims import ClaimsWorkflow
from indigo_async.workflows.sharding.ledger import Ledger
from indigo_async.workflows.sharding.split import bucket_of, job_ref
from tests.support.servers.temporal import temporal_server
from tests.support.temporal_jobs import TemporalEnvironment, event_types, lite_sandbox, make_client

FIRST = Turn(shard="0", run=1, attempt=1)
SECOND = Turn(shard="0", run=1, attempt=2)


async def open_batch(
    temporal: Client, name: str, limit_cents: int | None, *, jobs: str = "jobs", continue_changed: bool = False
) -> OpenReply:
    """Open the ledger of a batch whose workers use a task queue of the same name."""
    return await open_ledger(
        temporal,
        name,
        limit_cents=limit_cents,
        identity=jobs,
        continue_changed=continue_changed,
        task_queue=name,
    )


async def read_ledger(temporal: Client, name: str) -> Ledger:
    return await temporal.get_workflow_handle_for(BudgetWorkflow.run, budget_workflow_id(name)).query(
        BudgetWorkflow.ledger
    )


def reserve(job: str, turn: Turn | None, *, cents: int = 10, export_id: str | None = None) -> Booking:
    return Booking(kind=BookingKind.RESERVE, export_id=export_id or f"export of {job}", cents=cents, job=job, turn=turn)


async def test_shards_reserve_are_superseded_and_settle_across_continued_ledgers(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(budget_workflow, "_MAX_HISTORY_LENGTH", 8)
    temporal, budget, client = temporal_environment.temporal, budget_workflow_id(customer), BudgetClient()
    async with temporal_environment.running_worker():
        await open_batch(temporal, customer, 25)
        begun = await client.begin(temporal, budget, BeginRequest(turn=FIRST, jobs=("a", "b", "c")))
        assert (begun.is_superseded, begun.holds) == (False, {})
        grants = [await client.book(temporal, budget, reserve(job, FIRST)) for job in "abc"]
        assert [(grant.granted, grant.left_cents) for grant in grants] == [(True, 15), (True, 5), (False, 5)]
        begun = await client.begin(temporal, budget, BeginRequest(turn=SECOND, jobs=("a", "b", "c")))
        assert begun.holds == {job: Hold(export_id=f"export of {job}", cents=10) for job in "ab"}
        superseded = await client.book(temporal, budget, reserve("c", FIRST, cents=1))
        another = await client.book(temporal, budget, reserve("a", SECOND, cents=1, export_id="another"))
        assert (superseded.granted, superseded.is_superseded) == (False, True)
        assert (another.granted, another.held) == (False, "export of a")
        late = await client.begin(temporal, budget, BeginRequest(turn=FIRST, jobs=("a",)))
        assert (late.is_superseded, list(late.holds)) == (True, ["a"])  # who takes over its jobs needs to know
        await client.book(temporal, budget, Booking(kind=BookingKind.RELEASE, export_id="export of b", job="b"))
        settlement = Settlement(export_id="export of a", charged_cents=12, job="a")
        for _ in range(2):  # a workflow that is reset sends it again
            await temporal.get_workflow_handle(budget).signal("settle", [settlement])
        ledger = await read_ledger(temporal, customer)
    assert (ledger.spent_cents, ledger.reserved, ledger.holders, ledger.left_cents) == (12, {}, {}, 13)
    described = await temporal.get_workflow_handle(budget).describe()
    assert described.raw_info.first_run_id != described.run_id


async def test_a_later_run_with_a_limit_counts_what_was_spent_without_one(
    temporal_environment: TemporalEnvironment, customer: str
):
    temporal, budget, client = temporal_environment.temporal, budget_workflow_id(customer), BudgetClient()
    async with temporal_environment.running_worker():
        await open_batch(temporal, customer, None)
        assert (await client.book(temporal, budget, reserve("a", FIRST, cents=70))).granted
        assert (await client.book(temporal, budget, reserve("b", FIRST, cents=20))).granted
        await temporal.get_workflow_handle(budget).signal(
            BudgetWorkflow.settle, [Settlement(export_id="export of a", charged_cents=70, job="a")]
        )
        opened = await open_batch(temporal, customer, 100)
        assert (opened.spent_cents, opened.reserved_cents) == (70, 20)
        assert not (await client.book(temporal, budget, reserve("c", FIRST, cents=11))).granted
        assert (await client.book(temporal, budget, reserve("c", FIRST, cents=10))).granted


async def test_a_batch_of_other_jobs_is_refused_unless_it_continues(
    temporal_environment: TemporalEnvironment, customer: str
):
    temporal = temporal_environment.temporal
    async with temporal_environment.running_worker():
        await open_batch(temporal, customer, 100)
        with pytest.raises(InvalidInputError, match=r"name: .* choose another name, .* continue_changed=True"):
            await open_batch(temporal, customer, 500, jobs="other jobs")
        assert (await read_ledger(temporal, customer)).limit_cents == 100
        await open_batch(temporal, customer, 500, jobs="other jobs", continue_changed=True)
        await open_batch(temporal, customer, 500, jobs="other jobs")
        assert (await read_ledger(temporal, customer)).limit_cents == 500


async def test_a_ledger_of_an_earlier_version_goes_on(temporal_environment: TemporalEnvironment, customer: str):
    temporal, client = temporal_environment.temporal, BudgetClient()
    state = {"limit_cents": 100, "spent_cents": 30, "reserved": {"7": 20}}
    await temporal.start_workflow("BudgetWorkflow", state, id=budget_workflow_id(customer), task_queue=customer)
    async with temporal_environment.running_worker():
        opened = await open_batch(temporal, customer, 100)
        assert (opened.spent_cents, opened.reserved_cents) == (30, 20)
        settle = Booking(kind=BookingKind.SETTLE, export_id="7")  # the earliest versions sent no amount
        grant = await client.book(temporal, budget_workflow_id(customer), settle)
    assert grant.left_cents == 50


async def test_bookings_share_updates_and_a_canceled_one_stops_no_other(
    temporal_environment: TemporalEnvironment, customer: str
):
    temporal, budget, client = temporal_environment.temporal, budget_workflow_id(customer), BudgetClient()
    async with temporal_environment.running_worker():
        await open_batch(temporal, customer, None)
        tasks = [asyncio.create_task(client.book(temporal, budget, reserve(str(job), FIRST))) for job in range(100)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        grants = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(grants[0], asyncio.CancelledError)
        assert all(not isinstance(grant, BaseException) and grant.granted for grant in grants[1:])
    assert (await event_types(temporal, budget)).count("WORKFLOW_EXECUTION_UPDATE_ACCEPTED") == 2


async def test_a_ledger_that_has_ended_grants_nothing(temporal_environment: TemporalEnvironment, customer: str):
    temporal, budget, client = temporal_environment.temporal, budget_workflow_id(customer), BudgetClient()
    async with temporal_environment.running_worker():
        await open_batch(temporal, customer, None)
        await temporal.get_workflow_handle(budget).signal(BudgetWorkflow.close)
        await temporal.get_workflow_handle(budget).result()
        with pytest.raises(RPCError):
            await client.book(temporal, budget, reserve("a", FIRST))


async def test_60_000_purchases_in_progress_fit_in_a_ledger(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(budget_workflow, "_MAX_HISTORY_LENGTH", 8)
    refs = [job_ref(str(number % 20), str(number)) for number in range(60_000)]
    ledger = Ledger(identity="jobs", limit_cents=60_001 * 10)
    for number, ref in enumerate(refs):
        assert ledger.reserve(str(20_000_000 + number), 10, job=ref).granted
    temporal, budget, client = temporal_environment.temporal, budget_workflow_id(customer), BudgetClient()
    await temporal.start_workflow(BudgetWorkflow.run, ledger, id=budget, task_queue=customer)
    async with temporal_environment.running_worker():
        await open_batch(temporal, customer, ledger.limit_cents)
        bookings = [client.book(temporal, budget, reserve(f"job {number}", None)) for number in range(1_000)]
        assert [grant.granted for grant in await asyncio.gather(*bookings)].count(True) == 1
        begun = await client.begin(temporal, budget, BeginRequest(turn=FIRST, jobs=(refs[-1],)))
        described = await temporal.get_workflow_handle(budget).describe()
    assert begun.holds == {refs[-1]: Hold(export_id="20059999", cents=10)}
    assert described.raw_info.first_run_id != described.run_id


async def test_concurrent_claims_give_each_job_to_one_holder(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(claims_workflow, "_MAX_HISTORY_LENGTH", 10)
    temporal = temporal_environment.temporal
    refs = sorted(job_ref(f"{customer} {number % 4}", str(number)) for number in range(60))
    async with temporal_environment.running_worker(), temporal_environment.running_worker():
        replies = await asyncio.gather(
            *(claim_jobs(temporal, customer, f"holder {number}", refs[number * 10 :]) for number in range(4))
        )
        again = [await claim_jobs(temporal, customer, f"holder {number}", refs[number * 10 :]) for number in range(4)]
    assert [reply.held for reply in again] == [reply.held for reply in replies]
    owners = dict[str, str]()
    for number, reply in enumerate(replies):
        lost = {ref for theirs in reply.held.values() for ref in theirs}
        for ref in set(refs[number * 10 :]) - lost:
            assert owners.setdefault(ref, f"holder {number}") == f"holder {number}"
    assert set(owners) == set(refs)
    for number, reply in enumerate(replies):
        for holder, theirs in reply.held.items():
            assert holder != f"holder {number}"
            assert all(owners[ref] == holder for ref in theirs)


async def test_released_claims_and_those_of_holders_that_are_gone_are_taken(
    temporal_environment: TemporalEnvironment, customer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(claims_workflow, "_MAX_HISTORY_LENGTH", 8)
    temporal = temporal_environment.temporal
    refs = [job_ref(customer, str(number)) for number in range(4)]
    claims = claims_workflow_id(customer, bucket_of(refs[0]))
    async with temporal_environment.running_worker():
        assert await claim_jobs(temporal, customer, "a", refs[:3]) == ClaimReply(held={}, finished={})
        assert (await claim_jobs(temporal, customer, "b", refs)).held == {"a": refs[:3]}
        release = ReleaseRequest(holder="a", finished=(refs[0],))
        await temporal.get_workflow_handle(claims).signal(ClaimsWorkflow.release, release)
        taken = await claim_jobs(temporal, customer, "b", refs)
        assert taken == ClaimReply(held={}, finished={"a": [refs[0]]})
        assert (await claim_jobs(temporal, customer, "c", refs)).held == {"b": refs}
        taken = await claim_jobs(temporal, customer, "c", refs, gone=["b"])
        assert taken == ClaimReply(held={}, finished={"a": [refs[0]]})
        assert (await claim_jobs(temporal, customer, "b", refs)).held == {"c": refs}
    described = await temporal.get_workflow_handle(claims).describe()
    assert described.raw_info.first_run_id != described.run_id


async def test_a_killed_worker_delays_updates_by_two_seconds(
    temporal_environment: TemporalEnvironment, temporal: Client
):
    async with make_client(temporal_environment.sandbox) as client:
        worker = create_worker(temporal, client, exports=export_store(str(temporal_environment.exports)))
    assert worker.config().get("sticky_queue_schedule_to_start_timeout") == timedelta(seconds=2)


async def test_an_outage_of_temporal_fails_no_booking(tmp_path: Path):
    folder, client = tmp_path, BudgetClient()
    refs = [job_ref(str(number), "Donors") for number in range(8)]
    async with lite_sandbox() as sandbox, make_client(sandbox) as api:
        with temporal_server(folder) as address:
            temporal = await connect(address)
            worker = create_worker(temporal, api, exports=export_store(str(tmp_path / "exports")), task_queue="q")
            running = asyncio.create_task(worker.run())
            await open_ledger(
                temporal, "batch", limit_cents=75, identity="jobs", continue_changed=False, task_queue="q"
            )
        work = asyncio.gather(
            client.begin(temporal, "budget/batch", BeginRequest(turn=FIRST, jobs=())),
            claim_jobs(temporal, "q", "holder", refs),
            *(client.book(temporal, "budget/batch", reserve(ref, FIRST)) for ref in refs),
        )
        await asyncio.sleep(0.5)
        assert not work.done()
        with temporal_server(folder, address=address):
            begun, claimed, *grants = await work
            await worker.shutdown()
            await running
    assert not begun.is_superseded
    assert claimed.held == {}
    assert [grant.granted for grant in grants] == [True] * 7 + [False]
