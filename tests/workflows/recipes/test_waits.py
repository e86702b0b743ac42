"""Waiting for one audience or export: until it is done, fails, or the deadline passes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from indigo_async import workflows
from indigo_async._polling import Poller, RecordPart
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async.client import IndigoClient
from indigo_async.errors import AudienceFailedError, AuthenticationError, NotFoundError, WaitTimeoutError
from indigo_async.events import Stage
from indigo_async.models import Audience, CsvExport
from indigo_async.sandbox import Dialect, Fault, FaultKind, ManualClock
from indigo_async.workflows.recipes.context import NullJobLog, RecipeContext, recipe_scope
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.recipes.waits import wait_active
from tests.support.recipes import COLUMNS, CSV, CUSTOMER, MATCH, PREVIEW, PURCHASE, UPLOAD, seed_audience
from tests.support.servers.scripted import (
    respond_with,
    respond_with_json,
    sandbox_and_client,
    server_and_client,
    wait_until,
)

GET = "GET /audience"


async def uploaded(client: IndigoClient) -> Audience:
    return await client.upload_csv(customer_id=CUSTOMER, url=CSV)


async def matching(client: IndigoClient) -> Audience:
    stub = await uploaded(client)
    await workflows.wait_for_column_selection(client, stub, customer_id=CUSTOMER)
    return await client.match_uploaded_csv(
        audience_id=stub.id, customer_id=CUSTOMER, audience_name="Donors", column_selections=COLUMNS
    )


async def for_columns(client: IndigoClient, audience: Audience, **options: Any) -> Audience:
    return await workflows.wait_for_column_selection(client, audience, customer_id=CUSTOMER, **options)


async def for_active(client: IndigoClient, audience: Audience, **options: Any) -> Audience:
    return await workflows.wait_until_active(client, audience, customer_id=CUSTOMER, **options)


BOTH = pytest.mark.parametrize(("begin", "wait"), [(uploaded, for_columns), (matching, for_active)])


async def test_a_csv_is_waited_for_until_its_columns_can_be_selected():
    async with sandbox_and_client() as (_, client):
        ready = await for_columns(client, await uploaded(client))
    assert ready.uploaded_audience_csv.status == "READY_FOR_COLUMN_SELECTION"


async def test_a_match_is_waited_for_until_the_audience_is_active():
    async with sandbox_and_client() as (_, client):
        assert (await for_active(client, await matching(client))).status == "ACTIVE"


async def test_a_finished_audience_is_seen_at_the_first_status_check():
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        for wait in (workflows.wait_until_active, workflows.wait_for_column_selection):
            sandbox.log.clear()
            assert (await wait(client, audience_id, customer_id=CUSTOMER)).id == audience_id
            assert len(sandbox.log.entries) == 1


async def test_nothing_ends_a_wait_but_the_status_that_it_waits_for():
    clock = ManualClock()
    async with sandbox_and_client(clock=clock) as (sandbox, client):
        stub = await uploaded(client)
        await sandbox.wait_until_idle()
        async with anyio.create_task_group() as group:
            waiting = asyncio.create_task(for_columns(client, stub))
            await wait_until(lambda: client.transport.requests[GET] >= 3)
            assert not waiting.done()
            clock.advance(1_000)
            await waiting
            group.cancel_scope.cancel()


@BOTH
async def test_an_undocumented_status_means_in_progress(begin, wait):
    async with sandbox_and_client() as (sandbox, client):
        audience = await begin(client)
        sandbox.faults.add(Fault(kind=FaultKind.UNKNOWN_STATUS, times=3))
        await wait(client, audience)
        assert sandbox.log.count(fault=FaultKind.UNKNOWN_STATUS) == 3


@pytest.mark.parametrize("status", ["active", "Active", "ACTIVE"])
async def test_the_case_of_a_status_makes_no_difference(status: str):
    async with server_and_client(respond_with_json({"id": "aud-1", "status": status})) as (_, client):
        assert (await workflows.wait_until_active(client, "aud-1", customer_id=None)).status == "ACTIVE"


@pytest.mark.parametrize("status", ["FAILED", "MATCH_ERROR", "rejected", "CANCELLED", "EXPIRED", "DELETED"])
async def test_a_status_that_plainly_says_failure_ends_the_wait(status: str):
    async with server_and_client(respond_with_json({"id": "aud-1", "status": status})) as (_, client):
        with pytest.raises(AudienceFailedError, match=f"audience aud-1 failed: its status is '{status}'") as caught:
            await workflows.wait_until_active(client, "aud-1", customer_id=None)
    assert caught.value.audience.status == status


async def test_a_failed_csv_ends_the_wait_with_advice():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=UPLOAD))
        stub = await uploaded(client)
        with pytest.raises(AudienceFailedError, match="a CSV with a header row, at a URL that the server can fetch"):
            await for_columns(client, stub)


async def test_a_match_that_failed_ends_the_wait():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=MATCH))
        audience = await matching(client)
        with pytest.raises(AudienceFailedError):
            await for_active(client, audience)


TRANSIENT = [
    Fault(kind=FaultKind.DISCONNECT_BEFORE, endpoint=GET, times=7),
    Fault(kind=FaultKind.TRUNCATED_BODY, endpoint=GET, times=7),
    Fault(kind=FaultKind.HTML_BEFORE, endpoint=GET, times=7),
    Fault(kind=FaultKind.ERROR_BEFORE, endpoint=GET, status=503, times=7),
]


@BOTH
@pytest.mark.parametrize("fault", TRANSIENT, ids=lambda fault: fault.kind)
async def test_a_failed_status_check_does_not_end_the_wait(begin, wait, fault: Fault):
    async with sandbox_and_client() as (sandbox, client):
        audience = await begin(client)
        sandbox.faults.add(fault)
        await wait(client, audience)


@BOTH
async def test_a_deadline_ends_the_wait_with_the_last_that_was_seen(begin, wait):
    clock = ManualClock()
    async with sandbox_and_client(clock=clock) as (sandbox, client):
        beginning = asyncio.create_task(begin(client))
        await wait_until(lambda: sandbox.log.count(UPLOAD) == 1)
        await sandbox.wait_until_idle()
        if begin is matching:
            clock.advance(1_000)
        audience = await beginning
        with pytest.raises(WaitTimeoutError, match=r"not done after 0\.1 s") as caught:
            await wait(client, audience, timeout=0.1)
    assert caught.value.audience.id == audience.id
    assert caught.value.audience.status == "PROCESSING"


@pytest.mark.parametrize("wait", [for_columns, for_active])
async def test_an_audience_that_is_not_there_ends_the_wait(wait: Callable[..., Awaitable[Audience]]):
    async with sandbox_and_client() as (_, client):
        with pytest.raises(NotFoundError):
            await wait(client, Audience(id="aud-77"))


async def test_a_token_that_is_no_longer_good_ends_the_wait():
    async with sandbox_and_client() as (sandbox, client):
        stub = await uploaded(client)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=GET, status=401, times=None))
        with pytest.raises(AuthenticationError):
            await for_columns(client, stub)


@BOTH
async def test_a_canceled_wait_leaves_the_server_working(begin, wait):
    clock = ManualClock()
    async with sandbox_and_client(clock=clock) as (sandbox, client):
        beginning = asyncio.create_task(begin(client))
        await wait_until(lambda: sandbox.log.count(UPLOAD) == 1)
        await sandbox.wait_until_idle()
        if begin is matching:
            clock.advance(1_000)
        audience = await beginning
        waiting = asyncio.create_task(wait(client, audience))
        await wait_until(lambda: client.transport.requests[GET] >= 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        clock.advance(1_000)
        await sandbox.wait_until_idle()
        assert (await wait(client, audience)).id == audience.id


async def previewed(client: IndigoClient, audience_id: object, *types: str) -> CsvExport:
    return await client.create_preview_csv_export(
        audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=types
    )


async def test_a_preview_is_waited_for_until_it_is_for_sale():
    async with sandbox_and_client(export_flow="asynchronous") as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        preview = await previewed(client, audience_id, "phone")
        assert preview.status == "IN_PROGRESS"
        priced = await workflows.wait_for_export(client, preview, audience=audience_id, customer_id=CUSTOMER)
    assert (priced.id, priced.status, priced.cost_cents) == (preview.id, "REQUIRES_PAYMENT", 6_000)


async def test_a_purchase_is_waited_for_until_it_can_be_downloaded():
    async with sandbox_and_client(export_flow="asynchronous") as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        preview = await previewed(client, audience_id, "phone")
        await workflows.wait_for_export(client, preview, audience=audience_id, customer_id=CUSTOMER)
        purchased = await client.purchase_csv_export(export_id=preview.id, customer_id=CUSTOMER)
        assert purchased.download_url is None
        ready = await workflows.wait_for_export(
            client, purchased.id, audience=audience_id, customer_id=CUSTOMER, purchased=True
        )
    assert ready.download_url is not None


async def test_a_purchase_still_shown_for_sale_is_waited_for():
    """The response to a purchase may be ahead of the audience's record."""
    behind = {"id": "aud-1", "csvExports": [{"id": 7, "status": "REQUIRES_PAYMENT", "cost": 5}]}
    ahead = {"id": "aud-1", "csvExports": [{"id": 7, "status": "ACTIVE", "downloadUrl": "https://example.org/x.csv"}]}
    async with server_and_client(respond_with_json(behind), respond_with_json(behind), respond_with_json(ahead)) as (
        _,
        client,
    ):
        ready = await workflows.wait_for_export(client, 7, audience="aud-1", customer_id=None, purchased=True)
    assert ready.download_url == "https://example.org/x.csv"


@pytest.mark.parametrize("ids", ["string", "integer"])
async def test_an_export_that_is_not_shown_yet_is_waited_for(ids):
    async with sandbox_and_client(dialect=Dialect(id_type=ids)) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        preview = await previewed(client, audience_id)
        sandbox.faults.add(Fault(kind=FaultKind.FIELD_MISSING, field="csvExports", times=3))
        found = await workflows.wait_for_export(client, preview.id, audience=audience_id, customer_id=CUSTOMER)
    assert found.id == preview.id


@pytest.mark.parametrize(("failing", "purchased"), [(PREVIEW, False), (PURCHASE, True)])
async def test_an_export_that_failed_ends_the_wait(failing: str, *, purchased: bool):
    async with sandbox_and_client(export_flow="asynchronous") as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=failing))
        preview = await previewed(client, audience_id, *(["phone"] if purchased else []))
        if purchased:
            await workflows.wait_for_export(client, preview, audience=audience_id, customer_id=CUSTOMER)
            await client.purchase_csv_export(export_id=preview.id, customer_id=CUSTOMER)
        with pytest.raises(AudienceFailedError, match=f"export {preview.id} of audience {audience_id} failed"):
            await workflows.wait_for_export(
                client, preview, audience=audience_id, customer_id=CUSTOMER, purchased=purchased
            )


@pytest.mark.parametrize(("purchased", "stage"), [(False, "preview"), (True, "purchase")])
async def test_a_deadline_names_the_stage_of_the_export(stage: str, *, purchased: bool):
    async with sandbox_and_client(export_flow="asynchronous", clock=ManualClock()) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        preview = await previewed(client, audience_id)
        with pytest.raises(WaitTimeoutError, match=f"^{stage}: ") as caught:
            await workflows.wait_for_export(
                client, preview, audience=audience_id, customer_id=CUSTOMER, purchased=purchased, timeout=0.1
            )
    assert caught.value.stage == stage


# What a deadline says.

STILL = respond_with_json({"id": "aud-1", "status": "PROCESSING"})
BROKEN = respond_with_json({"error": "Something went\r\nwrong", "errorType": "InternalError"}, status=503)
WITHOUT_ID = respond_with_json({"status": "ACTIVE"})
NO_QUOTA = respond_with_json({"error": "Quota used up", "errorType": "QUOTA_EXCEEDED"}, status=429)
ODD_STATUS = respond_with_json({"id": "aud-1", "status": "see https://a.example/x?sig=secret\r\n" + "x" * 1_000})
FAILED = r"the last (status check failed|\d+ status checks failed, the last) with"


@pytest.mark.parametrize(
    ("responses", "description"),
    [
        ([STILL], "the last status was 'PROCESSING'"),
        ([respond_with_json({"id": "aud-1"})], "the server showed no status"),
        ([BROKEN], rf"{FAILED} GET /audience: Something went wrong \(503, InternalError\)"),
        ([STILL, BROKEN], rf"{FAILED} .* \(503, InternalError\); before that, the last status was 'PROCESSING'"),
        ([WITHOUT_ID], rf"{FAILED} GET /audience: .* at \$.*"),
        ([NO_QUOTA], rf"{FAILED} GET /audience: Quota used up \(429, QUOTA_EXCEEDED\)"),
        ([respond_with(503, b"<html>", content_type="text/html")], rf"{FAILED} .* \(503\)"),
        ([ODD_STATUS], r"the last status was 'see https://a\.example/x\?<hidden> x{1,100}'"),
    ],
)
async def test_a_deadline_describes_the_last_status_checks(responses, description):
    async with server_and_client(*responses) as (_, client):
        with pytest.raises(WaitTimeoutError) as caught:
            await workflows.wait_until_active(client, "aud-1", customer_id=None, timeout=0.25)
    server = r"the server (keeps working|has not responded for 0 s \(HTTP 503\))"
    next_step = f"{server}; workflows.wait_until_active continues waiting for audience aud-1"
    expected = rf"\w+: not done after 0\.25 s; {description}; {next_step}"
    assert re.fullmatch(expected, str(caught.value))


async def test_a_deadline_says_that_no_status_check_got_a_response():
    async def never(_: object) -> Any:
        await anyio.sleep_forever()

    async with server_and_client(never) as (_, client):
        with pytest.raises(WaitTimeoutError, match="no status check got a response; the server keeps working"):
            await workflows.wait_until_active(client, "aud-1", customer_id=None, timeout=0.1)


async def test_a_wait_does_not_describe_an_earlier_one():
    async with server_and_client(STILL, respond_with_json({"id": "aud-1", "status": "ACTIVE"})) as (_, client):
        run = RecipeContext(client, None, "Donors", NameIndex(client))
        with recipe_scope(run, "test", SharedTimeout(5)):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await wait_active(run, "aud-1")
            assert run.last_poll is not None
            await wait_active(run, "aud-1")
    assert run.last_poll is None


async def test_waits_know_their_stage_and_their_deadline(monkeypatch: pytest.MonkeyPatch):
    waits: list[tuple[object, float]] = []
    original = Poller.wait_until

    async def spy(poller: Poller, *arguments: Any, kind: object, deadline: float, **options: Any) -> Any:
        waits.append((kind, deadline - asyncio.get_running_loop().time()))
        return await original(poller, *arguments, kind=kind, deadline=deadline, **options)

    monkeypatch.setattr(Poller, "wait_until", spy)
    async with server_and_client(respond_with_json({"id": "aud-1", "status": "ACTIVE"})) as (_, client):
        run = RecipeContext(client, None, "Donors", NameIndex(client), current_stage=Stage.LOOKALIKE)
        with recipe_scope(run, "test", SharedTimeout(500)):
            async with run.time_limit(60):
                await wait_active(run, "aud-1")
            async with run.time_limit(None):
                await wait_active(run, "aud-1")
    assert [kind for kind, _ in waits] == [(Stage.LOOKALIKE, RecordPart.STATUS)] * 2
    assert [left for _, left in waits] == pytest.approx([60, 500], abs=10)


async def test_a_time_limit_ends_its_block_alone():
    async with server_and_client(STILL) as (_, client):
        run = RecipeContext(client, None, "Donors", NameIndex(client))
        with pytest.raises(TimeoutError):
            async with run.time_limit(0):
                await wait_active(run, "aud-1")
    assert run.deadline is None


class RecordingJobLog(NullJobLog):
    """A memory with a purchase in it: its result, or only the intent."""

    def __init__(self, *, result: bool, intent: bool) -> None:
        self.recorded = {} if result else None
        self.intent = {} if intent else None

    def result(self, stage):
        return self.recorded if stage is Stage.PURCHASE else None

    def open_intent(self, stage):
        return self.intent if stage is Stage.PURCHASE else None


BOUGHT = "workflows.download_export downloads the purchased export"
NOTHING = "nothing was uploaded, and the same call starts again"
FREE = "this call purchased nothing; the same call reuses the preview or creates another one, which is free"
CHECKS = "the same call checks the server before it purchases anything"


@pytest.mark.parametrize(
    ("stage", "memory", "description"),
    [
        (Stage.MATCH, NullJobLog(), NOTHING),
        (Stage.MATCH, RecordingJobLog(result=True, intent=False), NOTHING),
        (Stage.PREVIEW, NullJobLog(), FREE),
        (Stage.PURCHASE, NullJobLog(), CHECKS),
        (Stage.PURCHASE, RecordingJobLog(result=False, intent=True), CHECKS),
        (Stage.PURCHASE, RecordingJobLog(result=True, intent=True), CHECKS),
        (Stage.PURCHASE, RecordingJobLog(result=True, intent=False), BOUGHT),
        (Stage.DOWNLOAD, NullJobLog(), BOUGHT),
    ],
)
async def test_a_deadline_claims_a_purchase_only_if_it_is_certain(stage, memory, description):
    async with server_and_client(STILL) as (_, client):
        run = RecipeContext(client, None, "Donors", NameIndex(client), job_log=memory, current_stage=stage)
        with pytest.raises(WaitTimeoutError) as caught, recipe_scope(run, "test", SharedTimeout(0.001)):
            await anyio.sleep_forever()
    assert str(caught.value) == f"{stage}: not done after 0.001 s; {description}"


# Lists that do not show what single reads show.


@pytest.mark.parametrize("count", [3, 20])
async def test_lists_that_never_update_stop_no_wait(count: int):
    """Every row of a list has the same status for ever, which says that work goes on."""
    clock = ManualClock()
    async with sandbox_and_client(clock=clock) as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.UNKNOWN_STATUS, endpoint="GET /audiences", times=None))
        stubs = [await uploaded(client) for _ in range(count)]
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(for_columns(client, stub, timeout=30)) for stub in stubs]
            await wait_until(lambda: client.transport.requests[GET] + client.transport.requests["GET /audiences"] >= 9)
            clock.advance(1_000)
        assert {wait.result().id for wait in waits} == {stub.id for stub in stubs}
        assert (sandbox.log.count("GET /audiences") > 0) is (count == 20)
