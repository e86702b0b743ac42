"""Check that a job costs the same among 100,000 as among 1,000, in one process with a lite sandbox beside it.

    python -m benchmarks --only scale        (about half an hour)
    python -m benchmarks.scale --jobs 100000 --young 10000

Each customer has 100 jobs, at most 10,000 jobs are in progress, and time passes four times as fast for the sandbox and
the poll interval. Each size runs in a separate process. Memory is the process's resident size, sampled a hundred times:
it may grow while jobs are admitted, and should not grow afterwards.

Both sizes run twice: with Python's default garbage collection threshold, and with that of the command (`--young`).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from benchmarks.support.figures import Figure
from benchmarks.support.jobs import make_jobs
from benchmarks.support.sandbox_process import sandbox_process
from indigo_async import IndigoClient, RetryPolicy
from indigo_async.cli import GC_THRESHOLD
from indigo_async.workflows import AudienceJob, start_batch

__all__ = ["measure"]

_SPEED = 4.0
_JOBS_OF_A_CUSTOMER = 100
_MAX_IN_FLIGHT = 10_000


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def jobs_by_customer(count: int, folder: Path) -> Iterator[AudienceJob]:
    """Make the jobs of one customer after another, so that the number of concurrent customers is constant."""
    for number, job in enumerate(make_jobs(count, folder)):
        yield attrs.evolve(job, customer_id=f"customer-{number // _JOBS_OF_A_CUSTOMER}")


class Collections:
    """The CPU seconds of the garbage collector in all threads since this was created."""

    def __init__(self) -> None:
        self.seconds = self._started_at = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._started_at = now
        else:
            self.seconds += now - self._started_at


async def run_batch(count: int, folder: Path) -> dict[str, Any]:
    """Measure the CPU and memory of one batch. The samples are pairs of jobs done and MiB."""
    samples: list[tuple[int, float]] = []
    with sandbox_process("--lite", "--speed", str(_SPEED)) as sandbox:
        async with IndigoClient(
            sandbox.token, base_url=sandbox.base_url, poll_interval=5 / _SPEED, retry=RetryPolicy(timeout=600)
        ) as client:
            await client.list_audiences("warm-up")
            collections = Collections()
            before, started_at = time.process_time(), time.perf_counter()
            done = failed = 0
            every = max(1, count // 100)
            async with start_batch(client, jobs_by_customer(count, folder), max_in_flight=_MAX_IN_FLIGHT) as batch:
                async for outcome in batch:
                    done += 1
                    failed += outcome.error is not None
                    if done % every == 0:
                        samples.append((done, resident_mib()))
            return {
                "cpu_ms_a_job": (time.process_time() - before) / count * 1e3,
                "collecting_ms_a_job": collections.seconds / count * 1e3,
                "seconds": time.perf_counter() - started_at,
                "failed": failed,
                "requests_a_job": client.transport.requests.total() / count,
                "memory": samples,
            }


def run_in_subprocess(count: int, young: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale", "--jobs", str(count), "--young", str(young)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(*, quick: bool) -> list[Figure]:
    small, large = (200, 1_000) if quick else (1_000, 100_000)
    figures: list[Figure] = []
    for whose, young in (("the command's", GC_THRESHOLD), ("Python's own", gc.get_threshold()[0])):
        few = [run_in_subprocess(small, young) for _ in range(1 if quick else 3)]
        many = run_in_subprocess(large, young)
        cpu, collecting = (
            statistics.median(run[name] for run in few) for name in ("cpu_ms_a_job", "collecting_ms_a_job")
        )
        sizes = [mib for _, mib in many["memory"]]
        half, last = statistics.median(sizes[40:60]), statistics.median(sizes[-5:])
        how = f"with {whose} garbage collections"
        figures += [
            Figure(
                measure=f"CPU of a job among {large:,} ÷ among {small:,}, through all stages, {how}",
                value=many["cpu_ms_a_job"] / cpu,
                at_most=1.1,
                notes={
                    f"ms among {small:,}": cpu,
                    f"of these collecting, among {small:,}": collecting,
                    f"ms among {large:,}": many["cpu_ms_a_job"],
                    f"of these collecting, among {large:,}": many["collecting_ms_a_job"],
                    "jobs that failed": float(many["failed"]),
                    "requests a job": many["requests_a_job"],
                    "seconds": many["seconds"],
                },
            ),
            Figure(
                measure=f"memory at the end of {large:,} jobs ÷ at half of them, {how}",
                value=last / half,
                at_most=1.05,
                notes={"MiB at half": half, "MiB at the end": last, "most MiB": max(sizes)},
            ),
        ]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--young", type=int, default=gc.get_threshold()[0], help="the first of gc.set_threshold")
    arguments = parser.parse_args()
    gc.set_threshold(arguments.young)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(run_batch(arguments.jobs, Path(folder)))))


if __name__ == "__main__":
    main()
