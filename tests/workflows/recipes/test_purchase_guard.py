"""The guard around every purchase: what it reads before it sends, and what it believes afterward."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import traceback
from pathlib import Path
from types import CoroutineType
from typing import Any

import pytest

from indigo_async._redaction import SecretText
from indigo_async._transport.retry import Endpoint
from indigo_async._transport.transport import Transport
from indigo_async.client import IndigoClient, send_purchase
from indigo_async.errors import ApiError, EmptyAudienceError
from indigo_async.events import Event
from indigo_async.models import CsvExport
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.workflows import ExportPurchased
from indigo_async.workflows.recipes import purchase
from tests.support.recipes import CUSTOMER, PREVIEW, PURCHASE, count_posts, export_csv, seed_audience
from tests.support.servers.scripted import QUICK_RETRY, open_client, sandbox_and_client

PHONES = 1_500 * 4
READ = "GET /audience"

client_errors = pytest.mark.parametrize("status", [400, 402, 404, 408, 409, 418, 425])


@client_errors
@pytest.mark.parametrize("flow", ["synchronous", "asynchronous"])
async def test_a_client_error_after_the_purchase_is_no_proof_that_nothing_happened(flow, status: int, tmp_path: Path):
    events: list[Event] = []
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_AFTER, endpoint=PURCHASE, status=status))
        receipt = await export_csv(client, await seed_audience(sandbox), tmp_path / "x.csv", on_event=events.append)
        assert sandbox.counts().charged_cents == receipt.export.cost_cents == PHONES
        assert count_posts(sandbox) == {PREVIEW: 1, PURCHASE: 1}
    assert [event.cost_cents for event in events if isinstance(event, ExportPurchased)] == [PHONES]


@pytest.mark.parametrize("status", [400, 402, 404, 418])
async def test_a_refusal_that_the_record_confirms_is_reported_at_once(status: int, tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=PURCHASE, status=status))
        with pytest.raises(ApiError, match=str(status)):
            await export_csv(client, audience_id, tmp_path / "x.csv")
        assert (sandbox.log.count(PURCHASE), sandbox.counts().purchases) == (1, 0)
        await export_csv(client, audience_id, tmp_path / "x.csv")
        assert count_posts(sandbox) == {PREVIEW: 1, PURCHASE: 2}


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
async def test_before_a_purchase_is_sent_again_the_record_is_read(status: int, tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        fault = Fault(kind=FaultKind.ERROR_BEFORE, endpoint=PURCHASE, status=status)
        if status == 429:
            fault = Fault(kind=FaultKind.RATE_LIMITED, endpoint=PURCHASE, retry_after=0)
        sandbox.faults.add(fault)
        await export_csv(client, audience_id, tmp_path / "x.csv")
        sent = [entry.endpoint for entry in sandbox.log.entries if entry.endpoint in {READ, PURCHASE}]
        assert sent == [READ, PURCHASE, READ, PURCHASE]
        assert sandbox.counts().purchases == 1


async def test_after_a_new_token_the_record_is_read_before_the_purchase_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with sandbox_and_client() as (sandbox, _):
        audience_id = await seed_audience(sandbox)

        async def token() -> str:
            return sandbox.token

        async with IndigoClient(token, base_url=sandbox.base_url, retry=QUICK_RETRY, poll_interval=0.005) as client:

            async def send_with_an_old_token(*arguments: Any) -> CsvExport:
                if sandbox.log.count(PURCHASE) == 0:
                    client.transport._credentials._set_token(SecretText("old"))
                return await send_purchase(*arguments)

            monkeypatch.setattr(purchase, "send_purchase", send_with_an_old_token)
            await export_csv(client, audience_id, tmp_path / "x.csv")
        sent = [(entry.endpoint, entry.status) for entry in sandbox.log.entries if entry.endpoint in {READ, PURCHASE}]
        assert sent == [(READ, 200), (PURCHASE, 401), (READ, 200), (PURCHASE, 200)]


def awaited_functions(task: asyncio.Task[Any]) -> list[str]:
    """The functions of the package in which a task waits, outermost first."""
    names: list[str] = []
    coroutine: Any = task.get_coro()
    while isinstance(coroutine, CoroutineType):
        if f"{os.sep}indigo_async{os.sep}" in coroutine.cr_code.co_filename:
            names.append(coroutine.cr_code.co_qualname)
        coroutine = coroutine.cr_await
    return names


async def test_from_the_recipe_to_the_transport_a_purchase_passes_through_few_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path: list[str] = []
    call = Transport.call

    async def record_path(self: Transport, endpoint: Endpoint, **options: Any) -> Any:
        if endpoint.name == PURCHASE:
            frames = [frame for frame, _ in traceback.walk_stack(sys._getframe(1))]
            sending = [frame.f_code for frame in reversed(frames) if frame.f_code.co_flags & inspect.CO_COROUTINE]
            path.extend(awaited_functions(recipe))
            path.extend(code.co_qualname for code in sending)
        return await call(self, endpoint, **options)

    monkeypatch.setattr(Transport, "call", record_path)
    async with sandbox_and_client() as (sandbox, client):
        recipe = asyncio.create_task(export_csv(client, await seed_audience(sandbox), tmp_path / "x.csv"))
        await recipe
    assert path == [
        "export_audience",
        "ensure_exported",
        "ensure_purchased",
        "purchase_export",
        "_Purchase.run",
        "_Purchase._attempt",
        "send_purchase",
    ], "at most nine, Transport.call included"


@pytest.mark.parametrize("clients", [1, 2])
async def test_a_double_click_purchases_once(clients: int, tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client), open_client(sandbox) as other:
        audience_id = await seed_audience(sandbox)
        buyers = [client, client if clients == 1 else other]
        receipts = await asyncio.gather(
            *(export_csv(buyer, audience_id, tmp_path / f"{number}.csv") for number, buyer in enumerate(buyers))
        )
        assert len({receipt.export.id for receipt in receipts}) == 1
        assert sandbox.counts().purchases == 1
        assert count_posts(sandbox) == {PREVIEW: 1, PURCHASE: 1}


async def test_exports_of_different_audiences_do_not_wait_for_each_other(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        slow, quick = await sandbox.seed_audiences(2, CUSTOMER, size=1_500)
        sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=PREVIEW, audience_id=slow, delay=30.0))
        waiting = asyncio.create_task(export_csv(client, slow, tmp_path / "slow.csv"))
        await export_csv(client, quick, tmp_path / "quick.csv")
        waiting.cancel()
        await asyncio.wait([waiting])
    assert waiting.cancelled()


@pytest.mark.parametrize("field_types", [["phone"], []])
async def test_an_empty_audience_is_exported_only_with_permission(field_types: list[str], tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        (empty,) = await sandbox.seed_audiences(1, CUSTOMER, size=0)
        with pytest.raises(EmptyAudienceError, match=f"audience {empty} has 0 people; nothing was purchased"):
            await export_csv(client, empty, tmp_path / "x.csv", optional_field_types=field_types)
        assert count_posts(sandbox) == {PREVIEW: 1}
        await export_csv(client, empty, tmp_path / "x.csv", optional_field_types=field_types, allow_empty=True)
        assert sandbox.counts().purchases == 1
        await export_csv(client, empty, tmp_path / "y.csv", optional_field_types=field_types)
        assert sandbox.counts().purchases == 1
