"""Customers are kept apart: a response about another customer is never returned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from indigo_async.client import CustomerClient, IndigoClient
from indigo_async.errors import CustomerMismatchError, NotFoundError
from tests.support.servers.scripted import respond_with_json, sandbox_and_client, server_and_client

OTHERS = {"id": "aud-1", "customerId": "2"}
SELECTIONS = {"first_name": {"column_name": "First", "is_required": True}}

CALLS: list[tuple[Callable[[CustomerClient], Awaitable[Any]], object]] = [
    (lambda acme: acme.upload_csv(url="https://example.org/p.csv"), OTHERS),
    (
        lambda acme: acme.match_uploaded_csv(audience_id="aud-1", audience_name="A", column_selections=SELECTIONS),
        OTHERS,
    ),
    (lambda acme: acme.get_audience("aud-1"), OTHERS),
    (lambda acme: acme.list_audiences(), [{"id": "aud-0", "customerId": "1"}, OTHERS]),
    (lambda acme: acme.create_lookalike_audience(base_audience_id="aud-0", size=1, audience_name="A"), OTHERS),
    (lambda acme: acme.create_preview_csv_export(audience_id="aud-1"), {"id": "exp-1", "audience": OTHERS}),
    (lambda acme: acme.purchase_csv_export(export_id="exp-1"), {"id": "exp-1", "audience": OTHERS}),
]


@pytest.mark.parametrize(("call", "response"), CALLS)
async def test_a_response_about_another_customer_is_not_returned(call, response: object):
    async with server_and_client(respond_with_json(response)) as (server, client):
        with pytest.raises(CustomerMismatchError) as caught:
            await call(client.for_customer("1"))
    assert (caught.value.requested, caught.value.received) == ("1", "2")
    assert len(server.requests) == 1


@pytest.mark.parametrize("received", [1, "1", None])
async def test_customers_are_compared_as_text_and_may_be_missing(received: object):
    async with server_and_client(respond_with_json({"id": "aud-1", "customerId": received})) as (_, client):
        assert (await client.get_audience("aud-1", customer_id="1")).id == "aud-1"


async def test_without_a_requested_customer_any_response_is_accepted():
    async with server_and_client(respond_with_json(OTHERS)) as (_, client):
        assert (await client.get_audience("aud-1")).customer_id == "2"


async def test_an_audience_is_not_found_for_another_customer():
    async with sandbox_and_client() as (sandbox, client):
        (audience_id,) = await sandbox.seed_audiences(1, "1")
        with pytest.raises(NotFoundError):
            await client.get_audience(audience_id, customer_id="2")
        with pytest.raises(NotFoundError):
            await client.get_audience(audience_id)
        with pytest.raises(NotFoundError):
            await client.create_preview_csv_export(audience_id=audience_id, customer_id="2")
        assert await client.list_audiences(customer_id="2") == []


async def test_a_bound_customer_is_sent_with_every_endpoint():
    async with sandbox_and_client() as (sandbox, client):
        acme = client.for_customer("1")
        (base_id,) = await sandbox.seed_audiences(1, "1")
        stub = await acme.upload_csv(url="https://example.org/p.csv")
        while (await acme.get_audience(stub.id)).uploaded_audience_csv.status != "READY_FOR_COLUMN_SELECTION":
            pass
        await acme.match_uploaded_csv(audience_id=stub.id, audience_name="A", column_selections=SELECTIONS)
        await acme.create_lookalike_audience(
            base_audience_id=base_id,
            size=5,
            audience_name="B",
            include_original_audience=True,
            filters={"states": ["PA"]},
        )
        export = await acme.create_preview_csv_export(audience_id=base_id, optional_field_types=["phone"])
        await acme.purchase_csv_export(export_id=export.id)
        assert len(await acme.list_audiences()) == 3
        assert {entry.customer_id for entry in sandbox.log.entries} == {"1"}
        assert {entry.endpoint for entry in sandbox.log.entries} == {
            "POST /upload_csv",
            "GET /audience",
            "POST /match_uploaded_csv",
            "POST /create_lookalike_audience",
            "POST /create_preview_csv_export",
            "POST /purchase_csv_export",
            "GET /audiences",
        }


def test_a_bound_customer_shows_no_token():
    acme = IndigoClient("canary", base_url="https://example.org").for_customer("1")
    assert "canary" not in repr(acme)
    assert repr(acme) == "CustomerClient(client=IndigoClient(base_url='https://example.org'), customer_id='1')"
