"""Invalid input is rejected before anything is sent, with all problems at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from indigo_async.client import IndigoClient
from indigo_async.errors import InvalidInputError
from tests.support.servers.scripted import respond_with, server_and_client

SELECTIONS = {"first_name": {"column_name": "First", "is_required": True}}

CASES: list[tuple[Callable[[IndigoClient], Awaitable[Any]], set[str]]] = [
    (lambda client: client.upload_csv(customer_id="", url="people.csv"), {"customer_id", "url"}),
    (lambda client: client.upload_csv(customer_id=1.5, url="http://example.org/p.csv"), {"customer_id", "url"}),
    (
        lambda client: client.match_uploaded_csv(
            audience_id=True, customer_id=" 1", audience_name="", column_selections={}
        ),
        {"audience_id", "customer_id", "audience_name", "column_selections"},
    ),
    (
        lambda client: client.match_uploaded_csv(
            audience_id="", customer_id=None, audience_name="Donors ", column_selections=SELECTIONS
        ),
        {"audience_id", "customer_id", "audience_name"},
    ),
    (lambda client: client.get_audience(None, customer_id=""), {"audience_id", "customer_id"}),
    (lambda client: client.get_audience(1.5), {"audience_id"}),
    (lambda client: client.list_audiences(customer_id=" "), {"customer_id"}),
    (
        lambda client: client.create_lookalike_audience(
            base_audience_id=True,
            customer_id="",
            size=True,
            audience_name=" ",
            include_original_audience=1,
            filters={"states": []},
        ),
        {"base_audience_id", "customer_id", "size", "audience_name", "include_original_audience", "filters.states"},
    ),
    (
        lambda client: client.create_lookalike_audience(
            base_audience_id=1, customer_id="1", size=0, audience_name="A", filters="PA"
        ),
        {"size", "filters"},
    ),
    (
        lambda client: client.create_preview_csv_export(
            audience_id=None, customer_id=0.5, optional_field_types=["fax"]
        ),
        {"audience_id", "customer_id", "optional_field_types[0]"},
    ),
    (
        lambda client: client.create_preview_csv_export(audience_id=1, optional_field_types="phone"),
        {"optional_field_types"},
    ),
    (lambda client: client.purchase_csv_export(export_id=True, customer_id=""), {"export_id", "customer_id"}),
]


@pytest.mark.parametrize(("call", "fields"), CASES)
async def test_all_problems_are_reported_at_once_and_nothing_is_sent(call, fields: set[str]):
    async with server_and_client(respond_with(500)) as (server, client):
        with pytest.raises(InvalidInputError) as caught:
            await call(client)
    assert {problem.where for problem in caught.value.problems} == fields
    assert server.requests == []


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"poll_interval": -1}, "poll_interval"),
        ({"poll_interval": "5"}, "poll_interval"),
        ({"base_url": "http://example.org"}, "base_url"),
        ({"retry": 3}, "retry"),
        ({"pacing": 64}, "pacing"),
        ({"on_event": "print"}, "on_event"),
    ],
)
def test_invalid_client_options_are_rejected(options: dict[str, Any], field: str):
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        IndigoClient("token", **{"base_url": "https://example.org", **options})


@pytest.mark.parametrize("customer_id", ["", " 1", 1.0, True, None])
def test_an_invalid_customer_is_rejected(customer_id: object):
    with pytest.raises(InvalidInputError, match=r"^customer_id: "):
        IndigoClient("token", base_url="https://example.org").for_customer(customer_id)
