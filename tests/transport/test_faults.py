"""Faults on real sockets: what is retried, how often, and which error is raised. Counted, never timed."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from indigo_async import IndigoClient, Pacing, RetryPolicy
from indigo_async._listeners import listen
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
from indigo_async.events import Event, RequestRetried
from indigo_async.models import Audience
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from tests.support.servers.scripted import (
    QUICK_RETRY,
    respond_with,
    respond_with_json,
    sandbox_and_client,
    server_and_client,
    wait_until,
)

GET, POST = "GET /audience", "POST /upload_csv"
IMPATIENT = {"timeout": 0.5}
SLOW = 30.0


async def seed_audience(sandbox: Sandbox) -> str:
    (audience_id,) = await sandbox.seed_audiences(1, "42")
    return str(audience_id)


async def upload(client: IndigoClient) -> Audience:
    return await client.upload_csv(customer_id="42", url="https://example.org/p.csv")


async def warm_up(sandbox: Sandbox, client: IndigoClient) -> None:
    """Let the client learn that the server accepts many requests, so that a 429 does not slow it down much."""
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
async def test_a_get_is_retried_until_it_succeeds(fault: Fault):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
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
async def test_a_disconnected_get_is_retried_by_aiohttp_or_by_the_client(kind: FaultKind):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=kind, times=3))
        assert (await client.get_audience(audience_id, customer_id="42")).id == audience_id
        assert sandbox.log.count(GET) == 4
        assert 1 < client.transport.requests[GET] <= 4


@pytest.mark.parametrize("kind", [FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER])
async def test_a_get_that_times_out_is_retried(kind: FaultKind):
    async with sandbox_and_client(client=IMPATIENT) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
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
async def test_a_get_that_never_succeeds_raises_its_last_failure(fault: Fault, error: type[IndigoError]):
    async with sandbox_and_client() as (sandbox, client):
        await warm_up(sandbox, client)
        sandbox.faults.add(fault)
        with pytest.raises(error, match=f"^{GET}: "):
            await client.get_audience("aud-1", customer_id="42")
        assert client.transport.requests[GET] == QUICK_RETRY.attempts


async def test_a_get_that_always_times_out_raises_a_timeout_error():
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
async def test_a_post_without_a_response_is_sent_once_and_is_ambiguous(fault: Fault, carried_out: int):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(fault)
        hint = "the server may or may not have processed the request, so check before sending it again"
        with pytest.raises(AmbiguousOutcomeError, match=f"^{POST}: .*{hint}"):
            await upload(client)
        assert sandbox.log.count(POST) == 1
        assert sandbox.log.count(POST, carried_out=True) == carried_out


@pytest.mark.parametrize(("kind", "made"), [(FaultKind.DELAY_BEFORE, 0), (FaultKind.DELAY_AFTER, 1)])
async def test_a_post_that_times_out_is_sent_once_and_is_ambiguous(kind: FaultKind, made: int):
    async with sandbox_and_client(client=IMPATIENT) as (sandbox, client):
        sandbox.faults.add(Fault(kind=kind, delay=SLOW))
        with pytest.raises(AmbiguousOutcomeError, match="no response within the timeout"):
            await upload(client)
        assert client.transport.requests[POST] == 1
        assert sum(sandbox.counts().audiences.values()) == made


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("kind", "carried_out"), [(FaultKind.ERROR_BEFORE, 0), (FaultKind.ERROR_AFTER, 1)])
async def test_a_post_with_a_5xx_response_is_sent_once(kind: FaultKind, carried_out: int, status: int):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=kind, status=status))
        with pytest.raises(ServerError) as caught:
            await upload(client)
        assert caught.value.status == status
        assert sandbox.log.count(POST) == 1
        assert sandbox.log.count(POST, carried_out=True) == carried_out


@pytest.mark.parametrize("as_date", [False, True])
async def test_a_post_with_a_429_response_is_retried(*, as_date: bool):
    async with sandbox_and_client() as (sandbox, client):
        await warm_up(sandbox, client)
        sandbox.faults.add(Fault(kind=FaultKind.RATE_LIMITED, retry_after=0, retry_after_as_date=as_date, times=3))
        await upload(client)
        assert sandbox.log.count(POST) == 4
        assert sandbox.log.count(POST, carried_out=True) == 1


async def test_a_post_that_could_not_connect_is_retried():
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


async def test_a_post_that_never_connects_raises_connection_failed():
    async with sandbox_and_client() as (sandbox, client):
        async with sandbox.refuse_connections():
            with pytest.raises(ConnectionFailedError, match="no connection could be made"):
                await upload(client)
        assert client.transport.requests[POST] == QUICK_RETRY.attempts
        assert sandbox.log.count(POST) == 0


async def test_a_get_on_a_stale_connection_succeeds():
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.STALE_CONNECTION, endpoint=GET))
        for _ in range(3):
            assert (await client.get_audience(audience_id, customer_id="42")).id == audience_id
        assert sandbox.log.count(GET, carried_out=True) == 3


async def test_a_post_on_a_stale_connection_is_ambiguous():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.STALE_CONNECTION, endpoint="GET /audiences"))
        await client.list_audiences()
        with pytest.raises(AmbiguousOutcomeError):
            await upload(client)
        assert sandbox.log.count(POST) == 1
        assert sandbox.counts().audiences == {}


async def test_a_connection_closed_after_the_response_is_no_problem():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.CLOSED_AFTER_RESPONSE, times=None))
        for _ in range(3):
            await client.list_audiences()
        assert sandbox.log.count("GET /audiences", carried_out=True) == 3


@pytest.mark.parametrize("as_date", [False, True])
@pytest.mark.parametrize("call", [lambda client: client.list_audiences(), upload], ids=["a GET", "a POST"])
async def test_a_retry_after_beyond_the_budget_fails_at_once_and_pauses_all_requests(call, *, as_date: bool):
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


async def test_a_wrong_token_is_not_retried():
    async with (
        sandbox_and_client() as (sandbox, _),
        IndigoClient("wrong", base_url=sandbox.base_url, retry=QUICK_RETRY) as client,
    ):
        for call in (client.list_audiences(), upload(client)):
            with pytest.raises(AuthenticationError, match=r"\(401, Unauthorized\)"):
                await call
        assert sandbox.log.count(status=401) == len(sandbox.log.entries) == 2


async def test_a_wrong_base_url_is_not_retried():
    async with sandbox_and_client() as (sandbox, _):
        elsewhere = sandbox.base_url.replace("/api/v1", "/api/v2")
        async with IndigoClient(sandbox.token, base_url=elsewhere, retry=QUICK_RETRY) as client:
            with pytest.raises(ApiError, match=r"404"):
                await client.list_audiences()
        assert len(sandbox.log.entries) == 1


async def test_an_undocumented_status_is_returned():
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.UNKNOWN_STATUS))
        audience = await client.get_audience(audience_id, customer_id="42")
        assert audience.status == audience.uploaded_audience_csv.status == "UNDER_REVIEW"


async def test_time_in_the_clients_own_queue_spends_no_retry_budget():
    retry = RetryPolicy(wait_initial=0.001, wait_max=0.002, timeout=0.1)
    pacing = Pacing(requests_per_second=400)
    async with (
        Sandbox(lite=True) as sandbox,
        IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=retry, pacing=pacing) as client,
    ):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audiences", skip_first=100, times=5))
        async with asyncio.TaskGroup() as group:
            for _ in range(120):  # the last ones queue for three times the budget
                group.create_task(client.list_audiences("42"))
        assert sandbox.log.count("GET /audiences") == 125


async def test_slow_posts_leave_slots_to_polls():
    released = asyncio.Event()

    async def hold_posts(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            await released.wait()
        return web.json_response({"id": 7})

    pacing = Pacing(max_concurrency=8)
    async with (
        server_and_client(hold_posts, timeout=SLOW, pacing=pacing) as (server, client),
        asyncio.TaskGroup() as group,
    ):
        uploads = [group.create_task(upload(client)) for _ in range(30)]
        await wait_until(lambda: len(server.requests) == 7)
        for _ in range(50):
            await client.get_audience(7)
        assert [request.method for request in server.requests] == ["POST"] * 7 + ["GET"] * 50
        assert not any(task.done() for task in uploads)
        released.set()
    assert len(server.requests) == 30 + 50


async def test_sporadic_429s_fail_no_request():
    async with Sandbox(lite=True) as sandbox, IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, status=429, probability=0.02, times=None))
        remaining = iter(range(2_000))

        async def get_audiences() -> None:
            for _ in remaining:
                await client.get_audience(audience_id, customer_id="42")

        await asyncio.gather(*(get_audiences() for _ in range(100)))
        assert 10 <= sandbox.log.count("GET /audience", status=429) <= 80
        assert sandbox.log.count("GET /audience", status=200) == 2_000


ABSURD = ["9" * 310, "99999999", "1795780000", "Wed, 23 Nov 2133 12:00:30 GMT", "soon", "-1", "NaN"]


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: value[:12])
async def test_an_absurd_retry_after_is_ignored_and_logged_once(value: str, caplog: pytest.LogCaptureFixture):
    rate_limited = respond_with(429, retry_after=value, date="Mon, 23 Nov 2026 12:00:00 GMT")
    async with server_and_client(rate_limited, rate_limited, respond_with_json({"id": 7})) as (server, client):
        assert (await client.get_audience(7)).id == 7
        assert len(server.requests) == 3
    logged = [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()]
    assert len(logged) == 1
    assert value[:40] in logged[0]
    assert len(logged[0]) < 200
