"""Both services start a match, show its state, stream its events and stop with it, over real sockets."""

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
    server.capture_signals = contextlib.nullcontext  # pytest has its own
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
    example_environment: ExampleEnvironment,  # noqa: ARG001 - directs the service to the sandbox
) -> AsyncGenerator[httpx.AsyncClient]:
    async with SERVICES[request.param]() as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        yield http


async def read_events(http: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    async with http.stream("GET", f"{path}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data: ")) async for line in response.aiter_lines() if line]


async def test_a_match_is_started_watched_and_shown(
    service: httpx.AsyncClient, example_environment: ExampleEnvironment
):
    started = await service.put(DONORS, json={"csv": example_environment.csv, "columns": COLUMNS})
    assert (started.status_code, started.json()["state"]) == (202, "running")
    events, again = await asyncio.gather(read_events(service, DONORS), read_events(service, DONORS))
    assert events == again
    assert [event["stage"] for event in events if event["event"] == "StageFinished"] == ["upload", "match"]
    shown = (await service.get(DONORS)).json()
    assert shown["state"] == "done"
    assert shown["audience_id"] == events[-2].get("audience_id", shown["audience_id"])
    assert example_environment.sandbox.counts().audiences == {("42", "Donors"): 1}


async def test_repeated_requests_start_one_match(service: httpx.AsyncClient, example_environment: ExampleEnvironment):
    body = {"csv": example_environment.csv, "columns": COLUMNS}
    await asyncio.gather(*(service.put(DONORS, json=body) for _ in range(5)))
    await read_events(service, DONORS)
    assert example_environment.sandbox.log.count("POST /upload_csv") == 1


async def test_a_failed_match_shows_its_error_and_can_be_retried(
    service: httpx.AsyncClient, example_environment: ExampleEnvironment
):
    await service.put(DONORS, json={"csv": example_environment.csv, "columns": {"first_name": {"column_name": ""}}})
    await read_events(service, DONORS)
    shown = (await service.get(DONORS)).json()
    assert shown["state"] == "failed"
    assert "column" in shown["error"]
    await service.put(DONORS, json={"csv": example_environment.csv, "columns": COLUMNS})
    await read_events(service, DONORS)
    assert (await service.get(DONORS)).json()["state"] == "done"


async def test_invalid_requests_are_rejected(service: httpx.AsyncClient):
    assert (await service.get("/customers/42/audiences/Nobody")).status_code == 404
    assert (await service.get("/customers/42/audiences/Nobody/events")).status_code == 404
    assert (await service.put(DONORS, json={"columns": COLUMNS})).status_code in {400, 422}


@pytest.mark.parametrize("name", SERVICES)
async def test_a_restarted_service_resumes_the_match(example_environment: ExampleEnvironment, name: str):
    body = {"csv": example_environment.csv, "columns": COLUMNS}
    async with SERVICES[name]() as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        await http.put(DONORS, json=body)
        while not example_environment.sandbox.log.count("POST /match_uploaded_csv"):
            await asyncio.sleep(0)
    async with SERVICES[name]() as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        await http.put(DONORS, json=body)
        await read_events(http, DONORS)
        assert (await http.get(DONORS)).json()["state"] == "done"
    assert example_environment.sandbox.counts().audiences == {("42", "Donors"): 1}
