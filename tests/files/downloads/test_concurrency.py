"""Many downloads of one client: a limited number at once, each with a URL that is valid when its turn comes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from indigo_async import workflows
from indigo_async._transport.pacing import Pacing
from indigo_async.client import IndigoClient
from indigo_async.files.downloads.download import download
from indigo_async.inputs import ColumnSelection
from indigo_async.models import RecordId
from indigo_async.sandbox import ManualClock, Sandbox
from indigo_async.sandbox.http.signed_urls import UrlSigner
from indigo_async.workflows import AudienceJob, ExportStep, run_batch
from tests.support.downloads import stalled_response
from tests.support.servers.scripted import QUICK_RETRY, SPEED, sandbox_and_client, scripted_server, wait_until

CUSTOMER = "42"
MAX_DOWNLOADS = 16


async def test_a_batch_limits_its_concurrent_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    in_progress, peak = 0, 0
    gate = asyncio.Event()

    async def held(_: web.BaseRequest) -> web.StreamResponse:
        nonlocal in_progress, peak
        in_progress += 1
        peak = max(peak, in_progress)
        await gate.wait()
        in_progress -= 1
        return web.Response(body=b"a,b\r\n", content_type="text/csv")

    def jobs():
        for row in range(MAX_DOWNLOADS + 10):
            yield AudienceJob(
                customer_id=CUSTOMER,
                audience_name=f"List {row}",
                csv="https://files.example.org/lists/donors.csv",
                column_selections={"first_name": ColumnSelection("First", required=True)},
                export=ExportStep(destination=tmp_path / f"{row}.csv"),
            )

    async with scripted_server(held) as server, sandbox_and_client() as (_, client):
        monkeypatch.setattr(UrlSigner, "url_for", lambda links, of: f"{server.origin}/x.csv?{id(links)}{of}")
        async with anyio.create_task_group() as group:

            async def run() -> None:
                report = await run_batch(client, jobs())
                assert (report.done, report.failed) == (MAX_DOWNLOADS + 10, 0)

            group.start_soon(run)
            await wait_until(lambda: in_progress >= MAX_DOWNLOADS)
            gate.set()
    assert peak == MAX_DOWNLOADS
    assert len(list(tmp_path.iterdir())) == MAX_DOWNLOADS + 10


async def purchase_one(sandbox: Sandbox, client: IndigoClient, folder: Path) -> RecordId:
    (audience_id,) = await sandbox.seed_audiences(1, CUSTOMER, size=1_500)
    await workflows.export_audience(
        client, audience_id, customer_id=CUSTOMER, destination=folder / f"{audience_id}.csv"
    )
    return audience_id


async def test_a_url_that_expires_in_the_queue_is_refreshed(tmp_path: Path):
    clock = ManualClock()
    async with sandbox_and_client(clock=clock, download_lifetime=60.0, speed=SPEED) as (sandbox, client):
        ids = [await purchase_one(sandbox, client, tmp_path) for _ in range(3)]
        sandbox.log.clear()
        client.core.download_slots = asyncio.Semaphore(1)
        async with client.core.download_slots:
            tasks = [
                asyncio.create_task(
                    workflows.download_export(
                        client, audience_id, customer_id=CUSTOMER, destination=tmp_path / f"{audience_id} again.csv"
                    )
                )
                for audience_id in ids
            ]
            await wait_until(lambda: len(client.core.download_slots._waiters or ()) == 3)
            clock.advance(61)
        await asyncio.gather(*tasks)
        statuses = [entry.status for entry in sandbox.log.find(endpoint="GET download")]
    assert statuses == [403, 200] * 3


async def test_downloads_in_progress_take_no_connections_from_requests(tmp_path: Path):
    async with (
        scripted_server(stalled_response) as server,
        sandbox_and_client(client={"pacing": Pacing(max_concurrency=MAX_DOWNLOADS), "timeout": 5.0}) as (
            sandbox,
            client,
        ),
    ):
        (audience_id,) = await sandbox.seed_audiences(1, CUSTOMER, size=1_500)
        downloads = [
            asyncio.create_task(
                download(client.transport, f"{server.origin}/{row}.csv", tmp_path / f"{row}.csv", retry=QUICK_RETRY)
            )
            for row in range(MAX_DOWNLOADS)
        ]
        await wait_until(lambda: len(server.requests) >= MAX_DOWNLOADS)
        preview = await client.create_preview_csv_export(
            audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=["phone"]
        )
        await client.purchase_csv_export(export_id=preview.id, customer_id=CUSTOMER)
        assert sandbox.counts().purchases == 1
        for task in downloads:
            task.cancel()
        await asyncio.gather(*downloads, return_exceptions=True)
