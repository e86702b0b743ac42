"""Every requested ID is compared, as text, with the one in the response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from indigo_async.client import IndigoClient
from indigo_async.errors import RecordMismatchError
from tests.support.servers.scripted import respond_with_json, server_and_client

Call = Callable[[IndigoClient], Awaitable[Any]]

CALLS: dict[str, tuple[Call, dict[str, Any], str]] = {
    "get_audience": (lambda client: client.get_audience(7), {"id": 8}, "audience"),
    "create_preview_csv_export": (
        lambda client: client.create_preview_csv_export(audience_id=7),
        {"id": 1, "audience": {"id": 8}},
        "audience",
    ),
    "purchase_csv_export": (lambda client: client.purchase_csv_export(export_id=7), {"id": 8}, "export"),
}


def with_id(document: dict[str, Any], record_id: object) -> dict[str, Any]:
    """Replace the ID 8 in a document."""
    return {
        key: with_id(value, record_id) if isinstance(value, dict) else record_id if value == 8 else value
        for key, value in document.items()
    }


@pytest.mark.parametrize("name", CALLS)
async def test_a_response_about_another_record_is_not_returned(name: str):
    call, document, record_kind = CALLS[name]
    async with server_and_client(respond_with_json(document)) as (server, client):
        with pytest.raises(
            RecordMismatchError, match=f"requested {record_kind} '7', .* about {record_kind} '8'"
        ) as caught:
            await call(client)
        assert len(server.requests) == 1
        assert client.purchased_exports == {}
    assert (caught.value.requested, caught.value.received) == ("7", "8")


@pytest.mark.parametrize("record_id", [7, "7"])
@pytest.mark.parametrize("name", CALLS)
async def test_an_id_may_be_text_or_a_number(name: str, record_id: object):
    call, document, _ = CALLS[name]
    async with server_and_client(respond_with_json(with_id(document, record_id))) as (_, client):
        await call(client)


async def test_the_client_remembers_what_it_purchased():
    async with server_and_client(respond_with_json({"id": "exp-1"})) as (_, client):
        await client.purchase_csv_export(export_id="exp-1")
        assert client.purchased_exports == {"exp-1": None}


async def test_a_long_id_does_not_fill_the_log():
    async with server_and_client(respond_with_json({"id": "9" * 4_000})) as (_, client):
        with pytest.raises(RecordMismatchError) as caught:
            await client.get_audience("7")
    assert len(str(caught.value)) < 200
