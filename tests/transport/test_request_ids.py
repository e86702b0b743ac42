"""Over sockets: every error that follows a response, and every event about one, carries what is known of it."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from aiohttp import web

from indigo_async import IndigoClient, workflows
from indigo_async._redaction import sanitize_response_text
from indigo_async.errors import (
    AmbiguousOutcomeError,
    ApiError,
    ConnectionFailedError,
    CustomerMismatchError,
    IndigoError,
    NotFoundError,
    RecordMismatchError,
    ResponseDecodeError,
    ServerError,
    WaitTimeoutError,
)
from indigo_async.events import Event, RequestEnded, RequestRetried, event_fields
from indigo_async.sandbox import Fault, FaultKind
from tests.support.servers.scripted import Responder, respond_with, sandbox_and_client, server_and_client

SIGNED = "https://bucket.example.org/a.csv?X-Amz-Signature=canary-signature"


async def error_of(call: Callable[[IndigoClient], object], *answers: Responder) -> IndigoError:
    """The error of a call on a server that gives these answers, after a trip through pickle."""
    async with server_and_client(*answers) as (_, client):
        with pytest.raises(IndigoError) as caught:
            await call(client)  # pyright: ignore[reportGeneralTypeIssues]
    shown = f"{caught.value!s} {caught.value!r} {dict(caught.value.headers)} {caught.value.body}"
    assert "canary" not in shown
    return pickle.loads(pickle.dumps(caught.value))


def respond(document: object, status: int = 200, request_id: str = "req-7") -> Responder:
    body = json.dumps(document).encode()
    return respond_with(status, body, content_type="application/json", x_request_id=request_id, set_cookie="a=canary")


def upload(client: IndigoClient) -> object:
    return client.upload_csv(customer_id="42", url=SIGNED)


def read(client: IndigoClient) -> object:
    return client.get_audience("aud-1", "42")


async def test_an_api_error_carries_its_response():
    body = {"error": "Bad URL.", "errorType": "BadUrl", "input": {"url": SIGNED}}
    error = await error_of(upload, respond(body, 400))
    assert isinstance(error, ApiError)
    assert str(error) == "POST /upload_csv: Bad URL. (400, BadUrl) (request ID: req-7)"
    assert (error.request_id, error.headers["X-REQUEST-ID"]) == ("req-7", "req-7")
    assert "Set-Cookie" not in error.headers
    assert json.loads(error.body) == {"error": "Bad URL.", "errorType": "BadUrl", "input": {"url": "<text>"}}


async def test_the_sandbox_logs_the_id_that_the_error_carries():
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(NotFoundError) as caught:
            await client.get_audience("none", "42")
        assert caught.value.request_id == sandbox.log.entries[-1].request_id


async def test_an_error_inside_a_2xx_response_carries_it():
    error = await error_of(upload, respond({"error": "card declined", "errorType": "CardDeclined"}))
    assert type(error) is ApiError
    assert (error.request_id, json.loads(error.body)["error"]) == ("req-7", "card declined")


async def test_a_record_of_another_shape_shows_its_keys_only():
    people = [{"first_name": "canary-jane"}]
    error = await error_of(upload, respond({"id": {}, "downloadUrl": SIGNED, "rows": people}))
    assert isinstance(error, ResponseDecodeError)
    assert error.request_id == "req-7"
    assert json.loads(error.body) == {"id": {}, "downloadUrl": "<text>", "rows": [{"first_name": "<text>"}]}


async def test_a_list_of_another_shape_carries_its_id():
    error = await error_of(lambda client: client.list_audiences("42"), respond({"people": "canary"}))
    assert isinstance(error, ResponseDecodeError)
    assert error.request_id == "req-7"


async def test_text_instead_of_json_is_not_shown():
    csv = respond_with(200, b"First,Last\ncanary-jane,Doe", content_type="text/csv", request_id="req-8")
    error = await error_of(upload, csv)
    assert isinstance(error, AmbiguousOutcomeError)
    assert (error.request_id, error.body) == ("req-8", "")


async def test_a_truncated_response_carries_its_head():
    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-Request-Id": "req-9", "Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.close()
        return response

    error = await error_of(upload, cut)
    assert isinstance(error, AmbiguousOutcomeError)
    assert (error.request_id, error.headers["content-length"]) == ("req-9", "100")


async def test_a_mismatch_carries_the_id():
    error = await error_of(read, respond({"id": "aud-1", "customerId": "7"}))
    assert isinstance(error, CustomerMismatchError)
    assert error.request_id == "req-7"
    error = await error_of(read, respond({"id": "aud-2", "customerId": "42"}))
    assert isinstance(error, RecordMismatchError)
    assert error.request_id == "req-7"


async def test_a_request_without_a_response_has_no_id_of_an_earlier_one():
    async def drop(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with server_and_client(respond([]), drop) as (_, client):
        await client.list_audiences("42")
        with pytest.raises(ConnectionFailedError) as caught:
            await client.list_audiences("42")
    assert (caught.value.request_id, dict(caught.value.headers)) == (None, {})


async def test_concurrent_requests_keep_their_own_ids():
    async with sandbox_and_client() as (sandbox, client):
        results = await asyncio.gather(
            *(client.get_audience(f"none-{number}", "42") for number in range(20)), return_exceptions=True
        )
        for number, error in enumerate(results):
            assert isinstance(error, NotFoundError)
            (entry,) = sandbox.log.find(audience_id=f"none-{number}")
            assert error.request_id == entry.request_id


async def test_what_a_wait_last_saw_names_the_request():
    async with server_and_client(respond({"id": []})) as (_, client):
        with pytest.raises(WaitTimeoutError, match="request ID: req-7"):
            await workflows.wait_until_active(client, "aud-1", customer_id="42", timeout=0.3)


async def test_events_carry_ids_headers_and_the_bodies_of_errors():
    events: list[Event] = []
    async with sandbox_and_client(client={"on_event": events.append}) as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audiences", status=503))
        await client.list_audiences("42")
        failed, sent = sandbox.log.entries
    first, second = (event for event in events if isinstance(event, RequestEnded))
    (retried,) = (event for event in events if isinstance(event, RequestRetried))
    assert (first.request_id, second.request_id, retried.request_id) == (
        failed.request_id,
        sent.request_id,
        failed.request_id,
    )
    assert first.headers["content-type"] == second.headers["Content-Type"] == "application/json"
    assert json.loads(first.body)["error"] == "Something went wrong."
    assert second.body == ""
    assert "headers" not in repr(first)
    assert hash(first) == hash(pickle.loads(pickle.dumps(first)))


async def end_of_a_good_request() -> RequestEnded:
    events: list[Event] = []
    echo = respond_with(
        body=b'{"id": 7}',
        x_request_id="req-7",
        set_cookie="session=canary-cookie",
        x_echo="canary-token",
        location=SIGNED,
    )
    async with server_and_client(echo, token="canary-token", on_event=events.append) as (_, client):
        await client.get_audience(7)
    return next(event for event in events if isinstance(event, RequestEnded))


@pytest.mark.parametrize(
    "show",
    [
        repr,
        pickle.dumps,
        event_fields,
        attrs.asdict,
        lambda event: event.headers,
        lambda event: dict(event.headers),
        lambda event: pickle.dumps(event.headers),
        lambda event: copy.copy(event.headers),
        lambda event: copy.deepcopy(event).headers,
    ],
)
async def test_headers_of_an_event_hold_no_secrets_however_they_are_first_read(show: Callable[[RequestEnded], object]):
    event = await end_of_a_good_request()
    assert "canary" not in repr(show(event))
    copied = pickle.loads(pickle.dumps(event))
    assert copied == event
    assert copied.headers == event.headers
    assert event.headers["x-echo"] == "<hidden>"
    assert event.headers["LOCATION"] == "https://bucket.example.org/a.csv?<hidden>"
    assert "Set-Cookie" not in event.headers


async def test_headers_that_no_listener_reads_are_not_redacted(monkeypatch: pytest.MonkeyPatch):
    redacted: list[str] = []

    def spy(text: str, *args: Any, **options: Any) -> str:
        redacted.append(text)
        return sanitize_response_text(text, *args, **options)

    monkeypatch.setattr("indigo_async._transport.response_details.sanitize_response_text", spy)
    event = await end_of_a_good_request()
    assert redacted == ["req-7"]
    assert event.headers["X-Request-ID"] == "req-7"
    assert len(redacted) > len(event.headers) > 1


async def test_a_server_error_after_retries_names_the_last_request():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audiences", status=503, times=99))
        with pytest.raises(ServerError) as caught:
            await client.list_audiences("42")
        assert caught.value.request_id == sandbox.log.entries[-1].request_id
