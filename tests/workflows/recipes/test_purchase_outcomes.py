"""What a purchase does after each response, what it books and reports, and what it says when it stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
from aiohttp import web

from indigo_async._listeners import listen
from indigo_async._transport.transport import SendState, SendTooLateError
from indigo_async.client import IndigoClient
from indigo_async.errors import (
    AmbiguousOutcomeError,
    ApiError,
    AuthenticationError,
    BudgetExceededError,
    ConnectionFailedError,
    CustomerMismatchError,
    IndigoError,
    JournalError,
    PurchaseInDoubtError,
    RateLimitedError,
    RecordMismatchError,
    ResponseDecodeError,
    ServerError,
    WorkflowError,
)
from indigo_async.events import Event, RecipeWarning, RequestRetried
from indigo_async.models import Audience, CsvExport
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.workflows import ExportPurchased, Stage
from indigo_async.workflows.recipes import purchase
from indigo_async.workflows.recipes.budget import Account, Budget
from indigo_async.workflows.recipes.context import RecipeContext, StopFlag
from indigo_async.workflows.recipes.preview import NEVER
from indigo_async.workflows.recipes.purchase import _is_unknown, _was_not_carried_out, check_price
from tests.support.purchases import OPTIONS, PRICE, PurchaseScenario, fail_sends, purchase_scenario
from tests.support.recipes import CUSTOMER, PURCHASE
from tests.support.servers.scripted import (
    QUICK_RETRY,
    Responder,
    ScriptedServer,
    respond_with,
    respond_with_json,
    sandbox_and_client,
    server_and_client,
    wait_until,
)

URL = "https://files.example.org/x.csv"
MISMATCH = RecordMismatchError(endpoint=PURCHASE, record_kind="audience", requested=1, received=2)
OTHER_CUSTOMER = CustomerMismatchError(endpoint=PURCHASE, requested="1", received="2")
AMBIGUOUS = AmbiguousOutcomeError("the connection broke", endpoint=PURCHASE)
UNREACHABLE = ConnectionFailedError("no connection could be made", endpoint=PURCHASE)


def refused(status: int) -> ApiError:
    return ApiError(status, "no", None, PURCHASE)


@asynccontextmanager
async def scripted_purchase(
    *responders: Responder, cost: int = PRICE, **client: Any
) -> AsyncGenerator[tuple[ScriptedServer, PurchaseScenario]]:
    """A purchase of `exp-1` from a server that gives these responses."""
    async with sandbox_and_client() as (sandbox, _), server_and_client(*responders, **client) as (server, quick):
        yield server, PurchaseScenario(sandbox, quick, "aud-1", CsvExport(id="exp-1", cost_cents=cost))


def record(**export: Any) -> Responder:
    """The audience, with the export as the server shows it."""
    return respond_with_json({"id": "aud-1", "csvExports": [{"id": "exp-1", "cost": PRICE} | export]})


def methods(server: ScriptedServer) -> list[str]:
    return [request.method for request in server.requests]


UNPAID = record(status="REQUIRES_PAYMENT")
PAID = record(downloadUrl=URL)
BAD_GATEWAY = respond_with_json({}, 502)


def context_of(client: IndigoClient) -> RecipeContext:
    return RecipeContext(client, CUSTOMER, "Donors", audience=Audience(id="aud-1"), current_stage=Stage.PURCHASE)


def test_a_price_at_the_limit_is_paid_and_one_cent_more_is_not():
    context = context_of(IndigoClient("token"))
    export = CsvExport(id="exp-1", cost_cents=PRICE)
    assert check_price(context, export, PRICE) == PRICE
    assert check_price(context, CsvExport(id="exp-1", cost_cents=0), 0) == 0
    with pytest.raises(BudgetExceededError) as caught:
        check_price(context, export, PRICE - 1)
    error = caught.value
    assert str(error) == (
        "purchase: export exp-1 costs $60.00, above the limit of $59.99; nothing was purchased. To purchase this "
        "preview, pass max_cost_cents=6000 or more"
    )
    assert (error.stage, error.limit_cents) == ("purchase", PRICE - 1)
    assert (error.audience, error.export) == (Audience(id="aud-1"), export)


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ({"price": 200, "cost": 100}, "amounts disagree: cost $1.00, price $2.00"),
        ({"price": "$5", "a fee": 1}, "other fields: a fee, price"),
        ({"cost": 100, "note": "x"}, "other fields: cost, note"),
        ({}, "other fields: none"),
    ],
)
def test_a_price_that_is_not_certain_is_never_paid(extra: dict[str, Any], problem: str):
    with pytest.raises(BudgetExceededError) as caught:
        check_price(context_of(IndigoClient("token")), CsvExport(id="exp-1", extra=extra), 10**9)
    assert str(caught.value) == (
        f"purchase: the price of export exp-1 cannot be read for certain ({problem}); nothing was purchased"
    )


@pytest.mark.parametrize(
    ("error", "token_refreshed", "certain"),
    [
        (RateLimitedError(429, "slow down", None, PURCHASE), False, True),
        (UNREACHABLE, False, True),
        (SendTooLateError("too late"), False, True),
        (AuthenticationError(401, "who?", None, PURCHASE), True, True),
        (AuthenticationError(401, "who?", None, PURCHASE), False, False),
        (ServerError(500, "oops", None, PURCHASE), True, False),
        (refused(400), True, False),
        (AMBIGUOUS, True, False),
        (ResponseDecodeError("not JSON", endpoint=PURCHASE), True, False),
    ],
)
def test_only_what_never_arrived_or_was_put_off_was_certainly_not_carried_out(
    error: IndigoError, *, token_refreshed: bool, certain: bool
):
    assert _was_not_carried_out(error, SendState(token_refreshed=token_refreshed)) is certain


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (ServerError(500, "oops", None, PURCHASE), True),
        (AMBIGUOUS, True),
        (ResponseDecodeError("not JSON", endpoint=PURCHASE), True),
        (MISMATCH, True),
        (OTHER_CUSTOMER, True),
        *((refused(status), True) for status in (408, 409, 425)),
        *((refused(status), False) for status in (400, 402, 404, 407, 410, 418, 424, 426)),
        (AuthenticationError(401, "who?", None, PURCHASE), False),
        (WorkflowError("the batch stopped", stage="purchase"), False),
    ],
)
def test_a_plain_refusal_is_the_only_error_that_settles_an_unpaid_export(error: IndigoError, *, unknown: bool):
    assert _is_unknown(error) is unknown


@pytest.mark.parametrize(("age", "requests"), [(29.0, ["POST"]), (31.0, ["GET", "POST"])])
async def test_a_record_older_than_half_a_minute_is_read_again_before_the_purchase(age: float, requests: list[str]):
    bought = respond_with_json({"id": "exp-1", "cost": PRICE, "downloadUrl": URL})
    async with scripted_purchase(*([UNPAID] if age > 30 else []), bought) as (server, scenario):
        scenario.age = age
        await scenario.purchase()
        assert methods(server) == requests
        assert server.requests[-1].json == {"exportId": "exp-1", "customerId": CUSTOMER}


async def test_a_purchase_that_got_its_slot_too_late_reads_the_record_first():
    bought = respond_with_json({"id": "exp-1", "cost": PRICE, "downloadUrl": URL})
    events: list[Event] = []
    async with scripted_purchase(UNPAID, bought) as (server, scenario):
        scenario.age = 29.95
        scenario.client.transport._pacer.pause(0.1)
        with listen(events.append):
            await scenario.purchase()
        assert methods(server) == ["GET", "POST"]
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]
    assert [(type(event), getattr(event, "reason", None), getattr(event, "delay", None)) for event in events] == [
        (RequestRetried, "SendTooLateError", 0.0),
        (ExportPurchased, None, None),
    ]


async def test_what_is_purchased_already_is_returned_without_a_request():
    async with scripted_purchase(PAID) as (server, scenario):
        scenario.export = CsvExport(id="exp-1", cost_cents=PRICE, download_url=URL)
        assert await scenario.purchase() == scenario.export
        assert (server.requests, scenario.job_log.written) == ([], [])
        assert scenario.charged_and_reserved == (0, 0, 0)


async def test_the_journal_learns_what_was_bought_before_it_is_bought_and_afterward():
    async with purchase_scenario() as scenario:
        await scenario.purchase()
        facts = {
            "field_types": ["phone"],
            "audience_id": scenario.audience_id,
            "export_id": scenario.export.id,
            "cost_cents": PRICE,
        }
        assert scenario.job_log.facts == [facts, facts]
        assert scenario.client.purchased_exports == {str(scenario.export.id): frozenset({"phone"})}


async def test_a_purchase_is_reported_with_what_was_charged():
    events: list[Event] = []
    async with purchase_scenario() as scenario:
        with listen(events.append):
            await scenario.purchase()
        assert events == [
            ExportPurchased(
                customer_id=CUSTOMER, audience_name="Donors", export_id=scenario.export.id, cost_cents=PRICE
            )
        ]
        assert (scenario.warnings, scenario.stop_flag) == ((), StopFlag())


def bought(cost: object = PRICE, **fields: Any) -> Responder:
    """The response to the purchase."""
    return respond_with_json({"id": "exp-1", "cost": cost, "downloadUrl": URL} | fields)


@pytest.mark.parametrize("charged", [PRICE + 500, PRICE - 500])
async def test_a_charge_that_differs_from_the_quote_is_booked_and_reported(charged: int):
    async with scripted_purchase(bought(charged)) as (_, scenario):
        assert (await scenario.purchase()).cost_cents == charged
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (charged, 0)
        assert scenario.account == Account(spent_cents=charged)
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {charged}"]
        dollars = {PRICE + 500: "$65.00", PRICE - 500: "$55.00"}[charged]
        assert scenario.warnings == (f"export exp-1 was quoted at $60.00 and charged at {dollars}",)
        assert scenario.stop_flag.reason is None


@pytest.mark.parametrize(("charged", "stops"), [(PRICE, False), (PRICE + 1, True)])
async def test_a_charge_above_the_limit_stops_the_batch(charged: int, *, stops: bool):
    async with scripted_purchase(bought(charged)) as (_, scenario):
        scenario.options = attrs.evolve(OPTIONS, max_cost_cents=PRICE)
        await scenario.purchase()
        reason = "export exp-1 was charged at $60.01, above the limit of $60.00: the server charges more than it quotes"
        assert scenario.stop_flag.reason == (reason if stops else None)


async def test_the_first_reason_to_stop_a_batch_is_the_one_that_is_kept():
    async with scripted_purchase(bought(PRICE + 1)) as (server, scenario):
        scenario.options = attrs.evolve(OPTIONS, max_cost_cents=PRICE)
        other = asyncio.create_task(scenario.purchase())
        await wait_until(lambda: server.requests != [])
        scenario.stop_flag.reason = "another job was charged too much"
        await other
        assert scenario.stop_flag.reason == "another job was charged too much"


async def test_once_a_batch_has_stopped_nothing_is_sent():
    async with scripted_purchase(PAID) as (server, scenario):
        scenario.stop_flag.reason = "another job was charged too much"
        with pytest.raises(WorkflowError, match="nothing more is sent, because the batch stopped: another job"):
            await scenario.purchase()
        assert (server.requests, scenario.job_log.written) == ([], [])
        assert scenario.charged_and_reserved == (0, 0, 0)


@pytest.mark.parametrize(("limit", "left"), [(PRICE, "$59.99"), (0, "$0.00")])
async def test_an_overdrawn_budget_says_what_is_left_and_holds_the_record(limit: int, left: str):
    async with scripted_purchase(UNPAID) as (server, scenario):
        scenario.age = 31.0
        scenario.budget = Budget(limit_cents=limit, spent_cents=1)
        with pytest.raises(BudgetExceededError) as caught:
            await scenario.purchase()
        error = caught.value
        assert str(error) == (
            f"purchase: export exp-1 costs $60.00, and {left} of the batch's budget is left; nothing was purchased. To "
            "purchase this preview, raise the budget"
        )
        unpaid = attrs.evolve(scenario.export, status="REQUIRES_PAYMENT")
        assert (error.limit_cents, error.export) == (limit, unpaid)
        assert error.audience == Audience(id="aud-1", csv_exports=(unpaid,))
        assert methods(server) == ["GET"]


@pytest.mark.parametrize("cost", ["12.00", None])
async def test_an_unreadable_charge_counts_as_the_quote_or_as_the_largest_amount_shown(cost: str | None):
    shown = {"cost": cost, "price": PRICE + 100, "totalCost": PRICE + 200, "downloadUrl": URL}
    async with scripted_purchase(bought(**shown), record(**shown)) as (_, scenario):
        await scenario.purchase()
        assert scenario.budget.spent_cents == PRICE + 200


async def test_a_charge_that_nobody_shows_counts_as_the_quote():
    async with scripted_purchase(bought(None), record(cost=None, downloadUrl=URL)) as (server, scenario):
        await scenario.purchase()
        assert methods(server) == ["POST", "GET"]
        assert (scenario.budget.spent_cents, scenario.warnings) == (PRICE, ())


async def test_a_charge_that_the_response_leaves_out_is_read_from_the_record():
    async with scripted_purchase(bought(None), record(cost=PRICE + 1)) as (server, scenario):
        export = await scenario.purchase()
        assert (export.cost_cents, export.download_url) == (PRICE + 1, URL)
        assert methods(server) == ["POST", "GET"]


async def test_a_free_export_needs_no_second_look_at_its_charge():
    async with scripted_purchase(bought(None), cost=0) as (server, scenario):
        await scenario.purchase()
        assert methods(server) == ["POST"]
        assert scenario.job_log.written == ["intent 0", "result 0"]


async def test_a_purchase_whose_record_cannot_be_read_back_is_booked_by_its_response():
    async with scripted_purchase(bought(None), respond_with_json({"error": "gone"}, 404)) as (_, scenario):
        assert (await scenario.purchase()).download_url == URL
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (PRICE, 0)


PENDING = bought(status="REQUIRES_PAYMENT", downloadUrl=None)


@pytest.mark.parametrize("shown", [record(downloadUrl=URL), record(status="IN_PROGRESS"), record(status="")])
async def test_a_success_that_shows_an_unpaid_export_is_confirmed_by_the_record(shown: Responder):
    async with scripted_purchase(PENDING, UNPAID, shown) as (server, scenario):
        await scenario.purchase()
        assert methods(server) == ["POST", "GET", "GET"]
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]


async def test_a_success_that_the_record_never_confirms_stays_in_doubt():
    async with scripted_purchase(PENDING, UNPAID) as (server, scenario):
        with pytest.raises(PurchaseInDoubtError) as caught:
            await scenario.purchase()
        error = caught.value
        assert methods(server) == ["POST", *["GET"] * QUICK_RETRY.attempts]
        assert str(error) == (
            "purchase: export exp-1 of audience aud-1 may or may not have been purchased for $60.00: the server "
            "reported success; its record still shows it as unpaid. The amount stays reserved. The same call checks "
            "the server before it purchases anything; if in doubt, ask Indigo first"
        )
        assert error.stage == "purchase"
        assert (error.audience, error.export) == (
            Audience(id="aud-1", csv_exports=(attrs.evolve(scenario.export, status="REQUIRES_PAYMENT"),)),
            attrs.evolve(scenario.export, status="REQUIRES_PAYMENT"),
        )
        assert scenario.charged_and_reserved == (0, 0, PRICE)
        assert scenario.job_log.written == [f"intent {PRICE}"]


async def test_a_response_about_another_audience_is_in_doubt_and_never_sent_again():
    other = bought(audience={"id": "aud-2", "customerId": CUSTOMER})
    async with scripted_purchase(other, UNPAID) as (server, scenario):
        with pytest.raises(
            PurchaseInDoubtError, match="requested audience 'aud-1', but the response is about"
        ) as caught:
            await scenario.purchase()
        assert "audience 'aud-2'; its record still shows it as unpaid" in str(caught.value)
        assert f"for $60.00: {PURCHASE}: requested" in str(caught.value)
        assert methods(server) == ["POST", "GET"]
        assert scenario.client.purchased_exports == {"exp-1": frozenset({"phone"})}


async def test_a_record_that_cannot_be_read_leaves_a_lost_response_in_doubt(monkeypatch: pytest.MonkeyPatch):
    fail_sends(monkeypatch, AMBIGUOUS)
    async with scripted_purchase(respond_with_json({"error": "gone"}, 404)) as (_, scenario):
        with pytest.raises(PurchaseInDoubtError) as caught:
            await scenario.purchase()
        assert str(caught.value).startswith(
            "purchase: export exp-1 of audience aud-1 may or may not have been purchased for $60.00: "
            f"{AMBIGUOUS}; its record could not be read (GET /audience: gone (404)"
        )
        assert caught.value.export is None
        assert scenario.charged_and_reserved == (0, 0, PRICE)


async def test_an_unreadable_success_is_read_until_it_shows_and_never_sent_again():
    async with scripted_purchase(respond_with_json([]), UNPAID, UNPAID, PAID) as (server, scenario):
        await scenario.purchase()
        assert methods(server) == ["POST", "GET", "GET", "GET"]
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]
        assert scenario.client.purchased_exports == {"exp-1": frozenset({"phone"})}


async def test_an_unreadable_success_that_never_shows_stays_in_doubt_and_is_never_sent_again():
    async with scripted_purchase(respond_with_json([]), UNPAID) as (server, scenario):
        with pytest.raises(PurchaseInDoubtError, match=r"still shows it as unpaid") as caught:
            await scenario.purchase()
        assert methods(server) == ["POST", *["GET"] * QUICK_RETRY.attempts]
        assert caught.value.export == attrs.evolve(scenario.export, status="REQUIRES_PAYMENT")
        assert scenario.charged_and_reserved == (0, 0, PRICE)


def retries(events: list[Event]) -> list[tuple[int, str]]:
    found = [event for event in events if isinstance(event, RequestRetried)]
    assert {event.endpoint for event in found} <= {PURCHASE}
    return [(event.attempt, event.reason) for event in found]


async def test_each_resend_is_reported_and_the_last_failure_stays_in_doubt():
    events: list[Event] = []
    async with scripted_purchase(*[BAD_GATEWAY, UNPAID] * QUICK_RETRY.attempts) as (server, scenario):
        with pytest.raises(PurchaseInDoubtError, match="502"), listen(events.append):
            await scenario.purchase()
        assert methods(server) == ["POST", "GET"] * QUICK_RETRY.attempts
        assert scenario.job_log.written == [f"intent {PRICE}"]
        assert scenario.charged_and_reserved == (0, 0, PRICE)
    assert retries(events) == [(1, "502"), (2, "502"), (3, "502")]


async def test_a_server_that_cannot_be_reached_is_given_up_without_doubt(monkeypatch: pytest.MonkeyPatch):
    events: list[Event] = []
    fail_sends(monkeypatch, *[UNREACHABLE] * 9)
    async with scripted_purchase(UNPAID) as (_, scenario):
        with pytest.raises(ConnectionFailedError) as caught, listen(events.append):
            await scenario.purchase()
        assert caught.value is UNREACHABLE
        assert scenario.job_log.written == [f"intent {PRICE}", "cancel"]
        assert scenario.charged_and_reserved == (0, 0, 0)
    assert retries(events) == [(attempt, "ConnectionFailedError") for attempt in (1, 2, 3)]
    delays = [event.delay for event in events if isinstance(event, RequestRetried)]
    longest = [QUICK_RETRY.wait_initial, QUICK_RETRY.wait_max, QUICK_RETRY.wait_max]
    assert all(most / 2 <= delay <= most for most, delay in zip(longest, delays, strict=True))


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({"retry_after": "0.05"}, 0.05),
        ({"retry_after": "0"}, QUICK_RETRY.wait_initial),
        ({}, QUICK_RETRY.wait_max),
    ],
)
async def test_a_rate_limited_purchase_waits_as_long_as_the_server_asks(headers: dict[str, str], delay: float):
    events: list[Event] = []
    slow_down = respond_with(429, b"{}", content_type="application/json", **headers)
    async with scripted_purchase(slow_down, UNPAID, bought()) as (server, scenario):
        started_at = asyncio.get_running_loop().time()
        with listen(events.append):
            await scenario.purchase()
        assert asyncio.get_running_loop().time() - started_at >= delay
        assert methods(server) == ["POST", "GET", "POST"]
    assert retries(events) == [(1, "429")]
    assert [event.delay for event in events if isinstance(event, RequestRetried)] == [delay]


@pytest.mark.parametrize("error", [AMBIGUOUS, UNREACHABLE])
async def test_the_wait_before_a_resend_is_kept(error: IndigoError, monkeypatch: pytest.MonkeyPatch):
    fail_sends(monkeypatch, error)
    delays = iter([0.05])
    monkeypatch.setattr(purchase, "retry_delays", lambda _: delays)
    async with scripted_purchase(UNPAID, bought()) as (_, scenario):
        started_at = asyncio.get_running_loop().time()
        await scenario.purchase()
        assert asyncio.get_running_loop().time() - started_at >= 0.05


@pytest.mark.parametrize("responders", [[respond_with_json([]), UNPAID, PAID], [PENDING, UNPAID, PAID]])
async def test_the_wait_before_the_record_is_read_again_is_kept(
    responders: list[Responder], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(purchase, "retry_delays", lambda _: iter([0.05]))
    async with scripted_purchase(*responders) as (_, scenario):
        started_at = asyncio.get_running_loop().time()
        await scenario.purchase()
        assert asyncio.get_running_loop().time() - started_at >= 0.05


async def test_a_stray_401_is_sent_again_while_the_record_can_be_read():
    events: list[Event] = []
    async with scripted_purchase(respond_with_json({}, 401), UNPAID, bought()) as (server, scenario):
        with listen(events.append):
            await scenario.purchase()
        assert methods(server) == ["POST", "GET", "POST"]
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]
    assert retries(events) == [(1, "401")]


async def test_a_401_that_stays_is_a_refusal_and_no_doubt():
    async with scripted_purchase(*[respond_with_json({}, 401), UNPAID] * QUICK_RETRY.attempts) as (server, scenario):
        with pytest.raises(AuthenticationError):
            await scenario.purchase()
        assert methods(server) == ["POST", "GET"] * QUICK_RETRY.attempts
        assert scenario.job_log.written == [f"intent {PRICE}", "cancel"]
        assert scenario.charged_and_reserved == (0, 0, 0)


async def test_a_token_that_is_refused_everywhere_refuses_the_purchase():
    async with scripted_purchase(respond_with_json({}, 401)) as (_, scenario):
        with pytest.raises(AuthenticationError, match="check the token") as caught:
            await scenario.purchase()
        assert caught.value.endpoint == PURCHASE
        assert scenario.job_log.written == [f"intent {PRICE}", "cancel"]
        assert scenario.charged_and_reserved == (0, 0, 0)


@pytest.mark.parametrize(
    ("first", "written"),
    [
        (respond_with(429, b"{}", retry_after="0"), ["intent 6000", "cancel", "intent 7000", "result 7000"]),
        (BAD_GATEWAY, ["intent 6000", "intent 7000", "result 7000"]),
    ],
    ids=["not carried out", "in doubt"],
)
async def test_a_new_price_within_the_limit_is_intended_anew(first: Responder, written: list[str]):
    changed = record(status="REQUIRES_PAYMENT", cost=7_000)
    async with scripted_purchase(first, changed, bought(7_000)) as (_, scenario):
        await scenario.purchase()
        assert scenario.job_log.written == written
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (7_000, 0)
        assert scenario.warnings == ()


async def test_what_shows_as_paid_after_a_send_is_booked():
    async with scripted_purchase(respond_with(429, b"{}", retry_after="0"), PAID) as (server, scenario):
        assert (await scenario.purchase()).download_url == URL
        assert methods(server) == ["POST", "GET"]
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (PRICE, 0)


@pytest.mark.parametrize("error", [UNREACHABLE, SendTooLateError("too late")])
async def test_what_somebody_else_paid_before_anything_was_sent_is_not_booked(
    error: IndigoError, monkeypatch: pytest.MonkeyPatch
):
    fail_sends(monkeypatch, error)
    async with scripted_purchase(PAID) as (server, scenario):
        assert (await scenario.purchase()).download_url == URL
        assert methods(server) == ["GET"]
        assert scenario.job_log.written == [f"intent {PRICE}", "cancel"]
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (0, 0)


async def test_what_an_earlier_send_may_have_paid_is_booked_although_the_last_one_never_arrived(
    monkeypatch: pytest.MonkeyPatch,
):
    fail_sends(monkeypatch, None, UNREACHABLE)
    async with scripted_purchase(BAD_GATEWAY, UNPAID, PAID) as (server, scenario):
        await scenario.purchase()
        assert methods(server) == ["POST", "GET", "GET"]
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (PRICE, 0)


async def test_an_export_purchased_before_is_booked_at_what_the_record_shows():
    refusal = {"error": {"type": "PurchasableEntityAlreadyPurchased", "message": "already purchased"}}
    async with scripted_purchase(respond_with_json(refusal, 400), record(cost=PRICE - 1, downloadUrl=URL)) as (
        _,
        scenario,
    ):
        assert (await scenario.purchase()).cost_cents == PRICE - 1
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE - 1}"]


async def test_without_a_journal_entry_nothing_is_sent_and_nothing_stays_reserved():
    async with scripted_purchase(bought()) as (server, scenario):

        async def full_disk() -> None:
            raise JournalError("the disk is full")

        scenario.job_log.before = full_disk
        with pytest.raises(JournalError):
            await scenario.purchase()
        assert server.requests == []
        assert scenario.charged_and_reserved == (0, 0, 0)
        assert scenario.job_log.written == []


async def test_a_journal_that_fails_after_a_lost_response_leaves_the_amount_reserved():
    changed = record(status="REQUIRES_PAYMENT", cost=7_000)
    async with scripted_purchase(BAD_GATEWAY, changed) as (server, scenario):

        async def full_disk_later() -> None:
            if server.requests:
                raise JournalError("the disk is full")

        scenario.job_log.before = full_disk_later
        with pytest.raises(JournalError):
            await scenario.purchase()
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (0, 7_000)
        assert scenario.account == Account(reserved_cents=7_000)
        assert scenario.job_log.written == [f"intent {PRICE}"]


async def test_a_purchase_that_the_journal_cannot_record_stays_booked():
    async with scripted_purchase(bought()) as (_, scenario):

        async def full_disk() -> None:
            raise JournalError("the disk is full")

        scenario.job_log.before_result = full_disk
        with pytest.raises(JournalError):
            await scenario.purchase()
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (PRICE, 0)
        assert scenario.job_log.written == [f"intent {PRICE}"]


async def test_a_purchase_that_was_recorded_by_an_earlier_run_counts_once(monkeypatch: pytest.MonkeyPatch):
    async with scripted_purchase(bought()) as (_, scenario):
        monkeypatch.setattr(
            RecipeContext, "recorded_price", lambda _self, export_id: PRICE if export_id == "exp-1" else 0
        )
        scenario.budget = Budget(limit_cents=PRICE, spent_cents=PRICE)
        await scenario.purchase()
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (PRICE, 0)


async def test_paid_purchases_take_turns_until_one_is_charged_as_quoted_and_free_ones_need_not_wait():
    release = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return await bought()(request)

    async with scripted_purchase(slow) as (server, first), scripted_purchase(bought(0), cost=0) as (_, free):
        first.budget = free.budget = Budget()
        tasks = [asyncio.create_task(first.purchase())]
        async with asyncio.timeout(10):
            await wait_until(lambda: len(server.requests) == 1)
            tasks.append(asyncio.create_task(attrs.evolve(first).purchase()))
            assert (await free.purchase()).download_url == URL
            assert len(server.requests) == 1
            release.set()
            await asyncio.gather(*tasks)
            release.clear()
            tasks = [asyncio.create_task(attrs.evolve(first).purchase()) for _ in range(3)]
            await wait_until(lambda: len(server.requests) == 5)
            release.set()
            await asyncio.gather(*tasks)


async def test_a_canceled_purchase_says_what_it_checks_and_what_it_could_not_find_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(purchase, "_CANCEL_GRACE_SECONDS", 0.1)
    events: list[Event] = []
    async with purchase_scenario() as scenario:
        scenario.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, delay=30.0))
        with listen(events.append), caplog.at_level(logging.WARNING, "indigo_async"):
            task = asyncio.create_task(scenario.purchase())
            await wait_until(lambda: scenario.sandbox.counts().purchases == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        export = f"export {scenario.export.id} of audience {scenario.audience_id} (customer {CUSTOMER})"
    warning = f"no outcome after 0 s: {export} may have been purchased: check that before you purchase it again"
    assert [event.message for event in events if isinstance(event, RecipeWarning)] == [warning]
    assert caplog.messages[0] == (
        f"canceled while the purchase of {export} is in flight: checking whether it was made (0 s at most)"
    )


@pytest.mark.parametrize(("customer_id", "shown"), [(None, ""), ("7", " (customer 7)")])
async def test_a_canceled_purchase_names_its_customer_if_it_has_one(
    customer_id: str | None, shown: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(purchase, "_CANCEL_GRACE_SECONDS", 0.05)
    release = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return await bought()(request)

    async with scripted_purchase(slow) as (server, scenario):
        scenario.customer_id = customer_id
        task = asyncio.create_task(scenario.purchase())
        await wait_until(lambda: server.requests != [])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        (warning,) = scenario.warnings
        assert warning.startswith(
            f"no outcome after 0 s: export exp-1 of audience aud-1{shown} may have been purchased: "
        )


@pytest.mark.parametrize("responders", [[bought()], [respond_with_json([]), PAID]], ids=["response", "record"])
async def test_a_cancellation_while_the_result_is_recorded_waits_for_the_record(responders: list[Responder]):
    recording, release = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        recording.set()
        await release.wait()

    async with scripted_purchase(*responders) as (_, scenario):
        scenario.job_log.before_result = slow
        task = asyncio.create_task(scenario.purchase())
        await recording.wait()
        task.cancel()
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]


async def test_a_purchase_that_ends_just_before_its_cancellation_is_not_checked(caplog: pytest.LogCaptureFixture):
    async with scripted_purchase(bought()) as (_, scenario):

        async def cancel_soon() -> None:
            asyncio.get_running_loop().call_soon(task.cancel)

        scenario.job_log.before_result = cancel_soon
        task = asyncio.create_task(scenario.purchase())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]
    assert caplog.messages == []


async def test_a_cancellation_while_the_purchase_is_confirmed_waits_for_the_outcome():
    release = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return await PAID(request)

    async with scripted_purchase(PENDING, slow) as (server, scenario):
        task = asyncio.create_task(scenario.purchase())
        await wait_until(lambda: len(server.requests) == 2)
        task.cancel()
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]
        assert (scenario.budget.spent_cents, scenario.budget.reserved_cents) == (PRICE, 0)


async def test_a_cancellation_while_a_failure_is_read_back_waits_for_the_outcome(monkeypatch: pytest.MonkeyPatch):
    release = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return await PAID(request)

    fail_sends(monkeypatch, refused(409))
    async with scripted_purchase(slow) as (server, scenario):
        task = asyncio.create_task(scenario.purchase())
        await wait_until(lambda: len(server.requests) == 1)
        task.cancel()
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scenario.job_log.written == [f"intent {PRICE}", f"result {PRICE}"]


async def test_a_record_that_was_never_read_is_read_first():
    async with scripted_purchase(UNPAID, bought()) as (server, scenario):
        scenario.age = -NEVER
        await scenario.purchase()
        assert methods(server) == ["GET", "POST"]
