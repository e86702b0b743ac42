"""A view has other options and shares everything else. Headers and the user agent go to the API alone."""

from __future__ import annotations

import asyncio
import platform
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import indigo_async
from indigo_async import IndigoClient, RetryPolicy, workflows
from indigo_async._transport.options import RequestOptions
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async.client import get_poller
from indigo_async.errors import ClientNotOpenError, InvalidInputError, RequestTimeoutError, ServerError
from indigo_async.files.downloads.download import download
from indigo_async.telemetry import instrument
from tests.client.test_secrets import capture_output
from tests.support.servers.scripted import (
    QUICK_RETRY,
    open_client,
    respond_with,
    respond_with_json,
    sandbox_and_client,
    scripted_server,
    server_and_client,
)

AUDIENCE = {"id": "aud-1"}
COLUMNS = {"first_name": {"column_name": "First", "is_required": True}}
CSV = "https://files.example.org/people.csv"
SECRET = "canary-header-71cc"


async def test_requests_with_the_same_timeout_share_a_timer(monkeypatch: pytest.MonkeyPatch):
    loop = asyncio.get_running_loop()
    call_at, timers = loop.call_at, list[SharedTimeout]()

    def spy(when: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, SharedTimeout):
            timers.append(owner)
        return call_at(when, callback, *args, **options)

    monkeypatch.setattr(loop, "call_at", spy)
    arrived = asyncio.Barrier(6)

    async def wait_for_all(_: web.BaseRequest) -> web.StreamResponse:
        await arrived.wait()
        return web.json_response(AUDIENCE)

    async with server_and_client(wait_for_all, timeout=50.0) as (_, client):
        views = [client.with_options(timeout=seconds) for seconds in (30, 30, 40)]
        async with asyncio.TaskGroup() as group:
            for user in (client, client, client, *views):
                group.create_task(user.get_audience("aud-1"))
    assert sorted(timer.seconds for timer in timers) == [30, 40, 50]


async def test_a_view_has_other_options_and_the_client_keeps_its_own():
    async with server_and_client(respond_with(503)) as (server, client):
        once = client.with_options(retry=RetryPolicy(attempts=1))
        for used, requests in ((once, 1), (client, QUICK_RETRY.attempts), (once.with_options(timeout=3), 1)):
            server.requests.clear()
            with pytest.raises(ServerError):
                await used.list_audiences()
            assert len(server.requests) == requests
    assert once.options.timeout == client.options.timeout
    assert once.with_options().options == once.options


async def test_the_timeout_of_a_view_ends_its_requests_only():
    never = asyncio.Event()

    async def hang_once(_: web.BaseRequest) -> web.StreamResponse:
        await never.wait()
        raise AssertionError

    async with server_and_client(hang_once, respond_with_json([])) as (_, client):
        hasty = client.with_options(timeout=0.05, retry=RetryPolicy(attempts=1))
        with pytest.raises(RequestTimeoutError):
            await hasty.list_audiences()
        assert await client.list_audiences() == []


async def test_timeouts_of_a_hasty_view_hold_no_request_that_is_more_patient():
    never = asyncio.Event()

    async def hang(_: web.BaseRequest) -> web.StreamResponse:
        await never.wait()
        raise AssertionError

    hanging = 4
    async with server_and_client(*[hang] * hanging, respond_with_json([])) as (server, client):
        hasty = client.with_options(timeout=0.5, retry=RetryPolicy(attempts=1))  # of which connecting may take half
        outcomes = await asyncio.gather(*(hasty.list_audiences() for _ in range(hanging)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [RequestTimeoutError] * hanging
        assert client.transport.outage is not None
        held = asyncio.create_task(hasty.list_audiences())
        client.transport.breaker._next_probe_at += 60
        await asyncio.sleep(0)
        assert await client.list_audiences() == []  # not held, and its response ends the outage
        assert await held == []
        assert len(server.requests) == hanging + 2


async def test_a_view_shares_everything_else():
    async with sandbox_and_client() as (sandbox, client):
        view = client.with_options(timeout=7).with_options(headers={"X-A": "1"})
        assert type(view).__mro__[1] is IndigoClient
        assert view.transport is client.transport
        assert view.purchased_exports is client.purchased_exports
        assert get_poller(view) is get_poller(client)
        assert view.settings is client.settings
        assert repr(view) == repr(client)
        await view.list_audiences()
        await view.for_customer("42").list_audiences()
        assert client.transport.requests["GET /audiences"] == 2
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        export = await view.create_preview_csv_export(audience_id=audience_id, customer_id="42")
        await view.purchase_csv_export(export_id=export.id, customer_id="42")
        assert set(client.purchased_exports) == {str(export.id)}


async def test_a_view_made_before_opening_works_while_the_client_is_open():
    async with scripted_server(respond_with_json([])) as server:
        client = IndigoClient("token", base_url=server.origin)
        view = client.with_options(timeout=5)
        with pytest.raises(ClientNotOpenError):
            await view.list_audiences()
        async with client:
            assert await view.list_audiences() == []
        with pytest.raises(ClientNotOpenError):
            await view.list_audiences()


async def test_a_view_is_neither_opened_nor_closed():
    async with server_and_client(respond_with_json([])) as (_, client):
        view = client.with_options(timeout=5)
        for use in (view.open, view.aclose, view.__aenter__, lambda: view.__aexit__(None, None, None)):
            with pytest.raises(ClientNotOpenError, match="open and close the client that it was made from"):
                await use()
        assert await view.list_audiences() == await client.list_audiences() == []


async def test_recipes_batches_and_waits_accept_a_view(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        view = client.with_options(timeout=30, retry=QUICK_RETRY, headers={"X-Job": "nightly-run"})
        job = workflows.AudienceJob(
            customer_id="42",
            audience_name="Donors",
            csv=CSV,
            column_selections=COLUMNS,
            export=workflows.ExportStep(destination=tmp_path / "x.csv", max_cost_cents=100_000),
        )
        report = await workflows.run_batch(view, [job])
        assert report.failed == 0
        again = await workflows.run_job(view, job)
        assert (await workflows.wait_until_active(view, again.matched, customer_id="42")).id == again.matched.id
        assert sandbox.counts().purchases == 1


async def test_a_recipe_uses_the_retry_policy_of_its_view(tmp_path: Path):
    from indigo_async.sandbox import Fault, FaultKind  # noqa: PLC0415 - only here

    async with sandbox_and_client() as (sandbox, client):
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        sandbox.faults.add(
            Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /create_preview_csv_export", status=503, times=99)
        )
        view = client.with_options(retry=RetryPolicy(attempts=1))
        with pytest.raises(ServerError):
            await workflows.export_audience(view, audience_id, customer_id="42", destination=tmp_path / "x.csv")
        assert sandbox.log.count("POST /create_preview_csv_export") == 1


async def test_telemetry_of_a_view_outlives_it():
    async with server_and_client(respond_with_json([])) as (_, client):
        instrument(client.with_options(timeout=5))
        assert await client.list_audiences() == []


async def test_headers_are_added_to_every_request_to_the_api():
    async with server_and_client(respond_with_json(AUDIENCE), headers={"X-Team": "north", "X-Trace": "a"}) as (
        server,
        client,
    ):
        view = client.with_options(headers={"x-trace": "b", "Accept": "application/vnd.indigo+json"})
        await client.get_audience("aud-1")
        await view.get_audience("aud-1")
        await view.request("POST", "/tags", json={})
        await client.get_audience("aud-1")
    seen = [(request.headers["x-team"], request.headers["x-trace"]) for request in server.requests]
    assert seen == [("north", "a"), ("north", "b"), ("north", "b"), ("north", "a")]
    assert [request.headers["accept"].partition("/")[2] for request in server.requests] == [
        "json",
        "vnd.indigo+json",
        "vnd.indigo+json",
        "json",
    ]


async def test_headers_never_reach_another_server(tmp_path: Path):
    async with (
        scripted_server(
            respond_with(302, location="/y.csv"), respond_with(200, b"a\n1\n", content_type="text/csv")
        ) as files,
        server_and_client(respond_with(302, location=files.origin), headers={"X-Key": SECRET}, user_agent="acme/1") as (
            api,
            client,
        ),
    ):
        view = client.with_options(headers={"X-Other": SECRET})
        await download(view.transport, f"{files.origin}/x.csv", tmp_path / "x.csv", retry=QUICK_RETRY)
        with pytest.raises(indigo_async.errors.ApiError, match="redirects"):
            await view.list_audiences()
        assert SECRET in api.requests[0].headers.values()
    assert len(files.requests) == 2
    assert SECRET not in str([request.headers for request in files.requests])
    assert "acme" not in str([request.headers for request in files.requests])


async def test_an_export_is_downloaded_without_the_headers(tmp_path: Path):
    async with sandbox_and_client(client={"headers": {"X-Key": SECRET}}) as (sandbox, client):
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        seen: list[str] = []
        open_url = client.transport.http.open_url

        def record(url: str, headers: Any, **options: Any) -> Any:
            seen.append(f"{url} {headers}")
            return open_url(url, headers, **options)

        client.transport.http.open_url = record
        await workflows.export_audience(
            client, audience_id, customer_id="42", destination=tmp_path / "x.csv", max_cost_cents=10**6
        )
    assert len(seen) == 1
    assert SECRET not in str(seen)


RESERVED = ["Authorization", "HOST", "content-length", "Transfer-Encoding", "Connection", "Proxy-Authorization"]


@pytest.mark.parametrize(
    ("headers", "where"),
    [({name: "x"}, f"headers.{name}") for name in RESERVED]
    + [
        ({"X-A": f"{SECRET}\r\nHost: example.org"}, "headers.X-A"),
        ({"X-A": f"{SECRET}\n"}, "headers.X-A"),
        ({"X-A": f" {SECRET}"}, "headers.X-A"),
        ({"X-A": f"{SECRET}\u00e9"}, "headers.X-A"),
        ({"X-A": f"{SECRET}\0"}, "headers.X-A"),
        ({"X-A": ""}, "headers.X-A"),
        ({"X-A": 7}, "headers.X-A"),
        ({"X-A": "1", "x-a": "2"}, "headers.x-a"),
        ({"X A": "1"}, "headers"),
        ({"X-A:": "1"}, "headers"),
        ({"X-A\r\n": "1"}, "headers"),
        ({"": "1"}, "headers"),
        ({7: "1"}, "headers"),
        ([("X-A", "1")], "headers"),
    ],
)
def test_invalid_headers_are_refused_without_showing_them(headers: Any, where: str):
    client = IndigoClient("token", base_url="https://example.org")
    for use in (
        lambda: IndigoClient("token", base_url="https://example.org", headers=headers),
        lambda: client.with_options(headers=headers),
    ):
        with pytest.raises(InvalidInputError) as caught:
            use()
        assert [problem.where for problem in caught.value.problems] == [where]
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"retry": 3}, "retry"),
        ({"headers": "x"}, "headers"),
    ],
)
def test_invalid_options_of_a_view_are_refused(options: dict[str, Any], field: str):
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        IndigoClient("token", base_url="https://example.org").with_options(**options)
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        IndigoClient("token", base_url="https://example.org", **options)


@pytest.mark.parametrize(
    "answer",
    [
        respond_with_json({"error": f"bad key {SECRET}", "errorType": SECRET}, 400),
        respond_with_json({"error": f"bad key {SECRET}"}),
        respond_with(500, SECRET.encode()),
        respond_with(200, f"<html><title>{SECRET}".encode(), content_type="text/html"),
        respond_with_json({"id": {}, "status": SECRET}),
    ],
    ids=["a 400", "an error in a 2xx", "a 500", "a page", "a wrong shape"],
)
async def test_a_headers_value_appears_nowhere(answer):
    async with capture_output() as output, server_and_client(answer, headers={"X-Key": SECRET}) as (_, client):
        view = client.with_options(headers={"X-More": SECRET + SECRET})
        for used in (client, view):
            for call in (
                used.get_audience("aud-1"),
                used.request("GET", "/tags"),
                used.upload_csv(customer_id="1", url=CSV),
            ):
                try:
                    await call
                except indigo_async.IndigoError as error:
                    output.add_error(error)
        output.add(client, view, vars(view), vars(client), client.options, view.options, vars(client.transport))
    assert [line for line in output.seen if SECRET in line] == []


async def test_a_short_value_does_not_blank_out_messages():
    async with server_and_client(respond_with_json({"error": "a is 1"}, 400), headers={"X-A": "1"}) as (_, client):
        with pytest.raises(indigo_async.errors.ApiError, match="a is 1"):
            await client.get_audience("aud-1")


async def test_the_user_agent_names_the_sdk_and_the_callers_program():
    expected = (
        f"indigo-async/{indigo_async.__version__} python/{platform.python_version()} aiohttp/{aiohttp.__version__}"
    )
    async with scripted_server(respond_with_json([])) as server:
        for options in ({}, {"user_agent": "acme-sync/2.1 (nightly)"}):
            async with IndigoClient("token", base_url=server.origin, **options) as client:
                await client.list_audiences()
                await client.with_options(timeout=3).list_audiences()
    agents = [request.headers["user-agent"] for request in server.requests]
    assert agents == [expected] * 2 + [f"{expected} acme-sync/2.1 (nightly)"] * 2


@pytest.mark.parametrize("user_agent", ["", " x", "a\r\nHost: b", "é", 7])
def test_an_invalid_user_agent_is_refused(user_agent: Any):
    with pytest.raises(InvalidInputError, match=r"^user_agent: "):
        IndigoClient("token", base_url="https://example.org", user_agent=user_agent)


async def test_a_callers_session_sends_them_too():
    async with (
        scripted_server(respond_with_json([])) as server,
        aiohttp.ClientSession(headers={"X-Key": "of the session", "X-Own": "1"}) as session,
        IndigoClient("token", base_url=server.origin, session=session, headers={"X-Key": "of the client"}) as client,
    ):
        await client.list_audiences()
    (request,) = server.requests
    assert (request.headers["x-key"], request.headers["x-own"]) == ("of the client", "1")
    assert request.headers["user-agent"].startswith("indigo-async/")


async def test_polls_use_the_options_of_the_client_itself():
    async with sandbox_and_client() as (sandbox, _), open_client(sandbox, headers={"X-Key": "client"}) as client:
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        request, seen = client.transport.http.request, list[RequestOptions]()

        def record(endpoint: Any, url: Any, body: Any, options: RequestOptions) -> Any:
            seen.append(options)
            return request(endpoint, url, body, options)

        client.transport.http.request = record
        view = client.with_options(headers={"X-Key": "view"})
        await workflows.wait_until_active(view, audience_id, customer_id="42")
    assert seen
    assert all(options is client.options for options in seen)
