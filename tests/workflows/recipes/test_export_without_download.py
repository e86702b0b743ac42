"""`destination=None`: an export is purchased once, and each call returns its current URL."""

from __future__ import annotations

import errno
import logging
import pickle
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from indigo_async import IndigoClient
from indigo_async.errors import BudgetExceededError
from indigo_async.events import Event, event_fields
from indigo_async.logs import log_events
from indigo_async.models import Audience, RecordId
from indigo_async.sandbox import Dialect, FaultKind, Sandbox
from indigo_async.workflows import (
    AudienceJob,
    ExportPurchased,
    ExportReused,
    ExportStep,
    PurchasedExport,
    download_export,
    export_audience,
    run_batch,
    run_job,
    start_batch,
)
from tests.support.jobs import make_job
from tests.support.recipes import (
    AMPLE_CENTS,
    CUSTOMER,
    PREVIEW,
    PURCHASE,
    UNKNOWN_OUTCOMES,
    count_posts,
    export_csv,
    lost_response,
    seed_audience,
)
from tests.support.servers.scripted import open_client, sandbox_and_client

PHONES = 1_500 * 4
DOWNLOAD = "GET download"
both_flows = pytest.mark.parametrize("flow", ["synchronous", "asynchronous"])


async def purchase(client: IndigoClient, audience: Audience | RecordId, **options: Any) -> PurchasedExport:
    wanted = {"customer_id": CUSTOMER, "optional_field_types": ["phone"], "max_cost_cents": AMPLE_CENTS} | options
    return await export_audience(client, audience, destination=None, **wanted)


async def fetch(url: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.read()


def make_purchase_job(number: int = 1) -> AudienceJob:
    job = make_job(number, Path("unused"))
    assert job.export is not None
    return attrs.evolve(job, export=attrs.evolve(job.export, destination=None))


@both_flows
async def test_it_is_purchased_and_not_downloaded(flow, tmp_path: Path):
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        purchased = await purchase(client, audience_id)
        assert purchased.export.cost_cents == sandbox.counts().charged_cents == PHONES
        assert (count_posts(sandbox), sandbox.log.count(DOWNLOAD)) == ({PREVIEW: 1, PURCHASE: 1}, 0)
        status, content = await fetch(purchased.download_url)
        receipt = await download_export(client, audience_id, customer_id=CUSTOMER, destination=tmp_path / "people.csv")
        assert (status, content) == (200, (tmp_path / "people.csv").read_bytes())
        assert receipt.export.id == purchased.export.id
        assert sandbox.counts().purchases == 1


@both_flows
async def test_called_again_it_purchases_nothing_and_returns_a_url_that_works(flow):
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        first = await purchase(client, audience_id)
        async with open_client(sandbox) as later_client:
            events: list[Event] = []
            again = await purchase(later_client, audience_id, max_cost_cents=0, on_event=events.append)
        assert again.export.id == first.export.id
        assert again.download_url != first.download_url
        assert sandbox.counts().purchases == 1
    assert [type(event) for event in events if isinstance(event, (ExportPurchased, ExportReused))] == [ExportReused]


@pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES.values(), ids=UNKNOWN_OUTCOMES.keys())
async def test_a_lost_response_purchases_once(kind: FaultKind):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(lost_response(PURCHASE, kind, 1))
        audience_id = await seed_audience(sandbox)
        assert (await fetch((await purchase(client, audience_id)).download_url))[0] == 200
        assert sandbox.counts().purchases == 1


async def test_an_export_above_the_limit_is_not_purchased():
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(BudgetExceededError):
            await purchase(client, await seed_audience(sandbox), max_cost_cents=PHONES - 1)
        assert sandbox.counts().purchases == 0


async def test_a_full_disk_does_not_matter(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("indigo_async.files.downloads.destination.try_writing", fail)
    async with sandbox_and_client() as (sandbox, client):
        assert (await purchase(client, await seed_audience(sandbox))).export.cost_cents == PHONES


async def test_nothing_but_the_attribute_shows_the_url(caplog: pytest.LogCaptureFixture, tmp_path: Path):
    caplog.set_level(logging.DEBUG)
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        log_events(event)

    async with sandbox_and_client() as (sandbox, client):
        purchased = await purchase(client, await seed_audience(sandbox), on_event=listen)
        async with start_batch(client, [make_purchase_job()], journal=tmp_path / "journal", on_event=listen) as batch:
            (outcome,) = [outcome async for outcome in batch]
        report = batch.report()
    result = outcome.result
    assert result is not None
    assert result.purchased is not None
    signatures = [url.rpartition("=")[2] for url in (purchased.download_url, result.purchased.download_url)]
    receipt_copy, result_copy = pickle.loads(pickle.dumps(purchased)), pickle.loads(pickle.dumps(outcome)).result
    assert (receipt_copy.export.id, result_copy.purchased.export.id) == (purchased.export.id, result.quote.id)
    shown = [
        repr([purchased, purchased.download_url, outcome, outcome.result.purchased.download_url, report]),
        repr([event_fields(event) for event in events]),
        str(report.to_json()),
        report._repr_html_(),
        caplog.text,
        *((tmp_path / f"journal{suffix}").read_bytes().decode("latin-1") for suffix in ("", ".rows", ".lock")),
        pickle.dumps([purchased, outcome, result, receipt_copy, result_copy]).decode("latin-1"),
        receipt_copy.download_url,
        result_copy.purchased.download_url,
    ]
    assert all(signatures)
    assert [text for text in shown if any(signature in text for signature in signatures)] == []


async def test_a_downloads_receipt_is_pickled_without_the_url(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        receipt = await export_csv(client, await seed_audience(sandbox), tmp_path / "people.csv")
    copied = pickle.loads(pickle.dumps(receipt))
    assert (copied.path, copied.size_bytes, copied.sha256) == (receipt.path, receipt.size_bytes, receipt.sha256)
    assert receipt.export.download_url is not None
    assert receipt.export.download_url.rpartition("=")[2].encode() not in pickle.dumps(receipt)


async def test_a_job_hands_over_the_url():
    async with sandbox_and_client() as (sandbox, client):
        result = await run_job(client, make_purchase_job())
        assert result.receipt is None
        assert result.purchased is not None
        assert result.quote == result.purchased.export
        assert (await fetch(result.purchased.download_url))[0] == 200
        assert (sandbox.counts().purchases, sandbox.log.count(DOWNLOAD)) == (1, 1)


async def test_a_batch_purchases_each_export_once_whether_it_is_downloaded_or_not(tmp_path: Path):
    jobs = [make_purchase_job(number) for number in range(5)]
    async with sandbox_and_client() as (sandbox, client):
        for destination in (None, None, tmp_path, None):
            step = [attrs.evolve(job.export, destination=destination and destination / job.key) for job in jobs]
            planned = [attrs.evolve(job, export=export) for job, export in zip(jobs, step, strict=True)]
            async with start_batch(client, planned, journal=tmp_path / "journal") as batch:
                outcomes = [outcome async for outcome in batch]
            assert [outcome.error for outcome in outcomes] == [None] * 5
            results = [outcome.result for outcome in outcomes if outcome.result is not None]
            assert [result.receipt is None for result in results] == [destination is None] * 5
            for result in results:
                assert result.purchased is None or (await fetch(result.purchased.download_url))[0] == 200
        assert sandbox.counts().purchases == 5


async def test_two_jobs_without_a_destination_do_not_conflict():
    async with sandbox_and_client() as (_, client):
        report = await run_batch(client, [make_purchase_job(1), make_purchase_job(2)])
    assert (report.done, report.failed) == (2, 0)


async def test_a_step_needs_a_destination_or_none():
    with pytest.raises(TypeError, match="destination"):
        ExportStep()  # type: ignore[call-arg]


async def test_where_field_types_are_not_shown_a_purchased_export_is_reused_only_with_permission():
    async with Sandbox(lite=True, dialect=Dialect(shows_field_types=False)) as sandbox, open_client(sandbox) as client:
        audience_id = await seed_audience(sandbox)
        first = await purchase(client, audience_id)
        again = await purchase(client, audience_id)
        async with open_client(sandbox) as other:
            third = await purchase(other, audience_id, reuse_purchased=True)
        assert first.export.id == again.export.id == third.export.id
        assert sandbox.counts().purchases == 1
