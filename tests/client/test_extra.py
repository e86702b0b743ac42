"""The endpoints send undocumented parameters, but none that would replace their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from indigo_async.client import IndigoClient
from indigo_async.errors import InvalidInputError
from tests.support.servers.scripted import respond_with_json, server_and_client

FIRST = {"first_name": {"column_name": "First", "is_required": True}}
Call = Callable[..., Awaitable[Any]]

POSTS: dict[str, tuple[Callable[[Any], Call], dict[str, Any], list[str]]] = {
    "upload_csv": (
        lambda client: client.upload_csv,
        {"url": "https://example.org/p.csv"},
        ["customerId", "url", "URL"],
    ),
    "match_uploaded_csv": (
        lambda client: client.match_uploaded_csv,
        {"audience_id": 1, "audience_name": "A", "column_selections": FIRST},
        ["audienceID", "audienceId", "audience_id", "customerId", "audienceName", "columnSelections"],
    ),
    "create_lookalike_audience": (
        lambda client: client.create_lookalike_audience,
        {"base_audience_id": 1, "size": 5, "audience_name": "A"},
        ["baseAudienceId", "customerId", "size", "audienceName", "includeOriginalAudience", "filters"],
    ),
    "create_preview_csv_export": (
        lambda client: client.create_preview_csv_export,
        {"audience_id": 1},
        ["audienceId", "customerId", "optionalFieldTypes", "optional-field-types"],
    ),
    "purchase_csv_export": (
        lambda client: client.purchase_csv_export,
        {"export_id": 1},
        ["exportId", "exportID", "EXPORT_ID", "customerId"],
    ),
}
GETS: dict[str, tuple[Callable[[Any], Call], dict[str, Any], list[str]]] = {
    "get_audience": (lambda client: client.get_audience, {"audience_id": 1}, ["audienceId", "customerId"]),
    "list_audiences": (lambda client: client.list_audiences, {}, ["customerId", "customer_id"]),
}


def bound_and_not(client: IndigoClient, method: Callable[[Any], Call], arguments: dict[str, Any]) -> list[Call]:
    """The endpoint of the client, and of its view for one customer."""

    async def call(extra: Any) -> Any:
        return await method(client)(**arguments, customer_id="42", extra=extra)

    async def call_bound(extra: Any) -> Any:
        return await method(client.for_customer("42"))(**arguments, extra=extra)

    return [call, call_bound]


@pytest.mark.parametrize("name", POSTS)
async def test_a_post_sends_extra_parameters_in_its_body(name: str):
    method, arguments, _ = POSTS[name]
    extra = {"tags": ["a", {"b": None}], "dryRun": True, "parent": None}
    async with server_and_client(respond_with_json({"id": 1})) as (server, client):
        for call in bound_and_not(client, method, arguments):
            await call(extra)
            await call(None)
    with_extra, without = server.requests[0].json, server.requests[1].json
    assert with_extra == without | extra
    assert extra.keys().isdisjoint(without)
    assert [request.json for request in server.requests[2:]] == [with_extra, without]


@pytest.mark.parametrize("name", GETS)
async def test_a_get_sends_extra_parameters_in_its_query(name: str):
    method, arguments, _ = GETS[name]
    document = {"id": 1} if name == "get_audience" else [{"id": 1}]
    async with server_and_client(respond_with_json(document)) as (server, client):
        for call in bound_and_not(client, method, arguments):
            await call({"fields": ["size", "name"], "verbose": True, "limit": 10, "cursor": None})
    queries = [request.path.partition("?")[2].split("&") for request in server.requests]
    assert queries[0] == queries[1]
    assert {"fields=size", "fields=name", "verbose=true", "limit=10", "customerId=42"} <= set(queries[0])
    assert not any("cursor" in part for part in queries[0])


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, (_, _, keys) in (POSTS | GETS).items() for key in keys]
)
async def test_an_own_parameter_is_not_replaced(name: str, key: str):
    method, arguments, _ = (POSTS | GETS)[name]
    async with server_and_client(respond_with_json({"id": 1})) as (server, client):
        for call in bound_and_not(client, method, arguments):
            with pytest.raises(InvalidInputError, match=f"^extra.{key}: is the endpoint's own parameter"):
                await call({key: "43", "more": 1})
    assert server.requests == []


async def test_an_own_parameter_that_was_left_out_is_not_set_either():
    async with server_and_client(respond_with_json({"id": 1})) as (server, client):
        with pytest.raises(InvalidInputError, match="customerId; use its argument instead"):
            await client.purchase_csv_export(export_id=1, extra={"customerId": "43"})
    assert server.requests == []


@pytest.mark.parametrize("extra", [{"a": object()}, {1: 2}, {"a": float("inf")}, [("a", 1)], "a", {" a": 1}])
async def test_what_is_not_json_is_refused(extra: object):
    async with server_and_client(respond_with_json({"id": 1})) as (server, client):
        with pytest.raises(InvalidInputError, match=r"^extra[ .:]"):
            await client.create_preview_csv_export(audience_id=1, extra=extra)
        with pytest.raises(InvalidInputError, match=r"^extra[ .:]"):
            await client.get_audience(1, extra=extra)
    assert server.requests == []


async def test_extra_parameters_stay_on_every_page():
    pages = [respond_with_json({"audiences": [{"id": 1}], "next": "?limit=1&cursor=2"}), respond_with_json([{"id": 2}])]
    async with server_and_client(*pages) as (server, client):
        assert [audience.id for audience in await client.list_audiences(extra={"limit": 1})] == [1, 2]
    assert [request.path for request in server.requests] == [
        "/api/v1/audiences?limit=1",
        "/api/v1/audiences?limit=1&cursor=2",
    ]
