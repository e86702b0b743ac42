"""Finding or making the export to purchase: one that still changes is waited for, and then judged by its record."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from indigo_async.errors import ExportExistsError, PurchaseInDoubtError, RecordMismatchError
from indigo_async.sandbox import Fault, FaultKind, ManualClock
from indigo_async.workflows.recipes import export, preview
from tests.support.recipes import CUSTOMER, PREVIEW, PURCHASE, count_posts, export_csv, seed_audience
from tests.support.servers.scripted import respond_with_json, sandbox_and_client, server_and_client, wait_until

READ = "GET /audience"


@pytest.mark.parametrize(
    ("field_types", "fails", "posts"),
    [
        (["phone"], False, {PREVIEW: 1, PURCHASE: 1}),
        (["phone"], True, {PREVIEW: 1}),
        ([], False, {PREVIEW: 1}),
        ([], True, {PREVIEW: 2}),
    ],
)
async def test_an_earlier_export_in_progress_is_waited_for_and_judged_again(
    field_types: list[str], posts: dict[str, int], tmp_path: Path, *, fails: bool
):
    clock = ManualClock()
    async with sandbox_and_client(export_flow="asynchronous", clock=clock) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        if fails:
            sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=PREVIEW))
        await client.create_preview_csv_export(
            audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=field_types
        )
        exporting = asyncio.create_task(
            export_csv(client, audience_id, tmp_path / "x.csv", optional_field_types=field_types)
        )
        await wait_until(lambda: sandbox.log.count(READ) >= 2 or exporting.done())
        assert count_posts(sandbox) == {PREVIEW: 1}
        while not exporting.done():
            clock.advance(1_000)
            await asyncio.sleep(0.005)
        if fails and field_types:
            with pytest.raises(ExportExistsError, match=r"failed .* and may have been purchased before"):
                await exporting
        else:
            await exporting
        assert count_posts(sandbox) == posts


async def test_an_active_export_that_never_shows_its_url_stops_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preview, "_URL_WAIT_SECONDS", 0.05)
    active = {"id": "exp-1", "status": "ACTIVE", "cost": 100, "optionalFieldTypes": ["phone"]}
    async with server_and_client(respond_with_json({"id": "aud-1", "status": "ACTIVE", "csvExports": [active]})) as (
        server,
        client,
    ):
        with pytest.raises(ExportExistsError) as caught:
            await export_csv(client, "aud-1", tmp_path / "x.csv")
        assert {request.method for request in server.requests} == {"GET"}
    assert str(caught.value) == (
        "preview: export exp-1 of audience aud-1 has the status 'ACTIVE', so it may have been purchased before, but "
        "the server has not shown its download URL for 15 minutes; nothing was purchased now. Ask Indigo about it"
    )


async def test_a_preview_of_other_field_types_is_not_purchased(tmp_path: Path):
    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return await respond_with_json({"id": "aud-1", "status": "ACTIVE"})(request)
        created = {"id": "exp-1", "status": "REQUIRES_PAYMENT", "cost": 100, "optionalFieldTypes": ["address"]}
        return await respond_with_json(created)(request)

    async with server_and_client(respond) as (server, client):
        with pytest.raises(RecordMismatchError, match=r"requested field types 'phone', but .* field types 'address'"):
            await export_csv(client, "aud-1", tmp_path / "x.csv")
        assert [request.path.rpartition("/")[2] for request in server.requests if request.method == "POST"] == [
            "create_preview_csv_export"
        ]


async def test_a_purchased_export_that_goes_on_asking_for_payment_is_in_doubt_and_not_paid_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "_CONTRADICTION_SECONDS", 0.05)
    shown = {"id": "exp-1", "status": "REQUIRES_PAYMENT", "cost": 100, "optionalFieldTypes": ["phone"]}
    record = respond_with_json({"id": "aud-1", "status": "ACTIVE", "csvExports": [shown]})
    async with server_and_client(record) as (server, client):
        client.purchased_exports["exp-1"] = frozenset({"phone"})
        with pytest.raises(PurchaseInDoubtError) as caught:
            await export_csv(client, "aud-1", tmp_path / "x.csv")
        assert {request.method for request in server.requests} == {"GET"}
    assert str(caught.value) == (
        "purchase: export exp-1 of audience aud-1 was purchased by this job or client, but the server shows the status "
        "'REQUIRES_PAYMENT'; nothing more was purchased. Ask Indigo about it"
    )
