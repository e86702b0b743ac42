"""`client.request` sends any request below the base URL, by the rules of the endpoints that the SDK knows."""

from __future__ import annotations

import contextlib
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from indigo_async import ApiResponse, errors, workflows
from indigo_async.client import IndigoClient
from indigo_async.errors import (
    AmbiguousOutcomeError,
    ApiError,
    ConnectionFailedError,
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
    ResponseDecodeError,
    ServerError,
)
from indigo_async.events import Event, RequestEnded
from tests.support.servers.scripted import (
    QUICK_RETRY,
    respond_with,
    respond_with_json,
    sandbox_and_client,
    server_and_client,
)

UNSAFE = ["POST", "PUT", "PATCH", "DELETE"]


async def disconnect(request: web.BaseRequest) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_a_get_returns_status_headers_and_json():
    document = {"seats": 3, "plan": None}
    async with server_and_client(respond_with_json(document, 203), token="tok-1") as (server, client):
        response = await client.request("get", "/organization", params={"verbose": True, "page": 2, "ids": ["a", 1]})
    assert (response.status, response.json) == (203, document)
    assert response.headers["CONTENT-TYPE"] == response.headers["content-type"] == "application/json"
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/api/v1/organization?verbose=true&page=2&ids=a&ids=1")
    assert (request.headers["authorization"], request.body) == ("Bearer tok-1", b"")
    assert "content-type" not in request.headers


@pytest.mark.parametrize("method", UNSAFE)
async def test_a_body_is_sent_as_json(method: str):
    async with server_and_client(respond_with_json({"id": 1})) as (server, client):
        await client.request(method, "/tags", json={"a": [1, None, Decimal("0.5")], "b": {}}, params={"dry": None})
        await client.request(method, "/tags", json=[])
    assert [(request.method, request.path, request.json) for request in server.requests] == [
        (method, "/api/v1/tags", {"a": [1, None, 0.5], "b": {}}),
        (method, "/api/v1/tags", []),
    ]
    assert server.requests[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b""), (200, b" \n"), (200, b"null")])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_empty_body_is_none(method: str, status: int, body: bytes):
    async with server_and_client(respond_with(status, body)) as (_, client):
        response = await client.request(method, "/tags/7")
    assert (response.status, response.json) == (status, None)


async def test_a_response_is_pickled_and_its_repr_shows_no_content():
    async with server_and_client(respond_with_json({"person": "canary"})) as (_, client):
        response = await client.request("GET", "/people")
    copied = pickle.loads(pickle.dumps(response))
    assert (copied, copied.headers["Content-Type"]) == (response, "application/json")
    assert repr(response) == "ApiResponse(status=200)"
    assert type(response) is ApiResponse


@pytest.mark.parametrize("failure", [respond_with(503), respond_with(429, retry_after="0"), disconnect])
async def test_a_get_is_sent_again(failure):
    async with server_and_client(failure, failure, respond_with_json([1])) as (server, client):
        assert (await client.request("GET", "/tags")).json == [1]
    assert len(server.requests) == 3


@pytest.mark.parametrize("method", UNSAFE)
@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (respond_with(503), ServerError),
        (respond_with(408), ApiError),
        (disconnect, AmbiguousOutcomeError),
        (respond_with(200, b"<html>", content_type="text/html"), AmbiguousOutcomeError),
        (respond_with(200, b"not JSON"), AmbiguousOutcomeError),
    ],
    ids=["a 503", "a 408", "a disconnect", "a page", "no JSON"],
)
async def test_what_may_have_been_carried_out_is_not_sent_again(method: str, failure, error: type[Exception]):
    async with server_and_client(failure) as (server, client):
        with pytest.raises(error):
            await client.request(method, "/tags", json={})
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", UNSAFE)
async def test_what_was_certainly_not_carried_out_is_sent_again(method: str):
    async with server_and_client(respond_with(429, retry_after="0"), respond_with_json(1)) as (server, client):
        assert (await client.request(method, "/tags")).json == 1
    assert len(server.requests) == 2


async def test_a_rejected_token_is_replaced():
    tokens = iter(["old", "new"])
    async with server_and_client(
        respond_with_json({"error": "No."}, 401), respond_with_json(1), token=lambda: next(tokens)
    ) as (server, client):
        await client.request("DELETE", "/tags/1")
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer old", "Bearer new"]


async def test_errors_are_those_of_the_endpoints():
    cases: list[tuple[Any, type[Exception], str]] = [
        (respond_with_json({"error": "Gone.", "errorType": "Lost"}, 404), NotFoundError, r"GET /tags: Gone\."),
        (respond_with_json({"error": "No."}, 403), errors.AuthenticationError, r"GET /tags: No\."),
        (respond_with_json({"error": "No."}), ApiError, r"GET /tags: No\. \(400\)"),
        (respond_with(429, retry_after="3600"), RateLimitedError, "GET /tags"),
        (respond_with(200, b"{"), ResponseDecodeError, "GET /tags"),
        (respond_with(302, location="https://example.org/"), ApiError, "the server redirects to another address"),
    ]
    for answer, error, message in cases:
        async with server_and_client(answer) as (_, client):
            with pytest.raises(error, match=message):
                await client.request("GET", "/tags")


async def test_no_connection_is_reported_as_such():
    async with server_and_client(respond_with()) as (server, _):
        origin = server.origin
    async with IndigoClient("token", base_url=origin, retry=QUICK_RETRY) as client:
        with pytest.raises(ConnectionFailedError):
            await client.request("POST", "/tags", json={})


async def test_a_request_waits_for_a_slot_like_any_other():
    async with sandbox_and_client() as (_, client):
        client.transport._pacer.pause(1_000)
        with pytest.raises(RateLimitedError, match="GET /audiences: the server asked all requests to wait"):
            await client.request("GET", "/audiences")


PATHS = [
    "",
    "audiences",
    "https://example.org/steal",
    "//example.org/steal",
    "/\\example.org",
    "\\\\example.org",
    "/..",
    "/../admin",
    "/audiences/../../admin",
    "/./audiences",
    "/%2e%2e/admin",
    "/%2E%2e%2fadmin",
    "/a/..;/admin",
    "/a/..;x=y/admin",
    "/%252e%252e/admin",
    "/a//b",
    "/a%2fb",
    "/a%5cb",
    "/%5c%5cexample.org",
    "/",
    "/a\r\nHost: example.org",
    "/a%0d%0aHost:%20example.org",
    "/a%00b",
    "/a\tb",
    "/%ff",
    "/%zz",
    "/audiences?token=canary",
    "/audiences?",
    "/audiences#canary",
    " /audiences",
    "/audiences ",
    "/\ud800",
    None,
    7,
    b"/audiences",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_that_might_leave_the_base_url_is_refused(path):
    async with server_and_client(respond_with_json(1)) as (server, client):
        with pytest.raises(InvalidInputError) as caught:
            await client.request("POST", path, json={})
    assert {problem.where for problem in caught.value.problems} == {"path"}
    assert "canary" not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize(
    ("path", "sent", "name"),
    [
        ("/audiences", "/audiences", "/audiences"),
        ("/audiences/", "/audiences/", "/audiences/"),
        ("/v2/audiences/aud_01JAX3/rows", "/v2/audiences/aud_01JAX3/rows", "/v2/audiences/{id}/rows"),
        ("/people/jane doe@x.org", "/people/jane%20doe@x.org", "/people/{id}"),
        ("/people/ø%C3%B8", "/people/%C3%B8%C3%B8", "/people/{id}"),
        ("/purchase%5Fcsv_export", "/purchase_csv_export", "/purchase_csv_export"),
    ],
)
async def test_paths_are_encoded_and_ids_do_not_appear_in_names(path: str, sent: str, name: str):
    events: list[Event] = []
    async with server_and_client(respond_with_json(1), on_event=events.append) as (server, client):
        await client.request("GET", path)
        assert dict(client.transport.requests) == {f"GET {name}": 1}
    assert [request.path for request in server.requests] == [f"/api/v1{sent}"]
    assert [event.endpoint for event in events if isinstance(event, RequestEnded)] == [f"GET {name}"]


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ({"method": "TRACE"}, {"method"}),
        ({"method": "GET /x HTTP/1.1\r\n"}, {"method"}),
        ({"method": None, "path": "x"}, {"method", "path"}),
        ({"json": {"a": {1, 2}, "b": object()}}, {"json.b"}),
        ({"json": float("nan")}, {"json"}),
        ({"method": "GET", "json": {}}, {"json"}),
        ({"params": {"a": {"b": 1}, "c": [[1]], "": 1}}, {"params.a", "params.c", "params key"}),
        ({"params": [("a", 1)]}, {"params"}),
    ],
)
async def test_invalid_arguments_are_refused(arguments: dict[str, Any], fields: set[str]):
    async with server_and_client(respond_with_json(1)) as (server, client):
        with pytest.raises(InvalidInputError) as caught:
            await client.request(**{"method": "POST", "path": "/tags"} | arguments)
    assert {problem.where for problem in caught.value.problems} == fields
    assert server.requests == []


@pytest.mark.parametrize("path", ["/purchase_csv_export", "/purchase_csv_export/", "/Purchase_CSV%5Fexport"])
@pytest.mark.parametrize(
    "parameters", [{"json": {"exportId": 7}}, {"json": {"export_id": "7"}}, {"params": {"exportID": 7}}]
)
async def test_a_purchase_is_remembered(path: str, parameters: dict[str, Any]):
    async with server_and_client(respond_with_json({"id": 7})) as (_, client):
        await client.request("POST", path, **parameters)
        assert client.purchased_exports == {"7": None}


async def test_a_purchase_does_not_replace_what_is_remembered():
    async with server_and_client(respond_with_json({"id": 7})) as (_, client):
        client.purchased_exports["7"] = frozenset({"phone"})
        await client.request("POST", "/purchase_csv_export", json={"exportId": 7})
        assert client.purchased_exports == {"7": frozenset({"phone"})}


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("POST", "/purchase_csv_export", respond_with_json({"error": "No."}, 400)),
        ("POST", "/purchase_csv_export", respond_with_json({"error": "No."})),
        ("POST", "/purchase_csv_export", respond_with(500)),
        ("POST", "/create_preview_csv_export", respond_with_json({"id": 7})),
        ("PUT", "/purchase_csv_export", respond_with_json({"id": 7})),
    ],
)
async def test_nothing_is_remembered_without_a_purchase(method: str, path: str, answer):
    async with server_and_client(answer) as (_, client):
        with contextlib.suppress(ApiError):
            await client.request(method, path, json={"exportId": 7})
        assert client.purchased_exports == {}


async def test_an_export_purchased_by_a_request_is_not_purchased_again_by_a_recipe(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        export = await client.create_preview_csv_export(audience_id=audience_id, customer_id="42")
        body = {"exportId": export.id, "customerId": "42"}
        assert (await client.request("POST", "/purchase_csv_export", json=body)).json["id"] == export.id
        receipt = await workflows.export_audience(
            client, audience_id, customer_id="42", destination=tmp_path / "x.csv", reuse_purchased=True
        )
        assert receipt.export.id == export.id
        assert sandbox.counts().purchases == 1
