"""The seven endpoints: what each one sends, and how it reads the response."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from indigo_async.client import IndigoClient
from indigo_async.errors import AlreadyPurchasedError, ApiError, NotFoundError
from indigo_async.events import Event, RequestEnded
from indigo_async.inputs import ColumnSelection, ColumnSelections, LookalikeFilters
from indigo_async.models import Audience, CsvExport
from tests.support.servers.scripted import respond_with_json, sandbox_and_client, server_and_client

FIRST_NAME = {"first_name": ColumnSelection("First", required=True)}
AUDIENCE = {"id": "aud-1", "status": "PROCESSING", "customerId": "42"}
EXPORT = {"id": "exp-1", "cost": 500, "audience": {"id": "aud-1"}}


async def upload(client: IndigoClient) -> Audience:
    return await client.upload_csv(customer_id="42", url="https://example.org/p.csv?sig=1")


async def match(client: IndigoClient) -> Audience:
    return await client.match_uploaded_csv(
        audience_id="aud-1", customer_id="42", audience_name="Donors", column_selections=FIRST_NAME
    )


async def create_lookalike(client: IndigoClient) -> Audience:
    return await client.create_lookalike_audience(
        base_audience_id="aud-1",
        customer_id="42",
        size=20_000,
        audience_name="Donors+",
        include_original_audience=False,
        filters=LookalikeFilters(states=["PA"], extra={"zipCodes": ["19104"]}),
    )


async def preview(client: IndigoClient) -> CsvExport:
    return await client.create_preview_csv_export(
        audience_id="aud-1", customer_id="42", optional_field_types=["phone", "address"]
    )


async def purchase(client: IndigoClient) -> CsvExport:
    return await client.purchase_csv_export(export_id="exp-1", customer_id="42")


@pytest.mark.parametrize(
    ("call", "path", "body", "response", "result"),
    [
        (
            upload,
            "/upload_csv",
            {"customerId": "42", "url": "https://example.org/p.csv?sig=1"},
            AUDIENCE,
            Audience(id="aud-1", status="PROCESSING", customer_id="42"),
        ),
        (
            match,
            "/match_uploaded_csv",
            {
                "audienceID": "aud-1",
                "audienceId": "aud-1",
                "customerId": "42",
                "audienceName": "Donors",
                "columnSelections": {"first_name": {"column_name": "First", "is_required": True}},
            },
            AUDIENCE,
            Audience(id="aud-1", status="PROCESSING", customer_id="42"),
        ),
        (
            create_lookalike,
            "/create_lookalike_audience",
            {
                "baseAudienceId": "aud-1",
                "customerId": "42",
                "size": 20_000,
                "audienceName": "Donors+",
                "includeOriginalAudience": False,
                "filters": {"states": ["PA"], "zipCodes": ["19104"]},
            },
            AUDIENCE,
            Audience(id="aud-1", status="PROCESSING", customer_id="42"),
        ),
        (
            preview,
            "/create_preview_csv_export",
            {"audienceId": "aud-1", "customerId": "42", "optionalFieldTypes": ["phone", "address"]},
            EXPORT,
            CsvExport(id="exp-1", cost_cents=500, audience=Audience(id="aud-1")),
        ),
        (
            purchase,
            "/purchase_csv_export",
            {"exportId": "exp-1", "customerId": "42"},
            EXPORT,
            CsvExport(id="exp-1", cost_cents=500, audience=Audience(id="aud-1")),
        ),
    ],
)
async def test_a_post_sends_its_parameters_as_json(
    call: Callable[[IndigoClient], Awaitable[object]], path: str, body: object, response: object, result: object
):
    async with server_and_client(respond_with_json(response), token="tok-1") as (server, client):
        assert await call(client) == result
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", f"/api/v1{path}")
    assert request.json == body
    assert request.headers["authorization"] == "Bearer tok-1"
    assert request.headers["content-type"] == "application/json"


async def test_omitted_parameters_are_not_sent():
    async with server_and_client(respond_with_json({"id": 7})) as (server, client):
        await client.create_preview_csv_export(audience_id=7)
        await client.purchase_csv_export(export_id=7)
        await client.create_lookalike_audience(base_audience_id=7, customer_id="42", size=1, audience_name="A")
    assert [request.json for request in server.requests] == [
        {"audienceId": 7, "optionalFieldTypes": []},
        {"exportId": 7},
        {"baseAudienceId": 7, "customerId": "42", "size": 1, "audienceName": "A"},
    ]


async def test_a_get_sends_its_parameters_as_a_query():
    async with server_and_client(
        respond_with_json(AUDIENCE), respond_with_json(AUDIENCE), respond_with_json([AUDIENCE])
    ) as (server, client):
        assert (await client.get_audience("aud-1", customer_id="42")).id == "aud-1"
        await client.get_audience("aud-1")
        assert [audience.id for audience in await client.list_audiences(customer_id="42")] == ["aud-1"]
        await client.list_audiences()
    assert [(request.method, request.path, request.body) for request in server.requests] == [
        ("GET", "/api/v1/audience?audienceId=aud-1&customerId=42", b""),
        ("GET", "/api/v1/audience?audienceId=aud-1", b""),
        ("GET", "/api/v1/audiences?customerId=42", b""),
        ("GET", "/api/v1/audiences", b""),
    ]


@pytest.mark.parametrize("envelope", [lambda rows: rows, lambda rows: {"audiences": rows}], ids=["array", "object"])
async def test_a_long_list_lets_other_tasks_run_while_it_is_decoded(envelope: Callable[[Any], Any]):
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    def start(event: Event) -> None:
        nonlocal turns
        if isinstance(event, RequestEnded):  # the response has been read
            turns = 0

    rows = [AUDIENCE | {"id": f"aud-{number}"} for number in range(2_050)]
    async with server_and_client(respond_with_json(envelope(rows)), on_event=start) as (_, client):
        other = asyncio.create_task(take_turns())
        audiences = await client.list_audiences()
        other.cancel()
    assert [audience.id for audience in audiences] == [row["id"] for row in rows]
    assert turns >= 20


@pytest.mark.parametrize("record_id", ["a/b", "a b&customerId=1", "a\nb", "ø+%2F?#", 7])
async def test_any_id_arrives_as_it_was_sent(record_id: str | int):
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(NotFoundError):
            await client.get_audience(record_id, customer_id="42 & 43")
        (entry,) = sandbox.log.entries
    assert (entry.audience_id, entry.customer_id) == (str(record_id), "42 & 43")


@pytest.mark.parametrize("flow", ["synchronous", "asynchronous"])
async def test_the_whole_cookbook_endpoint_by_endpoint(flow):
    async def until(record, done: Callable[[Audience], bool]) -> Audience:
        audience = await client.get_audience(record.id, customer_id="42")
        while not done(audience):
            audience = await client.get_audience(record.id, customer_id="42")
        return audience

    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        stub = await client.upload_csv(customer_id="42", url="https://example.org/p.csv")
        await until(stub, lambda found: found.uploaded_audience_csv.status == "READY_FOR_COLUMN_SELECTION")
        selections = ColumnSelections(last_name=ColumnSelection("Last", required=True))
        matched = await client.match_uploaded_csv(
            audience_id=stub.id, customer_id="42", audience_name="Donors", column_selections=selections
        )
        assert (matched.id, matched.name) == (stub.id, "Donors")
        await until(matched, lambda found: found.status == "ACTIVE")
        wider = await client.create_lookalike_audience(
            base_audience_id=matched.id, customer_id="42", size=2_000, audience_name="Donors+"
        )
        await until(wider, lambda found: found.status == "ACTIVE")
        export = await client.create_preview_csv_export(
            audience_id=wider.id, customer_id="42", optional_field_types=["phone"]
        )
        ready = await until(wider, lambda found: found.csv_exports[0].status == "REQUIRES_PAYMENT")
        assert ready.csv_exports[0].cost_cents == 8_000
        await client.purchase_csv_export(export_id=export.id, customer_id="42")
        purchased = await until(wider, lambda found: found.csv_exports[0].download_url is not None)
        assert purchased.csv_exports[0].id == export.id
        with pytest.raises(AlreadyPurchasedError):
            await client.purchase_csv_export(export_id=export.id, customer_id="42")
        assert {audience.name for audience in await client.list_audiences(customer_id="42")} == {"Donors", "Donors+"}
        assert sandbox.counts().charged_cents == 8_000


async def test_an_audience_created_in_the_app_needs_no_customer():
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await sandbox.seed_app_audience()
        assert (await client.get_audience(audience_id)).customer_id is None
        export = await client.create_preview_csv_export(audience_id=audience_id)
        purchased = await client.purchase_csv_export(export_id=export.id)
        assert purchased.download_url is not None
        assert [audience.id for audience in await client.list_audiences()] == [audience_id]


@pytest.mark.parametrize("status", [200, 400])
async def test_an_error_object_is_an_api_error_under_any_status(status: int):
    error = {"error": "The name is taken.", "errorType": "AudienceNameTaken"}
    async with server_and_client(respond_with_json(error, status)) as (server, client):
        with pytest.raises(ApiError, match=r"POST /upload_csv: The name is taken\. \(400, AudienceNameTaken\)"):
            await upload(client)
    assert len(server.requests) == 1


async def test_null_instead_of_an_audience_means_not_found():
    async with server_and_client(respond_with_json(None)) as (_, client):
        with pytest.raises(NotFoundError):
            await client.get_audience("aud-1", customer_id="42")


async def test_405_is_an_api_error():
    async with server_and_client(respond_with_json({"error": "This endpoint takes GET."}, 405)) as (_, client):
        with pytest.raises(ApiError) as caught:
            await upload(client)
    assert (type(caught.value), caught.value.status) == (ApiError, 405)
