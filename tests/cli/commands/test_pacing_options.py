"""The options that limit requests, as a server sees them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from indigo_async.sandbox import Sandbox
from tests.support.command_line import RunCommand
from tests.support.processes.commands import write_manifest
from tests.support.servers.scripted import respond_with_json, scripted_server

FAST = ("--poll-interval", "0.02")
SPEED = 2_000.0


async def test_no_more_requests_are_in_flight_than_max_concurrency_allows(command_line: RunCommand):
    in_flight, most_in_flight = 0, 0
    respond = respond_with_json({"error": "no such audience", "errorType": "NotFound"}, 404)

    async def respond_slowly(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal in_flight, most_in_flight
        in_flight += 1
        most_in_flight = max(most_in_flight, in_flight)
        await asyncio.sleep(0.01)
        in_flight -= 1
        return await respond(request)

    ids = [f"aud-{number}" for number in range(20)]
    async with scripted_server(respond_slowly) as server:
        variables = {"INDIGO_BASE_URL": f"{server.origin}/api/v1", "INDIGO_API_TOKEN": "canary-3c"}
        result = await command_line(None, "watch", *ids, "--max-concurrency", "4", *FAST, **variables)
    assert result.exit_code == 1, result.stderr
    assert len(server.requests) >= len(ids)
    assert 1 < most_in_flight <= 4


@pytest.mark.parametrize("command", ["run", "quote"])
async def test_requests_are_no_faster_than_requests_per_second(command_line: RunCommand, tmp_path: Path, command: str):
    rate = 50.0
    manifest = write_manifest(tmp_path, 2)
    async with Sandbox(lite=True, speed=SPEED) as sandbox:
        result = await command_line(sandbox, command, manifest, "--requests-per-second", str(rate), *FAST)
        times = [entry.at / SPEED for entry in sandbox.log.entries if entry.endpoint != "GET download"]
    assert result.exit_code == 0, result.stderr
    assert len(times) >= 10
    assert times[-1] - times[0] >= 0.5 * (len(times) - 1) / rate


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--requests-per-second", "0", "Must be > 0"),
        ("--requests-per-second", "nan", "Must be < inf"),
        ("--requests-per-second", "inf", "Must be < inf"),
        ("--max-concurrency", "0", "Must be > 0"),
        ("--max-concurrency", "2.5", "must be a whole number"),
    ],
)
async def test_invalid_limits_are_refused(command_line: RunCommand, option: str, value: str, message: str):
    result = await command_line(None, "watch", "aud-1", option, value)
    assert result.exit_code == 2
    assert option in result.stderr
    assert message in result.stderr


async def test_run_on_temporal_refuses_what_only_workers_can_honor(command_line: RunCommand, tmp_path: Path):
    options = "--requests-per-second 5 --max-concurrency 2 --poll-interval 1 --publish s3://b/p --base-url x --proxy y"
    here = "--journal x.journal --stop-after-failures 3"
    arguments = ("--temporal", "127.0.0.1:1", *options.split(), *here.split())
    result = await command_line(None, "run", write_manifest(tmp_path, 1), *arguments)
    assert result.exit_code == 2
    for option in options.split()[::2]:
        assert f"{option}: workers send the requests: give this option to `indigo-async worker`" in result.stderr
    for option in here.split()[::2]:
        assert f"{option}: has no effect with --temporal" in result.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [("--namespace", "prod"), ("--task-queue", "indigo-7"), ("--name", "march"), ("--heartbeat-seconds", "60")],
)
async def test_run_without_temporal_refuses_options_of_temporal(
    command_line: RunCommand, tmp_path: Path, option: str, value: str
):
    result = await command_line(None, "run", write_manifest(tmp_path, 1), "--check", option, value)
    assert result.exit_code == 2
    assert f"{option}: needs --temporal; without it, the jobs run in this process" in result.stderr
