"""Records inside an envelope are read if the meaning is clear, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.codec import unwrap_record
from indigo_async.errors import ApiError, NotFoundError, ResponseDecodeError
from indigo_async.models import Audience, CsvExport
from tests.support.servers.scripted import respond_with_json, server_and_client

AUDIENCE = {"id": "aud-1", "status": "ACTIVE"}
EXPORT = {"id": "exp-1", "cost": 5, "audience": {"id": "aud-1"}}


@pytest.mark.parametrize(
    "document",
    [
        AUDIENCE,
        {"data": AUDIENCE},
        {"audience": AUDIENCE},
        {"status": "success", "data": AUDIENCE, "meta": {"took": 5}},
        {"result": AUDIENCE, "error": None},
        {"data": {"audience": AUDIENCE}},
        {"results": [AUDIENCE], "count": 1},
        {"data": [AUDIENCE], "audience": "aud-1"},
        [AUDIENCE],
    ],
)
def test_an_audience_is_found_in_its_envelope(document: Any):
    assert unwrap_record(document, Audience) == AUDIENCE


@pytest.mark.parametrize(
    "document",
    [EXPORT, {"data": EXPORT}, {"export": EXPORT, "audience": AUDIENCE}, {"data": {"csvExport": EXPORT}}, [EXPORT]],
)
def test_an_export_is_found_in_its_envelope(document: Any):
    assert unwrap_record(document, CsvExport) == EXPORT


@pytest.mark.parametrize(
    "document", [{"data": None}, {"audience": None, "status": "success"}, {"data": {"data": None}}]
)
def test_an_envelope_around_null_is_null(document: Any):
    assert unwrap_record(document, Audience) is None


@pytest.mark.parametrize(
    ("document", "cls"),
    [
        (AUDIENCE | {"data": {"id": "aud-2"}}, Audience),
        ({"id": None, "data": AUDIENCE}, Audience),
        ({"name": "Donors", "data": AUDIENCE}, Audience),
        ({"csvExports": [], "data": AUDIENCE}, Audience),
        ({"data": AUDIENCE, "result": {"id": "aud-2"}}, Audience),
        ({"data": [AUDIENCE, {"id": "aud-2"}]}, Audience),
        ({"data": {"data": {"data": AUDIENCE}}}, Audience),
        ({"data": {"status": "ACTIVE"}}, Audience),
        ({"data": []}, Audience),
        ({"other": AUDIENCE}, Audience),
        ({"audience": AUDIENCE}, CsvExport),
        ({"cost": 5, "audience": AUDIENCE}, CsvExport),
        ({}, Audience),
        ([], Audience),
        ("data", Audience),
        (None, Audience),
    ],
)
def test_a_document_that_is_not_clearly_an_envelope_stays_as_it_is(document: Any, cls: type):
    assert unwrap_record(document, cls) is document


_KEYS = st.sampled_from(["data", "audience", "export", "result", "results", "id", "status", "name", "other"])
_DOCUMENTS = st.recursive(
    st.none() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(_DOCUMENTS, st.sampled_from([Audience, CsvExport]))
def test_only_a_record_with_an_id_is_taken_out(document: Any, cls: type):
    record = unwrap_record(document, cls)
    assert record is document or record is None or "id" in record
    assert not (isinstance(document, dict) and "id" in document) or record is document


async def test_every_endpoint_takes_its_record_out_of_the_envelope():
    async with server_and_client(respond_with_json({"data": AUDIENCE})) as (server, client):
        assert (await client.get_audience("aud-1")).status == "ACTIVE"
        assert (await client.upload_csv(customer_id="1", url="https://example.org/a.csv")).id == "aud-1"
    async with server_and_client(respond_with_json({"export": EXPORT})) as (server, client):
        assert (await client.create_preview_csv_export(audience_id="aud-1")).cost_cents == 5
        assert (await client.purchase_csv_export(export_id="exp-1")).id == "exp-1"
        assert len(server.requests) == 2


@pytest.mark.parametrize("document", [{"data": EXPORT | {"error": "No."}}, {"data": EXPORT, "error": "No."}])
async def test_an_error_inside_or_beside_an_envelope_refuses_a_post(document: Any):
    async with server_and_client(respond_with_json(document)) as (_, client):
        with pytest.raises(ApiError, match="No"):
            await client.purchase_csv_export(export_id="exp-1")


@pytest.mark.parametrize("document", [{"data": EXPORT | {"errors": ["late"]}}, {"data": EXPORT, "errors": ["late"]}])
async def test_errors_beside_a_record_may_be_notes(document: Any):
    async with server_and_client(respond_with_json(document)) as (_, client):
        assert (await client.purchase_csv_export(export_id="exp-1")).id == "exp-1"


async def test_an_empty_envelope_means_that_the_record_does_not_exist():
    async with server_and_client(respond_with_json({"data": None})) as (_, client):
        with pytest.raises(NotFoundError):
            await client.get_audience("aud-1")
        with pytest.raises(ResponseDecodeError):
            await client.purchase_csv_export(export_id="exp-1")


async def test_a_document_that_is_not_understood_is_described_without_its_values():
    document = {"success": True, "attributes": {"id": "canary"}, "canary": "canary"}
    async with server_and_client(respond_with_json(document)) as (server, client):
        with pytest.raises(ResponseDecodeError, match="the keys: attributes, success, 1 unknown") as caught:
            await client.upload_csv(customer_id="1", url="https://example.org/a.csv")
    assert "canary" not in str(caught.value)
    assert len(server.requests) == 1
