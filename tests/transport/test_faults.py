"""Faults on real sockets: what is sent again, how often, and what the caller is told. Counted, never timed."""

from __future__ import annotations

import asyncio

import pytest

from indigo_async._transport.retry import RetryPolicy
from indigo_async.client import IndigoClient
from indigo_async.errors import (
    AmbiguousOutcomeError,
    ApiError,
    AuthenticationError,
    ConnectionFailedError,
    IndigoError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
)
from indigo_async.events import Event, RequestRetried, listen
from indigo_async.models import Audience
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from tests.support.servers.scripted import QUICK_RETRY, sandbox_and_client

GET, POST = "GET /audience", "POST /upload_csv"
IMPATIENT = {"timeout": 0.5}
SLOW = 30.0


async def seeded(sandbox: Sandbox) -> str:
    (audience_id,) = await sandbox.seed_audiences(1, "42")
    return str(audience_id)


async def upload(client: IndigoClient) -> Audience:
    return await client.upload_csv(customer_id="42", url="https://example.org/p.csv")


async def warm_up(sandbox: Sandbox, client: IndigoClient) -> None:
    """Show the client that the server bears many requests, so that it does not wait long after a refusal."""
    await asyncio.gather(*(client.list_audiences(customer_id="nobody") for _ in range(200)))
    sandbox.log.clear()
    client.transport.requests.clear()


TRANSIENT = [
    Fault(kind=FaultKind.TRUNCATED_BODY),
    Fault(kind=FaultKind.HTML_BEFORE),
    Fault(kind=FaultKind.HTML_AFTER),
    Fault(kind=FaultKind.RATE_LIMITED, retry_after=0),
    Fault(kind=FaultKind.RATE_LIMITED, retry_after=0, retry_after_as_date=True),
    *(Fault(kind=FaultKind.ERROR_BEFORE, status=status) for status in (500, 502, 503, 504)),
    *(Fault(kind=FaultKind.ERROR_AFTER, status=status) for status in (500, 502, 503, 504)),
]


def _name(fault: Fault) -> str:
    return f"{fault.kind} {fault.status}" if "STATUS" in fault.kind.name else str(fault.kind)


@pytest.mark.parametrize("fault", TRANSIENT, ids=_name)
async def test_a_get_is_sent_again_until_it_is_answered(fault: Fault):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seeded(sandbox)
        await warm_up(sandbox, client)
        sandbox.faults.add(*[fault] * 3)
        events: list[Event] = []
        with listen(events.append):
            assert (await client.get_audience(audience_id, customer_id="42")).id == audience_id
        assert sandbox.log.count(GET) == 4
        assert sandbox.log.count(GET, fault=fault.kind) == 3
        assert client.transport.requests[GET] == 4
        assert [event.attempt for event in events if isinstance(event, RequestRetried)] == [1, 2, 3]
        assert {event.endpoint for event in events} == {GET}


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT_BEFORE, FaultKind.DISCONNECT_AFTER])
async def test_a_get_that_was_cut_is_sent_again_by_the_http_library_or_by_us(kind: FaultKind):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seeded(sandbox)
        sandbox.faults.add(Fault(kind=kind, times=3))
        assert (await client.get_audience(audience_id, customer_id="42")).id == audience_id
        assert sandbox.log.count(GET) == 4
        assert 1 < client.transport.requests[GET] <= 4


@pytest.mark.parametrize("kind", [FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER])
async def test_a_get_that_takes_too_long_is_sent_again(kind: FaultKind):
    async with sandbox_and_client(client=IMPATIENT) as (sandbox, client):
        audience_id = await seeded(sandbox)
        sandbox.faults.add(Fault(kind=kind, delay=SLOW))
        assert (await client.get_audience(audience_id, customer_id="42")).id == audience_id
        assert client.transport.requests[GET] > 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind=FaultKind.DISCONNECT_BEFORE, times=None), ConnectionFailedError),
        (Fault(kind=FaultKind.TRUNCATED_BODY, times=None), ConnectionFailedError),
        (Fault(kind=FaultKind.HTML_BEFORE, times=None), ResponseDecodeError),
        (Fault(kind=FaultKind.ERROR_BEFORE, times=None, status=503), ServerError),
        (Fault(kind=FaultKind.RATE_LIMITED, times=None, retry_after=0), RateLimitedError),
    ],
    ids=lambda value: _name(value) if isinstance(value, Fault) else value.__name__,
)
async def test_a_get_that_is_never_answered_ends_with_how_it_ended_last(fault: Fault, error: type[IndigoError]):
    async with sandbox_and_client() as (sandbox, client):
        await warm_up(sandbox, client)
        sandbox.faults.add(fault)
        with pytest.raises(error, match=f"^{GET}: "):
            await client.get_audience("aud-1", customer_id="42")
        assert client.transport.requests[GET] == QUICK_RETRY.attempts


async def test_a_get_that_always_takes_too_long_is_told_as_such():
    async with sandbox_and_client(client=IMPATIENT | {"retry": RetryPolicy(attempts=1)}) as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, delay=SLOW))
        with pytest.raises(RequestTimeoutError):
            await client.get_audience("aud-1", customer_id="42")


UNKNOWN_OUTCOMES = [
    (Fault(kind=FaultKind.DISCONNECT_BEFORE), 0),
    (Fault(kind=FaultKind.DISCONNECT_AFTER), 1),
    (Fault(kind=FaultKind.TRUNCATED_BODY), 1),
    (Fault(kind=FaultKind.HTML_BEFORE), 0),
    (Fault(kind=FaultKind.HTML_AFTER), 1),
]


@pytest.mark.parametrize(("fault", "carried_out"), UNKNOWN_OUTCOMES, ids=lambda value: getattr(value, "kind", value))
async def test_a_post_without_an_answer_is_sent_once_and_told_as_ambiguous(fault: Fault, carried_out: int):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(fault)
        hint = "the server may or may not have processed the request, so check before sending it again"
        with pytest.raises(AmbiguousOutcomeError, match=f"^{POST}: .*{hint}"):
            await upload(client)
        assert sandbox.log.count(POST) == 1
        assert sandbox.log.count(POST, carried_out=True) == carried_out


@pytest.mark.parametrize(("kind", "made"), [(FaultKind.DELAY_BEFORE, 0), (FaultKind.DELAY_AFTER, 1)])
async def test_a_post_answered_too_late_is_sent_once_and_told_as_ambiguous(kind: FaultKind, made: int):
    async with sandbox_and_client(client=IMPATIENT) as (sandbox, client):
        sandbox.faults.add(Fault(kind=kind, delay=SLOW))
        with pytest.raises(AmbiguousOutcomeError, match="no response within the timeout"):
            await upload(client)
        assert client.transport.requests[POST] == 1
        assert sum(sandbox.counts().audiences.values()) == made


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("kind", "carried_out"), [(FaultKind.ERROR_BEFORE, 0), (FaultKind.ERROR_AFTER, 1)])
async def test_a_post_that_the_server_failed_is_sent_once(kind: FaultKind, carried_out: int, status: int):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=kind, status=status))
        with pytest.raises(ServerError) as caught:
            await upload(client)
        assert caught.value.status == status
        assert sandbox.log.count(POST) == 1
        assert sandbox.log.count(POST, carried_out=True) == carried_out


@pytest.mark.parametrize("as_date", [False, True])
async def test_a_post_refused_for_haste_is_sent_again(*, as_date: bool):
    async with sandbox_and_client() as (sandbox, client):
        await warm_up(sandbox, client)
        sandbox.faults.add(Fault(kind=FaultKind.RATE_LIMITED, retry_after=0, retry_after_as_date=as_date, times=3))
        await upload(client)
        assert sandbox.log.count(POST) == 4
        assert sandbox.log.count(POST, carried_out=True) == 1


async def test_a_post_that_found_nobody_is_sent_again_when_somebody_is_there():
    retried = asyncio.Event()

    def on_event(event: Event) -> None:
        assert isinstance(event, RequestRetried)
        assert event.reason == "no connection could be made"
        retried.set()

    patient = RetryPolicy(attempts=1_000, wait_initial=0.001, wait_max=0.002)
    async with sandbox_and_client(client={"retry": patient}) as (sandbox, client):
        async with sandbox.refuse_connections():
            with listen(on_event):
                sent = asyncio.create_task(upload(client))
            await retried.wait()
            assert sandbox.log.count(POST) == 0
        await sent
        assert sandbox.log.count(POST) == sandbox.log.count(POST, carried_out=True) == 1


async def test_a_post_that_finds_nobody_certainly_was_not_carried_out():
    async with sandbox_and_client() as (sandbox, client):
        async with sandbox.refuse_connections():
            with pytest.raises(ConnectionFailedError, match="no connection could be made"):
                await upload(client)
        assert client.transport.requests[POST] == QUICK_RETRY.attempts
        assert sandbox.log.count(POST) == 0


async def test_a_connection_that_went_stale_is_no_obstacle_to_a_get():
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seeded(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.STALE_CONNECTION, endpoint=GET))
        for _ in range(3):
            assert (await client.get_audience(audience_id, customer_id="42")).id == audience_id
        assert sandbox.log.count(GET, carried_out=True) == 3


async def test_a_post_on_a_connection_that_went_stale_is_ambiguous():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.STALE_CONNECTION, endpoint="GET /audiences"))
        await client.list_audiences()
        with pytest.raises(AmbiguousOutcomeError):
            await upload(client)
        assert sandbox.log.count(POST) == 1
        assert sandbox.counts().audiences == {}


async def test_a_connection_closed_after_the_answer_is_no_obstacle():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.CLOSED_AFTER_RESPONSE, times=None))
        for _ in range(3):
            await client.list_audiences()
        assert sandbox.log.count("GET /audiences", carried_out=True) == 3


@pytest.mark.parametrize("as_date", [False, True])
@pytest.mark.parametrize("call", [lambda client: client.list_audiences(), upload], ids=["a GET", "a POST"])
async def test_a_wait_longer_than_the_budget_fails_at_once_and_holds_everybody_back(call, *, as_date: bool):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.RATE_LIMITED, retry_after=3_600, retry_after_as_date=as_date))
        with pytest.raises(RateLimitedError) as caught:
            await call(client)
        assert caught.value.retry_after == pytest.approx(3_600, abs=2)
        with pytest.raises(RateLimitedError, match="wait longer than the retry budget"):
            await client.get_audience("aud-1", customer_id="42")
        assert len(sandbox.log.entries) == 1


@pytest.mark.parametrize("retry", [RetryPolicy(attempts=1), RetryPolicy(timeout=0.0)])
async def test_without_attempts_or_budget_left_a_request_is_sent_once(retry: RetryPolicy):
    async with sandbox_and_client(client={"retry": retry}) as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, times=None))
        with pytest.raises(ServerError):
            await client.list_audiences()
        assert len(sandbox.log.entries) == 1


async def test_a_wrong_token_is_told_and_not_tried_again():
    async with (
        sandbox_and_client() as (sandbox, _),
        IndigoClient("wrong", base_url=sandbox.base_url, retry=QUICK_RETRY) as client,
    ):
        for call in (client.list_audiences(), upload(client)):
            with pytest.raises(AuthenticationError, match=r"\(401, Unauthorized\)"):
                await call
        assert sandbox.log.count(status=401) == len(sandbox.log.entries) == 2


async def test_an_address_that_is_no_api_is_told_and_not_tried_again():
    async with sandbox_and_client() as (sandbox, _):
        elsewhere = sandbox.base_url.replace("/api/v1", "/api/v2")
        async with IndigoClient(sandbox.token, base_url=elsewhere, retry=QUICK_RETRY) as client:
            with pytest.raises(ApiError, match=r"404"):
                await client.list_audiences()
        assert len(sandbox.log.entries) == 1


async def test_a_status_that_nobody_documented_is_handed_on():
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seeded(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.UNKNOWN_STATUS))
        audience = await client.get_audience(audience_id, customer_id="42")
        assert audience.status == audience.uploaded_audience_csv.status == "UNDER_REVIEW"
