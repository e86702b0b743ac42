"""The commands `worker` and `run --temporal`, each in a separate process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from indigo_async.sandbox import Fault, FaultKind
from tests.support.temporal_jobs import PRICE_CENTS, TemporalEnvironment, make_client


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


async def command(
    temporal_environment: TemporalEnvironment, *arguments: str | Path, token: str | None = None
) -> Process:
    variables = {
        "INDIGO_BASE_URL": temporal_environment.sandbox.base_url,
        "INDIGO_API_TOKEN": token or temporal_environment.sandbox.token,
        "COLUMNS": "200",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "indigo_async",
        *arguments,
        env=os.environ | variables,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )


async def wait_for_exit(process: Process) -> tuple[int, str, str]:
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@asynccontextmanager
async def worker(
    temporal_environment: TemporalEnvironment, options: Sequence[str] = (), *, token: str | None = None
) -> AsyncGenerator[Process]:
    process = await command(
        temporal_environment,
        "worker",
        *("--temporal", temporal_environment.address, "--task-queue", temporal_environment.task_queue),
        *("--exports", temporal_environment.exports, "--poll-interval", "0.05", "--graceful", "5", *options),
        token=token,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def get_text(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    return response.status, await response.text()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def test_a_worker_and_a_single_process_run_a_manifest_with_the_same_result(
    temporal_environment: TemporalEnvironment, customer: str, tmp_path: Path
):
    manifest = tmp_path / f"{customer}.jsonl"
    rows = [
        {
            "customer_id": customer,
            "audience_name": f"List {number}",
            "csv": f"https://files.example.org/{number}.csv",
            "column_selections": {"first_name": {"column_name": "First", "is_required": True}},
            "lookalike": {"audience_name": f"List {number}, grown", "size": 2000},
            "export": {
                "destination": f"{number}.csv",
                "optional_field_types": ["phone"],
                "max_cost_cents": PRICE_CENTS * (number != 2),
            },
        }
        for number in range(3)
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = (manifest, "--json", "--quiet", "--budget-cents", "1000000")
    async with worker(temporal_environment):
        there = await wait_for_exit(
            await command(
                temporal_environment,
                "run",
                *common,
                "--temporal",
                temporal_environment.address,
                "--task-queue",
                temporal_environment.task_queue,
            )
        )
    here = await wait_for_exit(
        await command(temporal_environment, "run", *common, "--poll-interval", "0.05", "--out", tmp_path / "here")
    )
    summary = json.loads(there[1])
    assert (there[0], here[0]) == (3, 3), (there, here)
    assert (summary["done"], summary["failed"], summary["spent_cents"]) == (2, 1, 2 * PRICE_CENTS)
    assert [failure["error"] for failure in summary["failures"]] == ["BudgetExceededError"]
    assert (
        temporal_environment.purchase_count() == 2
    )  # the second run, in a single process, reused the purchases of the first
    for number in range(2):
        assert (temporal_environment.exports / f"{number}.csv").read_bytes() == (
            tmp_path / "here" / f"{number}.csv"
        ).read_bytes()
        assert (temporal_environment.exports / f"{number}.csv").stat().st_mode & 0o777 == 0o600


async def test_interrupted_run_says_that_the_workflows_continue(
    temporal_environment: TemporalEnvironment, customer: str, tmp_path: Path
):
    manifest = tmp_path / f"{customer}.jsonl"
    row = {
        "customer_id": customer,
        "audience_name": "List",
        "csv": "https://files.example.org/1.csv",
        "column_selections": {"first_name": {"column_name": "First", "is_required": True}},
    }
    manifest.write_text(json.dumps(row) + "\n")
    where = ("--temporal", temporal_environment.address, "--task-queue", f"no worker for {customer}")
    for budget in ((), ("--budget-cents", "100")):
        process = await command(temporal_environment, "run", manifest, *where, *budget)
        assert process.stderr is not None
        await process.stderr.readuntil(b"run it again to wait for them.\n")
        await asyncio.sleep(0.5)  # until it waits for the workers, which sends nothing
        process.send_signal(signal.SIGINT)
        code, _, errors = await wait_for_exit(process)
        assert code == 130, errors
        assert f"No worker is polling the task queue 'no worker for {customer}'" in errors
        assert "The workers continue the submitted jobs." in errors
        assert "bug" not in errors


async def test_worker_hands_over_without_a_traceback(
    temporal_environment: TemporalEnvironment, customer: str, tmp_path: Path
):
    sandbox = temporal_environment.sandbox
    manifest = tmp_path / f"{customer}.jsonl"
    row = {
        "customer_id": customer,
        "audience_name": "List",
        "csv": "https://files.example.org/1.csv",
        "column_selections": {"first_name": {"column_name": "First", "is_required": True}},
    }
    manifest.write_text(json.dumps(row) + "\n")
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint="POST /upload_csv", customer_id=customer, delay=20.0))
    where = ("--temporal", temporal_environment.address, "--task-queue", temporal_environment.task_queue)
    async with worker(temporal_environment) as process:
        runs = await command(temporal_environment, "run", manifest, *where)
        async with make_client(sandbox) as client:
            while not await client.list_audiences(customer):
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        code, _, errors = await wait_for_exit(process)
        runs.kill()
        await runs.communicate()
    assert code == 0, errors
    assert "Handing over" in errors
    assert "Traceback" not in errors


async def test_a_worker_serves_health_and_metrics_and_shuts_down_cleanly(temporal_environment: TemporalEnvironment):
    health, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    async with worker(temporal_environment, ["--health", health, "--metrics", metrics]) as process:
        while (answer := await get_text(f"http://{health}/healthz"))[0] == 200:
            shown = json.loads(answer[1])
            if shown["status"] != "starting":
                break
        assert (answer[0], shown["status"], shown["jobs_in_progress"], shown["shards_in_progress"]) == (200, "ok", 0, 0)
        assert (await get_text(f"http://{health}/other"))[0] == 404
        status, text = await get_text(f"http://{metrics}/metrics")
        assert status == 200
        assert "temporal_" in text
        assert "indigo_jobs_in_progress" in text
        process.send_signal(signal.SIGTERM)
        code, _, errors = await wait_for_exit(process)
    assert code == 0, errors
    assert "Handing over" in errors


async def test_a_worker_that_cannot_connect_says_what_to_check(
    temporal_environment: TemporalEnvironment, tmp_path: Path
):
    nowhere = f"127.0.0.1:{free_port()}"
    code, _, errors = await wait_for_exit(
        await command(temporal_environment, "worker", "--temporal", nowhere, "--exports", tmp_path)
    )
    assert code == 1
    assert f"Temporal at {nowhere}: no connection could be made; check the address" in errors
    assert temporal_environment.sandbox.token not in errors


async def test_a_worker_rejects_invalid_addresses_and_exports(temporal_environment: TemporalEnvironment):
    for options, problem in (
        (("--exports", "ftp://somewhere"), "--exports: must be a folder, or a URL such as s3://bucket/prefix"),
        (("--exports", "out", "--health", "nowhere"), "--health: must be a host and a port"),
        (("--exports", "out", "--metrics", "localhost:9464"), "--metrics: can't be served on localhost:9464: "),
    ):
        code, _, errors = await wait_for_exit(
            await command(temporal_environment, "worker", "--temporal", temporal_environment.address, *options)
        )
        assert code == 2, errors
        assert problem in errors


async def test_a_worker_names_the_option_whose_address_is_in_use(
    temporal_environment: TemporalEnvironment, tmp_path: Path
):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for option in ("--health", "--metrics"):
            where = ("--temporal", temporal_environment.address, "--exports", tmp_path)
            code, _, errors = await wait_for_exit(
                await command(temporal_environment, "worker", *where, option, address)
            )
            assert code == 2, errors
            assert f"{option}: can't be served on {address}: Address already in use" in errors


async def test_operators_list_drop_and_cancel_the_jobs_of_a_batch(
    temporal_environment: TemporalEnvironment, customer: str, tmp_path: Path
):
    stuck = f"{customer}-b"
    manifest = tmp_path / "jobs.jsonl"
    rows = [
        {
            "customer_id": name,
            "audience_name": f"List {number}",
            "csv": f"https://files.example.org/{number}.csv",
            "column_selections": {"first_name": {"column_name": "First", "is_required": True}},
            "export": {
                "destination": f"{name}/{number}.csv",
                "optional_field_types": ["phone"],
                "max_cost_cents": 0 if number == 1 else 1_000_000,
            },
        }
        for number, name in enumerate([customer, customer, stuck, stuck])
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    temporal_environment.sandbox.faults.add(
        Fault(
            kind=FaultKind.ERROR_BEFORE,
            status=503,
            endpoint="POST /create_preview_csv_export",
            customer_id=stuck,
            times=None,
        )
    )
    where = ("--temporal", temporal_environment.address)

    async def operate(*arguments: str | Path) -> tuple[int, list[dict[str, Any]], str]:
        code, output, errors = await wait_for_exit(await command(temporal_environment, *arguments, *where))
        return code, [json.loads(line) for line in output.splitlines() if line.startswith("{")], errors

    async with worker(temporal_environment):
        run = await command(
            temporal_environment,
            *("run", manifest, *where, "--task-queue", temporal_environment.task_queue, "--heartbeat-seconds", "2"),
            "--json",
        )
        _, _, unknown = await operate("jobs", manifest)
        name = unknown.partition("did you mean ")[2].partition("?")[0]
        assert re.fullmatch(r"jobs\.jsonl-[0-9a-f]{6}", name), unknown
        listed: list[dict[str, Any]] = []
        while [row.get("stage") for row in listed] != ["preview", "preview"]:
            _, rows_and_summary, _ = await operate("jobs", name, "--json", "--customer", stuck, "--state", "running")
            listed = rows_and_summary[:-1]
        assert {row["state"] for row in listed} == {"running"}
        code, dropped, errors = await operate("drop", name, f"{stuck}/List 2", "--json")
        assert (code, [(row["state"], row["stage"]) for row in dropped]) == (0, [("canceled", "preview")]), errors
        code, _, errors = await operate("drop", name, f"{stuck}/List 2")
        assert code == 2
        assert "has already ended (canceled)" in errors
        code, (canceled,), errors = await operate("cancel", name, "--json")
        assert code == 0, errors
        assert canceled["failed_by_error"]["CancelledError"] == 2
        assert {failure["stage"] for failure in canceled["failures"]} == {"preview", "purchase"}
        code, output, errors = await wait_for_exit(run)
    assert code == 1, errors
    assert f"in the batch '{name}' on the task queue" in errors
    assert "of 4 jobs, 1 failed, 2 canceled" in errors
    assert json.loads(output) == canceled
    code, output, errors = await wait_for_exit(await command(temporal_environment, "jobs", name, *where))
    assert code == 0, errors
    assert "running" not in output
    nobody = await command(temporal_environment, "jobs", name, *where, "--customer", "nobody")
    assert "No job matches --state and --customer." in (await wait_for_exit(nobody))[1]
    assert "2 canceled" in output


async def test_a_worker_with_a_bad_token_exits_with_a_code_of_its_own(temporal_environment: TemporalEnvironment):
    async with worker(temporal_environment, token="not-the-token") as process:
        code, output, errors = await wait_for_exit(process)
    assert (code, output) == (5, ""), errors
    assert "A valid API token is required. (401, Unauthorized); check the token" in errors
    assert "Worker started" not in errors
    assert "Traceback" not in errors
