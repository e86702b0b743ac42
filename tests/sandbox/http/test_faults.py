from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import hypothesis.strategies as st
import pytest
from hypothesis import given
from yarl import URL

from indigo_async.sandbox import Fault, FaultKind, Faults
from indigo_async.sandbox.faults import RequestTarget
from tests.support.sandbox_http import SandboxApi, open_api

UPLOAD = {"customerId": "1", "url": "http://127.0.0.1/people.csv"}


async def upload(api: SandboxApi) -> Any:
    return await api.post("/upload_csv", **UPLOAD)


def struck(faults: Faults) -> asyncio.Event:
    """Set when the next fault strikes."""
    event, take = asyncio.Event(), faults.trigger

    def watched(subject: RequestTarget) -> Fault | None:
        event.set()
        return take(subject)

    faults.trigger = watched
    return event


@pytest.mark.parametrize(
    ("kind", "made"), [(FaultKind.DISCONNECT_BEFORE, 0), (FaultKind.DISCONNECT_AFTER, 1), (FaultKind.TRUNCATED_BODY, 1)]
)
async def test_a_disconnect_happens_before_or_after_the_work(api: SandboxApi, kind: FaultKind, made: int):
    api.sandbox.faults.add(Fault(kind=kind))
    with pytest.raises(aiohttp.ClientError):
        await upload(api)
    assert sum(api.sandbox.counts().audiences.values()) == made
    assert api.sandbox.log.count("POST /upload_csv", fault=kind, carried_out=bool(made)) == 1
    assert (await upload(api)).status == 200


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("kind", "made"), [(FaultKind.ERROR_BEFORE, 0), (FaultKind.ERROR_AFTER, 1)])
async def test_an_error_may_come_before_or_after_the_work(api: SandboxApi, kind: FaultKind, made: int, status: int):
    api.sandbox.faults.add(Fault(kind=kind, status=status))
    answer = await upload(api)
    assert (answer.status, set(answer.body)) == (status, {"error", "errorType"})
    assert sum(api.sandbox.counts().audiences.values()) == made
    assert api.sandbox.log.count("POST /upload_csv", status=status, carried_out=bool(made)) == 1


@pytest.mark.parametrize(("kind", "made"), [(FaultKind.HTML_BEFORE, 0), (FaultKind.HTML_AFTER, 1)])
async def test_html_replaces_json(api: SandboxApi, kind: FaultKind, made: int):
    api.sandbox.faults.add(Fault(kind=kind))
    answer = await upload(api)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<!DOCTYPE html>")
    assert sum(api.sandbox.counts().audiences.values()) == made


async def test_retry_after_is_in_seconds_or_a_date(api: SandboxApi):
    for as_date in (False, True):
        api.sandbox.faults.add(Fault(kind=FaultKind.RATE_LIMITED, retry_after=30, retry_after_as_date=as_date))
    seconds, date = (await upload(api)), (await upload(api))
    assert (seconds.status, seconds.headers["Retry-After"]) == (429, "30")
    wait = parsedate_to_datetime(date.headers["Retry-After"]) - datetime.now(UTC)
    assert 20 < wait.total_seconds() <= 30
    assert not api.sandbox.counts().audiences


@pytest.mark.parametrize("kind", [FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER])
async def test_a_slow_response_arrives(api: SandboxApi, kind: FaultKind):
    api.sandbox.faults.add(Fault(kind=kind, delay=0.01))
    assert (await upload(api)).status == 200
    assert api.sandbox.log.count(fault=kind, carried_out=True) == 1


@pytest.mark.parametrize(("kind", "made"), [(FaultKind.DELAY_BEFORE, 0), (FaultKind.DELAY_AFTER, 1)])
async def test_closing_does_not_wait_for_slow_responses(kind: FaultKind, made: int):
    async with open_api() as api:
        api.sandbox.faults.add(Fault(kind=kind, delay=60))
        is_struck = struck(api.sandbox.faults)
        request = asyncio.ensure_future(upload(api))
        await is_struck.wait()
        assert sum(api.sandbox.counts().audiences.values()) == made
    with pytest.raises(aiohttp.ClientError):
        await request


async def test_unknown_statuses_replace_every_status_of_a_row(api: SandboxApi):
    audience_id = await api.matched()
    await api.preview(audience_id)
    api.sandbox.faults.add(Fault(kind=FaultKind.UNKNOWN_STATUS, times=2))
    row, (listed,) = await api.audience(audience_id), (await api.get("/audiences")).body
    known = {"PROCESSING", "ACTIVE", "READY_FOR_COLUMN_SELECTION", "REQUIRES_PAYMENT"}
    assert row == listed
    assert not known & {row["status"], row["uploadedAudienceCsv"]["status"], row["csvExports"][0]["status"]}
    assert (await api.audience(audience_id))["status"] == "ACTIVE"


async def test_rows_and_fields_can_be_missing(api: SandboxApi):
    first, second = await api.sandbox.seed_audiences(2, "1")
    api.sandbox.faults.add(
        Fault(kind=FaultKind.ROW_MISSING, audience_id=first),
        Fault(kind=FaultKind.FIELD_MISSING, audience_name=f"Seeded {second}", field="uploadedAudienceCsv"),
        Fault(kind=FaultKind.ROW_MISSING),
    )
    lists = [(await api.get("/audiences", customerId="1")).body for _ in range(4)]
    assert [[row["id"] for row in rows] for rows in lists] == [[second], [first, second], [], [first, second]]
    assert ["uploadedAudienceCsv" in row for row in lists[1]] == [True, False]


async def test_a_closed_connection_was_not_announced(api: SandboxApi):
    announced = set((await upload(api)).headers)
    api.sandbox.faults.add(Fault(kind=FaultKind.CLOSED_AFTER_RESPONSE))
    url = URL(api.sandbox.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        f"GET /api/v1/audiences HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.sandbox.token}\r\n\r\n".encode()
    )
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert {line.partition(":")[0].lower() for line in lines[1:]} == {name.lower() for name in announced}
    assert len(json.loads(body)) == 1


async def test_a_stale_connection_breaks_at_the_next_request(api: SandboxApi):
    api.sandbox.faults.add(Fault(kind=FaultKind.STALE_CONNECTION))
    assert (await upload(api)).status == 200
    with pytest.raises(aiohttp.ClientError):
        await upload(api)
    assert api.sandbox.log.entries[-1].status is None
    assert api.sandbox.log.count("POST /upload_csv", fault=FaultKind.STALE_CONNECTION, carried_out=False) == 1
    assert (await upload(api)).status == 200


async def test_a_stage_fails_at_its_end(api: SandboxApi):
    api.sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /upload_csv"))
    stub = (await upload(api)).body
    assert (await api.audience(stub["id"]))["uploadedAudienceCsv"]["status"] == "PROCESSING"
    await api.advance_time(20)
    failed = await api.audience(stub["id"])
    assert (failed["status"], failed["uploadedAudienceCsv"]["status"]) == ("FAILED", "FAILED")
    assert failed["uploadedAudienceCsv"]["failureReason"] == "FailedOnDemand"


async def test_matches_lookalikes_and_exports_fail_on_demand(api: SandboxApi):
    api.sandbox.faults.add(
        Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv"),
        Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /create_lookalike_audience"),
        Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /purchase_csv_export"),
    )
    assert (await api.audience(await api.matched(name="Lost")))["status"] == "FAILED"
    base = await api.matched()
    wider = await api.post_ok(
        "/create_lookalike_audience", baseAudienceId=base, customerId="1", size=1, audienceName="Wider"
    )
    await api.advance_time()
    assert (await api.audience(wider["id"]))["status"] == "FAILED"
    export = await api.preview(base)
    bought = await api.post_ok("/purchase_csv_export", exportId=export["id"], customerId="1")
    assert bought["status"] == "FAILED"
    assert "downloadUrl" not in bought


async def test_a_fault_strikes_matching_requests_only(api: SandboxApi):
    first, second = await api.matched(name="First"), await api.matched(name="Second")
    export = await api.preview(second)
    api.sandbox.faults.add(
        Fault(kind=FaultKind.ERROR_BEFORE, status=500, endpoint="GET /audience", audience_id=first),
        Fault(kind=FaultKind.ERROR_BEFORE, status=502, customer_id="2"),
        Fault(kind=FaultKind.ERROR_BEFORE, status=504, audience_name="Second", endpoint="POST /purchase_csv_export"),
    )
    one, two, listed, other, purchase = (
        await api.get("/audience", audienceId=first, customerId="1"),
        await api.get("/audience", audienceId=second, customerId="1"),
        await api.get("/audiences", customerId="1"),
        await api.get("/audiences", customerId="2"),
        await api.post("/purchase_csv_export", exportId=export["id"], customerId="1"),
    )
    assert [answer.status for answer in (one, two, listed, other, purchase)] == [500, 200, 200, 502, 504]
    assert not api.sandbox.faults


async def test_connections_are_refused_until_the_block_ends(api: SandboxApi):
    url = api.sandbox.base_url
    await upload(api)
    async with api.sandbox.refuse_connections():
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectionError):
                await upload(api)
    assert api.sandbox.base_url == url
    assert (await upload(api)).status == 200
    assert api.sandbox.log.count("POST /upload_csv") == 2


async def test_refusing_connections_breaks_pending_requests(api: SandboxApi):
    api.sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, delay=60))
    is_struck = struck(api.sandbox.faults)
    request = asyncio.ensure_future(upload(api))
    await is_struck.wait()
    async with api.sandbox.refuse_connections():
        with pytest.raises(aiohttp.ClientError):
            await request


@given(
    st.lists(
        st.builds(
            Fault,
            kind=st.just(FaultKind.DISCONNECT_BEFORE),
            times=st.none() | st.integers(1, 3),
            skip_first=st.integers(0, 3),
            endpoint=st.sampled_from([None, "a", "b"]),
        ),
        max_size=4,
    ),
    st.lists(st.sampled_from(["a", "b"]), max_size=30),
)
def test_faults_strike_in_order_with_skips_and_counts(planned: list[Fault], requests: list[str]):
    faults = Faults(seed=0)
    faults.add(*planned)
    met = [0] * len(planned)
    struck = [0] * len(planned)
    for endpoint in requests:
        expected = None
        for index, fault in enumerate(planned):
            is_spent = fault.times is not None and struck[index] >= fault.times
            if expected is None and not is_spent and fault.endpoint in (None, endpoint):
                met[index] += 1
                if met[index] > fault.skip_first:
                    struck[index] += 1
                    expected = fault
        assert faults.trigger(RequestTarget(endpoint=endpoint)) is expected


@given(st.integers(0, 1 << 32))
def test_probabilities_are_deterministic_for_a_seed(seed: int):
    def strikes() -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(kind=FaultKind.DISCONNECT_BEFORE, times=None, probability=0.5))
        return [faults.trigger(RequestTarget(endpoint="a")) is not None for _ in range(200)]

    first, second = strikes(), strikes()
    assert first == second
    assert 50 < sum(first) < 150


@pytest.mark.parametrize("settings", [{"delay": -1}, {"delay": 61}, {"status": 200}, {"status": 600}])
def test_invalid_faults_are_rejected(settings: dict[str, Any]):
    with pytest.raises(ValueError, match="must be"):
        Fault(kind=FaultKind.DELAY_AFTER, **settings)
