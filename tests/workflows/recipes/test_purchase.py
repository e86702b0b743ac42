"""Purchasing: recorded before it is sent, verified whatever happens, booked exactly once, also when canceled."""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import attrs
import pytest
from aiohttp import web

from indigo_async._listeners import listen
from indigo_async._transport.cancellation import current_cleanups
from indigo_async.errors import ApiError, BudgetExceededError, PurchaseInDoubtError
from indigo_async.events import Event, RecipeWarning, RequestRetried
from indigo_async.models import CsvExport
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.workflows import ExportPriced, ExportPurchased
from indigo_async.workflows.recipes import purchase
from indigo_async.workflows.recipes.budget import Budget
from tests.support.purchases import PRICE, PurchaseScenario, RecordingJobLog, purchase_scenario
from tests.support.recipes import AMPLE_CENTS, CUSTOMER, PURCHASE, count_posts, export_csv, lost_response, seed_audience
from tests.support.servers.scripted import (
    respond_with,
    respond_with_json,
    sandbox_and_client,
    server_and_client,
    wait_until,
)

SLOW = 30.0


async def test_a_purchase_is_intended_sent_booked_and_recorded():
    async with purchase_scenario() as scenario:
        assert (await scenario.purchase()).download_url is not None
        assert scenario.charged_and_reserved == (PRICE, PRICE, 0)
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]


async def test_nothing_is_sent_before_the_intent_is_recorded():
    async with purchase_scenario() as scenario:

        async def before() -> None:
            await anyio.lowlevel.checkpoint()
            assert scenario.requests == 0

        scenario.job_log.before = before
        await scenario.purchase()
        assert scenario.requests == 1


async def test_a_refused_purchase_releases_its_reservation_and_cancels_its_intent():
    async with purchase_scenario() as scenario:
        scenario.sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=PURCHASE, status=422))
        with pytest.raises(ApiError, match="422"):
            await scenario.purchase()
        assert scenario.charged_and_reserved == (0, 0, 0)
        assert scenario.job_log.written == [f"intent {PRICE}", "cancel"]


async def test_a_purchase_with_an_unknown_outcome_keeps_its_reservation_and_its_intent():
    async with purchase_scenario() as scenario:
        scenario.sandbox.faults.add(Fault(kind=FaultKind.DISCONNECT_BEFORE, endpoint=PURCHASE, times=None))
        with pytest.raises(PurchaseInDoubtError, match=r"still shows it as unpaid\. The amount stays reserved"):
            await scenario.purchase()
        assert scenario.charged_and_reserved == (0, 0, PRICE)
        assert scenario.job_log.written == [f"intent {PRICE}"]


@pytest.mark.parametrize("blind", [FaultKind.DISCONNECT_BEFORE, FaultKind.ERROR_BEFORE])
async def test_a_failed_read_back_leaves_the_purchase_in_doubt(blind: FaultKind):
    async with purchase_scenario() as scenario:
        scenario.sandbox.faults.add(
            lost_response(PURCHASE, FaultKind.DISCONNECT_AFTER, 1),
            Fault(kind=blind, endpoint="GET /audience", status=401, times=None),
        )
        with pytest.raises(PurchaseInDoubtError, match="its record could not be read"):
            await scenario.purchase()
        assert scenario.charged_and_reserved == (PRICE, 0, PRICE)
        assert scenario.job_log.written == [f"intent {PRICE}"]
        assert scenario.requests == 1


async def test_a_response_about_another_customer_leaves_the_purchase_in_doubt():
    response = {"id": "exp-1", "audience": {"id": "aud-1", "customerId": "somebody else"}}
    async with sandbox_and_client() as (sandbox, _), server_and_client(respond_with_json(response)) as (_, client):
        scenario = PurchaseScenario(sandbox, client, "aud-1", CsvExport(id="exp-1", cost_cents=PRICE))
        with pytest.raises(PurchaseInDoubtError, match="requested customer '42'"):
            await scenario.purchase()
        assert scenario.charged_and_reserved == (0, 0, PRICE)
        assert scenario.job_log.written == [f"intent {PRICE}"]


@pytest.mark.parametrize("response", [None, [], {"id": {}}, {"id": "exp-1", "cost": "6000"}])
async def test_after_an_unreadable_response_the_purchase_is_read_back(response: object):
    shown = {"id": "aud-1", "csvExports": [{"id": "exp-1", "cost": PRICE, "downloadUrl": "https://example.org/x.csv"}]}
    async with (
        sandbox_and_client() as (sandbox, _),
        server_and_client(respond_with_json(response), respond_with_json(shown)) as (server, client),
    ):
        scenario = PurchaseScenario(sandbox, client, "aud-1", CsvExport(id="exp-1", cost_cents=PRICE))
        assert (await scenario.purchase()).download_url == "https://example.org/x.csv"
        assert [request.method for request in server.requests] == ["POST", "GET"]
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]


async def test_an_export_purchased_elsewhere_at_the_last_moment_is_not_paid_again():
    async with purchase_scenario() as scenario:
        scenario.job_log.before = lambda: scenario.client.purchase_csv_export(
            export_id=scenario.export.id, customer_id=CUSTOMER
        )
        assert (await scenario.purchase()).id == scenario.export.id
        assert scenario.sandbox.counts().purchases == 1
        assert scenario.sandbox.log.count(PURCHASE, status=400) == 1


async def test_nothing_is_purchased_above_what_is_left_of_the_budget():
    async with purchase_scenario() as scenario:
        scenario.budget = Budget(limit_cents=PRICE, reserved_cents=1)
        with pytest.raises(BudgetExceededError, match=r"costs \$60\.00, and \$59\.99 of the batch's budget is left"):
            await scenario.purchase()
        assert scenario.requests == 0
        assert scenario.job_log.written == []
        assert scenario.charged_and_reserved == (0, 0, 1)


@pytest.mark.parametrize(
    ("cost", "message"), [(AMPLE_CENTS + 1, "above the limit"), (None, "cannot be read for certain")]
)
async def test_no_intent_is_recorded_above_the_limit_or_at_an_unreadable_price(cost: int | None, message: str):
    async with purchase_scenario() as scenario:
        scenario.export = attrs.evolve(scenario.export, cost_cents=cost)
        with pytest.raises(BudgetExceededError, match=message):
            await scenario.purchase()
        assert scenario.requests == 0
        assert scenario.job_log.written == []


async def _cancel_task(work: Callable[[], Awaitable[object]], *, when: Callable[[], bool]) -> None:
    async def run() -> None:
        await work()

    task = asyncio.create_task(run())
    await wait_until(lambda: when() or task.done())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _cancel_scope(work: Callable[[], Awaitable[object]], *, when: Callable[[], bool]) -> None:
    async def run() -> None:
        await work()
        raise AssertionError("it was not canceled")

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await wait_until(when)
        group.cancel_scope.cancel()


either_way = pytest.mark.parametrize("cancel", [_cancel_task, _cancel_scope], ids=["a task's way", "a scope's way"])


@either_way
async def test_canceled_while_the_intent_is_recorded_nothing_is_purchased_and_the_intent_is_canceled(cancel):
    async with purchase_scenario() as scenario:
        writing = anyio.Event()

        async def before() -> None:
            writing.set()
            await anyio.sleep(0.05)

        scenario.job_log.before = before
        await cancel(scenario.purchase, when=writing.is_set)
        assert scenario.requests == 0
        assert scenario.charged_and_reserved == (0, 0, 0)
        assert scenario.job_log.written == [f"intent {PRICE}", "cancel"]


@either_way
async def test_canceled_while_waiting_for_a_slot_nothing_is_purchased(cancel):
    async with purchase_scenario() as scenario:
        scenario.client.transport._pacer.pause(60)
        await cancel(scenario.purchase, when=lambda: scenario.job_log.written != [])
        assert scenario.requests == 0
        assert scenario.charged_and_reserved == (0, 0, 0)
        assert scenario.job_log.written == [f"intent {PRICE}", "cancel"]


@either_way
async def test_canceled_while_waiting_to_resend_nothing_is_purchased(cancel):
    retried = anyio.Event()

    def on_event(event: Event) -> None:
        assert isinstance(event, RequestRetried)
        retried.set()

    async with purchase_scenario() as scenario:
        scenario.sandbox.faults.add(Fault(kind=FaultKind.RATE_LIMITED, endpoint=PURCHASE, retry_after=60))
        with listen(on_event):
            await cancel(scenario.purchase, when=retried.is_set)
        assert scenario.requests == 1
        assert scenario.charged_and_reserved == (0, 0, 0)
        assert scenario.job_log.written == [f"intent {PRICE}", "cancel"]


@either_way
async def test_canceled_and_its_intent_cannot_be_taken_back(cancel, monkeypatch: pytest.MonkeyPatch):
    async def fail(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(RecordingJobLog, "cancel_intent", fail)
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: unhandled.append(problem))
    async with purchase_scenario() as scenario:
        scenario.client.transport._pacer.pause(60)
        await cancel(scenario.purchase, when=lambda: scenario.job_log.written != [])
        assert scenario.requests == 0
        assert scenario.job_log.written == [f"intent {PRICE}"]
    gc.collect()
    assert unhandled == []


@either_way
async def test_canceled_in_flight_it_is_finished_first_and_booked_once(cancel):
    events: list[Event] = []
    async with purchase_scenario() as scenario:
        scenario.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=PURCHASE, delay=0.1))
        with listen(events.append):
            await cancel(scenario.purchase, when=lambda: scenario.requests == 1)
        assert scenario.requests == 1
        assert scenario.charged_and_reserved == (PRICE, PRICE, 0)
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]
    assert [type(event) for event in events] == [ExportPurchased]


@either_way
async def test_canceled_in_flight_without_a_response_it_is_read_back_and_booked_once(cancel):
    async with purchase_scenario(client={"timeout": 0.3}) as scenario:
        scenario.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, delay=SLOW))
        await cancel(scenario.purchase, when=lambda: scenario.requests == 1)
        assert scenario.requests == 1
        assert scenario.charged_and_reserved == (PRICE, PRICE, 0)
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]


@either_way
async def test_canceled_in_flight_and_not_carried_out_it_is_not_sent_again(cancel):
    async with purchase_scenario(client={"timeout": 0.3}) as scenario:
        scenario.sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=PURCHASE, delay=SLOW))
        await cancel(scenario.purchase, when=lambda: scenario.requests == 1)
        assert scenario.requests == 1
        assert scenario.charged_and_reserved == (0, 0, PRICE)
        assert scenario.job_log.written == [f"intent {PRICE}"]


@either_way
async def test_canceled_in_flight_and_rate_limited_it_is_not_sent_again(cancel):
    asked = anyio.Event()

    async def hasty(request: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        await anyio.sleep(0.05)
        return await respond_with(429, retry_after="0")(request)

    async with sandbox_and_client() as (sandbox, _), server_and_client(hasty) as (server, client):
        scenario = PurchaseScenario(sandbox, client, "aud-1", CsvExport(id="exp-1", cost_cents=PRICE))
        await cancel(scenario.purchase, when=asked.is_set)
        assert len(server.requests) == 1
        assert scenario.charged_and_reserved == (0, 0, 0)
        assert scenario.job_log.written == [f"intent {PRICE}", "cancel"]


@either_way
async def test_check_of_a_canceled_purchase_is_listed_and_bounded(cancel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(purchase, "_CANCEL_GRACE_SECONDS", 0.2)
    listed: list[str] = []
    wait_shielded = purchase.wait_shielded

    async def observed(work: asyncio.Future[CsvExport], *, seconds: float | None = None) -> None:
        listed.extend(f"{cleanup.kind}: {cleanup.if_aborted}" for cleanup in current_cleanups())
        await wait_shielded(work, seconds=seconds)

    monkeypatch.setattr(purchase, "wait_shielded", observed)
    events: list[Event] = []
    async with purchase_scenario() as scenario:
        scenario.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, delay=SLOW))
        with listen(events.append):
            await cancel(scenario.purchase, when=lambda: scenario.requests == 1)
        assert scenario.charged_and_reserved == (PRICE, 0, PRICE)
        assert scenario.job_log.written == [f"intent {PRICE}"]
        in_doubt = f"export {scenario.export.id} of audience {scenario.audience_id} (customer {CUSTOMER}) may have been"
    assert len(listed) == 1
    assert listed[0].startswith(f"checking purchases in flight: {in_doubt} purchased")
    assert current_cleanups() == []
    (warning,) = events
    assert isinstance(warning, RecipeWarning)
    assert in_doubt in warning.message


async def test_canceled_recipe_shows_its_caller_no_inner_frames(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, delay=SLOW))
        task = asyncio.create_task(export_csv(client, audience_id, tmp_path / "x.csv"))
        await wait_until(lambda: client.transport.requests.total() == 1)
        task.cancel("as asked")
        with pytest.raises(asyncio.CancelledError, match="as asked") as canceled:
            await task
    shown = "".join(traceback.format_exception(canceled.value))
    assert "in export_csv" in shown
    assert "aiohttp" not in shown
    assert "transport.py" not in shown


@either_way
async def test_a_recipe_canceled_after_pricing_purchases_nothing(cancel, tmp_path: Path):
    priced = anyio.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, ExportPriced):
            priced.set()
            client.transport._pacer.pause(60)

    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        await cancel(lambda: export_csv(client, audience_id, tmp_path / "x.csv", on_event=on_event), when=priced.is_set)
        assert PURCHASE not in count_posts(sandbox)
        assert list(tmp_path.iterdir()) == []


@either_way
async def test_a_recipe_canceled_while_purchasing_pays_once_and_the_next_one_only_downloads(cancel, tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=PURCHASE, delay=0.1))
        await cancel(
            lambda: export_csv(client, audience_id, tmp_path / "x.csv"),
            when=lambda: client.transport.requests[PURCHASE] == 1,
        )
        assert sandbox.counts().purchases == 1
        await export_csv(client, audience_id, tmp_path / "x.csv")
        assert sandbox.counts().purchases == 1
