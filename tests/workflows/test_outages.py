"""Outages of a minute and of ten minutes, over real sockets in fast-forward: they cost time, not jobs."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from indigo_async import Audience, IndigoClient, RetryPolicy, workflows
from indigo_async._transport.outage import wait_out_outages
from indigo_async.errors import ConnectionFailedError, ServerError, WaitTimeoutError
from indigo_async.events import Event, OutageEnded, OutageStarted
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import BatchReport, run_batch, start_batch
from tests.support.fast_forward import FastForwardLoop, LoopClock
from tests.support.jobs import COLUMNS, make_jobs

JOBS = 60
CSV = "https://files.example.org/donors.csv"
FAULTS = {
    "503": Fault(kind=FaultKind.ERROR_BEFORE, status=503, times=None),
    "500 although carried out": Fault(kind=FaultKind.ERROR_AFTER, status=500, times=None),
    "reset": Fault(kind=FaultKind.DISCONNECT_BEFORE, times=None),
    "no response": Fault(kind=FaultKind.DELAY_BEFORE, delay=60.0, times=None),
    "a maintenance page": Fault(kind=FaultKind.HTML_BEFORE, times=None),
}


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": FastForwardLoop}


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def open_sandbox() -> AsyncGenerator[Sandbox]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FastForwardLoop)
    await loop.track_anyio_threads()
    async with Sandbox(lite=True, clock=LoopClock(loop)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
async def undisturbed_seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a batch takes without an outage."""
    async with open_sandbox() as sandbox, IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
        folder = tmp_path_factory.mktemp("undisturbed")
        return (await run_batch(client, make_jobs(JOBS, folder), journal=folder / "run.sqlite")).seconds


def break_server(sandbox: Sandbox, kind: str) -> AbstractAsyncContextManager[None]:
    return sandbox.refuse_connections() if kind == "refused" else inject(sandbox, FAULTS[kind])


@asynccontextmanager
async def inject(sandbox: Sandbox, fault: Fault) -> AsyncGenerator[None]:
    sandbox.faults.add(fault)
    try:
        yield
    finally:
        sandbox.faults.clear()


async def run_during_outage(
    sandbox: Sandbox, client: IndigoClient, folder: Path, kind: str, *, start: float, seconds: float
) -> tuple[BatchReport, int]:
    """Run a batch in which the server is down for a while. Also returns how many requests it got in that time."""
    requests = 0

    async def break_for_a_while() -> None:
        nonlocal requests
        await asyncio.sleep(start)
        async with break_server(sandbox, kind):
            before = sum(client.transport.requests.values())
            await asyncio.sleep(seconds)
            requests = sum(client.transport.requests.values()) - before

    async with asyncio.TaskGroup() as group:
        group.create_task(break_for_a_while())
        await asyncio.sleep(0.001)
        report = await run_batch(client, make_jobs(JOBS, folder), journal=folder / "run.sqlite")
    return report, requests


@pytest.mark.parametrize("seconds", [60.0, 600.0])
@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("refused", 0.0),
        ("503", 0.0),
        ("500 although carried out", 0.0),
        ("reset", 0.0),
        ("no response", 0.0),
        *((kind, start) for kind in ("refused", *FAULTS) for start in (0.3, 45.0)),
    ],
)
async def test_an_outage_fails_no_job(
    tmp_path: Path, undisturbed_seconds: float, kind: str, start: float, seconds: float
):
    async with open_sandbox() as sandbox, IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
        report, requests = await run_during_outage(sandbox, client, tmp_path, kind, start=start, seconds=seconds)
        assert (report.done, report.failed) == (JOBS, 0)
        assert sandbox.counts().purchases == JOBS
        # Requests under way may fail, then there is one probe every five seconds.
        assert requests <= 2 * JOBS + 20 + seconds / 4
        # A request without a response takes a minute, and some are sent before the outage is noticed.
        slow = 90.0 if kind == "no response" else 0.0
        assert report.seconds <= undisturbed_seconds + seconds + slow + 4 * client.poll_interval


async def test_everything_goes_on_within_two_poll_intervals(tmp_path: Path):
    async with open_sandbox() as sandbox, IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
        restored_at, requests_at = 0.0, []

        async def break_for_ten_minutes() -> None:
            nonlocal restored_at
            await asyncio.sleep(0.3)
            async with sandbox.refuse_connections():
                await asyncio.sleep(600)
            restored_at = now()

        def note(event: Event) -> None:
            if isinstance(event, workflows.StageFinished) and restored_at:
                requests_at.append(now() - restored_at)

        async with asyncio.TaskGroup() as group:
            group.create_task(break_for_ten_minutes())
            await asyncio.sleep(0)
            await run_batch(client, make_jobs(JOBS, tmp_path), on_event=note)
        assert sorted(requests_at)[JOBS // 2] <= 2 * client.poll_interval


async def test_no_job_is_started_during_an_outage(tmp_path: Path):
    async with open_sandbox() as sandbox, IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
        started = 0

        def jobs():
            nonlocal started
            for job in make_jobs(JOBS, tmp_path):
                started += 1
                yield job

        async with start_batch(client, jobs(), max_in_flight=10) as batch:
            outcomes = aiter(batch)
            await anext(outcomes)
            async with sandbox.refuse_connections():
                await asyncio.sleep(60)
                assert client.transport.outage is not None
                held = started
                await asyncio.sleep(600)
                assert started == held
            async for outcome in outcomes:
                assert outcome.error is None
    assert started == JOBS


@pytest.mark.parametrize("kind", ["503", "reset", "no response", "a maintenance page"])
async def test_a_download_waits_for_a_host_that_answers_nobody(tmp_path: Path, kind: str):
    """The API goes on in the meantime."""
    fault = attrs.evolve(FAULTS[kind], endpoint="GET download")
    async with (
        open_sandbox() as sandbox,
        IndigoClient(sandbox.token, base_url=sandbox.base_url, timeout=20.0) as client,
    ):
        assert (await run_batch(client, make_jobs(1, tmp_path, customer="1"))).done == 1
        sandbox.faults.add(fault)
        batch = asyncio.create_task(run_batch(client, make_jobs(JOBS, tmp_path, customer="2")))
        await asyncio.sleep(1_000)
        assert sandbox.counts().purchases == 1 + JOBS
        assert client.transport.outage is None
        sandbox.faults.clear()
        assert (await batch).failed == 0


async def test_a_download_from_a_host_that_never_answered_fails_within_seconds(tmp_path: Path):
    async with open_sandbox() as sandbox, IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
        sandbox.faults.add(attrs.evolve(FAULTS["503"], endpoint="GET download"))
        report = await run_batch(client, make_jobs(JOBS, tmp_path))
        assert report.failed_by_error == {"DownloadError": JOBS}
        assert sandbox.counts().purchases == JOBS
        assert report.seconds <= 300


@pytest.mark.parametrize("kind", ["refused", *FAULTS])
async def test_a_single_recipe_waits_too_within_its_timeout(kind: str):
    async with open_sandbox() as sandbox, IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
        await client.list_audiences(customer_id="42")

        async def match(name: str, *, within: float) -> None:
            await workflows.upload_and_match(
                client, CSV, customer_id="42", audience_name=name, column_selections=COLUMNS, timeout=within
            )

        async with break_server(sandbox, kind):
            waiting = asyncio.create_task(match("patient", within=3_600))
            started_at = now()
            with pytest.raises(WaitTimeoutError, match=r"the server has not responded for \d+ s"):
                await match("impatient", within=240)
            assert now() - started_at == pytest.approx(240, abs=1)
            assert not waiting.done()
        await waiting
        assert sandbox.counts().audiences["42", "patient"] == 1


@asynccontextmanager
async def reads_held_for_five_minutes(
    count: int,
) -> AsyncGenerator[tuple[Sandbox, IndigoClient, list[asyncio.Task[Audience]]]]:
    """Reads of tasks that may wait as long as an outage lasts. It ends with the block's first wait."""
    async with open_sandbox() as sandbox, IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        await client.get_audience(audience_id, "42")
        async with sandbox.refuse_connections():
            with wait_out_outages():
                reads = [asyncio.create_task(client.get_audience(audience_id, "42")) for _ in range(count)]
            await asyncio.sleep(300)
        yield sandbox, client, reads


@pytest.mark.parametrize(
    "fault",
    [attrs.evolve(FAULTS["503"], times=2), Fault(kind=FaultKind.RATE_LIMITED, retry_after=1)],
    ids=["503", "429"],
)
async def test_an_outage_uses_up_no_retries_of_the_requests_that_waited(fault: Fault):
    async with reads_held_for_five_minutes(30) as (sandbox, _, reads):
        sandbox.faults.add(attrs.evolve(fault, skip_first=1))
        await asyncio.gather(*reads)


@pytest.mark.parametrize("kind", ["503", "reset"])
async def test_a_server_that_answers_once_and_fails_again_gets_few_requests(kind: str):
    async with reads_held_for_five_minutes(1_000) as (sandbox, client, reads):
        sent_before = client.transport.requests.total()
        sandbox.faults.add(attrs.evolve(FAULTS[kind], skip_first=1))
        await asyncio.sleep(60)
        assert client.transport.outage is not None
        assert client.transport.requests.total() - sent_before <= 100
        sandbox.faults.clear()
        await asyncio.gather(*reads)


async def test_a_request_sent_before_or_in_an_outage_may_time_out_long_after_it():
    async with (
        open_sandbox() as sandbox,
        IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=RetryPolicy(timeout=20.0)) as client,
    ):
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        await client.get_audience(audience_id, "42")
        with wait_out_outages():
            async with inject(sandbox, FAULTS["no response"]):
                slow = asyncio.create_task(client.get_audience(audience_id, "42"))
                await asyncio.sleep(1)
            async with inject(sandbox, FAULTS["503"]):
                others = [asyncio.create_task(client.get_audience(audience_id, "42")) for _ in range(5)]
                await asyncio.sleep(30)
            await asyncio.gather(*others)
            assert client.transport.outage is None
            assert not slow.done()
            await slow


async def test_an_endpoint_gives_up_within_its_retry_budget():
    async with (
        open_sandbox() as sandbox,
        IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=RetryPolicy(timeout=20.0)) as client,
        break_server(sandbox, "503"),
    ):
        started_at = now()
        calls = [client.get_audience(str(number)) for number in range(50)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {ServerError, ConnectionFailedError}
        assert now() - started_at <= 25
        assert any("the server is not responding (HTTP 503); nothing was sent" in str(outcome) for outcome in outcomes)


async def test_an_outage_is_reported_once_when_it_starts_and_once_when_it_ends(caplog: pytest.LogCaptureFixture):
    events: list[Event] = []
    async with (
        open_sandbox() as sandbox,
        IndigoClient(sandbox.token, base_url=sandbox.base_url, on_event=events.append) as client,
    ):
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        await client.get_audience(audience_id, "42")
        async with break_server(sandbox, "503"):
            waiting = asyncio.create_task(workflows.wait_until_active(client, audience_id, customer_id="42"))
            await asyncio.sleep(60)
        await waiting
        server = sandbox.base_url
    outages = [event for event in events if isinstance(event, (OutageStarted, OutageEnded))]
    started, ended = outages
    assert started == OutageStarted(server=server, reason="HTTP 503", has_ever_worked=True)
    assert isinstance(ended, OutageEnded)
    assert 55 <= ended.seconds <= 70
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{server} is not responding (HTTP 503): requests wait for it, each until its own deadline",
        f"{server} is responding again after {ended.seconds:.0f} s: all requests continue",
    ]


async def test_a_server_that_never_answered_is_reported_within_seconds_and_may_have_the_wrong_address(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    async with open_sandbox() as sandbox, IndigoClient(sandbox.token, base_url=sandbox.base_url) as client:
        async with sandbox.refuse_connections():
            batch = asyncio.create_task(run_batch(client, make_jobs(10, tmp_path)))
            await asyncio.sleep(10)
            (warning,) = (record.getMessage() for record in caplog.records if "responded" in record.getMessage())
            assert warning.endswith("If the address is wrong, stop and correct it")
            await asyncio.sleep(600)
        assert (await batch).done == 10


class NoSuchHost(AbstractResolver):
    """Knows no host, without asking anybody."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the base class's parameter
    ) -> list[ResolveResult]:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port} is unknown")

    async def close(self) -> None: ...


@asynccontextmanager
async def client_of_unknown_host() -> AsyncGenerator[IndigoClient]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=NoSuchHost())) as session,
        IndigoClient("token", base_url="https://indigo.invalid/api/v1", session=session) as client,
    ):
        yield client


@asynccontextmanager
async def client_of_untrusted_server() -> AsyncGenerator[IndigoClient]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with IndigoClient("token", base_url=f"https://127.0.0.1:{port}/api/v1") as client:
            yield client


@pytest.mark.parametrize(
    ("open_client", "problem"),
    [(client_of_unknown_host, "no host of this name was found"), (client_of_untrusted_server, "certificate")],
)
async def test_what_waiting_cannot_cure_is_reported_within_seconds(
    tmp_path: Path, open_client: Callable[[], AbstractAsyncContextManager[IndigoClient]], problem: str
):
    async with open_client() as client:
        started_at = now()
        report = await run_batch(client, make_jobs(JOBS, tmp_path))
        assert now() - started_at <= 30
    assert (report.done, report.failed) == (0, 4)
    assert report.stopped is not None
    assert problem in report.stopped
