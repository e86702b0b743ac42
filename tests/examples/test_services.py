"""Both services do the same, over real sockets: start a match, tell its state, stream what happens, end with it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from aiohttp import web

from tests.support.processes.examples import ExampleEnvironment

COLUMNS = {
    "first_name": {"column_name": "First Name", "required": True},
    "last_name": {"column_name": "Last Name", "required": True},
}
DONORS = "/customers/42/audiences/Donors"


@asynccontextmanager
async def fastapi() -> AsyncGenerator[str]:
    config = uvicorn.Config(
        importlib.import_module("fastapi_service").app, port=0, lifespan="on", log_config=None, ws="none"
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # pytest keeps its own
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
        assert not serving.done()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def aiohttp() -> AsyncGenerator[str]:
    runner = web.AppRunner(importlib.import_module("aiohttp_service").make_app())
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


SERVICES = {"FastAPI": fastapi, "aiohttp": aiohttp}


@pytest.fixture(params=SERVICES)
async def service(
    request: pytest.FixtureRequest,
    stage: ExampleEnvironment,  # noqa: ARG001 - it leads the service to the sandbox
) -> AsyncGenerator[httpx.AsyncClient]:
    async with SERVICES[request.param]() as url, httpx.AsyncClient(base_url=url, trust_env=False) as asking:
        yield asking


async def read_events(asking: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    async with asking.stream("GET", f"{path}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data: ")) async for line in response.aiter_lines() if line]


async def test_a_match_is_started_watched_and_told(service: httpx.AsyncClient, stage: ExampleEnvironment):
    started = await service.put(DONORS, json={"csv": stage.csv, "columns": COLUMNS})
    assert (started.status_code, started.json()["state"]) == (202, "running")
    events, again = await asyncio.gather(read_events(service, DONORS), read_events(service, DONORS))
    assert events == again
    assert [event["stage"] for event in events if event["event"] == "StageFinished"] == ["upload", "match"]
    told = (await service.get(DONORS)).json()
    assert told["state"] == "done"
    assert told["audience_id"] == events[-2].get("audience_id", told["audience_id"])
    assert stage.sandbox.counts().audiences == {("42", "Donors"): 1}


async def test_what_is_asked_for_twice_is_one_match(service: httpx.AsyncClient, stage: ExampleEnvironment):
    wanted = {"csv": stage.csv, "columns": COLUMNS}
    await asyncio.gather(*(service.put(DONORS, json=wanted) for _ in range(5)))
    await read_events(service, DONORS)
    assert stage.sandbox.log.count("POST /upload_csv") == 1


async def test_a_match_that_fails_says_why_and_may_be_tried_again(
    service: httpx.AsyncClient, stage: ExampleEnvironment
):
    await service.put(DONORS, json={"csv": stage.csv, "columns": {"first_name": {"column_name": ""}}})
    await read_events(service, DONORS)
    told = (await service.get(DONORS)).json()
    assert told["state"] == "failed"
    assert "column" in told["error"]
    await service.put(DONORS, json={"csv": stage.csv, "columns": COLUMNS})
    await read_events(service, DONORS)
    assert (await service.get(DONORS)).json()["state"] == "done"


async def test_wrong_requests_are_refused(service: httpx.AsyncClient):
    assert (await service.get("/customers/42/audiences/Nobody")).status_code == 404
    assert (await service.get("/customers/42/audiences/Nobody/events")).status_code == 404
    assert (await service.put(DONORS, json={"columns": COLUMNS})).status_code in {400, 422}


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_that_stops_leaves_the_work_to_the_next_one(stage: ExampleEnvironment, name: str):
    wanted = {"csv": stage.csv, "columns": COLUMNS}
    async with SERVICES[name]() as url, httpx.AsyncClient(base_url=url, trust_env=False) as asking:
        await asking.put(DONORS, json=wanted)
        while not stage.sandbox.log.count("POST /match_uploaded_csv"):
            await asyncio.sleep(0)
    async with SERVICES[name]() as url, httpx.AsyncClient(base_url=url, trust_env=False) as asking:
        await asking.put(DONORS, json=wanted)
        await read_events(asking, DONORS)
        assert (await asking.get(DONORS)).json()["state"] == "done"
    assert stage.sandbox.counts().audiences == {("42", "Donors"): 1}
